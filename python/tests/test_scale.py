"""Scaling a job while it runs: other numbers of replicas, another parallelism, and every row in the output once."""

from __future__ import annotations

import _thread
import collections
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import forebay as fb
from forebay import testing
from forebay.errors import InvalidError
from forebay.run import Report, Run
from worker_process import HANG_SECONDS


@fb.func(batch_rows=4)
def held(number: int, gate: str) -> int:
    """Answers once the file `gate` exists."""
    while not Path(gate).exists():
        time.sleep(0.005)
    return -number


def wait_until(condition: Callable[[], object], run: Run | None = None) -> None:
    """Polls, for far longer than it should take; then says where `run` stands."""
    end = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < end, f"it never happened: {run and run.status()}"
        time.sleep(0.005)


def ended(run: Run) -> Report:
    """How a run ended, which it does soon."""
    report = run.wait(HANG_SECONDS)
    assert report is not None
    return report


def written(folder: Path) -> list[dict[str, Any]]:
    """The rows of the files in `folder`."""
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


def numbers(rows: int) -> fb.DataFrame:
    """Rows that take a while to read."""
    return testing.rows([{"number": number} for number in range(rows)], files=8, batch_rows=16)


def held_job(folder: Path, rows: int = 400) -> fb.Job:
    """A job whose every row waits for the file `gate` in `folder`."""
    frame = numbers(rows).with_column("answer", held(fb.col("number"), str(folder / "gate")))
    return fb.Job(name="held", checkpoint_interval="50ms").jsonl(frame, folder / "out")


def test_what_is_in_flight_is_answered_once_at_another_parallelism(tmp_path: Path) -> None:
    reports: list[Report | None] = []
    with held_job(tmp_path).run() as run:
        waiting = threading.Thread(target=lambda: reports.append(run.wait()))
        waiting.start()
        wait_until(lambda: run.status()["models"]["held"]["in_flight"] == 4, run)
        run.scale(parallelism=3)
        wait_until(lambda: run.status()["models"]["held"]["in_flight"] > 4, run)
        read = run.status()["rows_in"]
        run.scale(parallelism=2)
        assert waiting.is_alive()
        assert run.status()["rows_in"] >= read
        (tmp_path / "gate").touch()
        waiting.join(HANG_SECONDS)
    assert len(reports) == 1
    report = reports[0]
    assert report is not None
    assert (report.outcome, report.rows_in, report.rows_out, report.dead_letters) == ("completed", 400, 400, 0)
    assert report.details["attempt"] == 3
    assert (report.details["models"]["held"]["rows"] - 400) % 4 == 0, "whole batches were asked again"
    assert sorted(row["answer"] for row in written(tmp_path / "out")) == sorted(-number for number in range(400))


