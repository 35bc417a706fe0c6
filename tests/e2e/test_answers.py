"""A model asked about a stream with updates, through kills: a row is taken back with the answer that it was given.

The model is a Python function that says something else each time that it runs, and refuses some rows. So a row that
takes back another would, if it were asked about, have another answer, and what it should take back would stand for
ever: in the sink, and in the counts behind. What stands in the end must be the latest row of each user, each with one
answer, but for those that were refused.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from changes import changes, moment, run_through_kills, table, write_in_order
from conftest import MakeSpace
from harness import ROOT, Workspace
from rows import dead_letters

NAME: Final = "answers"
ROWS: Final = 3_000
SEED: Final = 31
USERS: Final = 211
PARTS: Final = 7
# Numbers that the model refuses.
REFUSED: Final = 13

FUNCTION: Final = f"""\
import time
import uuid


def judge(text: str) -> str:
    time.sleep(0.0005)
    if int(text.split()[1]) % {REFUSED} == 0:
        raise ValueError(f"no opinion of {{text}}")
    return f"{{text}} {{uuid.uuid4()}}"
"""

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "100ms"
state_memory = "64KiB"

[source.clicks]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64
parallelism = 1
watermark = {{ time = "at", out_of_order = "4s" }}

[[step]]
uid = "latest"
deduplicate = {{ by = ["user"], keep = "last", order = "event_time" }}

[[step]]
uid = "told"
select = ["user", "concat('number ', n) AS text"]

[[step]]
[step.infer]
uid = "ask"
model = "judge"
inputs = {{ text = "text" }}
outputs = {{ value = "opinion" }}
batch_rows = 16
in_flight = 3
attempts = 100
ORDER

# What a sum would be: wrong for ever after one row that is taken back with another answer.
[[step]]
uid = "counts"
[step.group]
by = ["user % {PARTS} AS part"]
aggregates = ["count(*) AS users", "count(DISTINCT opinion) AS opinions"]
emit = "changes"

[model.judge]
host = "python"
function = "opinions:judge"
path = "${{FUNCTIONS}}"
python = "{sys.executable}"
signature = {{ inputs = [{{ name = "text", value = "any", shape = [] }}], \
outputs = [{{ name = "value", value = "string", shape = [] }}] }}
replicas = 2
log = "${{EXECUTIONS}}"

[sink.rows]
from = "ask"
format = "parquet"
path = "${{OUT}}/rows"
kinds = "change"

[sink.counts_out]
from = "counts"
format = "parquet"
path = "${{OUT}}/counts"
kinds = "change"

[dead_letters]
path = "${{OUT}}/_dead_letters"
"""

# The same with the model behind a log, in a region of its own.
LOGGED: Final = JOB.replace('[[step]]\nuid = "told"', '[[step]]\nuid = "kept"\ndurable = {}\n\n[[step]]\nuid = "told"')

ORDERS: Final = {
    "unordered": 'order = "unordered"',
    "ordered": 'order = "ordered"',
    "per_key": 'order = "per_key"\nkey = ["user"]',
}

# Time, user, number; no two rows have the same time.
Row = tuple[datetime, int, int]


def workspace(
    space: MakeSpace, tmp_path: Path, order: str = "unordered", job: str = JOB
) -> tuple[Workspace, list[Row]]:
    """Returns a folder with the job, a function, and rows at most 4 s out of order, and these rows."""
    functions = tmp_path / "functions"
    functions.mkdir(exist_ok=True)
    (functions / "opinions.py").write_text(FUNCTION)
    made = space(job.replace("ORDER", ORDERS[order]), NAME)
    made.environment = {"FUNCTIONS": str(functions), "PYTHONPATH": str(ROOT / "python")}
    draw = random.Random(SEED)
    rows: list[tuple[float, dict[str, Any]]] = []
    for number in range(ROWS):
        second = number / 10 + draw.uniform(0, 2) + number * 1e-6
        # Few numbers, so that many rows of a user have one content.
        rows.append((number / 10, {"at": moment(second), "user": draw.randrange(USERS), "n": draw.randrange(40)}))
    write_in_order(made.input, rows, 4)
    return made, [(row["at"], row["user"], row["n"]) for _, row in rows]


def check(made: Workspace, rows: list[Row]) -> None:
    """Fails unless exactly the latest rows stand, each with an answer of its own, and the counts are theirs."""
    latest: dict[int, Row] = {}
    for row in rows:
        latest[row[1]] = max(row, latest.get(row[1], row))
    left = table(made, "rows")
    expected = sorted((user, f"number {n}") for _, user, n in latest.values() if n % REFUSED)
    assert sorted((user, text) for user, text, _ in left) == expected
    assert all(opinion.startswith(f"{text} ") for _, text, opinion in left)
    parts = defaultdict(list)
    for user, _, opinion in left:
        parts[user % PARTS].append(opinion)
    assert table(made, "counts") == sorted(
        ((part, len(opinions), len(set(opinions))) for part, opinions in parts.items()), key=repr
    )
    assert {"+I", "-U", "+U"} <= changes(made, "rows").keys()
    letters = dead_letters(made.out)
    assert letters, "some rows are refused"
    assert all("ValueError: no opinion of number" in letter["reason"] for letter in letters), letters[0]


@pytest.mark.parametrize("order", ORDERS)
def test_every_row_that_adds_is_paid_for_once_and_no_other(space: MakeSpace, tmp_path: Path, order: str) -> None:
    """One undisturbed run in each order: the model's own account beside what came out."""
    made, rows = workspace(space, tmp_path, order)
    made.run()
    check(made, rows)
    added = sum(count for kind, count in changes(made, "rows").items() if kind in {"+I", "+U"})
    executed = Counter(made.executed())
    assert len(executed) == added + len(dead_letters(made.out))
    assert max(executed.values()) == 1


def test_what_stands_is_exact_through_kills_at_changing_parallelism(space: MakeSpace, tmp_path: Path) -> None:
    """Killed and resumed at other parallelisms, what stands is what an undisturbed run leaves, but for the answers."""
    made, rows = workspace(space, tmp_path, "unordered")
    run_through_kills(made, (2, 3, 1, 4))
    check(made, rows)


@pytest.mark.parametrize("order", ORDERS)
def test_a_model_behind_a_log_meets_every_row_before_what_takes_it_back(
    space: MakeSpace, tmp_path: Path, order: str
) -> None:
    """Rows lie in the log where those lie that they take back, or one subtask would ask and another take back."""
    made, rows = workspace(space, tmp_path, order, LOGGED)
    made.run()
    check(made, rows)


def test_a_model_behind_a_log_is_exact_through_kills_at_changing_parallelism(space: MakeSpace, tmp_path: Path) -> None:
    """Killed and resumed at other parallelisms, in two regions that go on from their own checkpoints."""
    made, rows = workspace(space, tmp_path, job=LOGGED)
    run_through_kills(made, (2, 3, 1, 4))
    check(made, rows)
