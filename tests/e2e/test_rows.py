"""`explode`, `sample`, `group` and `limit` through kills at changing parallelism, beside an oracle in Python."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

from changes import moment, run_through_kills, write_in_order
from conftest import MakeSpace
from harness import Workspace
from rows import balance, committed

NAME: Final = "reshaped"
ROWS: Final = 8_000
FILES: Final = 4
LIMIT: Final = 3_000

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "100ms"
state_memory = "64KiB"

[source.posts]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64

[[step]]
uid = "items"
explode = {{ columns = ["tags", "marks"] }}

[[step]]
uid = "ask"
infer = {{ model = "fake", inputs = {{ text = "text" }}, outputs = {{ echo = "echo" }} }}

[[step]]
uid = "some"
from = "items"
sample = {{ ratio = 0.25, seed = 5 }}

[[step]]
uid = "totals"
from = "items"
group = {{ by = ["tags AS tag", "id % 211 AS part"], aggregates = ["count(*) AS rows", "sum(marks) AS marks"] }}

[[step]]
uid = "distinct"
from = "items"
group = {{ aggregates = ["count(DISTINCT tags) AS tags", "count(*) AS rows"] }}

[model.fake]
host = "fake"

[sink.items_out]
from = "ask"
format = "parquet"
path = "${{OUT}}/items"

[sink.some_out]
from = "some"
format = "parquet"
path = "${{OUT}}/some"

[sink.totals_out]
from = "totals"
format = "parquet"
path = "${{OUT}}/totals"

[sink.distinct_out]
from = "distinct"
format = "parquet"
path = "${{OUT}}/distinct"

[dead_letters]
path = "${{OUT}}/bad"
"""

# Limits only: the source has no other reader. The model makes it last long enough to be killed on the way.
LIMITED: Final = f"""\
name = "limited"
parallelism = 2
checkpoint_interval = "20ms"

[source.posts]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 16

[[step]]
uid = "ask"
[step.infer]
model = "fake"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo" }}
batch_rows = 16
in_flight = 2

[[step]]
uid = "first"
limit = {LIMIT}

[[step]]
uid = "even"
from = "posts"
filter = "id % 2 = 0"

[[step]]
uid = "first_even"
limit = 50

[model.fake]
host = "fake"
service_time = "50ms"
log = "${{EXECUTIONS}}"

[sink.first_out]
from = "first"
format = "parquet"
path = "${{OUT}}/first"

[sink.even_out]
from = "first_even"
format = "parquet"
path = "${{OUT}}/even"

[dead_letters]
path = "${{OUT}}/bad"
"""

Post = dict[str, Any]


def write_posts(workspace: Workspace, count: int = ROWS) -> list[Post]:
    """Writes posts with lists of 0 to 4 elements, some null and a few of two lengths, and returns them."""
    posts = [post(number) for number in range(count)]
    workspace.input.mkdir(parents=True, exist_ok=True)
    for place in range(FILES):
        lines = "".join(json.dumps(each) + "\n" for each in posts[place::FILES])
        (workspace.input / f"posts-{place}.jsonl").write_text(lines)
    return posts


def post(number: int) -> Post:
    """Returns the post of this number."""
    tags = None if number % 5 == 4 else [f"t{(number + place) % 7}" for place in range(number % 5)]
    marks = None if tags is None else [number * 10 + place for place in range(len(tags) + (number % 1000 == 999))]
    if number % 1000 == 999:
        marks = [1, 2]
    return {"id": number, "text": f"post {number}", "tags": tags, "marks": marks}


def items(posts: list[Post]) -> list[tuple[int, str | None, int | None]]:
    """Returns what the posts become: id, tag and mark of each element."""
    good = [each for each in posts if max(len(each["tags"] or ""), 1) == max(len(each["marks"] or ""), 1)]
    return [
        (each["id"], tag, mark)
        for each in good
        for tag, mark in zip(each["tags"] or [None], each["marks"] or [None], strict=True)
    ]


