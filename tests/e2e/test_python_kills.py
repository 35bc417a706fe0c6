"""Many kills of one job that is written with the Python API: of its worker processes, and of the engine's own process.

One job with bounded input is killed until `FOREBAY_API_KILLS` kills happened, and then left to end. Every kill is a
`kill -9` at a moment that the seed draws: some right after a start, while processes load and the job is restored, the
others spread over the whole input. Three accounts are held against each other:

- what both sinks committed, at every kill of the engine and at the end;
- what the model noted on disk, by the row's own id, before it computed the row;
- what `forebay journal stats --ids` finds durable at every kill. A run before them tells which request is which row:
  ids of requests are the same whenever a job reads the same files.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from harness import COMPLETED, HANG_SECONDS, POLL_SECONDS, ROOT, Engine, Workspace
from jobs import PYTHON_KILLS_BATCH_ROWS, PYTHON_KILLS_EVERY, PYTHON_KILLS_NAME
from rows import Balance, balance, committed, dead_letters, write_rows

KILLS: Final = int(os.environ.get("FOREBAY_API_KILLS") or 6)
SEED: Final = int(os.environ.get("FOREBAY_SEED") or 20)
# Enough that a job is not at its end before its last kill, also where the machine stands still for a second.
ROWS_PER_KILL: Final = 60
ROWS: Final = ROWS_PER_KILL * KILLS + 600
JOB: Final = Path(__file__).parent / "python_kill_job.py"
# Of all kills, those of the engine, and those that come right after a start.
ENGINE_SHARE: Final = 0.4
EARLY_SHARE: Final = 0.25
EARLY_SECONDS: Final = 1.5
# About what a request batch takes, so that a kill meets any part of one.
BATCH_SECONDS: Final = 0.07


@dataclass
class PythonSpace(Workspace):
    """The folder of a job whose engine is a Python process."""

    @property
    def input(self) -> Path:
        """The same for all, since ids of requests have the place of the rows in them."""
        return self.folder.parent / "input"

    @property
    def notes(self) -> Path:
        """The model's own account: a line for each row that it begins to compute."""
        return self.folder / "notes"

    def noted(self) -> list[int]:
        """The rows that the model began to compute, in order, again for every time."""
        return [int(line) for line in self.notes.read_text().split()] if self.notes.exists() else []

    def attempt(self, *more: str) -> Engine:
        """Starts the script, which goes on by itself from where the last attempt was."""
        number = len(self.engines) + 1
        stderr_file, report_file = self.folder / f"attempt-{number}.stderr", self.folder / f"attempt-{number}.json"
        command = [sys.executable, str(JOB), str(self.checkpoints), str(report_file), *more]
        environment = self.variables() | {"NOTES": str(self.notes), "PYTHONPATH": str(ROOT / "python")}
        with stderr_file.open("wb") as stderr:
            process = subprocess.Popen(command, env=environment, stdout=stderr, stderr=stderr, start_new_session=True)
        self.engines.append(Engine(process, stderr_file, report_file))
        return self.engines[-1]


@dataclass
class Tally:
    """What the kills came to."""

    workers: int = 0
    engines: int = 0
    before_first_commit: int = 0
    finished: set[int] = field(default_factory=set)
    finished_again: list[int] = field(default_factory=list)
    # At each kill: how long the model's account was, and the rows whose answer was durable by then.
    at_kills: list[tuple[int, set[int]]] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """All of them."""
        return self.workers + self.engines

    def note(self, space: PythonSpace, row_of: dict[str, int]) -> None:
        """Notes what is finished now. The journal is read first: what is noted after it was not finished before."""
        finished = {row_of[each] for each in space.finished()} if space.segments() else set()
        self.at_kills.append((len(space.noted()), finished))

    def close(self, noted: list[int]) -> None:
        """Compares the model's whole account with what was finished at each kill."""
        for length, finished in self.at_kills:
            assert finished <= set(noted[:length]), "the journal holds answers of rows that the model never began"
            self.finished |= finished
            self.finished_again += sorted(finished & set(noted[length:]))


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[tuple[PythonSpace, PythonSpace]]:
    """Two folders with the same input, and no process left behind."""
    made = tuple(PythonSpace(tmp_path / name, "", PYTHON_KILLS_NAME) for name in ("undisturbed", "killed"))
    write_rows(made[0].input, ROWS)
    yield made[0], made[1]
    for each in made:
        for engine in each.engines:
            engine.end()


def rows_of_requests(space: PythonSpace) -> dict[str, int]:
    """Which request is which row, from a run with one replica, whose two accounts are in the same order."""
    space.attempt("1").wait(COMPLETED)
    executed, noted = space.executed(), space.noted()
    assert len(executed) == len(noted) == len(set(executed)) == ROWS
    return dict(zip(executed, noted, strict=True))


