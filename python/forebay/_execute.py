"""Runs a function over the rows of one call: once a row, once a batch, or all rows at once where it is `async`.

What it raises for a row is that row's failure and does no harm to the others. What says that no row can be served (out
of memory, an overloaded service) is raised and fails the call.
"""

from __future__ import annotations

import dataclasses
import reprlib
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from forebay import _convert, _torch
from forebay._frames import RowFailure
from forebay._function import Bound, Parameter
from forebay._layout import Layout
from forebay.errors import CancelledError, CorruptError, DataError, Error, FencedError, InternalError, InvalidError
from forebay.types import Slot

if TYPE_CHECKING:
    from asyncio import Runner

# A traceback through a deep recursion is cut in the middle; 16 KiB hold some 100 frames.
_REASON_CHARACTERS: Final = 16 << 10
# What conversion raises for results that do not fit.
_MISFITS: Final = (
    pa.ArrowInvalid,
    pa.ArrowNotImplementedError,
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    OverflowError,
)
# Errors that speak of the row, not of whoever would serve it.
_OF_ROWS: Final = (DataError, CancelledError, CorruptError, FencedError, InternalError)
_SHOWN: Final = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 200


class Executor:
    """A function that is ready to be called."""

    def __init__(self, bound: Bound) -> None:
        """Makes the object that the function is a method of."""
        self._bound = bound
        self._parameters = bound.parameters
        self._outputs = bound.function.outputs
        self._schema: pa.Schema | None = None
        self._places: list[int] = []
        # Whether the answers that were last given may lie in memory that the function goes on using.
        self.lent = False
        self.layout = Layout(pa.schema([_convert.field(slot) for slot in self._outputs]))
        self._call = bound.function.load()
        self._loop = _loop() if bound.function.asynchronous else None

    def answer(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, list[RowFailure]]:
        """The answers to all rows, null where a row failed, and why those failed.

        Raises: whatever fails all rows.
        """
        if self._schema is None or not rows.schema.equals(self._schema):
            self._places = [self._place(rows.schema, parameter) for parameter in self._parameters]
            self._schema = rows.schema
        given = zip(self._places, self._parameters, strict=True)
        columns = [self._formed(rows.column(place), parameter) for place, parameter in given]
        if self._bound.function.batch:
            try:
                return self._batch(columns, rows.num_rows), []
            except _convert.ReducedError as error:
                return self._refused(rows.num_rows, f"function {self._bound.label} {error}")
        return self._rows(columns, rows.num_rows)

    def close(self) -> None:
        """Ends the loop of an asynchronous function."""
        if self._loop is not None:
            self._loop.close()

    def _place(self, schema: pa.Schema, parameter: Parameter) -> int:
        index: int = schema.get_field_index(parameter.name)
        if index < 0:
            raise InvalidError(f"function {self._bound.label}: nothing is given to parameter {parameter.name}")
        given = schema.field(index).type
        if not _takes(parameter, given):
            wanted = "a torch tensor" if parameter.in_torch and not _convert.is_numeric(given) else parameter.value
            is_list = _convert.are_lists_of_numbers(given)
            how = "make tensors of it: .tensor.reshape(..)" if is_list else "cast the column: .cast(..)"
            raise InvalidError(
                f"function {self._bound.label}: parameter {parameter.name} takes {wanted}, but its column is "
                f"{given}; change the hint, or {how}"
            )
        return index

    def _formed(self, column: pa.Array, parameter: Parameter) -> Any:
        """The column as the function takes it.

        Raises: DataError if it is to be a torch tensor and has nulls.
        """
        if not parameter.in_torch:
            return _formed(column, parameter.form)
        by_row = parameter.form == "torch_row"
        # A row that is null is `None` where the function takes one at a time. Else a null float is NaN, as in NumPy.
        nulls = _convert.nulls_in(column.filter(column.is_valid()) if by_row and column.null_count else column)
        if nulls and (by_row or not pa.types.is_floating(column.type)):
            what = f"function {self._bound.label}: parameter {parameter.name} takes a torch tensor"
            raise DataError(f"{what}, which has no nulls; its column has {nulls} in {len(column)} rows")
        return _torch.of_rows(column) if by_row else _torch.of_column(column)

    def _batch(self, columns: list[Any], rows: int) -> pa.RecordBatch:
        result = self._call(**self._named(columns))
        if self._loop is not None:
            result = self._loop.run(result)
        parts = self._fitted(_fields, result, self._outputs) if self._bound.function.several else [result]
        self.lent = not all(isinstance(part, list | tuple) for part in parts)
        made = [
            self._fitted(_convert.column_of_batch, part, slot, rows)
            for part, slot in zip(parts, self._outputs, strict=True)
        ]
        return pa.record_batch(made, schema=self.layout.schema)

    def _refused(self, rows: int, reason: str) -> tuple[pa.RecordBatch, list[RowFailure]]:
        """No answer to any row, for the same reason."""
        answers = self._columns([self._parts(None)] * rows)
        return answers, [RowFailure(row, "Data", reason) for row in range(rows)]

    def _fitted(self, convert: Any, *arguments: Any) -> Any:
        try:
            return convert(*arguments)
        except _convert.ReducedError:
            raise
        except _MISFITS as error:
            said = str(error)
            what = said if said.startswith("returned") else f"returned what does not fit: {said}"
            raise DataError(f"function {self._bound.label} {what}") from None

    def _rows(self, columns: list[Any], rows: int) -> tuple[pa.RecordBatch, list[RowFailure]]:
        arguments = [self._named(each) for each in zip(*columns, strict=True)] if rows else []
        results = self._called(arguments)
        failures: dict[int, RowFailure] = {}
        for row, result in enumerate(results):
            if isinstance(result, BaseException):
                failures[row] = RowFailure(row, "Data", self._reason(result, arguments[row]))
                results[row] = None
        answers = self._answers(results, arguments, failures)
        return answers, [failures[row] for row in sorted(failures)]

    def _called(self, arguments: list[dict[str, Any]]) -> list[Any]:
        if self._loop is not None:
            results = self._loop.run(_all_at_once(self._call, arguments))
        else:
            results = [_caught(self._call, each) for each in arguments]
        for result in results:
            if _fails_all(result):
                raise result
        return results

    def _answers(
        self, results: list[Any], arguments: list[dict[str, Any]], failures: dict[int, RowFailure]
    ) -> pa.RecordBatch:
        """The columns of the results; rows whose result does not fit join the failures."""
        try:
            return self._columns([self._parts(result) for result in results])
        except _MISFITS:
            parts = [self._fitting(row, result, arguments[row], failures) for row, result in enumerate(results)]
            return self._columns(parts)

    def _fitting(
        self, row: int, result: Any, arguments: dict[str, Any], failures: dict[int, RowFailure]
    ) -> Sequence[Any]:
        """The values of one row; nulls, and a failure, if they do not fit."""
        try:
            parts = self._parts(result)
            self._columns([parts])
            return parts
        except _MISFITS as error:
            what = f"function {self._bound.label} returned {_SHOWN.repr(result)}: {error}"
            failures[row] = RowFailure(row, "Data", speakable(f"{what}\n{_shown(arguments)}"))
            return [None] * len(self._outputs)

    def _columns(self, parts: list[Sequence[Any]]) -> pa.RecordBatch:
        columns = ([each[index] for each in parts] for index in range(len(self._outputs)))
        made = [_convert.column_of_rows(column, slot) for column, slot in zip(columns, self._outputs, strict=True)]
        return pa.record_batch(made, schema=self.layout.schema)

    def _parts(self, result: Any) -> Sequence[Any]:
        """The values of the outputs; all null where there is no result."""
        if result is None or not self._bound.function.several:
            return [result] * len(self._outputs)
        return _fields(result, self._outputs)

    def _named(self, values: Sequence[Any]) -> dict[str, Any]:
        return {each.name: value for each, value in zip(self._parameters, values, strict=True)}

    def _reason(self, error: BaseException, arguments: dict[str, Any]) -> str:
        head = f"function {self._bound.label} raised {type(error).__name__}: {error}"
        return speakable(f"{head}\n{_shown(arguments)}\n{trace(error)}")


