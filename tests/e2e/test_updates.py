"""Running aggregates and windows over updates, through kills: results beside those of an oracle in Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from statistics import fmean, median
from typing import Any, Final

from changes import changes, moment, run_through_kills, table, write_in_order
from conftest import MakeSpace
from harness import Workspace

NAME: Final = "updates"
ROWS: Final = 12_000
SEED: Final = 29
KEYS: Final = 151
PARTS: Final = 7
WINDOW: Final = timedelta(minutes=5)
GAP: Final = timedelta(seconds=4)

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

# The row of each user that counts, replaced by each later one.
[[step]]
uid = "latest"
deduplicate = {{ by = ["user"], keep = "last", order = "event_time" }}

[[step]]
uid = "parts"
[step.group]
by = ["user % {PARTS} AS part"]
aggregates = [
  "count(*) AS users", "sum(n) AS total", "min(n) AS least", "max(word) AS word", "count(DISTINCT n) AS different",
  "avg(n / 4.0) AS mean", "median(n / 4.0) AS middle",
]
emit = "changes"

# Updates of updates: the key is a result that changes.
[[step]]
uid = "sizes"
group = {{ by = ["users"], aggregates = ["count(*) AS parts", "sum(total) AS total"], emit = "changes" }}

[[step]]
uid = "tumbled"
from = "latest"
[step.window]
tumble = "{WINDOW.seconds}s"
by = ["user % {PARTS} AS part"]
aggregates = ["count(*) AS users", "sum(n) AS total", "max(n) AS most"]
allowed_lateness = "5h"

# Users that leave a part cut its sessions in two.
[[step]]
uid = "visits"
from = "latest"
[step.window]
session = "{GAP.seconds}s"
by = ["user % {PARTS} AS part"]
aggregates = ["count(*) AS users", "sum(n) AS total", "last_value(word ORDER BY at) AS word"]
allowed_lateness = "5h"

[[step]]
uid = "ended"
from = "latest"
group = {{ by = ["n"], aggregates = ["count(*) AS users", "min(user) AS first"] }}

[sink.parts_out]
from = "parts"
format = "parquet"
path = "${{OUT}}/parts"
kinds = "change"

[sink.sizes_out]
from = "sizes"
format = "parquet"
path = "${{OUT}}/sizes"
kinds = "change"

[sink.tumbled_out]
from = "tumbled"
format = "parquet"
path = "${{OUT}}/tumbled"
kinds = "change"

[sink.visits_out]
from = "visits"
format = "parquet"
path = "${{OUT}}/visits"
kinds = "change"

[sink.ended_out]
from = "ended"
format = "parquet"
path = "${{OUT}}/ended"

[sink.late]
from = "tumbled.late"
format = "jsonl"
path = "${{OUT}}/late"
kinds = "change"

[sink.late_visits]
from = "visits.late"
format = "jsonl"
path = "${{OUT}}/late_visits"
kinds = "change"

[dead_letters]
path = "${{OUT}}/bad"
"""

# Time, user, number, word; no two rows have the same time.
Row = tuple[datetime, int, int, str]


def write_input(workspace: Workspace) -> list[Row]:
    """Writes rows at most 4 s out of order to a few files, and returns them."""
    draw = random.Random(SEED)
    rows: list[tuple[float, dict[str, Any]]] = []
    for number in range(ROWS):
        row = {
            "at": moment(number / 10 + draw.uniform(0, 2) + number * 1e-6),
            # Users go one after the other, so that early windows lose all their rows.
            "user": min(draw.randrange(KEYS), number * KEYS // ROWS + draw.randrange(3)),
            "n": draw.randrange(40),
            "word": draw.choice(["elm", "fir", "oak", "yew"]),
        }
        rows.append((number / 10, row))
    write_in_order(workspace.input, rows, 4)
    return [(row["at"], row["user"], row["n"], row["word"]) for _, row in rows]


def sessions(rows: list[Row]) -> list[list[Row]]:
    """Returns the rows of one part, session by session, in order of time."""
    found: list[list[Row]] = []
    for row in sorted(rows):
        if found and row[0] - found[-1][-1][0] <= GAP:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def check(workspace: Workspace, rows: list[Row]) -> None:
    """Fails unless each sink has exactly what the oracle says."""
    latest: dict[int, Row] = {}
    for row in rows:
        latest[row[1]] = max(row, latest.get(row[1], row))
    parts = defaultdict(list)
    windows = defaultdict(list)
    numbers = defaultdict(list)
    of_part = defaultdict(list)
    for at, user, n, word in latest.values():
        of_part[user % PARTS].append((at, user, n, word))
        parts[user % PARTS].append((n, word))
        start = at - (at - datetime(1970, 1, 1, tzinfo=at.tzinfo)) % WINDOW
        windows[(user % PARTS, start)].append(n)
        numbers[n].append(user)
    assert table(workspace, "parts") == sorted(
        (
            (part, len(ns), sum(ns), min(ns), max(words), len(set(ns)), fmean(ns) / 4, median(ns) / 4)
            for part, group in parts.items()
            for ns, words in [([n for n, _ in group], [word for _, word in group])]
        ),
        key=repr,
    )
    sizes = defaultdict(list)
    for group in parts.values():
        sizes[len(group)].append(sum(n for n, _ in group))
    assert table(workspace, "sizes") == sorted(
        ((size, len(totals), sum(totals)) for size, totals in sizes.items()), key=repr
    )
    tick = timedelta(microseconds=1)
    assert table(workspace, "tumbled") == sorted(
        (
            (part, start, start + WINDOW, start + WINDOW - tick, len(ns), sum(ns), max(ns))
            for (part, start), ns in windows.items()
        ),
        key=repr,
    )
    assert table(workspace, "visits") == sorted(
        (
            (part, rows[0][0], end, end - tick, len(rows), sum(row[2] for row in rows), rows[-1][3])
            for part, group in of_part.items()
            for rows in sessions(group)
            for end in [rows[-1][0] + GAP]
        ),
        key=repr,
    )
    assert table(workspace, "ended") == sorted(((n, len(users), min(users)) for n, users in numbers.items()), key=repr)
    for sink in ["parts", "sizes", "tumbled"]:
        assert {"+I", "-U", "+U"} <= changes(workspace, sink).keys(), sink
    for sink in ["sizes", "tumbled", "visits"]:
        assert "-D" in changes(workspace, sink), sink
    assert not list((workspace.out / "late").glob("part-*"))
    assert not list((workspace.out / "late_visits").glob("part-*"))
    assert not list((workspace.out / "bad").glob("part-*"))


def test_aggregates_over_updates_give_what_an_oracle_gives(space: MakeSpace) -> None:
    """One undisturbed run, and the plan that `forebay plan` shows for it."""
    workspace = space(JOB, NAME)
    rows = write_input(workspace)
    shown = workspace.command("plan", str(workspace.job_file))
    assert "results come as they change" in shown, shown
    workspace.run()
    check(workspace, rows)


def test_aggregates_over_updates_are_exact_through_kills_at_changing_parallelism(space: MakeSpace) -> None:
    """Killed and resumed at other parallelisms, each table is the same, with all changes applied."""
    workspace = space(JOB, NAME)
    rows = write_input(workspace)
    run_through_kills(workspace, (2, 3, 1, 4))
    check(workspace, rows)
