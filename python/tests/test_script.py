"""`python -m forebay run FILE`: which job it runs, how that ends, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from forebay import testing
from forebay._script import COMPLETED, FAILED, REFUSED, STOPPED
from worker_process import HANG_SECONDS, PACKAGE

JOB = """
from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TypedDict

import forebay as fb
from beside import SUFFIX

folder, seconds = Path(__file__).parent, float(sys.argv[1])


class Answer(TypedDict):
    text: str


@fb.func(batch_rows=4, in_flight=2, version="1")
def slow(number: int) -> Answer:
    time.sleep(seconds)
    return {"text": f"{number}{SUFFIX}"}


frame = fb.read_jsonl(folder / "rows/*.jsonl", batch_rows=16)
frame = frame.map(slow.with_options(log=str(folder / "ran")), keep="number")
settings = fb.Job(name="slow", checkpoint_interval="100ms")
job = settings.parquet(frame, folder / "out")

if __name__ == "__main__":
    raise SystemExit("the file is not the main program")
"""
ROWS = 200
# Two request batches of four rows.
IN_FLIGHT_ROWS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a job, a module beside it, and rows."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "beside.py").write_text("SUFFIX = '!'\n")
    (tmp_path / "rows").mkdir()
    testing.write_files([{"number": number} for number in range(ROWS)], tmp_path / "rows", files=4)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own, which takes a Ctrl-C also where the tests run in the background."""
    command = [sys.executable, "-m", "forebay", "run", *arguments]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    pipe = subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=folder)
    finally:
        signal.signal(signal.SIGINT, before)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status, and all that was said."""
    out, errors = process.communicate(timeout=HANG_SECONDS)
    return process.returncode, out + errors


def texts(folder: Path) -> list[str]:
    """What is in the committed files."""
    files = [str(file) for file in (folder / "out").glob("part-*.parquet")]
    return sorted(ds.dataset(files, format="parquet").to_table()["text"].to_pylist()) if files else []


def expected() -> list[str]:
    """What is there in the end."""
    return sorted(f"{number}!" for number in range(ROWS))


def test_a_file_runs_to_its_end_with_its_functions_and_what_is_beside_it(folder: Path) -> None:
    code, said = ended(start(folder, "job.py", "--report", "report.json", "0"))
    assert (code, texts(folder)) == (COMPLETED, expected()), said
    assert "slow: completed, 200 rows in, 200 out, 0 dead" in said
    assert json.loads((folder / "report.json").read_text())["job"] == "slow"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_job_goes_on_when_it_is_run_again(folder: Path, stop: signal.Signals) -> None:
    process = start(folder, "job.py", "--checkpoints", "checkpoints", "0.01")
    while not texts(folder):
        assert process.poll() is None, ended(process)
        os.sched_yield()
    process.send_signal(stop)
    code, said = ended(process)
    assert code == STOPPED, said
    assert 0 < len(texts(folder)) < ROWS
    assert ended(start(folder, "job.py", "--checkpoints", "checkpoints", "0"))[0] == COMPLETED
    assert texts(folder) == expected()
    ran = (folder / "ran").read_text().split()
    assert len(set(ran)) == ROWS
    # SIGINT finishes what is in flight; SIGTERM keeps it in a checkpoint, and asks it again later.
    again = 0 if stop == signal.SIGINT else IN_FLIGHT_ROWS
    assert len(ran) - ROWS <= again, "a row that was not in flight is asked twice"


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("x = 1", REFUSED, "declares no job with a sink"),
        ("import forebay as fb\njob = fb.Job()", REFUSED, "declares no job with a sink"),
        (
            "import forebay as fb\na = fb.read_csv('a.csv')\none = fb.Job().blackhole(a)\ntwo = one.blackhole(a)",
            REFUSED,
            "declares one, two; say which with --job",
        ),
        ("import forebay as fb\njob = fb.Job().blackhole(fb.read_csv('a.csv'))", REFUSED, "a.csv"),
        ("raise ValueError('in the file')", FAILED, "in the file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, source: str, code: int, words: str) -> None:
    (tmp_path / "job.py").write_text(source)
    found, said = ended(start(tmp_path, "job.py"))
    assert (found, words in said) == (code, True), said


def test_a_job_is_chosen_by_name_and_a_missing_file_is_named(tmp_path: Path) -> None:
    rows = "import forebay as fb\nrows = fb.testing.rows([{'n': 1}])\n"
    (tmp_path / "jobs.py").write_text(
        f"{rows}one = fb.Job(name='a').blackhole(rows)\ntwo = fb.Job(name='b').blackhole(rows)\n"
    )
    assert "b: completed" in ended(start(tmp_path, "jobs.py", "--job", "two"))[1]
    assert "has no job called three; it has one, two" in ended(start(tmp_path, "jobs.py", "--job", "three"))[1]
    assert ended(start(tmp_path, "nothing.py"))[0] == REFUSED
