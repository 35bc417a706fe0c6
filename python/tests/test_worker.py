"""A real worker process, spoken to in frames: what its function does to a row, to a call, to the process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import forebay as fb
import functions_under_test as functions
from forebay import _convert, _frames
from forebay.types import Slot
from worker_process import HANG_SECONDS, Worker, read_answer

Open = Callable[..., Worker]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Open]:
    """Starts workers, and leaves none behind."""
    made: list[Worker] = []

    def start(function: Any, **settings: Any) -> Worker:
        by_name = isinstance(function, str)
        path = {"function": function, "path": str(Path(__file__).parent)}
        made.append(Worker(tmp_path, path) if by_name else Worker.of(tmp_path, function, **settings))
        return made[-1]

    yield start
    for each in made:
        each.socket.close()
        each.process.kill()
        each.process.wait(HANG_SECONDS)


def test_ready_tells_what_the_function_takes_and_gives(worker: Open) -> None:
    opened = worker(functions.Finder("x").find)
    assert (opened.kind, opened.opened) == (
        _frames.READY,
        {
            "inputs": [{"name": "number", "value": "any", "shape": []}],
            "outputs": [
                {"name": "label", "value": "string", "shape": []},
                {"name": "scores", "value": "float32", "shape": [2]},
            ],
        },
    )


def test_a_row_that_raises_fails_alone_with_its_traceback(worker: Open) -> None:
    rows, failures = worker(functions.shout).call(text=["a", "bad", "number", None, "b"])
    assert rows == {"value": ["A", None, None, None, "B"]}
    assert [(each["row"], each["kind"]) for each in failures] == [(1, "Data"), (2, "Data"), (3, "Data")]
    raised, wrong_type, _ = (each["reason"] for each in failures)
    assert raised.startswith("function shout raised ValueError: not that word\nrow: text='bad'\nTraceback")
    assert 'raise ValueError("not that word")' in raised
    assert "_execute.py" not in raised
    assert "returned 3" in wrong_type


def test_prints_do_not_get_between_frames(worker: Open) -> None:
    opened = worker(functions.shout)
    assert opened.call(text=["a"]) == ({"value": ["A"]}, [])
    assert opened.end() == 0
    assert opened.output.read_text() == "heard a\nin a low voice\n"


def test_every_row_that_ran_is_in_the_log_before_it_is_answered(worker: Open) -> None:
    opened = worker(functions.shout)
    opened.call(text=["a", "bad"])
    assert opened.executed() == [1, 2]


@pytest.mark.parametrize(("how", "status"), [("segfault", -signal.SIGSEGV), ("exit", 3)])
def test_what_kills_the_process_is_seen_by_the_engine(worker: Open, how: str, status: int) -> None:
    opened = worker(functions.ends)
    opened.send(pa.record_batch({"how": [how]}))
    assert _frames.receive(opened.socket) is None
    assert opened.process.wait(HANG_SECONDS) == status


def test_sys_exit_is_an_error_of_its_row(worker: Open) -> None:
    rows, failures = worker(functions.ends).call(how=["sys.exit", "x"])
    assert (rows, failures[0]["row"]) == ({"value": [None, "x"]}, 0)
    assert "SystemExit: enough" in failures[0]["reason"]


@pytest.mark.parametrize(("how", "kind"), [("memory", "Exhausted"), ("overload", "Overload")])
def test_what_no_row_can_help_fails_the_call(worker: Open, how: str, kind: str) -> None:
    opened = worker(functions.ends)
    assert opened.refused(how=["x", how])["kind"] == kind
    assert opened.call(how=["x"]) == ({"value": ["x"]}, [])


def test_async_rows_run_at_the_same_time(worker: Open) -> None:
    rows, failures = worker(functions.meet).call(number=[0, 1, 2])
    assert rows == {"value": [0, None, 20]}
    assert [each["row"] for each in failures] == [1]


def test_tensors_are_views_of_what_was_received(worker: Open) -> None:
    opened = worker(functions.doubled)
    slot = Slot("pixels", "float32", (2, 2))
    column = _convert.column_of_rows([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], slot)
    rows, _ = read_answer(*opened.raw(pa.record_batch([column], schema=pa.schema([_convert.field(slot)]))))
    assert _convert.ndarray(rows.column(0)).tolist() == [[[2, 4], [6, 8]], [[10, 12], [14, 16]]]
    assert opened.end() == 0
    assert opened.output.read_text() == "view\n"


def test_a_batch_may_be_pandas(worker: Open) -> None:
    assert worker(functions.in_pandas).call(number=[1.0, 2.0]) == ({"value": [1.5, 2.5]}, [])


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (0, "function misshapen returned 2 rows for 3"),
        (1, "function misshapen returned what does not fit: Could not convert 'text'"),
        (2, "int is no column"),
        (3, "KeyError: 'number'"),
    ],
)
def test_a_batch_that_does_not_fit_fails_and_the_next_one_is_answered(worker: Open, first: int, reason: str) -> None:
    opened = worker(functions.misshapen)
    refused = opened.refused(number=[first, 5, 6])
    assert refused["kind"] == "Data"
    assert reason in refused["reason"]
    assert opened.refused(number=[3, 5])["kind"] == "Data"


def test_a_class_is_made_once_and_may_answer_null(worker: Open) -> None:
    opened = worker(functions.Finder("cat").find)
    rows, _ = opened.call(number=[1.5, None])
    assert rows == {"label": ["cat", None], "scores": [[1.5, -1.5], None]}
    opened.call(number=[2.5])
    assert opened.end() == 0
    assert opened.output.read_text() == "made\n"


def test_a_column_of_another_type_is_refused_with_what_to_do(worker: Open) -> None:
    refused = worker(functions.shout).refused(text=[1, 2])
    assert refused["kind"] == "Invalid"
    assert "takes string, but its column is int64; change the hint, or cast the column" in refused["reason"]


@pytest.mark.parametrize("name", ["functions_under_test:Plain", "functions_under_test:shout"])
def test_functions_are_found_by_name(worker: Open, name: str) -> None:
    opened = worker(name)
    assert opened.kind == _frames.READY
    assert opened.call(text=["abc"])[0]["value"] in ([3], ["ABC"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("functions_under_test:nothing", "has no nothing"),
        ("functions_under_test:not_callable", "cannot be called"),
        ("no_such_module:f", "No module named 'no_such_module'"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(worker: Open, name: str, reason: str) -> None:
    opened = worker(name)
    assert (opened.kind, opened.opened["kind"]) == (_frames.FAILURE, "Invalid")
    assert reason in opened.opened["reason"]
    assert opened.process.wait(HANG_SECONDS) == 0


def test_a_file_that_was_changed_is_not_unpickled(worker: Open) -> None:
    opened = worker(functions.shout, sha256="0" * 64)
    assert (opened.kind, opened.opened["kind"]) == (_frames.FAILURE, "Corrupt")


def test_an_allocation_above_the_limit_is_exhausted(worker: Open) -> None:
    opened = worker("functions_under_test:hungry")
    assert opened.refused(text=["a"])["kind"] == "Exhausted"


def test_a_call_without_rows_is_answered(worker: Open) -> None:
    opened = worker(functions.shout)
    kind, payload = opened.raw(pa.record_batch({"text": pa.array([], pa.string())}))
    assert read_answer(kind, payload)[0].num_rows == 0


def test_the_class_of_an_error_says_who_acts() -> None:
    assert {each.kind: each.retryable for each in fb.errors.KINDS.values()}["Overload"] is True
