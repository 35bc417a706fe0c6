"""Results of a query as a multiset of rows, from Forebay's files and from Flink's, so that both can be compared.

A result that changes (`-U`, `-D` beside `+I`, `+U`) is played to its end: what counts is the rows that are left, not
the
way there, which depends on when which batch came.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

Row = tuple[str, ...]
# Column of Forebay's files that says what a row does to the result, in jobs whose result changes.
KIND: Final = "row_kind"
TAKES_AWAY: Final = {"-U", "-D"}
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z?")
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")


def of_forebay(folder: Path) -> Counter[Row]:
    """Reads the JSON lines of a sink."""

    def changes() -> Iterator[tuple[str, Iterable[object]]]:
        for path in sorted(folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                row = json.loads(line, parse_float=Decimal)
                yield str(row.pop(KIND, "+I")), row.values()

    return left(changes())


def of_flink(path: Path) -> Counter[Row]:
    """Reads the lines that the peer wrote."""
    lines = (line.split("\t") for line in path.read_text().splitlines())
    return left((kind, fields) for kind, *fields in lines)


def left(changes: Iterable[tuple[str, Iterable[object]]]) -> Counter[Row]:
    """Plays a result to its end."""
    rows: Counter[Row] = Counter()
    for kind, values in changes:
        rows[tuple(plain(str(value)) for value in values)] += -1 if kind in TAKES_AWAY else 1
    if min(rows.values(), default=0) < 0:
        raise SystemExit("a row was taken back that was not there")
    return +rows


def plain(text: str) -> str:
    """One spelling for a time and for a number."""
    if TIME.fullmatch(text):
        return datetime.fromisoformat(text).replace(tzinfo=None).isoformat()
    if NUMBER.fullmatch(text):
        return str(Decimal(text).normalize())
    return "null" if text == "None" else text


def difference(ours: Counter[Row], theirs: Counter[Row]) -> str | None:
    """What differs, or `None`."""
    if ours == theirs:
        return None
    more, less = ours - theirs, theirs - ours
    example = f"only Forebay's {next(iter(more), None)}, only Flink's {next(iter(less), None)}"
    return f"{more.total()} rows are only Forebay's, {less.total()} only Flink's of {theirs.total()}: {example}"