def trace(error: BaseException) -> str:
    """The whole traceback of what user code raised, without the frames of this package around it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and _ours(frames):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    half = _REASON_CHARACTERS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n...\n{text[-half:]}"


def is_out_of_memory(error: Any) -> bool:
    """Says whether an exception tells of memory that is full: Python's, or torch's of a GPU or of the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # torch has no class for that of the CPU.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def speakable(text: str) -> str:
    """The text without halves of characters, which file names and broken input bring along and UTF-8 has none of."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _ours(frame: TracebackType) -> bool:
    """Whether a frame is of this package, started as a module or imported."""
    return (frame.tb_frame.f_globals.get("__package__") or "").partition(".")[0] in ("forebay", "asyncio")


def _loop() -> Runner:
    import asyncio

    return asyncio.Runner()


async def _all_at_once(call: Any, arguments: list[dict[str, Any]]) -> list[Any]:
    import asyncio

    return list(await asyncio.gather(*(call(**each) for each in arguments), return_exceptions=True))


def _caught(call: Any, arguments: dict[str, Any]) -> Any:
    try:
        return call(**arguments)
    except (Exception, SystemExit) as error:
        return error


def _fails_all(result: Any) -> bool:
    """Whether a result says that no row can be served."""
    return is_out_of_memory(result) or (isinstance(result, Error) and not isinstance(result, _OF_ROWS))


def _takes(parameter: Parameter, given: pa.DataType) -> bool:
    """Whether a parameter takes a column of type `given`; the engine has compared tensors."""
    if parameter.in_torch and not (_convert.is_numeric(given) or pa.types.is_null(given)):
        return False
    return bool(parameter.shape) or _convert.fits(parameter.value, given)


def _formed(column: pa.Array, form: str) -> Any:
    match form:
        case "row":
            return _convert.values(column)
        case "numpy":
            return _convert.ndarray(column)
        case "pandas":
            return column.to_pandas(integer_object_nulls=True)
        case "polars":
            import polars

            return polars.from_arrow(column)
        case "list":
            return _convert.values(column)
    return column


def _fields(result: Any, slots: Sequence[Slot]) -> list[Any]:
    """What a function with several outputs returned, in their order."""
    named = result.column_names if isinstance(result, pa.RecordBatch | pa.Table) else result
    if named is not result or hasattr(result, "columns") or isinstance(result, dict):
        missing = [slot.name for slot in slots if slot.name not in named]
        if missing:
            raise TypeError(f"there is no {' and no '.join(missing)}")
        return [result[slot.name] for slot in slots]
    if dataclasses.is_dataclass(result) or hasattr(result, "_fields"):
        return [getattr(result, slot.name) for slot in slots]
    raise TypeError(f"a {type(result).__name__} has no fields {', '.join(slot.name for slot in slots)}")


def _shown(arguments: dict[str, Any]) -> str:
    return "row: " + ", ".join(f"{name}={_SHOWN.repr(value)}" for name, value in arguments.items())
