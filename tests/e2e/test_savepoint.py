"""Savepoints: made while the job runs or as it stops, kept however old, restored at another parallelism."""

from __future__ import annotations

import re
from collections import Counter

from conftest import MakeSpace
from harness import FAILED, REFUSED, STOPPED, Workspace
from jobs import CUT, CUT_BATCH_ROWS, CUT_IN_FLIGHT, fake_job
from rows import balance, check_answers, check_exact, committed, write_rows

ROWS = 2000
# Short, so that many checkpoints follow the savepoint and only three of them are kept.
JOB = fake_job(checkpoint_interval="100ms", service_time="60ms")
# With rows so wide that its second log has several files.
WIDER = """\
[[step]]
with = ["repeat('x', 2000) AS pad"]

"""
REGIONS = CUT.replace('"10ms"', '"40ms"').replace('[[step]]\nuid = "answered"', WIDER + '[[step]]\nuid = "answered"')


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
    engine.wait_until(lambda: int(workspace.published()[-1]) > epoch + 3, "more checkpoints")
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


def test_a_savepoint_of_regions_brings_back_what_lay_between_them(space: MakeSpace) -> None:
    """Made while the job runs; its logs are trimmed since, and are put back with its checkpoints."""
    workspace = space(REGIONS, "cut")
    write_rows(workspace.input, ROWS)
    engine = workspace.start()
    engine.wait_until(lambda: len(workspace.published(3)) >= 3, "checkpoints of the last region")
    workspace.in_checkpoints("savepoints", "create", "early")
    listed = workspace.in_checkpoints("savepoints", "list")
    assert re.search(r"r1=\d+, r2=\d+, r3=\d+ +yes +early", listed), listed
    kept = {path.name for path in workspace.logs("answered", "early")}
    assert kept, "no log was copied"
    engine.wait_until(lambda: not kept & {path.name for path in workspace.logs("answered")}, "the log is trimmed")
    engine.kill()
    workspace.run(resume="savepoint:early", parallelism=3)
    rows = committed(workspace.out)
    assert balance([row["id"] for row in rows], set(range(ROWS))).exact
    check_answers(rows)
    executed = Counter(workspace.executed())
    again = sum(executed.values()) - len(executed)
    assert again <= 2 * CUT_IN_FLIGHT * CUT_BATCH_ROWS, f"{again} rows asked again, more than were in flight"
    workspace.in_checkpoints("savepoints", "remove", "early")
    assert workspace.logs("answered", "early") == []


def test_going_back_to_a_savepoint_of_regions_is_carried_out_by_the_next_start(space: MakeSpace) -> None:
    """One region cannot claim its epoch at first; `--resume latest` takes up the decision, and the logs with it."""
    workspace = space(REGIONS, "cut")
    write_rows(workspace.input, ROWS)
    engine = workspace.start()
    engine.wait_until(lambda: len(workspace.published(3)) >= 3, "checkpoints of the last region")
    workspace.in_checkpoints("savepoints", "create", "early")
    engine.wait_until(lambda: len(workspace.published(3)) >= 9, "more checkpoints")
    engine.kill()
    claims, away = workspace.region("generation", 2), workspace.folder / "away"
    claims.rename(away)
    claims.write_text("in the way\n")
    workspace.run(FAILED, resume="savepoint:early")
    claims.unlink()
    away.rename(claims)
    workspace.run(resume="latest")
    rows = committed(workspace.out)
    assert balance([row["id"] for row in rows], set(range(ROWS))).exact
    check_answers(rows)
