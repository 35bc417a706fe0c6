"""A job that is no line: two sources meet, a stream branches and meets itself again, two sinks, kills in between.

Every row of `all` goes to the sink `plain`. The even ones go on a second time with other text, so that behind the
second union two rows come from one row of a source; each must get the answer to its own text.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from conftest import MakeSpace
from harness import Engine, Workspace
from rows import balance, check_answers, committed, dead_letters, write_rows

ROWS: Final = 600
NAME: Final = "meeting"
# Ids of the second source, and of the copies, so that every row out has one of its own.
OTHER: Final = 1000
LOUD: Final = 10000

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "100ms"

[source.left]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 32

[source.right]
format = "csv"
path = "${{INPUT}}/*.csv"
batch_rows = 16
parallelism = 1

[[step]]
uid = "own"
from = "left"
select = ["id", "text"]

[[step]]
uid = "other"
from = "right"
select = ["id + {OTHER} AS id", "text"]

[[step]]
uid = "all"
union = ["own", "other"]

[[step]]
filter = "id % 2 = 0"

[[step]]
uid = "loud"
select = ["id + {LOUD} AS id", "upper(text) AS text"]

[[step]]
uid = "both"
union = ["all", "loud"]

[[step]]
[step.infer]
uid = "ask"
model = "fake"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo", length = "length" }}
batch_rows = 32

[model.fake]
host = "fake"
service_time = "20ms"
log = "${{EXECUTIONS}}"

[sink.answers]
format = "parquet"
path = "${{OUT}}/answers"

[sink.plain]
from = "all"
format = "jsonl"
path = "${{OUT}}/plain"
kinds = "change"
parallelism = 1

[dead_letters]
path = "${{OUT}}/bad"
"""


def write_input(folder: Path) -> None:
    """Writes `ROWS` rows for each source: JSON lines for one, CSV for the other."""
    write_rows(folder, ROWS)
    for place in range(4):
        lines = [f"{number},other {number}\n" for number in range(place, ROWS, 4)]
        (folder / f"rows-{place}.csv").write_text("id,text\n" + "".join(lines))


def all_ids() -> set[int]:
    """The ids of the rows in which both sources have met."""
    return {number + more for number in range(ROWS) for more in (0, OTHER)}


def plain_rows(out: Path) -> list[dict[str, Any]]:
    """The rows that the sink of JSON lines has committed."""
    files = sorted((out / "plain").glob("part-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def check(workspace: Workspace, *, complete: bool) -> None:
    """Fails if a sink lost or doubled a row, or gave one the answer of another."""
    plain, answered = plain_rows(workspace.out), committed(workspace.out / "answers")
    expected = all_ids() | {number + LOUD for number in all_ids() if number % 2 == 0}
    for found in (balance([row["id"] for row in plain], all_ids()), balance([row["id"] for row in answered], expected)):
        assert found.exact if complete else found.sound, found
    check_answers(answered)
    assert all(row["text"].isupper() == (row["id"] >= LOUD) for row in answered)
    assert all(list(row) == ["change", "id", "text"] and row["change"] == "+I" for row in plain)
    assert not list((workspace.out / "bad").glob("part-*"))


def kill_at(engine: Engine, workspace: Workspace, executed: int) -> None:
    """Kills the engine once the model has computed that many rows in all."""
    engine.wait_until(lambda: len(workspace.executed()) >= executed, f"{executed} rows are computed")
    engine.kill()


def test_streams_meet_and_branch_exactly_once_through_kills(space: MakeSpace) -> None:
    """Each sink has each row once, whenever the engine is killed, also when it goes on at another parallelism."""
    workspace = space(JOB, NAME)
    write_input(workspace.input)
    resume, finished = None, set[str]()
    for executed, parallelism in ((1, 2), (400, 3), (900, 1), (1300, 2)):
        kill_at(workspace.start(resume=resume, parallelism=parallelism), workspace, executed)
        check(workspace, complete=False)
        finished = workspace.finished()
        assert finished <= set(workspace.executed())
        resume = "latest"
    before = len(workspace.executed())
    outcome = workspace.run(resume=resume)
    check(workspace, complete=True)
    again = set(workspace.executed()[before:]) & finished
    assert not again, f"finished and computed again: {sorted(again)[:3]}"
    assert outcome.report is not None
    assert outcome.report["sink"] == f"{workspace.out}/answers, {workspace.out}/plain"


def test_each_sink_has_its_part_in_one_undisturbed_run(space: MakeSpace) -> None:
    """The plan names what meets where, and one run delivers all of it."""
    workspace = space(JOB, NAME)
    write_input(workspace.input)
    shown = workspace.command("plan", str(workspace.job_file))
    assert "t2-right -> t3-all input 1: exchange by key group" in shown, shown
    outcome = workspace.run()
    check(workspace, complete=True)
    assert outcome.report is not None
    assert outcome.report["rows_in"] == 2 * ROWS


TIMED: Final = f"""\
name = "{NAME}"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
watermark = {{ time = "at", out_of_order = "5s", idle = "1s", max_drift = "1h" }}

[[step]]
select = ["id", "at AS time"]

[sink]
format = "parquet"
path = "${{OUT}}"
"""


def test_text_is_read_as_event_time_and_a_row_without_one_is_a_dead_letter(space: MakeSpace) -> None:
    """Times are moments, whatever offset they are written with."""
    workspace = space(TIMED, NAME)
    workspace.input.mkdir()
    times = ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00.25+01:00", None, "soon"]
    lines = [json.dumps({"id": number, "at": at}) + "\n" for number, at in enumerate(times)]
    (workspace.input / "rows.jsonl").write_text("".join(lines))
    workspace.run()
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    found = {row["id"]: row["time"] for row in committed(workspace.out)}
    assert found == {0: noon, 1: noon.replace(microsecond=250_000)}
    said = sorted(letter["reason"] for letter in dead_letters(workspace.out))
    assert len(said) == 2
    assert said[0].startswith("Json error"), said
    assert said[1] == 'the event time "at" is null, or out of the range of times'
