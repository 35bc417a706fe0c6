"""A model process that dies costs its request batch: bad rows become dead letters, all others are answered once."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Final

from conftest import MakeSpace
from harness import COMPLETED, Engine, Workspace
from jobs import fake_job
from rows import balance, check_exact, committed, dead_letters, plain_text, write_rows

ROWS: Final = 300
# Two in the same request batch, since they lie next to each other in one file, and one elsewhere.
DEADLY: Final = (40, 48, 211)
REFUSED_ROWS: Final = (56, 123)
ATTEMPTS: Final = 3
KILLS: Final = 3
IN_FLIGHT: Final = 3
BATCH_ROWS: Final = 32


def text(number: int) -> str:
    """Returns the text of a row: some make the model abort, some it refuses."""
    if number in DEADLY:
        return f"row {number} abort-now"
    if number in REFUSED_ROWS:
        return f"row {number} refuse-me"
    return plain_text(number)


def test_rows_that_kill_the_model_become_dead_letters_and_all_others_are_answered_once(space: MakeSpace) -> None:
    """A request batch that kills its process is tried again row by row."""
    job = fake_job(attempts=ATTEMPTS, service_time="1ms", more='crash_on = "abort-now"\nfail_on = "refuse-me"')
    workspace = space(job)
    write_rows(workspace.input, ROWS, text)
    outcome = workspace.run()
    bad = {*DEADLY, *REFUSED_ROWS}
    found = balance([row["id"] for row in committed(workspace.out)], set(range(ROWS)) - bad)
    assert found.exact, found
    letters = {json.loads(letter["input"])["id"]: letter for letter in dead_letters(workspace.out)}
    assert len(dead_letters(workspace.out)) == len(letters) == len(bad)
    assert letters.keys() == bad
    for number in DEADLY:
        assert letters[number]["attempts"] == ATTEMPTS, letters[number]
        assert letters[number]["operator"] == "ask"
    for number in REFUSED_ROWS:
        assert letters[number]["kind"] == "data", letters[number]
    assert outcome.report is not None
    assert outcome.report["dead_letters"] == len(bad)
    assert outcome.report["models"]["fake"]["replica_restarts"] >= len(DEADLY)


def kill_model(engine: Engine, workspace: Workspace, executed: int) -> None:
    """Waits until the model has computed `executed` rows and kills its process from outside."""
    engine.wait_until(lambda: len(workspace.executed()) >= executed and bool(engine.children()), "the model computes")
    for pid in engine.children():
        os.kill(pid, signal.SIGKILL)


def test_killing_the_model_process_loses_nothing(space: MakeSpace) -> None:
    """The engine starts the model again; at most what was in flight is computed again."""
    workspace = space(fake_job(in_flight=IN_FLIGHT, batch_rows=BATCH_ROWS, parallelism=1))
    rows = 2000
    write_rows(workspace.input, rows)
    engine = workspace.start()
    for number in range(KILLS):
        kill_model(engine, workspace, (number + 1) * rows // (KILLS + 2))
    outcome = engine.wait(COMPLETED)
    check_exact(workspace.out, rows)
    assert not dead_letters(workspace.out)
    assert outcome.report is not None
    assert outcome.report["models"]["fake"]["replica_restarts"] == KILLS
    counts = Counter(workspace.executed())
    again = sum(counts.values()) - len(counts)
    assert len(counts) == rows
    assert again <= KILLS * IN_FLIGHT * BATCH_ROWS, f"{again} rows computed again by {KILLS} kills"
