"""The native engine, loaded when it is first needed; its errors become the classes of `forebay.errors`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from forebay.errors import from_native

if TYPE_CHECKING:
    import pyarrow as pa

    from forebay import _native


def native() -> Any:
    """The compiled module."""
    from forebay import _native

    return _native


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Turns an error of the engine into the class of its kind."""
    try:
        yield
    except native().NativeError as error:
        raise from_native(error) from None


def explain(job: dict[str, Any]) -> str:
    """What the engine will do."""
    with raised():
        return str(native().explain(json.dumps(job)))


def schema(job: dict[str, Any]) -> pa.Schema:
    """What the only sink of a job gets."""
    import pyarrow as pa

    with raised():
        return pa.ipc.open_stream(native().schema(json.dumps(job))).schema


def columns(job: dict[str, Any]) -> list[str]:
    """The names of the columns that the only sink of a job gets."""
    return list(schema(job).names)


def sql(query: str, frames: list[str]) -> list[dict[str, Any]]:
    """The steps of a SQL query."""
    with raised():
        return json.loads(native().sql(query, frames))  # type: ignore[no-any-return]


def start(
    job: dict[str, Any],
    *,
    checkpoints: str,
    lasting: bool = True,
    journal: str | None,
    resume: str | None,
    keep: int,
    python: str,
    clock: _native.Clock | None = None,
) -> _native.Run:
    """Plans and starts a job."""
    text = json.dumps(job)
    options: dict[str, Any] = {"lasting": lasting, "journal": journal, "resume": resume, "keep": keep}
    with raised():
        return native().run(text, checkpoints=checkpoints, python=python, clock=clock, **options)  # type: ignore[no-any-return]
