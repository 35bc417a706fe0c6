"""The same kills over a whole graph: two sources, a model, an interval join, windows, four exactly-once sinks.

Posts are answered by a model, then counted in windows by user and joined with the clicks that the user made shortly
before and after; clicks are counted in windows too. The engine is killed with SIGKILL at random moments and goes on at
another parallelism each time; all four sinks are compared with what a few lines of Python say, at every kill (nothing
doubled, nothing wrong) and at the end (nothing lost). What is counted, and by whom, stands in `kills.py`.

Files of posts follow each other in time and the job says so; every file of clicks holds all times. No row is late.

`FOREBAY_GRAPH_KILLS=200 pytest tests/e2e/test_kill_graph.py` kills more often.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import MakeSpace
from harness import COMPLETED, Workspace
from kills import Account, Totals, killed, undisturbed_seconds
from rows import Balance, balance, check_answers, committed

NAME: Final = "graph"
KILLS: Final = int(os.environ.get("FOREBAY_GRAPH_KILLS") or 25)
SEED: Final = int(os.environ.get("FOREBAY_SEED") or 4)
POSTS: Final = 1500
CLICKS: Final = 6000
USERS: Final = 23
SECONDS: Final = 900
FILES: Final = 5
START: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
WINDOW: Final = timedelta(seconds=30)
BEFORE: Final = timedelta(seconds=4)
AFTER: Final = timedelta(seconds=3)
PARALLELISMS: Final = (1, 2, 3, 4)

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "100ms"

[source.posts]
format = "jsonl"
path = "${{INPUT}}/posts-*.jsonl"
batch_rows = 32
watermark = {{ time = "at", out_of_order = "4s", files = "in_order" }}

[source.clicks]
format = "jsonl"
path = "${{INPUT}}/clicks-*.jsonl"
batch_rows = 128
watermark = {{ time = "at", out_of_order = "4s" }}

[[step]]
from = "posts"
[step.infer]
uid = "ask"
model = "fake"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo", length = "length" }}
batch_rows = 16
in_flight = 2

[[step]]
uid = "per_user"
from = "ask"
window = {{ tumble = "30s", by = ["user"], aggregates = ["count(*) AS posts", "sum(length) AS letters"] }}

[[step]]
uid = "clicked"
from = "clicks"
window = {{ tumble = "30s", by = ["user"], aggregates = ["count(*) AS clicks", "max(id) AS last"] }}

[[step]]
uid = "pairs"
from = "ask"
[step.join]
stream = "clicks"
on = {{ user = "user" }}
within = {{ before = "4s", after = "3s" }}
prefix = "click_"

[model.fake]
host = "fake"
service_time = "20ms"
log = "${{EXECUTIONS}}"

[sink.answers]
from = "ask"
format = "parquet"
path = "${{OUT}}/answers"

[sink.windows]
from = "per_user"
format = "parquet"
path = "${{OUT}}/windows"

[sink.clicked_out]
from = "clicked"
format = "parquet"
path = "${{OUT}}/clicked"

[sink.joined]
from = "pairs"
format = "parquet"
path = "${{OUT}}/joined"

[sink.late]
from = "per_user.late"
format = "jsonl"
path = "${{OUT}}/late"

[sink.late_clicked]
from = "clicked.late"
format = "jsonl"
path = "${{OUT}}/late_clicked"

[sink.late_posts]
from = "pairs.late"
format = "jsonl"
path = "${{OUT}}/late_posts"

[sink.late_clicks]
from = "pairs.late_stream"
format = "jsonl"
path = "${{OUT}}/late_clicks"

[dead_letters]
path = "${{OUT}}/bad"
"""


