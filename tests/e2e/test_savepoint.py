"""Savepoints: made while the job runs or as it stops, kept however old, restored at another parallelism."""

from __future__ import annotations

from conftest import MakeSpace
from harness import REFUSED, STOPPED, Workspace
from jobs import fake_job
from rows import check_exact, committed, write_rows

ROWS = 2000
# Short, so that many checkpoints follow the savepoint and only three of them are kept.
JOB = fake_job(checkpoint_interval="100ms", service_time="30ms")


def begun(workspace: Workspace) -> bool:
    """Says whether rows are committed and a checkpoint holds them."""
    return len(workspace.published()) >= 3 and bool(committed(workspace.out))


def test_a_savepoint_of_a_running_job_outlives_its_neighbours_and_is_exact(space: MakeSpace) -> None:
    """What came after it is taken back, answers come from the journal, the rows are those of a straight run."""
    straight, workspace = space(JOB), space(JOB)
    for made in (straight, workspace):
        write_rows(made.input, ROWS)
    straight.run()
    engine = workspace.start()
    engine.wait_until(lambda: begun(workspace), "rows are committed")
    workspace.in_checkpoints("savepoints", "create", "early")
    listed = workspace.in_checkpoints("savepoints", "list")
    assert "early" in listed, listed
    epoch = int(listed.split()[3])
    engine.wait_until(lambda: int(workspace.published()[-1]) > epoch + 5, "more checkpoints")
    engine.kill()
    finished = workspace.finished()
    at_kill = len(workspace.executed())
    assert workspace.epochs()[0] == epoch, "the savepoint is listed among the kept checkpoints"
    workspace.run(resume="savepoint:early", parallelism=3)
    assert check_exact(workspace.out, ROWS) == check_exact(straight.out, ROWS)
    assert not finished & set(workspace.executed()[at_kill:]), "finished inferences run again"
    workspace.in_checkpoints("savepoints", "remove", "early")
    assert "early" not in workspace.in_checkpoints("savepoints", "list")


def test_a_stop_leaves_a_savepoint_if_asked(space: MakeSpace) -> None:
    """`--savepoint` keeps the last checkpoint of a drained job; its name is taken once."""
    workspace = space(JOB)
    write_rows(workspace.input, ROWS)
    engine = workspace.start(savepoint="upgrade")
    engine.wait_until(lambda: begun(workspace), "rows are committed")
    engine.interrupt()
    said = engine.wait(STOPPED).stderr
    assert "--resume savepoint:upgrade" in said, said
    again = workspace.in_checkpoints("savepoints", "create", "upgrade", expected=REFUSED)
    assert "choose another" in again, again
    unknown = workspace.run(REFUSED, resume="savepoint:other").stderr
    assert "upgrade" in unknown, unknown
    workspace.run(resume="savepoint:upgrade")
    check_exact(workspace.out, ROWS)
