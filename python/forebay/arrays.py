"""Functions of numbers in rows, found as `col("x").embedding` and `.tensor`; each is one function of the engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from forebay.errors import InvalidError
from forebay.expressions import Expression, function

if TYPE_CHECKING:
    import numpy as np

    Numbers = Sequence[float] | np.ndarray[Any, Any]

# Text has no numbers, the others no order of them.
_NO_EMBEDDINGS: Final = (str, bytes, set, frozenset, dict)

DType = Literal[
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


class EmbeddingFunctions:
    """Functions of embeddings: lists of numbers, or tensors of one axis. A null stays null.

    Two embeddings of different lengths, and one with a null in it, are errors of their row, see `on_error` of the step.
    The other embedding of a comparison is a column, or a list of numbers that every row is compared with.

    >>> from forebay import col
    >>> col("v").embedding.truncate(256).embedding.l2_normalize().sql()
    'l2_normalize(truncate_embedding("v", 256))'
    """

    def __init__(self, embedding: Expression) -> None:
        """Works on `embedding`."""
        self._embedding = embedding

    def cosine_similarity(self, other: Expression | Numbers) -> Expression:
        r"""The cosine of the angle to the other: 1 for the same direction, -1 for the opposite one.

        Shape:  in [rows, dimensions] of numbers; out [rows] of float64 in -1..=1.
        Nulls:  a null on either side gives null; an embedding of zeros has no direction and is an error of its row.
        Raises: InvalidError if `other` is neither an expression nor a list of finite numbers.

        >>> from forebay import col
        >>> col("v").embedding.cosine_similarity(col("w")).sql()
        'cosine_similarity("v", "w")'
        >>> col("v").embedding.cosine_similarity([0.5, -1]).sql()
        'cosine_similarity("v", \'[0.5, -1.0]\')'
        """
        return self._compared("cosine_similarity", other)

    def cosine_distance(self, other: Expression | Numbers) -> Expression:
        """1 less the cosine similarity: from 0 for the same direction to 2 for the opposite one.

        >>> from forebay import col
        >>> (col("v").embedding.cosine_distance(col("w")) < 0.3).sql()
        '(cosine_distance("v", "w") < 0.3)'
        """
        return self._compared("cosine_distance", other)

    def dot_product(self, other: Expression | Numbers) -> Expression:
        r"""The sum of the products of their values; for embeddings of length 1 the cosine.

        >>> from forebay import col
        >>> col("v").embedding.dot_product([1, 0]).sql()
        'dot_product("v", \'[1.0, 0.0]\')'
        """
        return self._compared("dot_product", other)

    def euclidean_distance(self, other: Expression | Numbers) -> Expression:
        """The length of their difference, each taken as a point.

        >>> from forebay import col
        >>> col("v").embedding.euclidean_distance(col("centre")).sql()
        'euclidean_distance("v", "centre")'
        """
        return self._compared("euclidean_distance", other)

    def l2_normalize(self) -> Expression:
        """Divided by its length, so that it has length 1; one of zeros is an error of its row.

        >>> from forebay import col
        >>> col("v").embedding.l2_normalize().sql()
        'l2_normalize("v")'
        """
        return function("l2_normalize", self._embedding)

    def truncate(self, dimensions: int) -> Expression:
        """The first values, as a tensor of one axis; a row with fewer is an error of its own.

        >>> from forebay import col
        >>> col("v").embedding.truncate(256).sql()
        'truncate_embedding("v", 256)'
        """
        return function("truncate_embedding", self._embedding, dimensions)

    def _compared(self, name: str, other: Expression | Numbers) -> Expression:
        return function(name, self._embedding, other if isinstance(other, Expression) else _numbers(other))


class TensorFunctions:
    r"""Functions of tensors, such as `.image.to_tensor` and models give. A null stays null.

    >>> from forebay import col
    >>> col("pixels").tensor.cast("float32").tensor.flatten().sql()
    'tensor_reshape(tensor_cast("pixels", \'float32\'), (-1))'
    """

    def __init__(self, tensor: Expression) -> None:
        """Works on `tensor`."""
        self._tensor = tensor

    def reshape(self, *shape: int) -> Expression:
        """The same values under other axes; one axis may be -1, which follows from the others. Lists become tensors.

        Shape:  in [rows, ...], or [rows] lists of as many numbers; out [rows, *shape] of the same type.
        Nulls:  a null stays null; a list with another number of values, or with a null, is an error of its row.

        >>> from forebay import col
        >>> col("numbers").tensor.reshape(4, 4).sql()
        'tensor_reshape("numbers", 4, 4)'
        """
        return function("tensor_reshape", self._tensor, *shape)

    def flatten(self) -> Expression:
        """The same values under one axis.

        >>> from forebay import col
        >>> col("pixels").tensor.flatten().sql()
        'tensor_reshape("pixels", (-1))'
        """
        return self.reshape(-1)

    def cast(self, dtype: DType) -> Expression:
        r"""The same shape with values of another type; they are not scaled.

        Shape:  in [rows, ...]; out the same in `dtype`; whole numbers lose their fraction.
        Nulls:  a null stays null; a value beyond the range of `dtype` is an error of its row.

        >>> from forebay import col
        >>> col("pixels").tensor.cast("float16").sql()
        'tensor_cast("pixels", \'float16\')'
        """
        return function("tensor_cast", self._tensor, dtype)


def _numbers(values: Any) -> str:
    """The constant as the engine reads it, which is that of the same bits.

    Raises: InvalidError for anything but finite numbers.
    """
    given = values.tolist() if hasattr(values, "tolist") else values
    try:
        numbers = [float(value) for value in given] if not isinstance(given, _NO_EMBEDDINGS) else []
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InvalidError(f"{values!r:.100} is no embedding; give a column, col(..), or a list of finite numbers")
    return str(numbers)
