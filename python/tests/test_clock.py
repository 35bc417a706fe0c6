"""A clock that tests move ahead: what waits for hours is over at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import forebay as fb
from forebay import testing
from forebay.errors import InvalidError


def test_a_deadline_ends_when_the_clock_is_moved_over_it(tmp_path: Path) -> None:
    clock = testing.Clock()
    slow = testing.scripted(service_time="1d", deadline="30m", timeout="2h")
    asked = testing.rows([{"text": "late"}]).with_columns(slow.predict(text=fb.col("text")))
    with fb.Job(dead_letters=tmp_path / "late").jsonl(asked, tmp_path / "out").run(clock=clock) as run:
        while not run.status()["models"]["scripted"]["in_flight"]:
            assert run.wait(0.01) is None
        clock.advance(timedelta(minutes=29))
        assert run.wait(0.2) is None
        assert run.status()["dead_letters"] == 0, "a minute is left"
        clock.advance("1m")
        while not run.status()["dead_letters"]:
            assert run.wait(0.01) is None, "its call runs on"
        clock.advance("2h")
        report = run.wait()
    assert report is not None
    assert (report.rows_out, report.dead_letters) == (0, 1)


def test_looks_and_checkpoints_come_when_the_clock_says_so(tmp_path: Path) -> None:
    clock, inbox, out = testing.Clock(), tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    testing.write_files([{"n": 1}], inbox)
    frame = fb.read_jsonl(inbox / "*.jsonl", monitor_interval="6h")
    with fb.Job(checkpoint_interval="1d").jsonl(frame, out).run(clock=clock) as run:
        assert run.wait(0.2) is None
        assert run.status()["rows_out"] == 0, "one look is not enough to take a file"
        while run.status()["rows_out"] == 0:
            clock.advance("6h")
            assert run.wait(0.02) is None
        while not list(out.glob("*.jsonl")):
            clock.advance("1d")
            assert run.wait(0.02) is None
        run.cancel()
    assert fb.read_jsonl(out / "*.jsonl").collect().column("n") == [1]


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(InvalidError, match="soon"):
        testing.Clock().advance("soon")