def test_keyed_state_goes_along(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()

    def come(part: int) -> None:
        lines = [json.dumps({"key": number % 17, "number": number}) for number in range(part * 500, part * 500 + 500)]
        (tmp_path / "new").write_text("\n".join(lines) + "\n")
        (tmp_path / "new").rename(inbox / f"{part}.jsonl")

    come(0)
    frame = fb.read_jsonl(inbox / "*.jsonl", monitor_interval="20ms")
    sums = frame.group_by("key", emit="changes").agg(fb.count().alias("rows"), fb.col("number").sum().alias("sum"))
    job = fb.Job(checkpoint_interval="50ms").jsonl(sums, tmp_path / "out", kinds="kind")
    with job.run(checkpoints=tmp_path / "checkpoints") as run:
        for part, parallelism in enumerate((3, 2, 1)):
            wait_until(lambda part=part: run.status()["rows_in"] == 500 * (part + 1))  # type: ignore[misc]
            run.scale(parallelism=parallelism)
            come(part + 1)
        wait_until(lambda: run.status()["rows_in"] == 2000)
        report = run.stop()
    assert (report.outcome, report.rows_in, report.dead_letters) == ("stopped", 2000, 0)
    stands: collections.Counter[tuple[int, int, int]] = collections.Counter()
    for row in written(tmp_path / "out"):
        stands[row["key"], row["rows"], row["sum"]] += 1 if row["kind"].startswith("+") else -1
    of_key = [range(key, 2000, 17) for key in range(17)]
    assert +stands == {(key, len(each), sum(each)): 1 for key, each in enumerate(of_key)}
    assert not -stands


def test_parts_with_a_parallelism_of_their_own_keep_it(tmp_path: Path) -> None:
    frame = numbers(400).with_column("answer", held(fb.col("number"), str(tmp_path / "gate")))
    with fb.Job().jsonl(frame, tmp_path / "out", parallelism=1).run() as run:
        wait_until(lambda: run.status()["models"]["held"]["in_flight"] > 0)
        run.scale(parallelism=4)
        (tmp_path / "gate").touch()
        assert ended(run).rows_out == 400
    assert sorted(row["number"] for row in written(tmp_path / "out")) == list(range(400))


@pytest.mark.parametrize("parallelism", [0, -1, 5, 1 << 40])
def test_a_parallelism_without_key_groups_is_refused_and_the_job_goes_on(tmp_path: Path, parallelism: int) -> None:
    job = fb.Job(key_groups=4).jsonl(numbers(100), tmp_path / "out")
    with job.run() as run:
        with pytest.raises(InvalidError, match=f"parallelism={parallelism}.*expected 1 to 4"):
            run.scale(parallelism=parallelism)
        report = ended(run)
    assert (report.outcome, report.rows_out, report.details["attempt"]) == ("completed", 100, 1)


def test_a_job_that_has_ended_or_was_told_to_is_not_scaled(tmp_path: Path) -> None:
    with fb.Job().blackhole(numbers(10)).run() as run:
        ended(run)
        with pytest.raises(InvalidError, match="scale job: the job has ended"):
            run.scale(parallelism=2)
    with held_job(tmp_path).run() as run:
        run.drain()
        with pytest.raises(InvalidError, match=r"the job (has ended|was told to end)"):
            run.scale(parallelism=2)


@pytest.mark.parametrize("word", ["drain", "suspend", "cancel"])
def test_a_word_that_comes_meanwhile_holds(tmp_path: Path, word: str) -> None:
    with held_job(tmp_path).run(checkpoints=tmp_path / "checkpoints") as run:
        wait_until(lambda: run.status()["models"]["held"]["in_flight"] > 0)

        def scale() -> None:
            with contextlib.suppress(InvalidError, fb.errors.CancelledError):
                run.scale(parallelism=3)

        scaling = threading.Thread(target=scale)
        scaling.start()
        getattr(run, word)()
        (tmp_path / "gate").touch()
        if word == "cancel":
            with pytest.raises(fb.errors.CancelledError):
                run.wait()
        else:
            assert ended(run).outcome in ("stopped", "completed")
        scaling.join(HANG_SECONDS)
        assert not scaling.is_alive()
    with held_job(tmp_path).run(checkpoints=tmp_path / "checkpoints") as run:
        ended(run)
    assert sorted(row["number"] for row in written(tmp_path / "out")) == list(range(400))


@pytest.mark.parametrize("_", range(5))
def test_a_job_that_was_just_started_is_scaled(tmp_path: Path, _: int) -> None:
    (tmp_path / "gate").touch()
    with held_job(tmp_path, rows=2000).run() as run:
        run.scale(parallelism=2)
        assert run.status()["attempt"] == 2
        assert ended(run).rows_out == 2000


def test_several_may_scale_at_once(tmp_path: Path) -> None:
    with held_job(tmp_path).run() as run:
        each = [threading.Thread(target=lambda to=to: run.scale(parallelism=to)) for to in (2, 3, 4)]
        for thread in each:
            thread.start()
        for thread in each:
            thread.join(HANG_SECONDS)
        assert run.status()["attempt"] <= 4
        (tmp_path / "gate").touch()
        assert ended(run).rows_out == 400
    assert sorted(row["number"] for row in written(tmp_path / "out")) == list(range(400))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which it does not install where the signal is ignored, as in background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_does_not_lose_the_job(tmp_path: Path) -> None:
    with held_job(tmp_path).run() as run:
        wait_until(lambda: run.status()["models"]["held"]["in_flight"] > 0)
        interrupting = threading.Thread(target=_thread.interrupt_main)
        with pytest.raises(KeyboardInterrupt):
            interrupting.start()
            run.scale(parallelism=3)
            interrupting.join()
            wait_until(lambda: False)
        (tmp_path / "gate").touch()
        assert ended(run).rows_out == 400
    assert sorted(row["number"] for row in written(tmp_path / "out")) == list(range(400))


@pytest.mark.parametrize("lasting", [True, False])
def test_a_start_that_fails_leaves_the_checkpoint(tmp_path: Path, lasting: bool) -> None:
    table = tmp_path / "names.jsonl"
    table.write_text('{"number": 1, "name": "one"}\n')
    joined = numbers(400).join(fb.table(table), on="number", how="left")
    frame = joined.with_column("answer", held(fb.col("number"), str(tmp_path / "gate")))
    job = fb.Job(checkpoint_interval="50ms").jsonl(frame, tmp_path / "out")
    settings: dict[str, Any] = {"checkpoints": tmp_path / "checkpoints"} if lasting else {}
    advice = "kept: mend this, and run it again to go on" if lasting else "give `checkpoints` to be able to go on"
    with job.run(**settings) as run:
        wait_until(lambda: run.status()["models"]["held"]["in_flight"] > 0)
        table.rename(tmp_path / "away")
        said = f"start job again after it was suspended to be scaled .parallelism=3.*names.jsonl.*{advice}"
        with pytest.raises(fb.errors.Error, match=said):
            run.scale(parallelism=3)
        with pytest.raises(fb.errors.Error, match=said):
            run.wait()
    if lasting:
        (tmp_path / "away").rename(table)
        (tmp_path / "gate").touch()
        with job.run(**settings) as run:
            assert ended(run).outcome == "completed"
        assert sorted(row["number"] for row in written(tmp_path / "out")) == list(range(400))


# === replicas ===


class Inbox:
    """A folder whose files are read as they come."""

    def __init__(self, folder: Path) -> None:
        """An empty one, below `folder`."""
        self.folder = folder / "inbox"
        self.folder.mkdir()
        self.rows = 0

    def read(self) -> fb.DataFrame:
        """What comes, numbered in that order."""
        return fb.read_jsonl(
            self.folder / "*.jsonl", schema={"number": "int64", "meets": "int64"}, monitor_interval="20ms"
        )

    def send(self, rows: int, *, meets: int) -> None:
        """Rows that are answered once so many replicas were asked at the same time."""
        lines = [json.dumps({"number": self.rows + row, "meets": meets}) for row in range(rows)]
        self.rows += rows
        file = self.folder.parent / "new"
        file.write_text("\n".join(lines) + "\n")
        file.rename(self.folder / f"{self.rows}.jsonl")


@fb.cls(batch_rows=1)
class Meeting:
    """Loaded once in each process, which waits for others if it is asked to."""

    def __init__(self, folder: str) -> None:
        """Where processes meet."""
        self.folder = Path(folder)

    @fb.method
    def meet(self, number: int, meets: int) -> int:
        """The process that answered."""
        (self.folder / f"{meets}-{os.getpid()}").touch()
        while len(list(self.folder.glob(f"{meets}-*"))) < meets:
            time.sleep(0.005)
        return os.getpid()


MEETING = threading.Barrier(7)


@fb.func(use_process=False, batch_rows=1)
def all_meet(number: int) -> int:
    """Answers when seven are asked at the same time."""
    MEETING.wait(HANG_SECONDS)
    return number


def state_of(run: Run, model: str) -> tuple[int, int]:
    """How many replicas a model shall have, and how many are loaded."""
    status = run.status()["models"][model]
    return status["replicas"], status["replicas_ready"]


def lives(process: int) -> bool:
    """Whether it runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def pids(folder: Path, numbers: range) -> set[int]:
    """The processes that answered these rows."""
    return {row["pid"] for row in written(folder) if row["number"] in numbers}


def test_replicas_come_and_go_while_the_job_runs(tmp_path: Path) -> None:
    inbox, met, log, out = Inbox(tmp_path), tmp_path / "met", tmp_path / "ran.log", tmp_path / "out"
    met.mkdir()
    plain: Any = Meeting(str(met)).meet
    meet = plain.with_options(log=str(log))
    frame = inbox.read().with_column("pid", meet(fb.col("number"), fb.col("meets")))
    inbox.send(50, meets=1)
    with fb.Job(checkpoint_interval="50ms").jsonl(frame, out).run() as run:
        wait_until(lambda: run.status()["rows_out"] == 50)
        assert state_of(run, "meet") == (1, 1)
        run.scale(replicas={"meet": 3})
        assert state_of(run, "meet")[0] == 3
        inbox.send(100, meets=3)
        wait_until(lambda: run.status()["rows_out"] == 150)
        assert state_of(run, "meet") == (3, 3)
        assert 'forebay_model_replicas_ready{job="job",model="meet"} 3' in run.metrics()
        run.scale(replicas={"meet": 1})
        wait_until(lambda: len(written(out)) == 150)
        (first,) = pids(out, range(50))
        three = pids(out, range(50, 150))
        assert len(three) == 3
        assert first in three
        wait_until(lambda: not any(lives(process) for process in three - {first}))
        inbox.send(50, meets=1)
        wait_until(lambda: run.status()["rows_out"] == 200)
        assert state_of(run, "meet") == (1, 1)
        report = run.stop()
    assert (report.outcome, report.rows_in, report.rows_out, report.dead_letters) == ("stopped", 200, 200, 0)
    assert report.details["attempt"] == 1, "nothing was stopped in between"
    assert report.details["models"]["meet"]["replica_restarts"] == 0
    assert sorted(row["number"] for row in written(out)) == list(range(200))
    assert pids(out, range(150, 200)) == {first}
    assert set(collections.Counter(log.read_text().split()).values()) == {1}
    assert len(log.read_text().split()) == 200


def test_a_replica_that_leaves_answers_what_it_runs(tmp_path: Path) -> None:
    inbox, met, out = Inbox(tmp_path), tmp_path / "met", tmp_path / "out"
    met.mkdir()
    frame = inbox.read().with_column("pid", Meeting(str(met)).meet(fb.col("number"), fb.col("meets")))
    inbox.send(10, meets=3)
    with fb.Job(checkpoint_interval="50ms").jsonl(frame, out).run() as run:
        run.scale(replicas={"meet": 2})
        wait_until(lambda: len(list(met.iterdir())) == 2)
        run.scale(replicas={"meet": 1})
        assert state_of(run, "meet")[0] == 1
        # Nobody else comes: they are let go.
        (met / "3-another").touch()
        wait_until(lambda: run.status()["rows_out"] == 10)
        report = run.stop()
    assert report.details["models"]["meet"]["calls"] == 10, "no row was asked twice"
    assert len(pids(out, range(10))) == 2
    assert sorted(row["number"] for row in written(out)) == list(range(10))


def test_as_much_is_asked_at_a_time_as_the_replicas_take(tmp_path: Path) -> None:
    frame = numbers(7).select(number=all_meet(fb.col("number")))
    assert "at most 4 in flight for each subtask or 2 for each replica" in frame.explain()
    with fb.Job().jsonl(frame, tmp_path / "out").run() as run:
        run.scale(replicas={"all_meet": 7})
        report = ended(run)
    assert (report.rows_out, report.dead_letters) == (7, 0)


def test_the_numbers_hold_across_a_stop_and_a_start(tmp_path: Path) -> None:
    inbox, met, out = Inbox(tmp_path), tmp_path / "met", tmp_path / "out"
    met.mkdir()
    frame = inbox.read().with_column("pid", Meeting(str(met)).meet(fb.col("number"), fb.col("meets")))
    inbox.send(20, meets=2)
    with fb.Job(checkpoint_interval="50ms").jsonl(frame, out).run() as run:
        run.scale(replicas={"meet": 2})
        wait_until(lambda: run.status()["rows_out"] == 20)
        run.scale(parallelism=2)
        wait_until(lambda: state_of(run, "meet") == (2, 2))
        assert run.status()["models"]["meet"]["rows"] == 20
        run.scale(parallelism=1, replicas={"meet": 3})
        inbox.send(20, meets=3)
        wait_until(lambda: run.status()["rows_out"] == 40)
        assert state_of(run, "meet") == (3, 3)
        report = run.stop()
    assert (report.details["attempt"], report.dead_letters) == (3, 0)
    assert sorted(row["number"] for row in written(out)) == list(range(40))


@pytest.mark.parametrize(
    ("replicas", "said"),
    [
        ({"hold": 2}, "the job has no such model; it has held, web"),
        (
            {"web": 2},
            r"it runs elsewhere, at http://127\.0\.0\.1:1/, and has no replicas here; .* in_flight or latency",
        ),
        ({"held": 0}, "replicas=0.*expected 1 to 65535"),
        ({"held": 2, "web": 2}, "it runs elsewhere"),
        ({"held": -1}, "replicas=-1.*expected 1 to 65535"),
        ({"held": 65536}, "replicas=65536.*expected 1 to 65535"),
        ({}, "scale what"),
    ],
)
def test_replicas_that_cannot_be_are_refused_and_nothing_changes(
    tmp_path: Path, replicas: dict[str, int], said: str
) -> None:
    answer = {"answer": {"type": "string", "at": "/answer"}}
    web = fb.Model.http("http://127.0.0.1:1/", request={"text": "{{text}}"}, outputs=answer, name="web")
    frame = numbers(8).with_column("held", held(fb.col("number"), str(tmp_path / "gate")))
    frame = frame.with_columns(web.predict(text=fb.col("held").cast("string")))
    with fb.Job().jsonl(frame, tmp_path / "out").run() as run:
        with pytest.raises(InvalidError, match=said):
            run.scale(replicas=replicas)
        assert state_of(run, "held")[0] == 1
        assert run.status()["models"]["web"]["replicas"] is None


def test_a_replica_without_a_gpu_is_refused_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    inbox, met, out = Inbox(tmp_path), tmp_path / "met", tmp_path / "out"
    met.mkdir()
    plain: Any = Meeting(str(met)).meet
    meet = plain.with_options(gpu=1)
    inbox.send(10, meets=1)
    frame = inbox.read().with_column("pid", meet(fb.col("number"), fb.col("meets")))
    with fb.Job(checkpoint_interval="50ms").jsonl(frame, out).run() as run:
        wait_until(lambda: run.status()["rows_out"] == 10)
        with pytest.raises(InvalidError, match="replica 2 has no place: left are 0 of MIG-a, 0 of MIG-b"):
            run.scale(replicas={"meet": 3})
        assert state_of(run, "meet") == (1, 1)
        run.scale(replicas={"meet": 2})
        inbox.send(10, meets=2)
        wait_until(lambda: run.status()["rows_out"] == 20)
        assert run.stop().dead_letters == 0
