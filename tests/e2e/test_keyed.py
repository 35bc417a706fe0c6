"""`deduplicate` and `top` over rows out of order, through kills: results beside those of an oracle in Python."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from changes import changes, moment, run_through_kills, table, write_in_order
from conftest import MakeSpace
from harness import Workspace
from rows import committed

NAME: Final = "keyed"
ROWS: Final = 20_000
SEED: Final = 23
KEYS: Final = 199
STATE_MEMORY: Final = "64KiB"

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "100ms"

[source.clicks]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64
parallelism = 1
watermark = {{ time = "at", out_of_order = "4s" }}

[[step]]
uid = "once"
deduplicate = {{ by = ["user", "n"] }}

[[step]]
uid = "earliest"
from = "clicks"
deduplicate = {{ by = ["user"], order = "event_time" }}

[[step]]
uid = "latest"
from = "clicks"
deduplicate = {{ by = ["user"], keep = "last", order = "event_time" }}

[[step]]
uid = "leaders"
from = "latest"
top = {{ rows = 3, by = ["user % 5 AS part"], order = ["n DESC", "at"], rank = "place" }}

[[step]]
uid = "best"
from = "clicks"
top = {{ rows = 4, by = ["user"], order = ["n DESC", "at"] }}

[sink.once_out]
from = "once"
format = "parquet"
path = "${{OUT}}/once"

[sink.earliest_out]
from = "earliest"
format = "parquet"
path = "${{OUT}}/earliest"

[sink.leaders_out]
from = "leaders"
format = "parquet"
path = "${{OUT}}/leaders"
kinds = "change"

[sink.best_out]
from = "best"
format = "parquet"
path = "${{OUT}}/best"
kinds = "change"

[sink.late]
from = "earliest.late"
format = "jsonl"
path = "${{OUT}}/late"

[dead_letters]
path = "${{OUT}}/bad"
"""

# Time, user, number; no two rows have the same time.
Row = tuple[datetime, int, int]


def write_input(workspace: Workspace) -> list[Row]:
    """Writes rows at most 4 s out of order to a few files, and returns them."""
    draw = random.Random(SEED)
    rows: list[tuple[float, dict[str, Any]]] = []
    for number in range(ROWS):
        second = number / 10 + draw.uniform(0, 2) + number * 1e-6
        rows.append((number / 10, {"at": moment(second), "user": draw.randrange(KEYS), "n": draw.randrange(40)}))
    write_in_order(workspace.input, rows, 4)
    return [(row["at"], row["user"], row["n"]) for _, row in rows]


def by(rows: list[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Returns rows by key."""
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def check(workspace: Workspace, rows: list[Row]) -> None:
    """Fails unless each sink has exactly what the oracle says."""
    once = committed(workspace.out / "once")
    assert sorted((row["user"], row["n"]) for row in once) == sorted({(user, n) for _, user, n in rows})
    assert {(row["at"], row["user"], row["n"]) for row in once} <= set(rows)

    users = by(rows, lambda row: row[1])
    ordered = sorted([min(group) for group in users.values()], key=repr)
    assert table(workspace, "earliest") == columns(workspace, "earliest", ordered)

    parts = by([max(group) for group in users.values()], lambda row: row[1] % 5)
    leaders = [
        (*row, part, place)
        for part, group in parts.items()
        for place, row in enumerate(sorted(group, key=lambda row: (-row[2], row[0]))[:3], 1)
    ]
    assert table(workspace, "leaders") == columns(workspace, "leaders", leaders)

    best = [row for group in users.values() for row in sorted(group, key=lambda row: (-row[2], row[0]))[:4]]
    assert table(workspace, "best") == columns(workspace, "best", best)
    assert changes(workspace, "leaders").keys() == {"+I", "-U", "+U", "-D"}
    assert changes(workspace, "best").keys() == {"+I", "-D"}
    assert not list((workspace.out / "late").glob("part-*"))
    assert not list((workspace.out / "bad").glob("part-*"))


def columns(workspace: Workspace, sink: str, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Returns rows of at, user, n and more with their columns as the sink has them, in order."""
    names = [name for name in committed(workspace.out / sink)[0] if name != "change"]
    given = ["at", "user", "n", "part", "place"]
    return sorted((tuple(dict(zip(given, row, strict=False))[name] for name in names) for row in rows), key=repr)


def test_keyed_steps_give_what_an_oracle_gives(space: MakeSpace) -> None:
    """One undisturbed run, and the plan that `forebay plan` shows for it."""
    workspace = space(JOB, NAME)
    rows = write_input(workspace)
    shown = workspace.command("plan", str(workspace.job_file))
    assert "the first 3 rows by part in order of n descending, at" in shown, shown
    workspace.run()
    check(workspace, rows)


def test_state_that_outgrows_its_memory_lies_on_disk_and_is_exact_through_kills(space: MakeSpace) -> None:
    """With 64 KiB in memory for each step entries are spilled; results are the same, checkpoints hold everything."""
    small = JOB.replace("[source.clicks]", f'state_memory = "{STATE_MEMORY}"\n\n[source.clicks]', 1)
    workspace = space(small, NAME)
    rows = write_input(workspace)
    run_through_kills(workspace, (2, 3))
    check(workspace, rows)
    assert (workspace.checkpoints / NAME / "spill").is_dir()


def test_keyed_steps_are_exact_through_kills_at_changing_parallelism(space: MakeSpace) -> None:
    """Killed and resumed at other parallelisms, each table is the same, with all changes applied."""
    workspace = space(JOB, NAME)
    rows = write_input(workspace)
    run_through_kills(workspace, (2, 3, 1, 4))
    check(workspace, rows)
