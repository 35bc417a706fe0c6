"""Rows that the model does not answer climb the ladder of other answers, and stay where they are over a kill."""

from __future__ import annotations

from collections import Counter
from typing import Final

from conftest import MakeSpace
from harness import Workspace
from rows import balance, committed, dead_letters, plain_text, write_rows

ROWS: Final = 400
BAD: Final = 7

JOB: Final = """\
name = "answers"
checkpoint_interval = "100ms"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 32

[[step]]
with = ["id % 5 AS k"]

[[step]]
[step.infer]
uid = "ask"
model = "first"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo", length = "length" }}
batch_rows = 8
order = "per_key"
key = ["k"]
length = "length(text)"
buckets = [8, 16]
fallback = [
    {{ model = "second" }},
    {{ sql = {{ echo = "upper(text)" }} }},
]
fallback_column = "by"
{more}

[[step]]
select = ["id", "text", "echo", "length", "by"]

[model.first]
host = "fake"
service_time = "{service_time}"
fail_on = "bad"
log = "${{EXECUTIONS}}"

[model.second]
host = "fake"
service_time = "5ms"
fail_on = "worse"

[sink]
format = "parquet"
path = "${{OUT}}"
"""


def text_of(row: int) -> str:
    """Every seventh row is refused by the first model, every third of those by the second as well."""
    if row % BAD:
        return plain_text(row)
    return f"bad {row}" if row % 3 else f"bad and worse {row}"


def expected_by(row: int) -> str:
    """Who answers the row."""
    if row % BAD:
        return "first"
    return "second" if row % 3 else "sql"


def check(job: Workspace) -> None:
    """Every row came out once, answered by whom it should be."""
    rows = committed(job.out)
    found = balance([row["id"] for row in rows], set(range(ROWS)))
    assert found.exact, found
    assert {row["id"]: row["by"] for row in rows} == {row: expected_by(row) for row in range(ROWS)}
    for row in rows:
        text = text_of(row["id"])
        assert row["echo"] == (text.upper() if row["by"] == "sql" else text)
        assert (row["length"] is None) == (row["by"] == "sql")
    assert dead_letters(job.out) == []


def test_a_ladder_of_a_second_model_and_sql(space: MakeSpace) -> None:
    """Who answered is in the output."""
    job = space(JOB.format(service_time="1ms", more=""))
    write_rows(job.input, ROWS, text_of)
    job.run()
    check(job)


def test_rows_stay_on_their_rung_over_a_kill(space: MakeSpace) -> None:
    """After a kill no row goes back to the model that refused it."""
    job = space(JOB.format(service_time="10ms", more=""))
    write_rows(job.input, ROWS, text_of)
    engine = job.start()
    engine.wait_until(lambda: len(job.executed()) > ROWS // 2, "half of the rows were asked about")
    engine.kill()
    finished, before = job.finished(), len(job.executed())
    assert finished
    job.run(resume="latest")
    check(job)
    assert finished.isdisjoint(job.executed()[before:])


def test_late_rows_take_the_last_answer(space: MakeSpace) -> None:
    """A model that is far too slow: deadlines pass, nothing hangs, every row has an answer."""
    more = 'deadline = "50ms"'
    job = space(JOB.format(service_time="1500ms", more=more))
    write_rows(job.input, ROWS, text_of)
    job.run()
    rows = committed(job.out)
    found = balance([row["id"] for row in rows], set(range(ROWS)))
    assert found.exact, found
    by = Counter(row["by"] for row in rows)
    assert by["second"] + by["sql"] > ROWS // 2, by
