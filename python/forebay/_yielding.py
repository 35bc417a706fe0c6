"""Functions that give several rows for one: generators, and functions whose result is a list.

To the engine such a function gives one text a row: what it yielded, as JSON. Steps behind it (`from_json`, `explode`)
make rows of that. Each value is checked against its hint before it becomes JSON, so that a mistake is a dead letter of
the row that the function was given.
"""

from __future__ import annotations

import inspect
import json
import math
import typing
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from forebay._function import Function
from forebay.errors import DataError, InvalidError
from forebay.expressions import Answer, Expression
from forebay.types import Slot

# The engine's names of types.
_TYPES: Final = {"string": "Utf8", "binary": "Binary", "bool": "Boolean"}


@dataclass(frozen=True, eq=False)
class Rows:
    """What a function that yields rows was asked: for `flat_map`, which makes the rows."""

    answer: Answer
    fields: tuple[Slot, ...]

    def __repr__(self) -> str:
        """Says what to do with it."""
        return f"<rows of {self.label}(..), for flat_map>"

    @property
    def label(self) -> str:
        """The name of the function."""
        return self.answer.call.asked.label

    @property
    def type(self) -> str:
        """The type of the list, as the engine names it."""
        fields = ", ".join(f'"f{place}": {_type(slot)}' for place, slot in enumerate(self.fields))
        return f"List(Struct({fields}))"

    def columns(self, row: Expression) -> dict[str, Expression]:
        """What each field of a row is."""
        fields = {slot: row[f"f{place}"] for place, slot in enumerate(self.fields)}
        return {slot.name: field.tensor.reshape(*slot.shape) if slot.shape else field for slot, field in fields.items()}


@dataclass(eq=False)
class Yielding(Function):
    """A decorated function that yields rows of these fields."""

    fields: tuple[Slot, ...] = ()
    # Whether a row has its fields by name; else it is the value itself.
    named: bool = False

    @property
    def asynchronous(self) -> bool:
        """Whether it is `async def`."""
        return super().asynchronous or inspect.isasyncgenfunction(self.plain)

    def load(self) -> Callable[..., Any]:
        """What a worker calls: the rows as JSON."""
        collected = CollectedLater if self.asynchronous else Collected
        return collected(super().load(), self.fields, self.named)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Runs at once with values; with expressions, rows for `flat_map`."""
        if not any(isinstance(each, Expression) for each in (*arguments, *named.values())):
            return super().load()(*arguments, **named)
        self._check_fallback()
        answer = super().__call__(*arguments, **named)
        return Rows(answer, self.fields)

    def _check_fallback(self) -> None:
        """A constant would be taken for what it is to the engine: all rows as JSON."""
        given: Any = self.options.get("fallback")
        for each in given if isinstance(given, list | tuple) else () if given is None else (given,):
            if not isinstance(each, Yielding) or (each.fields, each.named) != (self.fields, self.named):
                raise InvalidError(
                    f"fallback of {self.label}, which yields rows: give another function that yields the same, "
                    f"instead of {each!r:.60}"
                )

    def _parts(self) -> tuple[Any, ...]:
        return (*super()._parts(), None, self.fields, self.named)


@dataclass(frozen=True)
class Collected:
    """A function as workers call it."""

    call: Callable[..., Any]
    fields: tuple[Slot, ...]
    named: bool

    def __call__(self, **given: Any) -> Any:
        """All rows that it yields, as JSON; none if it returns `None`.

        Raises: DataError for a row that does not fit the hints; whatever the function raises.
        """
        return self.text(self.call(**given))

    def text(self, rows: Iterable[Any] | None) -> str:
        """These rows as JSON. Never null: that stands for a row that failed.

        Raises: DataError if it is one text or row instead, or for a row that does not fit the hints.
        """
        if rows is None:
            return "[]"
        if isinstance(rows, str | bytes | bytearray | Mapping):
            raise DataError(f"it returned {rows!r:.100}, which is one value and no list of rows")
        each = [self._values(row) for row in rows]
        columns = [self._checked(slot, [row[place] for row in each]) for place, slot in enumerate(self.fields)]
        made = [dict(zip(self._names(), values, strict=True)) for values in zip(*columns, strict=True)]
        return json.dumps(made, allow_nan=False, separators=(",", ":"))

    def _names(self) -> list[str]:
        return [f"f{place}" for place in range(len(self.fields))]

    def _values(self, row: Any) -> list[Any]:
        if not self.named:
            return [row]
        names = [slot.name for slot in self.fields]
        try:
            return [row[name] for name in names] if isinstance(row, Mapping) else [getattr(row, name) for name in names]
        except (KeyError, AttributeError):
            raise DataError(f"it yielded {row!r:.100}, which has no fields {', '.join(names)}") from None

    def _checked(self, slot: Slot, values: list[Any]) -> list[Any]:
        """The values as JSON has them, which knows neither bytes nor NaN."""
        import pyarrow as pa

        from forebay import _convert

        try:
            fitting = _convert.column_of_rows(values, slot).to_pylist()
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            kind = f"tensor of {slot.value} {list(slot.shape)}" if slot.shape else slot.value
            raise DataError(f"it yielded a row whose {slot.name} is no {kind}: {error}") from None
        if slot.shape:
            return [None if values is None else [_json(value) for value in values] for values in fitting]
        return [_json(value) for value in fitting]


class CollectedLater(Collected):
    """An asynchronous function as workers call it."""

    async def __call__(self, **given: Any) -> str:
        """All rows that it yields or returns, as JSON; none if it returns `None`.

        Raises: as of a plain one.
        """
        rows: AsyncIterable[Any] | Awaitable[Any] = self.call(**given)
        return self.text([row async for row in rows] if isinstance(rows, AsyncIterable) else await rows)


def is_rows(hint: object) -> bool:
    """Whether a function with this hint for its result gives several rows."""
    origin = typing.get_origin(hint)
    return origin is list or getattr(origin, "__module__", "") == "collections.abc"


def _json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _type(slot: Slot) -> str:
    """The engine's name of a field's type; a tensor comes as a list of its values, outermost axis first."""
    value = _value_type(slot)
    return f"List({value})" if slot.shape else value


def _value_type(slot: Slot) -> str:
    kind, bits = slot.value.rstrip("0123456789"), slot.value.lstrip("abcdefghijklmnopqrstuvwxyz")
    return _TYPES.get(slot.value) or {"int": "Int", "uint": "UInt", "float": "Float"}[kind] + bits
