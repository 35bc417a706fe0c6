"""Windows over rows that come out of order, through kills: results beside those of an oracle in Python, exactly once.

Each file holds its part of the time, as log files do, and one subtask reads them in turn. Rows lie a few seconds out of
order, within what the watermark allows, so no row is late and the result is one table, whatever is killed and however
many
subtasks there are.
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
parallelism = 1
watermark = {{ time = "at", out_of_order = "4s" }}

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

Row = tuple[datetime, int, int]


def write_input(folder: Path) -> list[Row]:
    """Writes rows over half an hour of event time to `FILES` files, at most 4 s out of order, and returns them."""
    draw = random.Random(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for place in range(FILES):
        lines = []
        for number in range(ROWS // FILES):
            second = (place + number * FILES / ROWS) * SECONDS / FILES + draw.uniform(-2, 2)
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
