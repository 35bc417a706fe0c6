"""The engine is killed with SIGKILL at 50 random moments, and nothing shows in what it delivers.

A job of 2,000 rows and a 20 ms model is killed and resumed until it completes, then the next one, until 50 kills are
done. Each moment is drawn uniformly over the time an undisturbed run takes, from the start of the process, so that
start, restore, commit and end are hit too.

What is counted, and by whom:

- Lost and doubled rows: from the committed Parquet, at every kill (nothing doubled) and at the end (each id once).
- Executions: by the model process, which writes a line for each row it computes before it answers.
- Finished: an answer that `forebay journal stats --ids` finds durable right after a kill. Such a row must never be
  computed again. A row that was in flight at the kill may be, since nobody can know whether its answer was computed;
  these are counted and printed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import pytest
from conftest import MakeSpace
from harness import COMPLETED, Engine, Workspace
from rows import balance, check_answers, check_exact, committed, write_rows

ROWS: Final = 2000
KILLS: Final = int(os.environ.get("FOREBAY_KILLS") or 50)
SEED: Final = int(os.environ.get("FOREBAY_SEED") or 577)


@dataclass
class Totals:
    """What all jobs of the test came to."""

    kills: int = 0
    jobs: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    executions: int = 0
    executed_again: int = 0
    finished_at_kills: int = 0
    finished_again: list[str] = field(default_factory=list)
    kills_before_first_commit: int = 0

    def __str__(self) -> str:
        """A few lines for people."""
        return (
            f"{self.kills} kills in {self.jobs} jobs ({self.kills_before_first_commit} before a first commit)\n"
            f"rows: {self.rows}, lost {self.lost}, doubled {self.doubled}\n"
            f"executions: {self.executions}, of these again because in flight at a kill {self.executed_again}\n"
            f"finished at a kill: {self.finished_at_kills}, of these run again {len(self.finished_again)}"
        )


def killed(engine: Engine, seconds: float) -> bool:
    """Kills the engine after `seconds`, unless it completes before; says which."""
    limit = time.monotonic() + seconds
    while engine.running() and time.monotonic() < limit:
        time.sleep(0.001)
    if not engine.running():
        engine.wait(COMPLETED)
        return False
    engine.kill()
    return True


def undisturbed_seconds(workspace: Workspace) -> float:
    """Runs the job without a kill and returns how long its process lived."""
    before = time.monotonic()
    workspace.run()
    return time.monotonic() - before


def kill_until_complete(workspace: Workspace, moments: random.Random, longest: float, totals: Totals) -> None:
    """Kills and resumes one job until it completes or no kill is left, then lets it complete and checks it."""
    finished_at: list[tuple[int, set[str]]] = []
    resume = None
    while totals.kills < KILLS and killed(workspace.start(resume=resume), moments.uniform(0.0, longest)):
        totals.kills += 1
        found = balance([row["id"] for row in committed(workspace.out)], set(range(ROWS)))
        assert found.sound, f"after kill {totals.kills}: {found}"
        totals.kills_before_first_commit += found.rows == 0
        # A kill may come before the first checkpoint or journal exists; then nothing is finished.
        finished_at.append((len(workspace.executed()), workspace.finished() if workspace.segments() else set()))
        resume = "latest" if workspace.begun() else None
    if totals.kills == KILLS and workspace.engines[-1].process.returncode != COMPLETED:
        workspace.run(resume=resume)
    rows = committed(workspace.out)
    check_answers(rows)
    found = balance([row["id"] for row in rows], set(range(ROWS)))
    assert not found.strange, found
    totals.rows += found.rows
    totals.lost += len(found.lost)
    totals.doubled += len(found.doubled)
    count_executions(workspace.executed(), finished_at, totals)


def count_executions(executed: list[str], finished_at: list[tuple[int, set[str]]], totals: Totals) -> None:
    """Adds one completed job's executions: each row at least once, and none again that was finished at a kill."""
    counts = Counter(executed)
    assert len(counts) == ROWS, f"{len(counts)} different rows computed, expected {ROWS}"
    totals.jobs += 1
    totals.executions += len(executed)
    totals.executed_again += len(executed) - len(counts)
    finished_ever: set[str] = set()
    again: set[str] = set()
    for length, finished in finished_at:
        assert finished <= set(executed[:length]), "the journal holds answers that were never computed"
        finished_ever |= finished
        again |= finished & set(executed[length:])
    totals.finished_at_kills += len(finished_ever)
    totals.finished_again += sorted(again)


def test_fifty_kills_lose_nothing_double_nothing_and_run_nothing_finished_again(
    space: MakeSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The promise of exactly-once and of never paying twice, on the real binary."""
    print(f"seed {SEED}; FOREBAY_SEED={SEED} draws the same moments")
    moments = random.Random(SEED)
    first = space()
    write_rows(first.input, ROWS)
    longest = undisturbed_seconds(first)
    check_exact(first.out, ROWS)
    assert Counter(first.executed()).most_common(1)[0][1] == 1, "a row was computed twice without any kill"
    totals = Totals()
    while totals.kills < KILLS:
        workspace = space()
        write_rows(workspace.input, ROWS)
        kill_until_complete(workspace, moments, longest, totals)
    with capsys.disabled():
        print(f"\nseed {SEED}, killed within {longest:.2f} s of each start\n{totals}")
    assert (totals.lost, totals.doubled) == (0, 0)
    assert not totals.finished_again, f"finished inferences run again: {totals.finished_again[:5]}"
    assert totals.finished_at_kills > 0, "no kill found anything finished, so the test proved nothing"