@dataclass(frozen=True)
class Rows:
    """What both sources hold, and what the sinks must."""

    posts: list[dict[str, Any]]
    clicks: list[dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Writes posts to files that follow each other in time, and clicks to files that each hold all times."""
        folder.mkdir(parents=True, exist_ok=True)
        for place in range(FILES):
            share = POSTS // FILES
            lines = [line(post) for post in self.posts[place * share : (place + 1) * share]]
            (folder / f"posts-{place}.jsonl").write_text("".join(lines))
            (folder / f"clicks-{place}.jsonl").write_text("".join(line(click) for click in self.clicks[place::FILES]))

    @cached_property
    def windows(self) -> set[tuple[Any, ...]]:
        """User, start, posts and letters of every window."""
        found = defaultdict(list)
        for post in self.posts:
            found[post["user"], window_of(post)].append(len(post["text"]))
        return {(*key, len(lengths), sum(lengths)) for key, lengths in found.items()}

    @cached_property
    def clicked(self) -> set[tuple[Any, ...]]:
        """User, start, clicks and last click of every window."""
        found = defaultdict(list)
        for click in self.clicks:
            found[click["user"], window_of(click)].append(click["id"])
        return {(*key, len(ids), max(ids)) for key, ids in found.items()}

    @cached_property
    def pairs(self) -> set[tuple[int, int]]:
        """Every post with every click of its user shortly before and after."""
        by_user = defaultdict(list)
        for click in self.clicks:
            by_user[click["user"]].append(click)
        return {
            (post["id"], click["id"])
            for post in self.posts
            for click in by_user[post["user"]]
            if post["at"] - BEFORE <= click["at"] <= post["at"] + AFTER
        }


def window_of(row: dict[str, Any]) -> datetime:
    """Returns the start of a row's window."""
    start: datetime = row["at"] - (row["at"] - START) % WINDOW
    return start


def line(row: dict[str, Any]) -> str:
    """Returns a row as a line of JSON."""
    return json.dumps(row | {"at": row["at"].isoformat()}) + "\n"


def make_rows() -> Rows:
    """Returns posts and clicks over a quarter of an hour, each at most 4 s out of order."""
    draw = random.Random(SEED)

    def moment(part: float) -> datetime:
        return START + timedelta(microseconds=round((part * SECONDS + draw.uniform(0, 4)) * 1e6))

    posts = [
        {"id": number, "at": moment(number / POSTS), "user": draw.randrange(USERS), "text": "x" * draw.randrange(90)}
        for number in range(POSTS)
    ]
    clicks = [{"id": number, "at": moment(number / CLICKS), "user": draw.randrange(USERS)} for number in range(CLICKS)]
    return Rows(posts, clicks)


def balances(workspace: Workspace, rows: Rows) -> list[Balance]:
    """Returns how each sink stands, and fails if an answer is another row's, or a row was late or bad."""
    answers = committed(workspace.out / "answers")
    check_answers(answers)
    windows = committed(workspace.out / "windows")
    clicked = committed(workspace.out / "clicked")
    joined = committed(workspace.out / "joined")
    unwanted = [path for name in ("late*", "bad") for path in workspace.out.glob(f"{name}/part-*")]
    assert not unwanted, unwanted[0].read_text()[:2000]
    return [
        balance([row["id"] for row in answers], {post["id"] for post in rows.posts}),
        balance([(row["user"], row["window_start"], row["posts"], row["letters"]) for row in windows], rows.windows),
        balance([(row["user"], row["window_start"], row["clicks"], row["last"]) for row in clicked], rows.clicked),
        balance([(row["id"], row["click_id"]) for row in joined], rows.pairs),
    ]


def kill_until_complete(
    workspace: Workspace, rows: Rows, chance: random.Random, longest: float, totals: Totals
) -> None:
    """Kills and resumes one job until it completes or no kill is left, then lets it complete and checks it."""
    account = Account(workspace)
    resume = None
    while totals.kills < KILLS:
        engine = workspace.start(resume=resume, parallelism=chance.choice(PARALLELISMS))
        if not killed(engine, chance.uniform(0.0, longest)):
            break
        totals.kills += 1
        found = balances(workspace, rows)
        assert all(sink.sound for sink in found), f"after kill {totals.kills}: {found}"
        totals.kills_before_first_commit += not any(sink.rows for sink in found)
        account.note_kill()
        resume = "latest" if workspace.begun() else None
    if workspace.engines[-1].process.returncode != COMPLETED:
        workspace.run(resume=resume, parallelism=chance.choice(PARALLELISMS))
    for sink in balances(workspace, rows):
        assert not sink.strange, sink
        totals.rows += sink.rows
        totals.lost += len(sink.lost)
        totals.doubled += len(sink.doubled)
    account.close(POSTS, totals)


def test_kills_at_changing_parallelism_lose_and_double_nothing_in_any_sink_of_a_graph(
    space: MakeSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows, joins, answers: each row once, each finished inference once, at any parallelism."""
    print(f"seed {SEED}; FOREBAY_SEED={SEED} draws the same moments")
    chance = random.Random(SEED)
    rows = make_rows()
    first = space(JOB, NAME)
    rows.write(first.input)
    longest = undisturbed_seconds(first)
    assert all(sink.exact for sink in balances(first, rows)), balances(first, rows)
    totals = Totals()
    while totals.kills < KILLS:
        workspace = space(JOB, NAME)
        rows.write(workspace.input)
        kill_until_complete(workspace, rows, chance, longest, totals)
    with capsys.disabled():
        print(f"\nseed {SEED}, killed within {longest:.2f} s of each start\n{totals}")
    totals.check()
