"""Running jobs: how they end, by themselves, by the user, or by force."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

import forebay as fb
from forebay import testing
from forebay.errors import InvalidError
from forebay.run import progress_line
from worker_process import HANG_SECONDS, PACKAGE

MANY = testing.rows([{"id": row} for row in range(20_000)], files=8, batch_rows=64)


def start(folder: Path, *, rows: int, seconds: float) -> subprocess.Popen[str]:
    """The script in a process of its own, once its job runs."""
    command = [sys.executable, str(Path(__file__).parent / "endless.py"), str(folder), str(rows), str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Polls; the process has to live for it."""
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        os.sched_yield()


def answers(folder: Path) -> list[int]:
    """What is in the committed files."""
    files = [str(file) for file in (folder / "out").glob("part-*.parquet")]
    return sorted(ds.dataset(files, format="parquet").to_table()["answer"].to_pylist()) if files else []


def in_session(leader: int) -> list[int]:
    """Live processes that a process started, those of those included."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, _, session = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state not in "ZX":
            found.append(int(entry.name))
    return found


def test_a_report_tells_how_it_went(tmp_path: Path) -> None:
    report = MANY.filter("id < 10").write_parquet(tmp_path / "out")
    assert (report.outcome, report.rows_in, report.rows_out, report.dead_letters) == ("completed", 20_000, 10, 0)
    assert report.details["job"] == "job"


def test_leaving_a_with_block_cancels() -> None:
    with (
        fb.Job()
        .blackhole(MANY.with_column("slow", fb.ai.predict(testing.scripted(service_time="60s"), text="x")["echo"]))
        .run() as run
    ):
        assert run.wait(0) is None
        status = run.status()
    assert status["rows_out"] == 0
    with pytest.raises(fb.errors.CancelledError):
        run.wait()


def test_stop_drains_and_reports(tmp_path: Path) -> None:
    with fb.Job().jsonl(MANY, tmp_path / "out").run(checkpoints=tmp_path / "checkpoints") as run:
        report = run.stop()
    assert report.outcome in ("stopped", "completed")


def test_a_savepoint_is_kept_and_gone_on_from(tmp_path: Path) -> None:
    slow = testing.scripted(service_time="20ms", batch_rows=4)
    frame = MANY.with_column("text", "x").with_column("echo", slow.predict(text=fb.col("text"))["echo"])
    job = fb.Job(checkpoint_interval="50ms").parquet(frame, tmp_path / "out")
    with job.run(checkpoints=tmp_path / "checkpoints") as run:
        report = run.stop(savepoint="before")
    assert report.outcome == "stopped"
    with job.run(checkpoints=tmp_path / "checkpoints", resume="savepoint:before") as run:
        run.suspend()
        suspended = run.wait()
    assert suspended is not None
    assert suspended.outcome == "stopped"
    nowhere = job.run(checkpoints=tmp_path / "checkpoints", resume="savepoint:nowhere")
    with nowhere, pytest.raises(fb.errors.Error, match="nowhere"):
        nowhere.wait()


def test_first_rows_come_before_the_end_and_closing_cancels() -> None:
    batches = MANY.iter_batches(checkpoint_interval="50ms")
    first = next(batches)
    batches.close()
    assert first.num_rows > 0
    assert len(MANY.take(3)) == 3


def test_leaving_a_with_cancels_and_nothing_comes_after() -> None:
    with MANY.iter_rows(checkpoint_interval="50ms") as rows:
        assert next(rows)
    assert next(rows, None) is None


def test_take_returns_what_came_when_its_time_is_over() -> None:
    @fb.func(batch_rows=1, order="ordered")
    def stuck(n: int) -> int:
        if n > 2:
            time.sleep(3600)
        return n

    numbers = testing.rows([{"n": n} for n in range(9)], batch_rows=1)
    taken = numbers.select(n=stuck(fb.col("n"))).take(9, timeout=5, checkpoint_interval="50ms")
    assert taken == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    MANY.take(1)
    MANY.filter("id = 1").collect()
    with pytest.raises(fb.errors.InvalidError):
        MANY.select("nothing").collect()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_output_is_refused(tmp_path: Path) -> None:
    MANY.write_parquet(tmp_path / "out")
    with pytest.raises(fb.errors.InvalidError, match="another job's output") as raised:
        MANY.write_parquet(tmp_path / "out")
    assert (raised.value.kind, raised.value.retryable) == ("Invalid", False)
    assert str(tmp_path / "out") in raised.value.context.values() or str(tmp_path / "out") in str(raised.value)


def test_settings_of_a_job_reach_it() -> None:
    job = fb.Job(name="named", parallelism=2, state_memory=1 << 20).blackhole(MANY)
    assert {"name": "named", "parallelism": 2, "state_memory": "1048576B"}.items() <= job.to_dict().items()
    assert MANY.collect(state_memory="1MiB").report.outcome == "completed"


@pytest.mark.parametrize("setting", ["parallelism", "key_groups"])
def test_none_at_all_is_refused(setting: str) -> None:
    settings: Any = {setting: 0}
    with pytest.raises(InvalidError, match=f"{setting}: invalid value: integer `0`"):
        MANY.collect(**settings)


def test_a_finished_job_is_not_run_again(tmp_path: Path) -> None:
    assert MANY.write_jsonl(tmp_path / "out", checkpoints=tmp_path / "checkpoints").outcome == "completed"
    with pytest.warns(UserWarning, match="had completed before"):
        assert MANY.write_jsonl(tmp_path / "out", checkpoints=tmp_path / "checkpoints").outcome == "completed"
    lines = [line for file in (tmp_path / "out").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(lines) == 20_000


def test_ctrl_c_drains_and_the_next_run_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, rows=200, seconds=0.01)
    wait_until(lambda: len(answers(tmp_path)) > 0, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANG_SECONDS)
    assert "press Ctrl-C again to drop it" in errors
    assert "KeyboardInterrupt" in errors
    executed = (tmp_path / "executions.log").read_text().split()
    assert len(answers(tmp_path)) == len(executed) == len(set(executed)) < 200
    assert "completed" in start(tmp_path, rows=200, seconds=0.0).communicate(timeout=HANG_SECONDS)[0]
    assert answers(tmp_path) == sorted(-row for row in range(200))
    assert max(collections.Counter((tmp_path / "executions.log").read_text().split()).values()) == 1


def test_after_a_kill_no_row_is_lost_doubled_or_left_behind(tmp_path: Path) -> None:
    process = start(tmp_path, rows=200, seconds=0.01)
    wait_until(lambda: len(answers(tmp_path)) > 0, process)
    process.kill()
    process.communicate(timeout=HANG_SECONDS)
    while in_session(process.pid):
        os.sched_yield()
    assert len(answers(tmp_path)) < 200
    assert "completed" in start(tmp_path, rows=200, seconds=0.0).communicate(timeout=HANG_SECONDS)[0]
    assert answers(tmp_path) == sorted(-row for row in range(200))
    # What was in flight at the kill, or answered and not yet durable, runs again; nothing else does.
    again = [
        count for count in collections.Counter((tmp_path / "executions.log").read_text().split()).values() if count > 1
    ]
    assert max(again, default=2) == 2
    assert len(again) <= 2 * 2 * 4


def test_progress_is_one_line() -> None:
    assert progress_line({"rows_out": 10, "models": {}}, 0.0).startswith("10 rows out")


def test_a_forked_process_is_told_to_be_spawned_and_does_not_hang() -> None:
    assert MANY.take(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            MANY.take(1)
            os.write(writing, b"it ran")
        except fb.errors.InvalidError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert 'use multiprocessing\'s "spawn"' in said.read()
    os.waitpid(child, 0)


def test_metrics_are_those_of_the_reference() -> None:
    model = testing.scripted(name="echo")
    frame = testing.rows([{"text": "a"}, {"text": "b"}]).with_columns(model.predict(text=fb.col("text")))
    with fb.Job(name="counted").blackhole(frame).run() as run:
        report = run.wait()
        text = run.metrics()
    assert report is not None
    assert text.endswith("# EOF\n")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples['forebay_rows_out_total{job="counted"}'] == "2"
    assert samples['forebay_model_rows_total{job="counted",model="echo"}'] == "2"
    assert float(samples['forebay_model_call_seconds{job="counted",model="echo",quantile="0.99"}']) > 0
    page = (PACKAGE.parent / "docs" / "reference" / "metrics.md").read_text()
    described = {line.split("`")[1]: line.split("|")[2].strip() for line in page.splitlines() if "| `forebay_" in line}
    typed = dict(line.removeprefix("# TYPE ").split() for line in text.splitlines() if line.startswith("# TYPE"))
    typed = {name + "_total" * (kind == "counter"): kind for name, kind in typed.items()}
    assert typed.items() <= described.items()
    unknown = {f"forebay_model_{what}" for what in ("limit", "requests_left", "tokens_left", "utilization_ratio")}
    assert described.keys() - typed.keys() == unknown
