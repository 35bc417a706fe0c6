"""A model that is a Python function: its bad rows, and kills of its workers and of the engine.

The function runs in worker processes of the Python that runs these tests, with the package as it lies in `python/`.
Every 7th row raises, and has to become a dead letter without costing its neighbours another execution. What is counted,
and by whom, stands in `kills.py`; the executions are the worker's own account.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from conftest import MakeSpace
from harness import COMPLETED, ROOT, Engine, Workspace
from kills import Account, Totals, still_running, undisturbed_seconds
from rows import balance, committed, dead_letters, write_rows

ROWS: Final = 600
BAD: Final = frozenset(range(3, ROWS, 7))
BATCH_ROWS: Final = 32
ENGINE_KILLS: Final = int(os.environ.get("FOREBAY_PYTHON_KILLS") or 12)
WORKER_KILLS: Final = 2 * ENGINE_KILLS
SEED: Final = int(os.environ.get("FOREBAY_SEED") or 91)
NAME: Final = "python_answers"

FUNCTION: Final = """\
import time


def shout(text: str) -> str:
    time.sleep(0.0005)
    if "bad" in text:
        raise ValueError(f"no answer to {text}")
    return text.upper()
"""

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "200ms"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
batch_rows = 64

[[step]]
infer = {{ uid = "ask", model = "shout", inputs = {{ text = "text" }}, outputs = {{ value = "loud" }}, \
batch_rows = {BATCH_ROWS}, in_flight = 3, attempts = 100 }}

[model.shout]
host = "python"
function = "loud:shout"
path = "${{FUNCTIONS}}"
python = "{sys.executable}"
signature = {{ inputs = [{{ name = "text", value = "any", shape = [] }}], \
outputs = [{{ name = "value", value = "string", shape = [] }}] }}
replicas = 2
log = "${{EXECUTIONS}}"

[sink]
format = "parquet"
path = "${{OUT}}"
"""


def text(number: int) -> str:
    """Returns the text of a row, which the function may refuse."""
    return f"row {number} is bad" if number in BAD else f"row {number}"


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    """The folder with the function."""
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "loud.py").write_text(FUNCTION)
    return folder


def workspace(space: MakeSpace, functions: Path) -> Workspace:
    """Returns a folder with rows and a job over them."""
    made = space(JOB, NAME)
    made.environment = {"FUNCTIONS": str(functions), "PYTHONPATH": str(ROOT / "python")}
    write_rows(made.input, ROWS, text)
    return made


def check(out: Path) -> None:
    """Fails unless each row came out once: answered, or as a dead letter with its traceback."""
    rows = committed(out)
    found = balance([row["id"] for row in rows], set(range(ROWS)) - BAD)
    assert found.exact, found
    assert all(row["loud"] == row["text"].upper() for row in rows)
    letters = dead_letters(out)
    refused = balance([json.loads(letter["input"])["id"] for letter in letters], set(BAD))
    assert refused.exact, refused
    for letter in letters:
        assert letter["kind"] == "data", letter
        assert "ValueError: no answer to row" in letter["reason"], letter
        assert "loud.py" in letter["reason"], letter


def test_rows_that_raise_are_dead_letters_and_every_row_runs_once(space: MakeSpace, functions: Path) -> None:
    """A bad row costs nobody a second execution, itself included."""
    job = workspace(space, functions)
    outcome = job.run()
    check(job.out)
    assert Counter(job.executed()).most_common(1)[0][1] == 1
    assert len(job.executed()) == ROWS
    assert outcome.report is not None
    assert outcome.report["dead_letters"] == len(BAD)


def kill_a_worker(engine: Engine, moments: random.Random) -> bool:
    """Kills one of the engine's workers, if it has any."""
    children = engine.children()
    if not children:
        return False
    try:
        os.kill(moments.choice(children), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def disturb(engine: Engine, moments: random.Random, longest: float) -> tuple[bool, int]:
    """Kills up to three workers and then the engine, at random moments; says whether it died, and how many did."""
    killed = 0
    for _ in range(3):
        if still_running(engine, moments.uniform(0.0, longest / 3)):
            killed += kill_a_worker(engine, moments)
    if not engine.running():
        engine.wait(COMPLETED)
        return False, killed
    engine.kill()
    return True, killed


def test_kills_of_workers_and_engine_lose_nothing_double_nothing_and_run_nothing_finished_again(
    space: MakeSpace, functions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The promise of exactly-once and of never paying twice, for a function in Python."""
    moments = random.Random(SEED)
    first = workspace(space, functions)
    longest = undisturbed_seconds(first)
    totals, workers = Totals(), 0
    while totals.kills < ENGINE_KILLS or workers < WORKER_KILLS:
        job = workspace(space, functions)
        account, resume = Account(job), None
        while totals.kills < ENGINE_KILLS or workers < WORKER_KILLS:
            engine = job.start(resume=resume)
            # Every other kill finds something finished, however slow the machine is.
            while totals.kills % 2 == 0 and engine.running() and not (job.segments() and job.finished()):
                pass
            died, killed = disturb(engine, moments, longest)
            workers += killed
            if not died:
                break
            totals.kills += 1
            assert balance([row["id"] for row in committed(job.out)], set(range(ROWS)) - BAD).sound
            account.note_kill()
            resume = "latest" if job.begun() else None
        if job.engines[-1].process.returncode != COMPLETED:
            job.run(resume=resume)
        check(job.out)
        totals.rows += ROWS
        account.close(ROWS, totals)
    with capsys.disabled():
        print(f"\nseed {SEED}, {workers} kills of workers\n{totals}")
    totals.check()
