"""A process function in a program of its own, `examples/process`: visits beside those of an oracle, through kills."""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import harness
import pytest
from changes import moment, run_through_kills, write_in_order
from conftest import MakeSpace
from harness import REFUSED, ROOT, Workspace
from rows import committed

NAME: Final = "visits"
BINARY: Final = Path(os.environ.get("FOREBAY_VISITS_BIN") or harness.BINARY.parent / "visits")
JOB: Final = (ROOT / "examples/process/job.toml").read_text().replace("watermark =", "batch_rows = 64\nwatermark =", 1)
ROWS: Final = 20_000
USERS: Final = 61
GAP: Final = timedelta(seconds=30)
SEED: Final = 29
BAD_EACH: Final = 997

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def visits_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes workspaces start the example's program."""
    if not BINARY.exists():
        pytest.fail(f"{BINARY} does not exist; run `cargo build --workspace` or set FOREBAY_VISITS_BIN")
    monkeypatch.setattr(harness, "BINARY", BINARY)


def write_input(workspace: Workspace) -> list[Row]:
    """Writes views at most 10 s out of order to a few files, some of them bad, and returns them."""
    draw = random.Random(SEED)
    rows: list[tuple[float, Row]] = []
    for number in range(ROWS):
        second = number / 4 + draw.uniform(0, 9) + number * 1e-6
        page = draw.choices(["home", "search", "bought"], [5, 4, 1])[0]
        price = float(draw.randrange(1, 50)) if page == "bought" else 0.0
        if number % BAD_EACH == 0:
            price = -1.0
        rows.append((number / 4, {"at": moment(second), "user": draw.randrange(USERS), "page": page, "price": price}))
    # Files follow each other in time, so that timers fire while the job runs.
    write_in_order(workspace.input, rows, 5)
    return [row for _, row in rows]


def visits(rows: list[Row]) -> list[Row]:
    """Returns what the function gives: a visit ends with a purchase, or with silence."""
    found: list[Row] = []
    users: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["at"]):
        if row["price"] >= 0:
            users[row["user"]].append(row)
    for user, views in users.items():
        visit: Row | None = None
        latest = views[0]["at"]
        for view in views:
            if visit and view["at"] - latest > GAP:
                found.append(visit | {"end": latest + GAP})
                visit = None
            latest = view["at"]
            visit = visit or {"user": user, "start": latest, "pages": 0, "spent": 0.0, "bought": False}
            visit = visit | {"pages": visit["pages"] + 1, "spent": visit["spent"] + view["price"]}
            if view["page"] == "bought":
                found.append(visit | {"end": latest, "bought": True})
                visit = None
        if visit:
            found.append(visit | {"end": latest + GAP})
    return found


def in_order(rows: list[Row]) -> list[tuple[int, datetime, datetime, int, float, bool]]:
    """Returns visits as tuples, in order."""
    return sorted((row["user"], row["start"], row["end"], row["pages"], row["spent"], row["bought"]) for row in rows)


def check(workspace: Workspace, rows: list[Row]) -> None:
    """Fails unless every visit is there once, every bad row is a dead letter, and nothing was late."""
    expected = visits(rows)
    assert len(expected) > ROWS / 20
    assert in_order(committed(workspace.out / "visits")) == in_order(expected)
    letters = [
        json.loads(line)
        for path in sorted((workspace.out / "dead_letters").glob("part-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert len(letters) == len([row for row in rows if row["price"] < 0])
    assert {letter["reason"] for letter in letters} == {
        "process function sessions: read price (price=-1): it is negative"
    }
    assert not list((workspace.out / "late").glob("part-*"))


def in_files(workspace: Workspace) -> Workspace:
    """Says that the files follow each other in time."""
    text = workspace.job_text.replace('out_of_order = "10s"', 'out_of_order = "10s", files = "in_order"', 1)
    workspace.job_file.write_text(text.replace("batch_rows = 64", "batch_rows = 64\nparallelism = 1", 1))
    return workspace


def test_a_process_function_gives_what_an_oracle_gives(space: MakeSpace) -> None:
    """One undisturbed run of the example's program, and the plan that it shows."""
    workspace = space(JOB, NAME)
    rows = write_input(workspace)
    shown = workspace.command("plan", str(workspace.job_file))
    assert "visits: process function sessions by user" in shown, shown
    assert "visits.late -> " in shown, shown
    workspace.run()
    check(workspace, rows)


def test_a_process_function_is_exact_through_kills_at_changing_parallelism(space: MakeSpace) -> None:
    """`kill -9` in the middle, resumed at another parallelism, again and again: the same visits."""
    workspace = in_files(space(JOB, NAME))
    rows = write_input(workspace)
    run_through_kills(workspace, (2, 3, 1, 4))
    check(workspace, rows)


def test_the_plain_binary_says_how_to_have_functions(space: MakeSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """`forebay` has no process function, and a program of one's own lists those that it has."""
    workspace = space(JOB, NAME)
    write_input(workspace)
    monkeypatch.setattr(harness, "BINARY", BINARY.parent / "forebay")
    said = workspace.command("plan", str(workspace.job_file), expected=REFUSED)
    assert 'there is no process function "sessions"' in said and "process-functions.md" in said, said
    monkeypatch.setattr(harness, "BINARY", BINARY)
    workspace.job_file.write_text(JOB.replace('"sessions"', '"sesions"'))
    said = workspace.command("plan", str(workspace.job_file), expected=REFUSED)
    assert 'did you mean "sessions"? there is sessions' in said, said
    workspace.job_file.write_text(JOB.replace('gap = "30s"', 'gpa = "30s"'))
    said = workspace.command("plan", str(workspace.job_file), expected=REFUSED)
    assert "unknown field `gpa`, expected `gap`" in said, said
