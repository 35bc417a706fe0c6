"""Functions with `use_process=False`, run by threads of this program: what needs no process holds here too."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import forebay as fb
import functions_under_test as functions
from forebay import testing

WORDS = testing.rows([{"id": row, "word": word} for row, word in enumerate(["a", "bad", "c", "d"])])
NUMBERS = testing.rows([{"n": n} for n in range(500)], batch_rows=50)


def where() -> str:
    """The process and the thread that ask."""
    return f"{os.getpid()} {threading.current_thread().name}"


def test_it_runs_in_a_thread_of_this_process_which_is_named_after_it() -> None:
    @fb.func(use_process=False)
    def placed(word: str) -> str:
        return where()

    answers = set(WORDS.select(where=placed(fb.col("word"))).collect().column("where"))
    assert answers == {f"{os.getpid()} forebay placed-0"}


def test_replicas_answer_at_the_same_time_each_with_an_object_of_its_own() -> None:
    @fb.cls(use_process=False, replicas=2, batch_rows=1)
    class Meeting:
        """Waits for the other replica once."""

        def __init__(self) -> None:
            """Has met nobody."""
            self.met = False

        @fb.method
        def meet(self, number: int) -> str:
            """Where it ran."""
            if not self.met:
                self.met = True
                functions.MEETING.wait(timeout=30)
            return where()

    threads = set(NUMBERS.select(where=Meeting().meet(fb.col("n"))).collect().column("where"))
    assert threads == {f"{os.getpid()} forebay meet-{replica}" for replica in range(2)}


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ("raise", "data", "ValueError: not that word"),
        ("exit", "data", "SystemExit: 3"),
        ("hang", "timeout", ""),
        ("wrong type", "data", "returned 3"),
        ("memory", "exhausted", "MemoryError"),
        ("overload", "overload", "busy"),
    ],
)
def test_a_bad_row_is_a_dead_letter_and_the_others_are_answered(how: str, kind: str, reason: str) -> None:
    @fb.func(use_process=False, attempts=2, timeout="1s" if how == "hang" else "30s")
    def behave(word: str) -> str:
        if word == "bad":
            match how:
                case "raise":
                    raise ValueError("not that word")
                case "exit":
                    sys.exit(3)
                case "hang":
                    time.sleep(20)
                case "wrong type":
                    return 3  # type: ignore[return-value]
                case "memory":
                    raise MemoryError
                case "overload":
                    raise fb.errors.OverloadError("busy")
        return word.upper()

    result = WORDS.select("id", loud=behave(fb.col("word"))).collect()
    assert sorted((row["id"], row["loud"]) for row in result) == [(0, "A"), (2, "C"), (3, "D")]
    (dead,) = result.dead_letters
    assert dead["kind"] == kind, dead
    assert reason in dead["reason"]


def test_what_cannot_be_loaded_says_why_with_the_traceback() -> None:
    @fb.cls(use_process=False)
    class Broken:
        """Cannot be made."""

        def __init__(self) -> None:
            """Raises."""
            raise RuntimeError("no weights here")

        @fb.method
        def answer(self, word: str) -> str:
            """Never runs."""
            return word

    with pytest.raises(fb.errors.InvalidError, match="no weights here") as caught:
        WORDS.select(x=Broken().answer(fb.col("word"))).collect()
    assert "Traceback" in str(caught.value)


def test_an_array_that_a_function_fills_again_does_not_change_answers() -> None:
    @fb.cls(use_process=False, batch_rows=10)
    class Reusing:
        """Answers with the same array each time."""

        def __init__(self) -> None:
            """Makes the array."""
            self.answers = np.zeros(10)

        @fb.method.batch(returns=float)
        def double(self, n: np.ndarray[Any, Any]) -> Any:
            """Twice as much."""
            answers = self.answers[: len(n)]
            answers[:] = 2 * n
            return answers

    result = NUMBERS.select("n", twice=Reusing().double(fb.col("n"))).collect()
    assert sorted((row["n"], row["twice"]) for row in result) == [(n, 2.0 * n) for n in range(500)]


def test_tensors_are_views_of_the_rows_that_cannot_be_written_to() -> None:
    @fb.func.batch(use_process=False, returns=fb.Tensor("float32", 3))
    def plus_one(values: Annotated[np.ndarray[Any, Any], fb.Tensor("float32", 3)]) -> Any:
        assert not values.flags.writeable
        return values + 1

    @fb.func.batch(use_process=False, returns=fb.Tensor("float32", 3))
    def same(values: Annotated[np.ndarray[Any, Any], fb.Tensor("float32", 3)]) -> Any:
        return values

    @fb.func(use_process=False, returns=fb.Tensor("float32", 3))
    def tensor(n: int) -> Any:
        return np.full(3, n, dtype=np.float32)

    made = NUMBERS.select("n", values=tensor(fb.col("n")))
    result = made.with_columns(more=plus_one(fb.col("values")), less=same(fb.col("values"))).collect()
    assert len(result) == 500
    for row in result:
        assert (row["values"].tolist(), row["more"].tolist()) == ([row["n"]] * 3, [row["n"] + 1] * 3)
        assert row["less"].tolist() == row["values"].tolist()


def test_async_functions_and_generators_do() -> None:
    together = asyncio.Event()
    met: list[int] = []

    @fb.func(use_process=False)
    async def meet(number: int) -> int:
        met.append(number)
        if len(met) == 4:
            together.set()
        await together.wait()
        return number

    @fb.func(use_process=False)
    def several(number: int) -> Iterator[int]:
        yield from range(number)

    assert sorted(WORDS.select(n=meet(fb.col("id"))).collect().column("n")) == [0, 1, 2, 3]
    assert sorted(WORDS.flat_map(several(fb.col("id")), keep=[]).collect().column("value")) == [0, 0, 0, 1, 1, 2]


def test_nothing_that_was_answered_is_asked_again_after_crashes(tmp_path: Path) -> None:
    log = tmp_path / "ran"

    @fb.func(use_process=False, log=str(log))
    def double(n: int) -> int:
        return 2 * n

    given: list[dict[str, int] | testing.Crash] = [{"n": n} for n in range(400)]
    frame = testing.rows([*given[:150], testing.crash(), *given[150:]], files=2, batch_rows=20)
    result = testing.collect(frame.with_column("twice", double(fb.col("n"))))
    assert sorted((row["n"], row["twice"]) for row in result) == [(n, 2 * n) for n in range(400)]
    assert result.report.details["attempt"] == 2
    asked = log.read_text().split()
    assert len(set(asked)) == 400
    assert len(asked) < 800, "answers of the first attempt were taken from the journal"


def test_a_test_does_not_crash_itself() -> None:
    crash = testing.CrashOnce({"bad"})

    @fb.func(use_process=False)
    def fragile(word: str) -> str:
        crash.meet(word)
        return word

    with pytest.raises(fb.errors.InvalidError, match="needs a worker process"):
        WORDS.select(x=fragile(fb.col("word"))).collect()


def test_a_thread_that_hangs_keeps_no_program_from_ending(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "import forebay as fb\n"
        "@fb.func(use_process=False)\n"
        "def hang(n: int) -> int:\n"
        "    time.sleep(3600)\n"
        "frame = fb.testing.rows([{'n': 1}]).with_column('m', hang(fb.col('n')))\n"
        "with frame.iter_rows() as rows:\n"
        "    pass\n"
        "print('done')\n"
    )
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


def test_the_plan_says_where_it_runs() -> None:
    @fb.func(use_process=False, replicas=3)
    def quick(word: str) -> str:
        return word

    plan = WORDS.select(x=quick(fb.col("word"))).explain()
    assert "in 3 threads of the interpreter that runs the job, or else 3 child processes" in plan
    assert "the process that model-quick runs in: the job" in plan


@pytest.mark.parametrize("option", [{"memory": "1GiB"}, {"gpu": 1}, {"gpu_memory": "1GiB"}])
def test_what_only_a_process_can_keep_to_is_refused(option: dict[str, Any]) -> None:
    @fb.func(use_process=False, **option)
    def quick(word: str) -> str:
        return word

    with pytest.raises(fb.errors.InvalidError, match=f"{next(iter(option))} is for functions with a process"):
        WORDS.select(x=quick(fb.col("word"))).collect()