def workers(engine: Engine) -> list[int]:
    """The worker processes of an engine; it has other children while it plans a job."""
    found = []
    for pid in engine.children():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"forebay._worker" in words:
            found.append(pid)
    return found


def kill_a_worker(engine: Engine, moments: random.Random) -> None:
    """Kills one of the workers, once there is one."""
    limit = time.monotonic() + HANG_SECONDS
    while engine.running() and time.monotonic() < limit:
        alive = workers(engine)
        if alive:
            try:
                os.kill(moments.choice(alive), signal.SIGKILL)
            except ProcessLookupError:
                continue
            return
        time.sleep(POLL_SECONDS)
    pytest.fail(f"no worker to kill\n{engine.stderr[-4000:]}")


def await_moment(engine: Engine, space: PythonSpace, number: int, moments: random.Random) -> None:
    """Waits for the moment of a kill: soon, or once the job has come to its place in the input."""
    if moments.random() < EARLY_SHARE:
        time.sleep(moments.uniform(0.0, EARLY_SECONDS))
    else:
        begun = (number + moments.random()) * ROWS_PER_KILL
        engine.wait_until(lambda: len(set(space.noted())) >= begun, f"{begun:.0f} rows are begun")
        time.sleep(moments.uniform(0.0, BATCH_SECONDS))
    if not engine.running():
        pytest.fail(f"the job ended before its kill {number + 1} of {KILLS}\n{engine.stderr[-4000:]}")


def disturb(space: PythonSpace, row_of: dict[str, int], moments: random.Random, tally: Tally) -> None:
    """Kills workers and engines until there were enough kills, and lets the job end."""
    engine = space.attempt()
    # Both kinds happen however few there are.
    kinds = [True, False] + [moments.random() < ENGINE_SHARE for _ in range(KILLS - 2)]
    moments.shuffle(kinds)
    for number, of_engine in enumerate(kinds[:KILLS]):
        await_moment(engine, space, number, moments)
        if of_engine:
            engine.kill()
            tally.engines += 1
            tally.before_first_commit += not committed(space.out / "all")
            assert found(space).sound, found(space)
            tally.note(space, row_of)
            engine = space.attempt()
        else:
            tally.note(space, row_of)
            kill_a_worker(engine, moments)
            tally.workers += 1
    engine.wait(COMPLETED)


def found(space: PythonSpace) -> Balance:
    """What the first sink has committed, held against the input."""
    return balance([row["id"] for row in committed(space.out / "all")], set(range(ROWS)))


def second_sink(space: PythonSpace) -> list[int]:
    """The rows that the second sink has committed."""
    files = sorted((space.out / "some").glob("part-*.jsonl"))
    return [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]


def test_one_job_survives_many_kills_of_workers_and_of_the_engine(
    spaces: tuple[PythonSpace, PythonSpace], capsys: pytest.CaptureFixture[str]
) -> None:
    """No row is lost, none is doubled, and no finished inference is run again."""
    undisturbed, space = spaces
    row_of = rows_of_requests(undisturbed)
    moments, tally, before = random.Random(SEED), Tally(), time.monotonic()
    disturb(space, row_of, moments, tally)
    took = time.monotonic() - before
    noted = space.noted()
    tally.close(noted)
    every, some = found(space), balance(second_sink(space), set(range(0, ROWS, PYTHON_KILLS_EVERY)))
    again = len(noted) - len(set(noted))
    with capsys.disabled():
        print(
            f"\nseed {SEED}: {tally.kills} kills in one job of {took:.0f} s, {tally.workers} of workers, "
            f"{tally.engines} of the engine ({tally.before_first_commit} before a first commit)\n"
            f"rows: {ROWS}, lost {len(every.lost)}, doubled {len(every.doubled)}; second sink: {some.rows}, "
            f"lost {len(some.lost)}, doubled {len(some.doubled)}\n"
            f"executions: {len(noted)}, of these again because in flight at a kill {again}\n"
            f"finished at a kill: {len(tally.finished)}, of these run again {len(tally.finished_again)}"
        )
    assert every.exact, every
    assert some.exact, some
    assert all(row["loud"] == row["text"].upper() for row in committed(space.out / "all"))
    assert not [*dead_letters(space.out / "all"), *dead_letters(space.out / "some")]
    assert set(noted) == set(range(ROWS))
    assert not tally.finished_again, f"finished inferences run again: {tally.finished_again[:5]}"
    assert tally.finished, "no kill found anything finished, so the test proved nothing"
    # Three request batches are in flight, and as many may be answered and not durable yet.
    assert again <= tally.kills * 6 * PYTHON_KILLS_BATCH_ROWS, f"{again} rows begun again by {tally.kills} kills"
