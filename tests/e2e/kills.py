"""Kills at random moments, and the account of what they cost: shared by the tests that do it a number of times.

What is counted, and by whom:

- Lost and doubled rows: from the committed Parquet, at every kill (nothing doubled) and at the end (each row once).
- Executions: by the model process, which writes a line for each row it computes before it answers.
- Finished: an answer that `forebay journal stats --ids` finds durable right after a kill. Such a row must never be
  computed again. A row that was in flight at the kill may be, since nobody can know whether its answer was computed;
  these are counted and printed.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from harness import COMPLETED, Engine, Workspace


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

    def check(self) -> None:
        """Fails unless nothing was lost, doubled or computed again, and something could have been."""
        assert (self.lost, self.doubled) == (0, 0)
        assert not self.finished_again, f"finished inferences run again: {self.finished_again[:5]}"
        assert self.finished_at_kills > 0, "no kill found anything finished, so the test proved nothing"


@dataclass
class Account:
    """The executions of one job: how many there were at each kill, and what was finished by then."""

    workspace: Workspace
    finished_at: list[tuple[int, set[str]]] = field(default_factory=list)

    def note_kill(self) -> None:
        """Notes what a kill left; before the first checkpoint or journal exists nothing is finished."""
        finished = self.workspace.finished() if self.workspace.segments() else set()
        self.finished_at.append((len(self.workspace.executed()), finished))

    def close(self, rows: int, totals: Totals) -> None:
        """Adds a completed job's executions: each of `rows` at least once, none again that was finished at a kill."""
        executed = self.workspace.executed()
        counts = Counter(executed)
        assert len(counts) == rows, f"{len(counts)} different rows computed, expected {rows}"
        totals.jobs += 1
        totals.executions += len(executed)
        totals.executed_again += len(executed) - len(counts)
        finished_ever: set[str] = set()
        again: set[str] = set()
        for length, finished in self.finished_at:
            assert finished <= set(executed[:length]), "the journal holds answers that were never computed"
            finished_ever |= finished
            again |= finished & set(executed[length:])
        totals.finished_at_kills += len(finished_ever)
        totals.finished_again += sorted(again)


def still_running(engine: Engine, seconds: float) -> bool:
    """Says whether the engine runs for another `seconds`; returns at once when it ends before."""
    limit = time.monotonic() + seconds
    while engine.running() and time.monotonic() < limit:
        time.sleep(0.001)
    return engine.running()


def killed(engine: Engine, seconds: float) -> bool:
    """Kills the engine after `seconds`, unless it completes before; says which."""
    if not still_running(engine, seconds):
        engine.wait(COMPLETED)
        return False
    engine.kill()
    return True


def undisturbed_seconds(workspace: Workspace) -> float:
    """Runs the job without a kill and returns how long its process lived."""
    before = time.monotonic()
    workspace.run()
    return time.monotonic() - before