def check(workspace: Workspace, posts: list[Post]) -> None:
    """Fails unless each sink has exactly what the oracle says."""
    expected = items(posts)
    found = committed(workspace.out / "items")
    assert Counter((row["id"], row["tags"], row["marks"]) for row in found) == Counter(expected)
    assert all(row["echo"] == row["text"] for row in found)

    rows: Counter[tuple[str | None, int]] = Counter((tag, number % 211) for number, tag, _ in expected)
    marks: Counter[tuple[str | None, int]] = Counter()
    for number, tag, mark in expected:
        marks[tag, number % 211] += mark or 0
    totals = committed(workspace.out / "totals")
    assert {(row["tag"], row["part"]): row["rows"] for row in totals} == dict(rows)
    assert {(row["tag"], row["part"]): row["marks"] or 0 for row in totals} == dict(marks)
    assert len(totals) == len(rows), "each key has one result"
    assert committed(workspace.out / "distinct") == [{"tags": 7, "rows": len(expected)}]

    letters = [line for file in (workspace.out / "bad").glob("part-*.jsonl") for line in file.read_text().splitlines()]
    reasons = Counter(json.loads(line)["reason"] for line in letters)
    bad = [each for each in posts if each["id"] % 1000 == 999]
    assert sum(reasons.values()) == len(bad)
    assert all("not equally long: tags has 0, marks has 2" in reason for reason in reasons), reasons


def some(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Returns what the sample kept, in order."""
    return sorted((tuple(row.values()) for row in committed(workspace.out / "some")), key=repr)


def test_elements_groups_and_samples_are_exact_through_kills(space: MakeSpace) -> None:
    """A run through kills at four parallelisms gives what an undisturbed one gives, and both what an oracle gives."""
    calm = space(JOB, NAME)
    posts = write_posts(calm)
    calm.run()
    check(calm, posts)
    kept = some(calm)
    assert 0.2 < len(kept) / len(items(posts)) < 0.3
    disturbed = space(JOB.replace("${INPUT}", str(calm.input)), NAME)
    run_through_kills(disturbed, (2, 3, 1, 4))
    check(disturbed, posts)
    assert some(disturbed) == kept, "the same rows are kept whatever happens"


def test_a_limit_ends_its_job_with_so_many_rows_and_no_row_twice(space: MakeSpace) -> None:
    """Killed on the way, the count goes on; the source is not read to its end, and the job completes."""
    workspace = space(LIMITED, "limited")
    posts = write_posts(workspace, 5 * ROWS)
    run_through_kills(workspace, (2, 1))
    first = committed(workspace.out / "first")
    found = balance([row["id"] for row in first], {each["id"] for each in posts})
    assert (len(first), found.doubled, found.strange) == (LIMIT, [], [])
    report = json.loads(workspace.engines[-1].report_file.read_text())
    assert (report["outcome"], report["rows_in"] < len(posts)) == ("completed", True), report
    asked = len(set(workspace.executed()))
    assert asked < 2 * LIMIT, f"{asked} rows were asked for {LIMIT}"
    even = [row["id"] for row in committed(workspace.out / "even")]
    assert len(set(even)) == len(even) == 50
    assert all(number % 2 == 0 for number in even)


# Two sources that are kept together in event time; the first one ends early.
TOGETHER: Final = """\
name = "together"
checkpoint_interval = "50ms"

[source.posts]
format = "jsonl"
path = "${INPUT}/*.jsonl"
batch_rows = 16
watermark = { time = "at", max_drift = "2s" }

[source.others]
format = "jsonl"
path = "${INPUT}/*.jsonl"
batch_rows = 16
watermark = { time = "at", max_drift = "2s" }

[[step]]
uid = "first"
from = "posts"
limit = 40

[[step]]
uid = "days"
from = "first"
window = { tumble = "1h", aggregates = ["count(*) AS rows"] }

[sink.days_out]
from = "days"
format = "parquet"
path = "${OUT}/days"

[sink.others_out]
from = "others"
format = "parquet"
path = "${OUT}/others"

[dead_letters]
path = "${OUT}/bad"
"""


def test_a_source_that_ends_early_holds_back_no_other_and_completes_windows(space: MakeSpace) -> None:
    """The other source is read to its end, and what is behind the limit gives its results."""
    workspace = space(TOGETHER, "together")
    rows = [(number / 4, {"at": moment(number / 4), "id": number}) for number in range(2000)]
    write_in_order(workspace.input, rows, 2)
    workspace.run()
    assert len(committed(workspace.out / "others")) == len(rows)
    assert sum(row["rows"] for row in committed(workspace.out / "days")) == 40
