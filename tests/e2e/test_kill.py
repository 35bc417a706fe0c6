"""The engine is killed with SIGKILL at 50 random moments, and nothing shows in what it delivers.

A job of 2,000 rows and a 20 ms model is killed and resumed until it completes, then the next one, until 50 kills are
done. Each moment is drawn uniformly over the time an undisturbed run takes, from the start of the process, so that
start, restore, commit and end are hit too. What is counted, and by whom, stands in `kills.py`.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Final

import pytest
from conftest import MakeSpace
from harness import COMPLETED, Workspace
from kills import Account, Totals, killed, undisturbed_seconds
from rows import balance, check_answers, check_exact, committed, write_rows

ROWS: Final = 2000
KILLS: Final = int(os.environ.get("FOREBAY_KILLS") or 50)
SEED: Final = int(os.environ.get("FOREBAY_SEED") or 577)


def kill_until_complete(workspace: Workspace, moments: random.Random, longest: float, totals: Totals) -> None:
    """Kills and resumes one job until it completes or no kill is left, then lets it complete and checks it."""
    account = Account(workspace)
    resume = None
    while totals.kills < KILLS and killed(workspace.start(resume=resume), moments.uniform(0.0, longest)):
        totals.kills += 1
        found = balance([row["id"] for row in committed(workspace.out)], set(range(ROWS)))
        assert found.sound, f"after kill {totals.kills}: {found}"
        totals.kills_before_first_commit += found.rows == 0
        account.note_kill()
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
    account.close(ROWS, totals)


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
    totals.check()
