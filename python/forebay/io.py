"""Where rows come from: files of one format, local or in an object store. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from forebay._graph import Node
from forebay._options import Duration, duration
from forebay._settings import without_none
from forebay.dataflow import DataFrame
from forebay.errors import InvalidError
from forebay.types import VALUES

__all__ = ["Table", "read_csv", "read_images", "read_jsonl", "read_parquet", "table"]

# Types as the engine names them, by what Python, NumPy and Arrow call them.
_TYPES: Final[dict[object, str]] = {int: "Int64", float: "Float64", str: "Utf8", bool: "Boolean", bytes: "Binary"}
_NAMES: Final = {
    **{name: name.replace("ui", "UI").replace("int", "Int") for name in VALUES if "int" in name},
    **{f"float{bits}": f"Float{bits}" for bits in (16, 32, 64)},
    "string": "Utf8",
    "bool": "Boolean",
    "binary": "Binary",
    "date": "Date32",
    "timestamp": "Timestamp(Microsecond, None)",
}
_SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@dataclass(frozen=True)
class Table:
    """A small file that every row can be looked up in; see `DataFrame.join`."""

    format: str
    path: str


def table(path: str | Path, *, format: Literal["parquet", "jsonl", "csv"] | None = None) -> Table:  # noqa: A002
    """A file to look rows up in, read whole before the first row.

    >>> table("labels.csv")
    Table(format='csv', path='labels.csv')

    Raises: InvalidError if neither `format` nor the end of the name says what it is.
    """
    found = format or _SUFFIXES.get(Path(path).suffix)
    if found is None:
        raise InvalidError(f"the name {path} does not say its format; pass format=, one of parquet, jsonl, csv")
    return Table(found, str(path))


def read_parquet(
    path: str | Path,
    *,
    schema: Mapping[str, type | str] | None = None,
    monitor_interval: Duration | None = None,
    uid: str | None = None,
    batch_rows: int | None = None,
    parallelism: int | None = None,
) -> DataFrame:
    """The rows of Parquet files; `path` may be a URL and may have `*`, `**` and `{a,b}`.

    `schema`, here and in the functions like it, says the columns in place of the first file: `int`, `float`, `str`,
    `bool`, `bytes`, the names that NumPy has, or a type as `explain` shows it, `"List(Utf8)"`.

    With `monitor_interval`, here and in the functions like it, files that come later are read too, and the rows have no
    end: such a frame is started with `Job.run` or written to files, or a `limit` or `take` ends it. A file is read once
    two looks, so long apart, found it unchanged.
    """
    return _read("parquet", path, schema, monitor_interval, uid, batch_rows, parallelism)


def read_jsonl(
    path: str | Path,
    *,
    schema: Mapping[str, type | str] | None = None,
    monitor_interval: Duration | None = None,
    uid: str | None = None,
    batch_rows: int | None = None,
    parallelism: int | None = None,
) -> DataFrame:
    """The rows of files with one JSON object a line."""
    return _read("jsonl", path, schema, monitor_interval, uid, batch_rows, parallelism)


def read_csv(
    path: str | Path,
    *,
    schema: Mapping[str, type | str] | None = None,
    monitor_interval: Duration | None = None,
    uid: str | None = None,
    batch_rows: int | None = None,
    parallelism: int | None = None,
) -> DataFrame:
    """The rows of CSV files whose first line names the columns."""
    return _read("csv", path, schema, monitor_interval, uid, batch_rows, parallelism)


def read_images(
    path: str | Path,
    *,
    monitor_interval: Duration | None = None,
    uid: str | None = None,
    batch_rows: int | None = None,
    parallelism: int | None = None,
) -> DataFrame:
    """One row for each file: its `path`, and its `content`, the encoded image."""
    return _read("images", path, None, monitor_interval, uid, batch_rows, parallelism)


def _read(
    kind: str,
    path: str | Path,
    schema: Mapping[str, type | str] | None,
    monitor_interval: Duration | None,
    uid: str | None,
    batch_rows: int | None,
    parallelism: int | None,
) -> DataFrame:
    interval = None if monitor_interval is None else duration(monitor_interval)
    columns = None if schema is None else [f"{_quoted(name)} {_type_name(to)}" for name, to in schema.items()]
    given = {
        "path": str(path),
        "schema": columns,
        "monitor_interval": interval,
        "batch_rows": batch_rows,
        "parallelism": parallelism,
    }
    return DataFrame(Node("source", (), {"format": kind} | without_none(given), uid))


def _quoted(name: str) -> str:
    """A column's name as the engine takes it whatever is in it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _type_name(to: type | str) -> str:
    if isinstance(to, str):
        return _NAMES.get(to, to)
    if to not in _TYPES:
        raise InvalidError(f"a schema knows int, float, str, bool, bytes and names of types, not {to!r}")
    return _TYPES[to]
