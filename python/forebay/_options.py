"""What may be said about asking a function or model, and where the engine reads it: at the step or at the model."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypedDict

from forebay.errors import InvalidError
from forebay.expressions import Expression

Duration = str | datetime.timedelta
Size = str | int


class Options(TypedDict, total=False):
    """Settings of a function or model; the meanings and defaults are those of docs/reference/job-file.md."""

    batch_rows: int
    batch_bytes: Size
    linger: Duration
    in_flight: int
    order: Literal["unordered", "ordered", "per_key"]
    key: str | Expression | Sequence[str | Expression]
    attempts: int
    timeout: Duration
    deadline: Duration
    deadline_column: str | Expression
    on_error: Literal["dead_letter", "fail", "null"]
    fallback: Any
    fallback_column: str
    fallback_after: Duration
    parallelism: int
    weight: int
    cost: str | Expression
    batch_cost: int
    length: str | Expression
    buckets: Sequence[int]
    close_on_watermark: bool
    ttl: Duration
    replicas: int
    use_process: bool
    memory: Size
    gpu: float
    gpu_memory: Size
    journal: bool
    latency: Duration
    version: str
    log: str


OF_MODEL: Final = frozenset(
    {"replicas", "use_process", "memory", "gpu", "gpu_memory", "journal", "latency", "version", "log"}
)
_DURATIONS: Final = frozenset({"linger", "timeout", "deadline", "fallback_after", "ttl", "latency"})
_SQL: Final = frozenset({"cost", "length"})
_SIZES: Final = frozenset({"batch_bytes", "memory", "gpu_memory"})


def checked(options: Mapping[str, Any]) -> Options:
    """The options, durations and sizes as text; those that are None are left out.

    >>> checked({"linger": datetime.timedelta(milliseconds=5), "memory": 1024, "timeout": None})
    {'linger': '5000us', 'memory': '1024B'}

    Raises: InvalidError for an option that there is not, or an expression where none is taken.
    """
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise InvalidError(f"no option {unknown[0]!r}; there are {', '.join(Options.__annotations__)}")
    return {name: _as_text(name, value) for name, value in options.items() if value is not None}  # type: ignore[return-value]


def of_step(options: Options) -> dict[str, Any]:
    """Those that the step reads."""
    return {name: value for name, value in options.items() if name not in OF_MODEL}


def of_model(options: Options) -> dict[str, Any]:
    """Those that the model reads."""
    return {name: value for name, value in options.items() if name in OF_MODEL}


def duration(value: Duration) -> str:
    """A duration as a job says it."""
    if isinstance(value, datetime.timedelta):
        return f"{value // datetime.timedelta(microseconds=1)}us"
    return value


def size(value: Size) -> str:
    """A size as a job says it."""
    return f"{value}B" if isinstance(value, int) else value


def _as_text(name: str, value: Any) -> Any:
    if name in _DURATIONS:
        return duration(value)
    if name in _SIZES:
        return size(value)
    if name == "key":
        return [_column(name, each) for each in ([value] if isinstance(value, str | Expression) else value)]
    if name == "deadline_column":
        return _column(name, value)
    if name in _SQL:
        return _sql(name, value)
    if isinstance(value, Expression) and name != "fallback":
        raise InvalidError(f"option {name} takes no column or expression, as {value!r} is")
    return list(value) if name == "buckets" else value


def _column(name: str, value: Any) -> Any:
    """The name of a column."""
    if isinstance(value, Expression) and value.column is None:
        raise InvalidError(f"option {name} takes names of columns, not {value!r}; compute it in with_column before")
    return value.column if isinstance(value, Expression) else value


def _sql(name: str, value: Any) -> Any:
    """A column or an expression as the engine reads it."""
    if isinstance(value, Expression) and value.calls():
        raise InvalidError(f"option {name}: {value!r} asks a function; ask it in with_column before, and name that")
    return value.sql() if isinstance(value, Expression) else value
