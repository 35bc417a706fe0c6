"""The engine's side of shared memory, as small as a test needs it: one slab for requests, one for answers."""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from forebay import _frames, _layout, _shared
from forebay._function import Function
from worker_process import HANG_SECONDS, Worker

SLAB_BYTES = 1 << 30


class SharedWorker:
    """A worker that is asked through shared memory. `held` is what it said last that it still looks at."""

    def __init__(self, folder: Path, function: Function) -> None:
        """Starts it."""
        descriptors = [os.memfd_create(name) for name in ("requests", "answers")]
        self.slabs = []
        for descriptor in descriptors:
            os.truncate(descriptor, SLAB_BYTES)
            self.slabs.append(mmap.mmap(descriptor, SLAB_BYTES))
        self.worker = Worker.of(folder, function, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self.calls = 0
        self.held: dict[int, int] = {}

    def send(self, rows: pa.RecordBatch, room: int, at: int = 0) -> None:
        """Lays rows into the slab at `at` and sends the call, with `room` bytes for the answer, also there."""
        self.calls += 1
        used = at

        def place(buffer: pa.Buffer) -> _layout.Place:
            nonlocal used
            start = -(-used // 64) * 64
            used = start + buffer.size
            self.slabs[0][start:used] = memoryview(buffer).cast("B")
            return _shared.REQUESTS, start, buffer.size

        layout = _layout.Layout(rows.schema)
        words = [self.calls, at, room, *layout.take_apart(rows, place)]
        ids = b"".join(row.to_bytes(16, "little") for row in range(1, rows.num_rows + 1))
        body = _frames.table(words, layout) + ids
        self.worker.socket.sendall(_frames.HEADER.pack(len(body), _frames.CALL_SHARED) + body)

    def receive(self) -> tuple[int, pa.Buffer]:
        """The frame that answers, after one that says what is held."""
        frame = _frames.receive(self.worker.socket)
        if frame is not None and frame[0] == _frames.HELD:
            words = memoryview(frame[1]).cast("B").cast("Q").tolist()
            self.held = dict(zip(words[::2], words[1::2], strict=True))
            frame = _frames.receive(self.worker.socket)
        assert frame is not None, f"the worker is gone: {self.worker.output.read_text()}"
        return frame

    def read(self, payload: pa.Buffer) -> tuple[pa.RecordBatch, list[dict[str, Any]], set[int]]:
        """Rows and failures of an `ANSWER_SHARED`, and which slabs it lies in."""
        (_, *words), layout, rest = _frames.read_table(payload)
        slabs = set()

        def buffer(slab: int, start: int, length: int) -> pa.Buffer | None:
            slabs.add(slab)
            return pa.py_buffer(self.slabs[slab - 1]).slice(start, length) if slab else None

        rows = layout.put_together(iter(words), buffer)
        return rows, json.loads(rest.to_pybytes()), slabs - {0}

    def call(self, rows: pa.RecordBatch, room: int, at: int = 0) -> tuple[pa.RecordBatch, set[int]]:
        """The answers to some rows, none of which fails, and which slabs they lie in."""
        self.send(rows, room, at)
        kind, payload = self.receive()
        assert kind == _frames.ANSWER_SHARED, (kind, payload.to_pybytes()[:2000])
        answers, failures, slabs = self.read(payload)
        assert failures == []
        return answers, slabs

    def close(self) -> None:
        """Ends it."""
        self.worker.socket.close()
        self.worker.process.kill()
        self.worker.process.wait(HANG_SECONDS)
