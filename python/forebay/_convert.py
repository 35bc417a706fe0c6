"""Arrow columns into what functions take, and what they return into Arrow columns.

Tensors become views of the received buffer and answers are wrapped where they lie, as far as their memory layout
allows. Values are never changed to fit: a type or shape that differs is an error that says both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay.types import ANY, Slot

if TYPE_CHECKING:
    import numpy as np

_EXTENSION: Final = b"ARROW:extension:name"
_METADATA: Final = b"ARROW:extension:metadata"
_TENSOR: Final = b"arrow.fixed_shape_tensor"
# Types whose largest value is below that of a `float`, for which Arrow gives infinity instead of an error.
_NARROW: Final = (pa.float16(), pa.float32())


class ShapeError(ValueError):
    """What a function returned has another number of rows, or rows of another shape, than it should."""


class ReducedError(ShapeError):
    """A batch function returned one row for all that it was given.

    Such a call is not tried again with fewer rows: halved often enough, every row would get an answer of its own.
    """


# What a function says it takes, and the columns that fit.
_FITS: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "int64": pa.types.is_integer,
    "float64": lambda given: pa.types.is_floating(given) or pa.types.is_integer(given),
    "string": lambda given: is_text(given),
    "binary": lambda given: is_bytes(given),
    "bool": pa.types.is_boolean,
}


def is_text(given: pa.DataType) -> bool:
    """Says whether values of this type are `str` in Python."""
    return any(check(given) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def is_bytes(given: pa.DataType) -> bool:
    """Says whether values of this type are `bytes` in Python."""
    return any(check(given) for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def fits(value: str, given: pa.DataType) -> bool:
    """Says whether a parameter hinted so takes a column of type `given`; without a check for the hint it does."""
    if pa.types.is_null(given) or value == ANY:
        return True
    return bool(_FITS[value](given)) if value in _FITS else given == value_type(value)


def value_type(value: str) -> pa.DataType:
    """The Arrow type of one value."""
    return pa.type_for_alias({"float16": "halffloat"}.get(value, value))


@lru_cache(maxsize=64)
def field(slot: Slot) -> pa.Field:
    """The column of an output, as the engine's own tensors and values are laid out."""
    value = value_type(slot.value)
    if not slot.shape:
        return pa.field(slot.name, value)
    storage = pa.list_(pa.field("item", value, nullable=False), slot.width)
    metadata = {_EXTENSION: _TENSOR, _METADATA: json.dumps({"shape": list(slot.shape)}).encode()}
    return pa.field(slot.name, storage, metadata=metadata)


def is_tensor(given: pa.DataType) -> bool:
    """Says whether a column has the same number of values in each row, so that it is one array."""
    return isinstance(given, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(given)


def is_numeric(given: pa.DataType) -> bool:
    """Says whether values of this type are numbers or truth values, alone or as tensors."""
    while is_tensor(given):
        given = given.value_type
    return any(check(given) for check in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating))


def are_lists_of_numbers(given: pa.DataType) -> bool:
    """Says whether values of this type are lists that `.tensor.reshape` makes tensors of."""
    return bool(pa.types.is_list(given) or pa.types.is_large_list(given)) and is_numeric(given.value_type)


def nulls_in(column: pa.Array) -> int:
    """How many rows of the column are null; if none is, how many values inside of its rows are."""
    if column.null_count or not is_tensor(column.type):
        return int(column.null_count)
    return nulls_in(_inside(_storage(column)))


def ndarray(column: pa.Array) -> np.ndarray[Any, Any]:
    """The column as one array, rows first; a view where the column has no nulls, no text and no booleans."""
    if not is_tensor(column.type):
        return _with_none(column) if _would_be_floats(column) else _numpy(column)
    storage = _storage(column)
    shape = column.type.shape if isinstance(column, pa.FixedShapeTensorArray) else [storage.type.list_size]
    return _with_nulls(storage, shape) if storage.null_count else _shaped(storage, shape)


