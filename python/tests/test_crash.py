"""Rows between which the run is killed: what comes out is as if it had not been."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import forebay as fb
from forebay import testing

NUMBERS: list[dict[str, int] | testing.Crash] = [{"n": n, "part": n % 3} for n in range(600)]


def test_steps_with_state_give_the_same_after_crashes(tmp_path: Path) -> None:
    log = tmp_path / "ran"

    @fb.func(log=str(log))
    def double(n: int) -> int:
        return 2 * n

    given = [*NUMBERS[:200], testing.crash(), *NUMBERS[200:450], testing.crash(), testing.crash(), *NUMBERS[450:]]
    frame = testing.rows(given, files=3, batch_rows=20).with_column("twice", double(fb.col("n")))
    result = testing.collect(frame)
    assert sorted(result.column("n")) == list(range(600))
    assert all(row["twice"] == 2 * row["n"] for row in result)
    assert (result.report.outcome, result.report.details["attempt"]) == ("completed", 3)
    assert len(log.read_text().split()) >= 600
    sums = testing.collect(frame.group_by("part").agg(total=fb.col("n").sum(), rows=fb.count()))
    assert sorted((row["part"], row["total"], row["rows"]) for row in sums) == [
        (part, sum(range(part, 600, 3)), 200) for part in range(3)
    ]
    assert sums.report.details["attempt"] == 1, "each crash happens once"


def test_what_a_generator_yields_comes_once_after_a_crash() -> None:
    @fb.func
    def several(n: int) -> Iterator[int]:
        yield from range(n % 4)

    given = [*NUMBERS[:300], testing.crash(), *NUMBERS[300:]]
    frame = testing.rows(given, files=2, batch_rows=20).flat_map(several, keep="n")
    result = testing.collect(frame)
    pairs = sorted((row["n"], row["value"]) for row in result)
    assert pairs == [(n, value) for n in range(600) for value in range(n % 4)]
    assert result.report.details["attempt"] == 2


def test_event_time_is_said_of_such_rows_too() -> None:
    clicks = [{"at": f"2026-01-01T00:0{minute}:00Z"} for minute in range(5)]
    frame = testing.rows([*clicks[:3], testing.crash(), *clicks[3:]]).watermark("at")
    counted = testing.collect(frame.window(tumble="2m", aggregates={"clicks": fb.count()}))
    assert sorted(counted.column("clicks")) == [1, 2, 2]


def test_the_columns_are_those_of_the_rows() -> None:
    assert testing.rows([{"a": 1}, testing.crash(), {"b": "x"}]).columns == ["a", "b"]


def test_what_cannot_be_run_so_is_refused() -> None:
    with pytest.raises(fb.errors.InvalidError, match="in front of a row"):
        testing.rows([{"n": 1}, testing.crash()])
    with pytest.raises(fb.errors.InvalidError, match=r"run by testing\.collect"):
        testing.rows([{"n": 1}, testing.crash(), {"n": 2}]).collect()
    with pytest.raises(fb.errors.InvalidError, match='no column "m"'):
        testing.collect(testing.rows([{"n": 1}]).select("m"))


def test_a_process_that_something_else_kills_is_not_started_for_ever() -> None:
    @fb.func
    def fatal(n: int) -> int:
        os.kill(os.getppid(), signal.SIGKILL)
        return n

    frame = testing.rows([{"n": 1}, testing.crash(), {"n": 2}]).filter(fb.col("n") < 2)
    with pytest.raises(fb.errors.InternalError, match="ended with -9"):
        testing.collect(frame.with_column("m", fatal(fb.col("n"))))
