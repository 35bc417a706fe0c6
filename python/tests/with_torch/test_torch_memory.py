"""Memory of torch tensors in a worker: shared with the engine, free to be written to, given back when they are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import forebay as fb
from forebay import _convert
from forebay._shared import ANSWERS
from forebay.types import Slot
from shared_memory import SharedWorker
from worker_process import Worker

MIB = 1 << 20
WIDTH = MIB // 4
Open = Callable[[Any], SharedWorker]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Open]:
    """Starts one worker, and does not leave it behind."""
    made: list[SharedWorker] = []

    def start(function: Any) -> SharedWorker:
        made.append(SharedWorker(tmp_path, function))
        return made[-1]

    yield start
    for each in made:
        each.close()


def pixels(first: float = 0, rows: int = 2) -> pa.RecordBatch:
    """Rows of a MiB each."""
    values = np.arange(first, first + rows * WIDTH, dtype="float32").reshape(rows, WIDTH)
    slot = Slot("x", "float32", (WIDTH,))
    return pa.record_batch([_convert.column_of_batch(values, slot, rows)], schema=pa.schema([_convert.field(slot)]))


def values(rows: pa.RecordBatch) -> np.ndarray[Any, Any]:
    return _convert.ndarray(rows.column(0))


def is_shared(tensor: torch.Tensor) -> bool:
    """Says whether a tensor lies in memory that the engine sees."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    slabs = [line.split()[0].split("-") for line in maps if "memfd:" in line]
    return any(int(first, 16) <= tensor.data_ptr() < int(end, 16) for first, end in slabs)


@fb.func.batch(returns=bool)
def shared(x: torch.Tensor) -> Any:
    """Where a batch lies."""
    return [is_shared(x)] * len(x)


@fb.func(returns=bool)
def shared_row(x: torch.Tensor) -> Any:
    """Where a row lies."""
    return is_shared(x)


@pytest.mark.parametrize("function", [shared, shared_row])
def test_tensors_lie_in_shared_memory_and_nothing_warns_of_it(worker: Open, function: Any) -> None:
    opened = worker(function)
    answers, _ = opened.call(pixels(), MIB)
    assert answers.to_pydict() == {"value": [True, True]}
    opened.worker.end()
    assert opened.worker.output.read_text() == ""


@fb.func.batch(returns=float)
def halved_number(n: torch.Tensor) -> Any:
    """In place."""
    return n.div_(2)


def test_small_rows_that_cross_the_socket_may_be_written_to_and_nothing_warns(tmp_path: Path) -> None:
    opened = Worker.of(tmp_path, halved_number)
    assert opened.call(n=[1.0, 3.0]) == ({"value": [0.5, 1.5]}, [])
    opened.end()
    assert opened.output.read_text() == ""


@fb.func.batch(returns=fb.Tensor("float32", WIDTH))
def halved(x: torch.Tensor) -> Any:
    """In place."""
    return x.div_(2)


@fb.func.batch(returns=fb.Tensor("float32", WIDTH))
def halved_there(x: torch.Tensor) -> Any:
    """Where the engine reads it."""
    return torch.div(x, 2, out=torch.from_numpy(fb.empty(x.shape)))


@fb.func.batch(returns=fb.Tensor("float32", WIDTH))
def halved_elsewhere(x: torch.Tensor) -> Any:
    """In memory of its own, with a gradient."""
    return x / torch.nn.Parameter(torch.tensor(2.0))


@pytest.mark.parametrize("function", [halved, halved_there, halved_elsewhere])
def test_what_a_function_does_to_its_tensors_stays_in_the_worker(worker: Open, function: Any) -> None:
    opened = worker(function)
    for _ in range(3):
        answers, slabs = opened.call(pixels(), 3 * MIB)
        assert np.array_equal(values(answers), values(pixels()) / 2)
        assert slabs == {ANSWERS}
        assert opened.held == {}


class Keeper:
    """Keeps a row of its first batch, written to, until a row is negative."""

    row: Any = None

    def keep(self) -> Any:
        """The function."""

        def function(x: torch.Tensor) -> Any:
            if self.row is None:
                self.row = x.neg_()[1]
            found = [bool(self.row[0] == -WIDTH)] * len(x)
            if x[0, -1] < 0 and x[0, 0] < -1:
                self.row = None
            return found

        return fb.func.batch(returns=bool)(function)


def test_memory_is_given_back_when_the_last_tensor_over_it_is_gone(worker: Open) -> None:
    opened = worker(Keeper().keep())
    for call in range(1, 4):
        answers, _ = opened.call(pixels(), MIB, at=(call - 1) * 4 * MIB)
        assert answers.to_pydict() == {"value": [True, True]}
        assert opened.held == {1: 1}
    opened.call(pixels(-10 * WIDTH), MIB, at=16 * MIB)
    assert opened.held == {}


def private_mib(process: int) -> int:
    """Memory that is a process's own."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) >> 10 for line in status.splitlines() if line.startswith("RssAnon"))


def test_a_long_run_takes_no_more_memory_than_a_short_one(worker: Open) -> None:
    opened = worker(halved)
    sizes = []
    for call in range(150):
        opened.call(pixels(call, rows=8), 9 * MIB, at=call % 4 * 16 * MIB)
        assert opened.held == {}
        sizes.append(private_mib(opened.worker.process.pid))
    assert max(sizes) <= max(sizes[:10]) + 16