class _Writable:
    """The memory of an array, which it keeps, as what may be written to."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def writable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array itself as one that may be written to, for memory that nobody else sees: torch warns of every other."""
    import numpy as np

    return array if array.flags.writeable else np.asarray(_Writable(array))


def _storage(column: pa.Array) -> pa.Array:
    """The lists of a tensor column."""
    return column.storage if isinstance(column, pa.FixedShapeTensorArray) else column


def _inside(storage: pa.Array) -> pa.Array:
    """All values of the rows, one behind the other; those of null rows too."""
    # Not `to_numpy_ndarray`, which forgets where a slice begins, and not `flatten`, which takes longer.
    width = storage.type.list_size
    return storage.values.slice(storage.offset * width, len(storage) * width)


def _shaped(storage: pa.Array, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    inside = ndarray(_inside(storage))
    return inside.reshape(len(storage), *shape, *inside.shape[1:])


def _numpy(column: pa.Array) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return array


def _would_be_floats(column: pa.Array) -> bool:
    """Whether whole numbers stand beside nulls, for which NumPy has floats: alone, or in values of nested types."""
    if pa.types.is_integer(column.type):
        return bool(column.null_count)
    if pa.types.is_struct(column.type):
        return any(map(_would_be_floats, column.flatten()))
    if pa.types.is_map(column.type):
        return _would_be_floats(column.items)
    nested = pa.types.is_list, pa.types.is_large_list, is_tensor
    return any(check(column.type) for check in nested) and _would_be_floats(_storage(column).flatten())


def _with_none(column: pa.Array) -> np.ndarray[Any, Any]:
    """Whole numbers and nulls as objects: as floats they would lose digits."""
    import numpy as np

    boxed = np.empty(len(column), dtype=object)
    for row, value in enumerate(column):
        boxed[row] = _object(value)
    return boxed


def _object(value: pa.Scalar) -> Any:
    """One value as Arrow's own arrays of objects have it: a list is an array, a struct a dict."""
    if not value.is_valid or pa.types.is_map(value.type):
        return value.as_py()
    if pa.types.is_struct(value.type):
        return {name: _object(member) for name, member in value.items()}
    return ndarray(value.values) if hasattr(value, "values") else value.as_py()


def _with_nulls(storage: pa.Array, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """An array for each row, or `None`."""
    import numpy as np

    valid = storage.is_valid()
    # Null rows may have nulls inside of them, for which the values of the others would be objects.
    is_filtered = _inside(storage).null_count > 0
    whole = _shaped(storage.filter(valid) if is_filtered else storage, shape)
    boxed = np.empty(len(storage), dtype=object)
    for number, row in enumerate(np.flatnonzero(valid)):
        boxed[row] = whole[number if is_filtered else row]
    return boxed


def values(column: pa.Array) -> list[Any]:
    """The column as one Python value a row; tensors are NumPy arrays, nulls are `None`."""
    return list(ndarray(column)) if is_tensor(column.type) else column.to_pylist()


def column_of_rows(results: Sequence[Any], slot: Slot) -> pa.Array:
    """The column of one result a row.

    Raises: pa.ArrowInvalid, TypeError or ShapeError if one of them does not fit the slot.
    """
    if any(hasattr(kind, "detach") for kind in set(map(type, results))):
        results = [_plain(each) if hasattr(each, "detach") else each for each in results]
    if slot.shape:
        return _tensor_of_rows(results, slot)
    target = field(slot).type
    if not all(_is_plain(kind, target) for kind in set(map(type, results))):
        for each in results:
            _check(each, target)
    column = pa.array(results, type=target)
    if target in _NARROW and pc.any(pc.is_inf(column)).as_py():
        _check_infinities(results, column)
    return column


def _is_plain(kind: type, target: pa.DataType) -> bool:
    """Whether Arrow takes values of this type for `target` as they are, or refuses them itself."""
    if pa.types.is_integer(target):
        return kind is type(None) or (issubclass(kind, Integral) and not issubclass(kind, bool))
    if is_text(target):
        return not issubclass(kind, int | float | bytes | bytearray | memoryview)
    if is_bytes(target):
        return not issubclass(kind, str)
    return pa.types.is_boolean(target) or not issubclass(kind, bool)


def _check(value: Any, target: pa.DataType) -> None:
    """Raises: TypeError for a value of another type; what is equal to a whole number is one."""
    if value is None or _is_plain(type(value), target):
        return
    if is_text(target) and isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} is no text; write str(..) to make it some")
    if is_text(target) or is_bytes(target):
        raise TypeError(f"{value!r:.100} {'is text, not bytes' if isinstance(value, str) else 'are bytes, not text'}")
    if isinstance(value, bool) or getattr(value, "dtype", None) == "bool":
        raise TypeError(f"{value} is a bool, not a {target}")
    # Arrow cuts off the digits behind the point of whatever `int` takes; what it does not take, Arrow refuses.
    if hasattr(value, "__int__") and not _is_whole(value):
        raise TypeError(f"{value} is no whole number, and {target} holds only those")


def _is_whole(value: Any) -> bool:
    try:
        return bool(int(value) == value)
    except (ValueError, OverflowError):
        return False


def _check_infinities(results: Sequence[Any], column: pa.Array) -> None:
    """Raises: TypeError for a value that became infinite in the column."""
    for given, made in zip(results, column.to_pylist(), strict=True):
        if made is not None and math.isinf(made) and not math.isinf(given):
            raise TypeError(f"{given} does not fit {column.type}")


def _tensor_of_rows(results: Sequence[Any], slot: Slot) -> pa.Array:
    import numpy as np

    missing = [each is None for each in results]
    whole = np.zeros((len(results), *slot.shape), dtype=slot.value)
    for row, each in enumerate(results):
        if each is not None:
            whole[row] = _checked(np.asarray(each), slot, slot.shape)
    return _wrapped(whole, slot, pa.array(missing) if any(missing) else None)


def column_of_batch(result: Any, slot: Slot, rows: int) -> pa.Array:
    """The column of what a batch function returned for one output: a sequence of Arrow, NumPy, pandas and so on.

    Raises: ShapeError for another number of rows, ReducedError for one row for three or more, TypeError or
    pa.ArrowInvalid for other types.
    """
    if isinstance(result, pa.ChunkedArray):
        result = result.combine_chunks()
    elif not isinstance(result, pa.Array):
        result = _unwrapped(result)
    is_single = not hasattr(result, "__len__") or getattr(result, "ndim", 1) == 0
    if is_single or isinstance(result, set | frozenset | dict | str | bytes | bytearray):
        raise TypeError(f"{type(result).__name__} is no column; return an array or a list with a value for each row")
    if len(result) != rows:
        # One row for two may be a function that leaves out a row, which halving finds.
        kind = ReducedError if len(result) == 1 and rows > 2 else ShapeError
        raise kind(f"returned {len(result)} rows for {rows}; a batch function returns a value for each row")
    if isinstance(result, pa.Array):
        return _cast(result, slot)
    if isinstance(result, list | tuple):
        return column_of_rows(result, slot)
    if slot.shape:
        return _wrapped(_checked(result, slot, (rows, *slot.shape)), slot, None)
    return _cast(pa.array(result, from_pandas=False), slot)


def _unwrapped(result: Any) -> Any:
    """What lies in a pandas or Polars column or a torch tensor."""
    if hasattr(result, "to_arrow"):
        return _unchunked(result.to_arrow())
    if hasattr(result, "detach"):
        return _out_of_torch(result)
    if type(result).__module__.startswith("pandas"):
        return _unchunked(pa.Array.from_pandas(result))
    return result


def _out_of_torch(tensor: Any) -> np.ndarray[Any, Any]:
    """A view of a torch tensor that lies in memory as its values are, else a copy."""
    array: np.ndarray[Any, Any]
    try:
        array = tensor.numpy(force=True)
    except TypeError:
        if not tensor.is_floating_point():
            raise
        # NumPy has no bfloat16 and nothing narrower; all their values are values of float32.
        array = tensor.float().numpy(force=True)
    return array


def _plain(tensor: Any) -> Any:
    """What a torch tensor holds that is the result of one row: a number for one without axes, else an array."""
    array = _out_of_torch(tensor)
    return array if array.ndim else array.item()


def _unchunked(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _cast(column: pa.Array, slot: Slot) -> pa.Array:
    target = field(slot).type
    if isinstance(column, pa.FixedShapeTensorArray):
        if tuple(column.type.shape) != slot.shape:
            raise ShapeError(f"returned rows of shape {list(column.type.shape)}, not {list(slot.shape)}")
        column = column.storage
    if slot.shape:
        return _tensor_of_rows(column.to_pylist(), slot) if column.null_count else _from_lists(column, slot)
    if not fits("float64" if slot.value.startswith("float") else _family(slot.value), column.type):
        raise TypeError(f"returned {column.type}, not {slot.value}")
    return column if column.type == target else _cast_values(column, target)


def _cast_values(column: pa.Array, target: pa.DataType) -> pa.Array:
    """The values as another type, of the same family.

    Raises: pa.ArrowInvalid or TypeError if one of them does not fit.
    """
    made = column.cast(target)
    to_half = target == pa.float16()
    if to_half or (target == pa.float32() and column.type == pa.float64()):
        # Arrow refuses whole numbers that do not fit, but makes infinities of fractions.
        lost = pc.and_not(pc.is_inf(made), pc.is_inf(column))
        if pc.any(lost).as_py():
            raise TypeError(f"{column.filter(lost)[0]} does not fit {target}")
    return made


def _from_lists(column: pa.Array, slot: Slot) -> pa.Array:
    import numpy as np

    flat = column.flatten().to_numpy(zero_copy_only=False)
    if flat.size != len(column) * slot.width:
        raise ShapeError(f"returned {flat.size} values for {len(column)} rows of shape {list(slot.shape)}")
    whole = np.asarray(flat).reshape(len(column), *slot.shape)
    return _wrapped(_checked(whole, slot, whole.shape), slot, None)


def _family(value: str) -> str:
    return "int64" if "int" in value else value


def _checked(array: Any, slot: Slot, shape: tuple[int, ...]) -> Any:
    """The array with the slot's type of values.

    Raises: ShapeError for another shape, TypeError for values of another family, or that do not fit.
    """
    import numpy as np

    if tuple(array.shape) != shape:
        raise ShapeError(f"returned shape {list(array.shape)}, not {list(shape)}")
    if not np.can_cast(array.dtype, slot.value, casting="same_kind"):
        raise TypeError(f"returned values of type {array.dtype}, not {slot.value}")
    return _narrowed(array, np.dtype(slot.value))


def _narrowed(array: Any, target: np.dtype[Any]) -> Any:
    """The array with values of type `target`; compared only where that type does not hold all that the array's does.

    Raises: TypeError for a value that does not fit.
    """
    import numpy as np

    if np.can_cast(array.dtype, target, casting="safe"):
        return array.astype(target, copy=False)
    if target.kind in "iu":
        limits = np.iinfo(target)
        for extreme in (array.min(), array.max()) if array.size else ():
            if not limits.min <= int(extreme) <= limits.max:
                raise TypeError(f"{extreme} does not fit {target}")
        return array.astype(target)
    with np.errstate(over="ignore"):
        made = array.astype(target)
    infinite = np.isinf(made)
    if infinite.any() and not np.isinf(array[infinite]).all():
        lost = array[infinite & ~np.isinf(array)]
        raise TypeError(f"{lost[0]} does not fit {target}")
    return made


def _wrapped(whole: np.ndarray[Any, Any], slot: Slot, missing: pa.Array | None) -> pa.Array:
    import numpy as np

    flat = pa.array(np.ascontiguousarray(whole).reshape(-1), type=field(slot).type.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, type=field(slot).type, mask=missing)
