"""Types of values as functions and models name them, and how Python's type hints become them.

A slot is one input or output of a function: a name, the type of one value, and the axes of one row. It is what the
engine checks columns against before a job starts. Nothing here looks at values; `_convert.py` does.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from forebay.errors import InvalidError

ANY: Final = "any"
VALUES: Final = frozenset(
    [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
        "string",
        "binary",
    ]
)
_PYTHON: Final[Mapping[object, str]] = {int: "int64", float: "float64", str: "string", bool: "bool", bytes: "binary"}


class Tensor:
    """The type of a tensor: the type of its values and the lengths of the axes of one row.

    Stands in hints, alone or where a type checker looks at it inside `Annotated`, and in `returns=`.

    >>> Tensor("float32", 384)
    Tensor("float32", 384)
    >>> Tensor["uint8", 8, 8, 3] == Tensor("uint8", 8, 8, 3)
    True
    """

    def __init__(self, value: str, *shape: int) -> None:
        """Names the type and the axes; `Tensor("float32")` is one value a row.

        Raises: InvalidError if the type is unknown, has no fixed width, or an axis is less than 1.
        """
        if value not in VALUES - {"string", "binary"}:
            known = ", ".join(sorted(VALUES - {"string", "binary"}))
            raise InvalidError(f"a tensor has no values of type {value!r}; there are {known}")
        if any(not isinstance(axis, int) or axis < 1 for axis in shape):
            raise InvalidError(f"the axes of a tensor are whole numbers above 0, not {list(shape)}")
        self.value: Final = value
        self.shape: Final = tuple(shape)

    def __class_getitem__(cls, item: Any) -> Tensor:
        """Makes the type that the brackets name."""
        value, *shape = item if isinstance(item, tuple) else (item,)
        return cls(value, *shape)

    def __eq__(self, other: object) -> bool:
        """Says whether both are the same type."""
        return isinstance(other, Tensor) and (self.value, self.shape) == (other.value, other.shape)

    def __hash__(self) -> int:
        """Agrees with equality."""
        return hash((self.value, self.shape))

    def __repr__(self) -> str:
        """Returns the call that makes it."""
        return f"Tensor({', '.join([chr(34) + self.value + chr(34), *map(str, self.shape)])})"

    def __or__(self, other: None) -> Any:
        """`Tensor(..) | None` in hints."""
        return typing.Optional[self]  # noqa: UP045 - a tensor is no class, so `|` is this method


@dataclasses.dataclass(frozen=True)
class Slot:
    """One input or output: its name, the type of one value, the axes of one row."""

    name: str
    value: str
    shape: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Values in one row."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        """Returns the slot as the engine reads it."""
        return {"name": self.name, "value": self.value, "shape": list(self.shape)}


def type_of(hint: object) -> tuple[str, tuple[int, ...]] | None:
    """Value type and axes that a hint stands for; `None` if it stands for none.

    >>> type_of(int), type_of(Tensor("float32", 3)), type_of(str | None), type_of("float16"), type_of(object)
    (('int64', ()), ('float32', (3,)), ('string', ()), ('float16', ()), None)
    """
    hint = bare(hint)
    if isinstance(hint, Tensor):
        return hint.value, hint.shape
    if isinstance(hint, str):
        return (hint, ()) if hint in VALUES else None
    if hint in _PYTHON:
        return _PYTHON[hint], ()
    if getattr(hint, "__module__", "") == "numpy":
        name = getattr(hint, "__name__", "")
        return (name, ()) if name in VALUES else None
    return None


def bare(hint: object) -> object:
    """The hint without `| None` around it and with the `Tensor` of an `Annotated` in its place."""
    if typing.get_origin(hint) is typing.Annotated:
        tensors = [each for each in typing.get_args(hint)[1:] if isinstance(each, Tensor)]
        return tensors[0] if tensors else bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(hint) if each is not type(None)]
        return bare(others[0]) if len(others) == 1 else hint
    return hint


def fields_of(hint: object) -> dict[str, object] | None:
    """Names and hints of the fields of a dataclass, NamedTuple, TypedDict or dict of types; else `None`."""
    if isinstance(hint, dict):
        return {str(name): each for name, each in hint.items()}
    if not isinstance(hint, type):
        return None
    named_tuple = issubclass(hint, tuple) and hasattr(hint, "_fields")
    if dataclasses.is_dataclass(hint) or named_tuple or typing.is_typeddict(hint):
        return dict(typing.get_type_hints(hint, include_extras=True))
    return None


def outputs_of(hint: object, function: str) -> tuple[Slot, ...]:
    """The outputs of a function that returns `hint`: one called `value`, or one for each field.

    >>> outputs_of({"label": str, "score": float}, "f")
    (Slot(name='label', value='string', shape=()), Slot(name='score', value='float64', shape=()))

    Raises: InvalidError if it stands for no type of values.
    """
    hint = bare(hint)
    fields = fields_of(hint)
    slots = []
    for name, each in ({"value": hint} if fields is None else fields).items():
        found = type_of(each)
        if found is None:
            where = "its result" if fields is None else f"field {name}"
            raise InvalidError(
                f"function {function}: {where} has no type that a column can have ({_shown(each)}); "
                "hint or pass returns= one of int, float, str, bool, bytes, fb.Tensor(..), a name such as 'float32', "
                "or a dataclass, NamedTuple, TypedDict or dict of them"
            )
        slots.append(Slot(name, *found))
    if not slots:
        raise InvalidError(f"function {function}: what it returns has no fields")
    return tuple(slots)


def _shown(hint: object) -> str:
    return "no hint" if hint is None else getattr(hint, "__name__", str(hint))
