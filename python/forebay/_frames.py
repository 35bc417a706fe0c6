"""The frames between the engine and a worker process: length, kind, payload; rows as Arrow IPC.

The other side is `crates/inference/src/hosts/protocol.rs`. Received rows lie in the buffer they were received in, and
answers go to the socket from the arrays they are in: neither is copied. Nothing here is ever unpickled.
"""

from __future__ import annotations

import io
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

OPEN: Final = 1
READY: Final = 2
CALL: Final = 3
ANSWER: Final = 4
FAILURE: Final = 5
MIXED: Final = 6

HEADER: Final = struct.Struct("<IB")
# The engine takes no longer frame, either.
FRAME_BYTES_MAX: Final = 1 << 30
_ID_BYTES: Final = 16


@dataclass(frozen=True)
class RowFailure:
    """One row of a call that failed while the others did not."""

    row: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Call:
    """Rows to answer, each with the id of its request."""

    rows: pa.RecordBatch
    ids: list[int]


class _Sending(io.RawIOBase):
    """What Arrow writes, sent; a socket's own file may write a part only."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._connection.sendall(data)
        return len(data)


class FrameTooLongError(Exception):
    """The rows of a frame take more bytes than a frame may have."""


def receive(connection: socket.socket) -> tuple[int, pa.Buffer] | None:
    """Waits for a frame; `None` if the other side has closed."""
    header = bytearray(HEADER.size)
    if not _fill(connection, memoryview(header)):
        return None
    length, kind = HEADER.unpack(header)
    payload = pa.allocate_buffer(length)
    if length and not _fill(connection, memoryview(payload)):
        raise ConnectionError("the engine closed the socket inside a frame")
    return kind, payload


def read_call(payload: pa.Buffer) -> Call:
    """The rows and request ids of a `CALL`."""
    (count,) = struct.unpack("<I", payload.slice(payload.size - 4, 4))
    start = payload.size - 4 - count * _ID_BYTES
    tail = payload.slice(start, count * _ID_BYTES).to_pybytes()
    ids = [int.from_bytes(tail[at : at + _ID_BYTES], "little") for at in range(0, len(tail), _ID_BYTES)]
    with pa.ipc.open_stream(payload.slice(0, start)) as stream:
        return Call(stream.read_next_batch(), ids)


def send_json(connection: socket.socket, kind: int, value: object) -> None:
    """Sends a frame that holds JSON: `READY` or `FAILURE`."""
    body = json.dumps(value).encode()
    connection.sendall(HEADER.pack(len(body), kind) + body)


def send_rows(connection: socket.socket, rows: pa.RecordBatch, failures: list[RowFailure]) -> None:
    """Sends an `ANSWER`, or a `MIXED` if some rows failed.

    Raises: FrameTooLongError, before anything is sent.
    """
    body = json.dumps([vars(failure) for failure in failures]).encode() if failures else b""
    tail = body + struct.pack("<I", len(body)) if failures else b""
    counted = pa.MockOutputStream()
    _write(counted, rows)
    length = counted.size() + len(tail)
    if length > FRAME_BYTES_MAX:
        raise FrameTooLongError(f"the answer has {length} bytes, a frame at most {FRAME_BYTES_MAX}")
    connection.sendall(HEADER.pack(length, MIXED if failures else ANSWER))
    _write(pa.PythonFile(_Sending(connection), mode="w"), rows)
    if tail:
        connection.sendall(tail)


def _write(sink: pa.NativeFile, rows: pa.RecordBatch) -> None:
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)


def _fill(connection: socket.socket, target: memoryview) -> bool:
    """Reads until `target` is full; false if the other side closed before the first byte."""
    done = 0
    while done < len(target):
        got = connection.recv_into(target[done:])
        if not got:
            if done:
                raise ConnectionError("the engine closed the socket inside a frame")
            return False
        done += got
    return True
