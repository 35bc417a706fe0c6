"""Stopping on purpose: Ctrl-C drains, a second one stops at once, and a resume may change the parallelism."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from typing import Final

from conftest import MakeSpace
from harness import COMPLETED, INTERRUPTED, STOPPED, Engine, Workspace
from jobs import fake_job
from rows import balance, check_exact, committed, write_rows

ROWS: Final = 2000
# Between two signals, so that they are two: the kernel merges those that are not yet delivered.
SIGNAL_GAP_SECONDS: Final = 0.2


def start_and_reach(
    workspace: Workspace, executed: int, *, resume: str | None = None, parallelism: int | None = None
) -> Engine:
    """Starts an attempt and waits until the model has computed that many rows in all."""
    engine = workspace.start(resume=resume, parallelism=parallelism)
    engine.wait_until(lambda: len(workspace.executed()) >= executed, f"{executed} rows are computed")
    return engine


def check_sound(workspace: Workspace) -> None:
    """Fails if what is committed so far could not be part of an exact whole."""
    found = balance([row["id"] for row in committed(workspace.out)], set(range(ROWS)))
    assert found.sound, found


def test_ctrl_c_drains_and_a_resume_completes_with_the_same_output(space: MakeSpace) -> None:
    """Whatever was begun is finished and committed; nothing is computed twice."""
    straight, stopped = space(), space()
    for workspace in (straight, stopped):
        write_rows(workspace.input, ROWS)
    straight.run()
    engine = start_and_reach(stopped, ROWS // 3)
    engine.interrupt()
    outcome = engine.wait(STOPPED)
    assert outcome.report is not None
    assert outcome.report["outcome"] == "stopped"
    assert "--resume latest" in outcome.stderr
    check_sound(stopped)
    assert stopped.epochs(), "no checkpoint was left"
    rows_before = len(committed(stopped.out))
    assert 0 < rows_before < ROWS, "the stop did not come in the middle"
    stopped.run(resume="latest")
    assert check_exact(stopped.out, ROWS) == check_exact(straight.out, ROWS)
    assert Counter(stopped.executed()).most_common(1)[0][1] == 1, "a row was computed again after a drain"


def test_sigterm_suspends_without_waiting_for_the_model_and_a_resume_is_exact(space: MakeSpace) -> None:
    """Whoever sends SIGTERM kills soon after: a checkpoint comes at once, and what was in flight is asked again."""
    rows = 16
    workspace = space(fake_job(service_time="5s", batch_rows=rows, in_flight=1))
    write_rows(workspace.input, rows)
    engine = workspace.start()
    engine.wait_until(lambda: re.search(r"[1-9]\d* in flight", engine.stderr) is not None, "rows are in flight")
    engine.process.send_signal(signal.SIGTERM)
    outcome = engine.wait(STOPPED)
    assert outcome.report is not None
    assert outcome.report["outcome"] == "stopped"
    assert "suspending" in outcome.stderr
    assert workspace.executed() == [], "it waited for the model"
    workspace.run(resume="latest")
    check_exact(workspace.out, rows)


def test_second_interrupt_stops_at_once_and_a_resume_is_exact(space: MakeSpace) -> None:
    """Whoever does not want to wait for a slow model need not, and loses nothing by it."""
    rows = 48
    workspace = space(fake_job(service_time="2s", batch_rows=16, in_flight=2))
    write_rows(workspace.input, rows)
    engine = workspace.start()
    engine.wait_until(lambda: re.search(r"[1-9]\d* in flight", engine.stderr) is not None, "rows are in flight")
    engine.interrupt()
    time.sleep(SIGNAL_GAP_SECONDS)
    assert engine.running(), "the drain did not wait for the model, so there is nothing to cut short"
    engine.interrupt()
    engine.wait(INTERRUPTED)
    workspace.run(resume="latest")
    check_exact(workspace.out, rows)


def test_restore_at_another_parallelism_is_exact(space: MakeSpace) -> None:
    """1, killed, then 3, killed, then 2: positions and waiting rows move to other subtasks."""
    workspace = space(fake_job(parallelism=1))
    write_rows(workspace.input, ROWS)
    finished: list[tuple[int, set[str]]] = []
    resume = None
    for parallelism, share in ((1, 4), (3, 2)):
        engine = start_and_reach(workspace, ROWS // share, resume=resume, parallelism=parallelism)
        engine.kill()
        check_sound(workspace)
        finished.append((len(workspace.executed()), workspace.finished()))
        resume = "latest"
    workspace.start(resume="latest", parallelism=2).wait(COMPLETED)
    check_exact(workspace.out, ROWS)
    executed = workspace.executed()
    for length, ids in finished:
        assert ids, "nothing was finished at the kill"
        assert not ids & set(executed[length:]), "finished inferences run again at another parallelism"
