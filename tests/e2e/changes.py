"""Update streams as tests read them: rows written in order of time, and what is left when changes are applied."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from harness import Engine, Workspace
from rows import committed

START: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
RETRACTIONS: Final = "-U", "-D"


def moment(seconds: float) -> datetime:
    """Returns the time that many seconds after the first one, in whole microseconds."""
    return START + timedelta(microseconds=round(seconds * 1e6))


def write_in_order(folder: Path, rows: list[tuple[float, dict[str, Any]]], files: int) -> None:
    """Writes rows in order of the first of each pair to files of equal length, the times in `at` as text."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted(rows, key=lambda pair: pair[0])
    for place in range(files):
        part = rows[place * len(rows) // files : (place + 1) * len(rows) // files]
        lines = [json.dumps(row | {"at": row["at"].isoformat()}) + "\n" for _, row in part]
        (folder / f"rows-{place}.jsonl").write_text("".join(lines))


def table(workspace: Workspace, sink: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a sink with all changes applied, in order; its first column may be `change`."""
    left: Counter[tuple[Any, ...]] = Counter()
    for row in committed(workspace.out / sink):
        change = row.pop("change", "+I")
        left[tuple(row.values())] += -1 if change in RETRACTIONS else 1
    assert all(count >= 0 for count in left.values()), "more was taken back than given"
    return sorted(left.elements(), key=repr)


def changes(workspace: Workspace, sink: str) -> Counter[str]:
    """Returns how many rows of each kind a sink has."""
    return Counter(row["change"] for row in committed(workspace.out / sink))


def run_through_kills(workspace: Workspace, parallelisms: tuple[int, ...]) -> None:
    """Kills the engine after two more epochs at each parallelism, then lets it complete at the job's own."""
    resume = None
    kills = 0
    for parallelism in parallelisms:
        before = len(workspace.published()) if resume else 0
        engine = workspace.start(resume=resume, parallelism=parallelism)
        if not wait_for_epochs(workspace, engine, before + 2):
            break
        engine.kill()
        kills += 1
        resume = "latest"
    assert kills > 0, "the job ended before the first kill"
    workspace.run(resume="latest")


def wait_for_epochs(workspace: Workspace, engine: Engine, count: int) -> bool:
    """Waits until `count` epochs are published; says no if the engine ends first."""
    while engine.running():
        if workspace.region("epoch").exists() and len(workspace.published()) >= count:
            return True
    return False
