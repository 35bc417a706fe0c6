"""Windows over rows that come out of order, through kills: results beside those of an oracle in Python, exactly once.

Either each file holds its part of the time, as log files do, and the job says so, or every file holds rows of all
times, and the job says nothing of files. Rows lie a few seconds out of order, within what the watermark allows, so no
row is late and the result is one table, whatever is killed, however many subtasks there are and whichever of them reads
a file.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from conftest import MakeSpace
from harness import Engine, Workspace
from rows import committed

NAME: Final = "windows"
FILES: Final = 4
ROWS: Final = 24_000
SEED: Final = 11
SECONDS: Final = 1800
KEYS: Final = 37
START: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
TUMBLE: Final = timedelta(minutes=1)
SLIDE: Final = timedelta(seconds=30)
EVERY: Final = timedelta(seconds=10)
GAP: Final = timedelta(seconds=2)

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "100ms"

[source.clicks]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64
watermark = {{ time = "at", out_of_order = "4s", files = "in_order" }}

[[step]]
uid = "tumble"
window = {{ tumble = "1m", by = ["user"], aggregates = [
    "count(*) AS clicks", "sum(n) AS total", "count(DISTINCT n) AS different", "avg(n) AS mean"] }}

[[step]]
uid = "slide"
from = "clicks"
window = {{ slide = {{ size = "30s", every = "10s" }}, aggregates = ["max(n) AS high",
    "count(n) FILTER (WHERE n > 50) AS many"] }}

[[step]]
uid = "session"
from = "clicks"
window = {{ session = "2s", by = ["user % 5 AS part", "user"], aggregates = ["count(*) AS clicks"] }}

[sink.tumble_out]
from = "tumble"
format = "parquet"
path = "${{OUT}}/tumble"

[sink.slide_out]
from = "slide"
format = "parquet"
path = "${{OUT}}/slide"

[sink.session_out]
from = "session"
format = "parquet"
path = "${{OUT}}/session"

[sink.late]
from = "tumble.late"
format = "jsonl"
path = "${{OUT}}/late"

[dead_letters]
path = "${{OUT}}/bad"
"""

# The same job over files that say nothing of each other.
ANY_ORDER: Final = JOB.replace(', files = "in_order"', "")

Row = tuple[datetime, int, int]


def write_input(folder: Path, *, overlapping: bool = False) -> list[Row]:
    """Writes rows over half an hour of event time to `FILES` files, at most 4 s out of order, and returns them.

    Each file holds its part of the time, or, `overlapping`, all of it.
    """
    draw = random.Random(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for place in range(FILES):
        lines = []
        for number in range(ROWS // FILES):
            part = number * FILES / ROWS
            second = (part if overlapping else (place + part) / FILES) * SECONDS + draw.uniform(-2, 2)
            row = (START + timedelta(microseconds=round(second * 1e6)), draw.randrange(KEYS), draw.randrange(100))
            rows.append(row)
            lines.append(json.dumps({"at": row[0].isoformat(), "user": row[1], "n": row[2]}) + "\n")
        (folder / f"rows-{place}.jsonl").write_text("".join(lines))
    return rows


def floor(at: datetime, step: timedelta) -> datetime:
    """Returns the last multiple of `step` since 1970 that is not after `at`."""
    epoch = datetime.fromtimestamp(0, UTC)
    return at - (at - epoch) % step


def tumbled(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Returns what the tumbling windows give: user, start, end, count, sum, distinct values, mean."""
    windows = defaultdict(list)
    for at, user, n in rows:
        windows[user, floor(at, TUMBLE)].append(n)
    return sorted(
        (user, start, start + TUMBLE, len(ns), sum(ns), len(set(ns)), sum(ns) / len(ns))
        for (user, start), ns in windows.items()
    )


def slid(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Returns what the sliding windows give: start, end, maximum, how many are above 50."""
    windows = defaultdict(list)
    for at, _, n in rows:
        start = floor(at, EVERY)
        while start + SLIDE > at:
            windows[start].append(n)
            start -= EVERY
    return sorted((start, start + SLIDE, max(ns), sum(n > 50 for n in ns)) for start, ns in windows.items())


def sessions(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Returns what the session windows give: part, user, start, end, count."""
    found = []
    by_user = defaultdict(list)
    for at, user, _ in rows:
        by_user[user].append(at)
    for user, times in by_user.items():
        times.sort()
        start, last, count = times[0], times[0], 0
        for at in times:
            if at > last + GAP:
                found.append((user % 5, user, start, last + GAP, count))
                start, count = at, 0
            last, count = at, count + 1
        found.append((user % 5, user, start, last + GAP, count))
    return sorted(found)


def table(workspace: Workspace, sink: str) -> list[tuple[Any, ...]]:
    """Returns the committed rows of a sink without `window_time`, in order."""
    rows = committed(workspace.out / sink)
    for row in rows:
        assert row.pop("window_time") == row["window_end"] - timedelta(microseconds=1)
    return sorted(tuple(row.values()) for row in rows)


def check(workspace: Workspace, rows: list[Row]) -> None:
    """Fails unless each sink has exactly what the oracle says."""
    assert table(workspace, "tumble") == tumbled(rows)
    assert table(workspace, "slide") == slid(rows)
    assert table(workspace, "session") == sessions(rows)
    assert not list((workspace.out / "late").glob("part-*"))
    assert not list((workspace.out / "bad").glob("part-*"))


def test_windows_give_what_an_oracle_gives(space: MakeSpace) -> None:
    """One undisturbed run, and the plan that `forebay plan` shows for it."""
    workspace = space(JOB, NAME)
    rows = write_input(workspace.input)
    shown = workspace.command("plan", str(workspace.job_file))
    assert "exchange by user" in shown, shown
    workspace.run()
    check(workspace, rows)


def test_windows_are_exact_through_kills_at_changing_parallelism(space: MakeSpace) -> None:
    """Killed with open windows in state and resumed at other parallelisms, every result is there once."""
    workspace = space(JOB, NAME)
    rows = write_input(workspace.input)
    kill_and_check(workspace, rows)


def test_files_that_overlap_in_time_make_no_row_late_through_kills(space: MakeSpace) -> None:
    """Without a word about files no row is late either, though a subtask reads one file after the other."""
    workspace = space(ANY_ORDER, NAME)
    rows = write_input(workspace.input, overlapping=True)
    kill_and_check(workspace, rows)


def kill_and_check(workspace: Workspace, rows: list[Row]) -> None:
    """Kills the job a few times, each time at another parallelism, lets it complete and checks what it gave."""
    resume = None
    kills = 0
    for parallelism in (2, 3, 1, 4):
        before = len(workspace.published()) if resume else 0
        engine = workspace.start(resume=resume, parallelism=parallelism)
        if not wait_for_epochs(workspace, engine, before + 2):
            break
        engine.kill()
        kills += 1
        resume = "latest"
    assert kills > 0, "the job ended before the first kill"
    workspace.run(resume="latest")
    check(workspace, rows)


def wait_for_epochs(workspace: Workspace, engine: Engine, count: int) -> bool:
    """Waits until `count` epochs are published; says no if the engine ends first."""
    while engine.running():
        if workspace.region("epoch").exists() and len(workspace.published()) >= count:
            return True
    return False
