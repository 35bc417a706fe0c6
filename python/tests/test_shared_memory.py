"""Rows in memory that worker and engine share: read in place, answered in place, kept as long as a function likes."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import forebay as fb
import functions_under_test as functions
from forebay import _convert, _frames, _layout, _shared
from forebay._shared import ANSWERS, REQUESTS, Memory
from forebay.types import Slot
from shared_memory import SharedWorker
from worker_process import HANG_SECONDS, read_answer

MIB = 1 << 20
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


def tensors(rows: int, mib: int, first: float = 0) -> pa.RecordBatch:
    """Rows of one tensor column of so many MiB in all."""
    width = mib * MIB // 4 // rows
    slot = Slot("pixels", "float32", (width,))
    values = np.arange(first, first + rows * width, dtype="float32").reshape(rows, width)
    return pa.record_batch([_convert.column_of_batch(values, slot, rows)], schema=pa.schema([_convert.field(slot)]))


def values(rows: pa.RecordBatch) -> np.ndarray[Any, Any]:
    return _convert.ndarray(rows.column(0))


@pytest.mark.parametrize("mib", [1, 10, 64])
@pytest.mark.parametrize(("function", "slab"), [("same", REQUESTS), ("halved", ANSWERS), ("halved_in_place", ANSWERS)])
def test_tensors_of_any_size_come_back(worker: Open, mib: int, function: str, slab: int) -> None:
    opened = worker(getattr(functions, function)(mib))
    asked = tensors(1, mib)
    answers, slabs = opened.call(asked, (mib + 1) * MIB)
    expected = values(asked) if function == "same" else values(asked) / 2
    assert np.array_equal(values(answers), expected)
    assert slabs == {slab}
    assert opened.held == {}


def test_a_function_gets_read_only_views(worker: Open) -> None:
    opened = worker(functions.looks(1))
    answers, _ = opened.call(tensors(2, 1), MIB)
    assert answers.to_pydict() == {"value": ["view, read-only"] * 2}
    opened.worker.end()
    assert "ValueError: assignment destination is read-only" in opened.worker.output.read_text()


def test_a_function_may_keep_what_it_was_given(worker: Open) -> None:
    opened = worker(functions.Keeper().first(1))
    first = tensors(1, 1)
    for call in range(1, 4):
        answers, _ = opened.call(first if call == 1 else tensors(1, 1, call), 2 * MIB, at=(call - 1) * 4 * MIB)
        assert np.array_equal(values(answers), values(first))
        assert opened.held == {1: 1}
    opened.call(tensors(1, 1, -1), 2 * MIB, at=12 * MIB)
    assert opened.held == {}


def test_a_function_may_keep_the_array_that_it_returns(worker: Open) -> None:
    opened = worker(functions.Keeper().same_array(1))
    for call in range(1, 4):
        opened.send(tensors(1, 1, call), 2 * MIB, at=(call - 1) * 4 * MIB)
        kind, payload = opened.receive()
        # The first array lies in the memory of its call and may be written again before the engine reads it.
        assert kind == (_frames.ANSWER if call == 1 else _frames.ANSWER_SHARED)
        answers = read_answer(kind, payload)[0] if call == 1 else opened.read(payload)[0]
        assert np.array_equal(values(answers), values(tensors(1, 1, call)))
        assert opened.held == {1: 2}, "its memory is not lent again"


def test_an_answer_larger_than_its_room_goes_over_the_socket(worker: Open) -> None:
    opened = worker(functions.halved_in_place(10))
    asked = tensors(1, 10)
    opened.send(asked, 10 * MIB - 1)
    kind, payload = opened.receive()
    assert kind == _frames.ANSWER
    assert np.array_equal(values(read_answer(kind, payload)[0]), values(asked) / 2)
    assert opened.call(asked, 11 * MIB)[1] == {ANSWERS}


def test_rows_that_fail_are_told_beside_answers_in_shared_memory(worker: Open) -> None:
    opened = worker(functions.shout)
    opened.send(pa.record_batch({"text": pa.array(["a", "bad", "b" * 40000])}), MIB)
    kind, payload = opened.receive()
    assert kind == _frames.ANSWER_SHARED
    rows, failures, _ = opened.read(payload)
    assert rows.to_pydict() == {"value": ["A", None, "B" * 40000]}
    assert [each["row"] for each in failures] == [1]
    assert opened.worker.executed() == [1, 2, 3]


def test_a_call_that_fails_holds_on_to_nothing(worker: Open) -> None:
    opened = worker(functions.misshapen)
    for first, kind in [(0, _frames.FAILURE), (1, _frames.FAILURE)]:
        opened.send(pa.record_batch({"number": pa.array([first, 5, 6])}), MIB)
        assert opened.receive()[0] == kind
        assert opened.held == {}


def test_a_worker_killed_in_the_middle_leaves_its_socket_closed(worker: Open) -> None:
    opened = worker(functions.ends)
    opened.send(pa.record_batch({"how": ["segfault"]}), MIB)
    assert _frames.receive(opened.worker.socket) is None
    assert opened.worker.process.wait(HANG_SECONDS) == -signal.SIGSEGV


TREES = [
    pa.array([1, None, 3, 4, 5, 6, 7, 8, 9, 10], pa.int16()),
    pa.array([True, False, None, True, True, False, True, None, True, False]),
    pa.array(["a", None, "ccc", "", "e", "ff", "g", "h", "i", "j"]),
    pa.array([b"a", None, b"ccc", b"", b"e", b"ff", b"g", b"h", b"i", b"j"], pa.large_binary()),
    pa.array([[1], None, [], [2, 3], [4], [5], [6], [7], [8], [9]], pa.list_(pa.int32())),
    pa.array([[1, 2], None, [3, 4], [5, 6], [7, 8], [9, 0], [1, 1], [2, 2], [3, 3], [4, 4]], pa.list_(pa.int8(), 2)),
    pa.array([{"a": row, "b": str(row)} if row % 3 else None for row in range(10)]),
    pa.nulls(10),
]


@pytest.mark.parametrize("column", TREES, ids=lambda column: str(column.type))
@pytest.mark.parametrize(("start", "length"), [(0, 10), (0, 3), (3, 5), (8, 2), (10, 0)])
def test_slices_of_every_shape_come_back(column: pa.Array, start: int, length: int) -> None:
    rows = pa.record_batch([column.slice(start, length)], ["x"])
    buffers: list[pa.Buffer] = []

    def place(buffer: pa.Buffer) -> _layout.Place:
        buffers.append(buffer)
        return 1, len(buffers) - 1, buffer.size

    layout = _layout.Layout(rows.schema)
    words = layout.take_apart(rows, place)
    back = layout.put_together(iter(words), lambda slab, start, _: buffers[start] if slab else None)
    back.validate(full=True)
    assert back.equals(rows)


def test_what_needs_more_than_buffers_does_not_travel() -> None:
    for other in [pa.dictionary(pa.int8(), pa.string()), pa.string_view(), pa.dense_union([pa.field("a", pa.int8())])]:
        assert not _layout.Layout(pa.schema([pa.field("x", pa.list_(other))])).travels


def test_empty_is_numpy_outside_of_a_worker() -> None:
    made = fb.empty((2, 0), "uint8")
    assert (made.shape, made.dtype, made.flags.writeable) == ((2, 0), np.dtype("uint8"), True)


@pytest.mark.parametrize("refused", [False, True], ids=["copy on write", "copied"])
def test_what_torch_writes_to_its_rows_stays_in_the_worker(refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if refused:
        monkeypatch.setattr(_shared, "_mapped", lambda *_: None)
    requests, answers = (os.memfd_create(name) for name in ("requests", "answers"))
    for descriptor in (requests, answers):
        os.truncate(descriptor, MIB)
    engine = mmap.mmap(requests, MIB)
    memory = Memory(requests, answers, copy_on_write=True)
    for call, asked in enumerate([b"first", b"later"]):
        engine[8192:8197] = asked
        spans = memory.spans(call, 0, 64)
        found = spans.buffer(REQUESTS, 8192, 5)
        assert found is not None
        assert found.to_pybytes() == asked
        ctypes.memmove(found.address, b"torch", 5)
        assert found.to_pybytes() == b"torch"
        assert engine[8192:8197] == asked
        assert spans.place(found) == (ANSWERS, 0, 5), "the engine would not see what was written"
