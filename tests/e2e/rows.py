"""The rows that the tests write, and what they read back: committed rows, dead letters, how often each row came out.

Rows are `{"id": 17, "text": "..."}`, spread over several files, since a file is what one subtask reads.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

FILES: Final = 8
SEED: Final = 7


def plain_text(number: int) -> str:
    """Returns the text of a row unless a test has a better one."""
    return f"row {number}"


def random_text(number: int, bytes_each: int = 2000) -> str:
    """Returns text that does not compress, always the same for a number."""
    return random.Random(SEED * 1_000_003 + number).randbytes(bytes_each // 2).hex()


def write_rows(folder: Path, count: int, text: Callable[[int], str] = plain_text) -> None:
    """Writes rows 0..`count` to `FILES` files of JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(FILES):
        lines = [json.dumps({"id": number, "text": text(number)}) for number in range(place, count, FILES)]
        (folder / f"rows-{place}.jsonl").write_text("".join(line + "\n" for line in lines))


def committed(out: Path) -> list[dict[str, Any]]:
    """Returns the rows that a sink has committed; names that start with `_` are its own."""
    hidden = "_", "."
    files = sorted(
        path
        for path in out.rglob("*.parquet")
        if not any(part.startswith(hidden) for part in path.relative_to(out).parts)
    )
    tables = [pq.read_table(path) for path in files]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
    return rows


def dead_letters(out: Path) -> list[dict[str, Any]]:
    """Returns the committed dead letters of a sink in `out`, of every region."""
    files = sorted((out / "_dead_letters").glob("**/part-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@dataclass(frozen=True, repr=False)
class Balance:
    """What came out, held against what went in."""

    rows: int
    lost: list[Any]
    doubled: list[Any]
    strange: list[Any]

    def __repr__(self) -> str:
        """Counts, and the first few of each."""
        parts = [("lost", self.lost), ("doubled", self.doubled), ("strange", self.strange)]
        return f"{self.rows} rows" + "".join(f", {len(keys)} {name} {keys[:5]}" for name, keys in parts)

    @property
    def exact(self) -> bool:
        """Says whether each row came out exactly once."""
        return not (self.lost or self.doubled or self.strange)

    @property
    def sound(self) -> bool:
        """Says whether what came out so far can be part of an exact whole."""
        return not (self.doubled or self.strange)


def balance(found: list[Any], expected: set[Any]) -> Balance:
    """Compares the keys of the rows that came out with those that had to."""
    counts = Counter(found)
    return Balance(
        rows=len(found),
        lost=sorted(expected - counts.keys()),
        doubled=sorted(key for key, count in counts.items() if count > 1),
        strange=sorted(counts.keys() - expected),
    )


def check_exact(out: Path, count: int) -> list[dict[str, Any]]:
    """Fails unless rows 0..`count` are committed once each, with the right answers; returns them by id."""
    rows = committed(out)
    found = balance([row["id"] for row in rows], set(range(count)))
    assert found.exact, found
    check_answers(rows)
    return sorted(rows, key=lambda row: int(row["id"]))


def check_answers(rows: list[dict[str, Any]]) -> None:
    """Fails unless each row has the answer to its own text."""
    wrong = [row for row in rows if (row["echo"], row["length"]) != (row["text"], len(row["text"]))]
    assert not wrong, f"answers of other rows: {wrong[:3]}"
