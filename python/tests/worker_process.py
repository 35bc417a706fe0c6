"""A real worker process and the engine's side of its socket."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import cloudpickle
import pyarrow as pa

from forebay import _frames
from forebay._function import Function

PACKAGE = Path(__file__).resolve().parents[1]
# The Python that has torch; scripts/setup.sh makes it.
TORCH = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay") / "venv-torch/bin/python"
# Ends a test that hangs; a worker starts in well under a second.
HANG_SECONDS = 60.0


class Worker:
    """One worker with one function. `opened` is what it said to that: its signature, or why it has none."""

    def __init__(self, folder: Path, settings: dict[str, Any], memory: Sequence[int] = ()) -> None:
        """Starts it and opens the function; it inherits the descriptors of `memory`."""
        self.log = folder / "executions.log"
        self.output = folder / "output.txt"
        with socket.socket(socket.AF_UNIX) as listener, self.output.open("wb") as output:
            listener.bind(str(folder / "socket"))
            listener.listen()
            listener.settimeout(HANG_SECONDS)
            command = [
                sys.executable,
                "-m",
                "forebay._worker",
                "--socket",
                str(folder / "socket"),
                "--log",
                str(self.log),
            ]
            command += ["--memory", *map(str, memory)] if memory else []
            environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, pass_fds=memory)
            self.socket, _ = listener.accept()
        self.socket.settimeout(HANG_SECONDS)
        _frames.send_json(self.socket, _frames.OPEN, settings)
        self.kind, self.opened = self._json()

    @classmethod
    def of(cls, folder: Path, function: Function, memory: Sequence[int] = (), **settings: Any) -> Self:
        """A worker of a decorated function."""
        content = cloudpickle.dumps(function.asked_with(tuple(parameter.name for parameter in function.parameters)))
        file = folder / "function.pkl"
        file.write_bytes(content)
        own = {
            "pickled": str(file),
            "sha256": hashlib.sha256(content).hexdigest(),
            "path": [str(Path(__file__).parent)],
        }
        return cls(folder, own | settings, memory)

    def call(self, **columns: Any) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
        """The answers to some rows and the failures among them; a failure of all is raised as AssertionError."""
        kind, payload = self.raw(pa.record_batch({name: pa.array(values) for name, values in columns.items()}))
        rows, failures = read_answer(kind, payload)
        return rows.to_pydict(), failures

    def refused(self, **columns: Any) -> dict[str, str]:
        """Why a call failed as a whole."""
        kind, payload = self.raw(pa.record_batch({name: pa.array(values) for name, values in columns.items()}))
        assert kind == _frames.FAILURE
        return json.loads(payload.to_pybytes())  # type: ignore[no-any-return]

    def send(self, rows: pa.RecordBatch) -> None:
        """Sends a call without waiting for the answer."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_batch(rows)
        ids = b"".join((row + 1).to_bytes(16, "little") for row in range(rows.num_rows))
        body = sink.getvalue().to_pybytes() + ids + struct.pack("<I", rows.num_rows)
        self.socket.sendall(_frames.HEADER.pack(len(body), _frames.CALL) + body)

    def raw(self, rows: pa.RecordBatch) -> tuple[int, pa.Buffer]:
        """The frame that answers some rows."""
        self.send(rows)
        frame = _frames.receive(self.socket)
        assert frame is not None, f"the worker is gone: {self.output.read_text()}"
        return frame

    def executed(self) -> list[int]:
        """The request ids in its log."""
        return [int(line, 16) for line in self.log.read_text().split()]

    def end(self) -> int:
        """Closes the socket and returns how it ended."""
        self.socket.close()
        return self.process.wait(HANG_SECONDS)

    def _json(self) -> tuple[int, dict[str, Any]]:
        frame = _frames.receive(self.socket)
        assert frame is not None, f"the worker is gone: {self.output.read_text()}"
        return frame[0], json.loads(frame[1].to_pybytes())


def read_answer(kind: int, payload: pa.Buffer) -> tuple[pa.RecordBatch, list[dict[str, Any]]]:
    """Rows and failures of an `ANSWER` or a `MIXED`."""
    assert kind in (_frames.ANSWER, _frames.MIXED), payload.to_pybytes().decode(errors="replace")
    failures: list[dict[str, Any]] = []
    if kind == _frames.MIXED:
        (length,) = struct.unpack("<I", payload.slice(payload.size - 4).to_pybytes())
        start = payload.size - 4 - length
        failures = json.loads(payload.slice(start, length).to_pybytes())
        payload = payload.slice(0, start)
    with pa.ipc.open_stream(payload) as stream:
        return stream.read_next_batch(), failures
