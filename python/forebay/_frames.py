"""The frames between the engine and a worker process: length, kind, payload; rows as Arrow IPC.

The other side is `crates/inference/src/hosts/protocol.rs`. Received rows lie in the buffer they were received in, and
answers go to the socket from the arrays they are in: neither is copied. Of rows in shared memory only a table crosses:
lengths and places as 64-bit words, and the schema. Nothing here is ever unpickled.
"""

from __future__ import annotations

import io
import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from forebay._layout import Layout
from forebay._shared import Memory, Spans

OPEN: Final = 1
READY: Final = 2
CALL: Final = 3
ANSWER: Final = 4
FAILURE: Final = 5
MIXED: Final = 6
CALL_SHARED: Final = 7
ANSWER_SHARED: Final = 8
HELD: Final = 9

HEADER: Final = struct.Struct("<IB")
# The engine takes no longer frame, either.
FRAME_BYTES_MAX: Final = 1 << 30
# Rows of up to this many bytes are copied once more to be sent in one piece.
_SENT_AT_ONCE_BYTES: Final = 256 << 10
_ID_BYTES: Final = 16
_WORD_BYTES: Final = 8
# How many words, and how many bytes of schema follow them.
_TABLE: Final = struct.Struct("<II")


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
    packed_ids: pa.Buffer
    spans: Spans | None = None

    def ids(self) -> list[int]:
        """The ids, as many as there are rows."""
        packed = self.packed_ids.to_pybytes()
        return [int.from_bytes(packed[at : at + _ID_BYTES], "little") for at in range(0, len(packed), _ID_BYTES)]


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
    ids = payload.slice(start, count * _ID_BYTES)
    with pa.ipc.open_stream(payload.slice(0, start)) as stream:
        return Call(stream.read_next_batch(), ids)


def read_call_shared(payload: pa.Buffer, memory: Memory) -> Call:
    """The rows and request ids of a `CALL_SHARED`."""
    (call, start, length, *words), layout, rest = read_table(payload)
    spans = memory.spans(call, start, length)
    return Call(layout.put_together(iter(words), spans.buffer), rest, spans)


def read_table(payload: pa.Buffer) -> tuple[tuple[int, ...], Layout, pa.Buffer]:
    """The words and the schema at the front of a frame, and what follows them."""
    count, length = _TABLE.unpack_from(payload)
    start = _TABLE.size + count * _WORD_BYTES
    layout = Layout.decoded(payload.slice(start, length).to_pybytes())
    return struct.unpack_from(f"<{count}Q", payload, _TABLE.size), layout, payload.slice(start + length)


def table(words: Sequence[int], layout: Layout) -> bytes:
    """The other way round."""
    head = _TABLE.pack(len(words), len(layout.encoded))
    return head + struct.pack(f"<{len(words)}Q", *words) + layout.encoded


def send_json(connection: socket.socket, kind: int, value: object) -> None:
    """Sends a frame that holds JSON: `READY` or `FAILURE`."""
    connection.sendall(_json(kind, value))


def failure(value: object) -> bytes:
    """The frame of a `FAILURE`."""
    return _json(FAILURE, value)


def answer_shared(words: Sequence[int], layout: Layout, failures: list[RowFailure], used: int) -> bytes:
    """The frame that says where answers lie, in the first `used` bytes of what the engine gave for them."""
    body = table([used, *words], layout) + _failures(failures)
    return HEADER.pack(len(body), ANSWER_SHARED) + body


def held(words: Sequence[int]) -> bytes:
    """The frame that says which calls something still looks at."""
    return HEADER.pack(len(words) * _WORD_BYTES, HELD) + struct.pack(f"<{len(words)}Q", *words)


def send_rows(connection: socket.socket, rows: pa.RecordBatch, failures: list[RowFailure]) -> None:
    """Sends an `ANSWER`, or a `MIXED` if some rows failed.

    Raises: FrameTooLongError, before anything is sent.
    """
    body = _failures(failures) if failures else b""
    tail = body + struct.pack("<I", len(body)) if failures else b""
    kind = MIXED if failures else ANSWER
    if rows.nbytes + len(tail) <= _SENT_AT_ONCE_BYTES:
        written = pa.BufferOutputStream()
        _write(written, rows)
        front = written.getvalue().to_pybytes()
        # One write, so that the engine wakes up once.
        connection.sendall(HEADER.pack(len(front) + len(tail), kind) + front + tail)
        return
    counted = pa.MockOutputStream()
    _write(counted, rows)
    length = counted.size() + len(tail)
    if length > FRAME_BYTES_MAX:
        raise FrameTooLongError(f"the answer has {length} bytes, a frame at most {FRAME_BYTES_MAX}")
    connection.sendall(HEADER.pack(length, kind))
    _write(pa.PythonFile(_Sending(connection), mode="w"), rows)
    if tail:
        connection.sendall(tail)


def _json(kind: int, value: object) -> bytes:
    body = json.dumps(value).encode()
    return HEADER.pack(len(body), kind) + body


def _failures(failures: list[RowFailure]) -> bytes:
    if not failures:
        return b"[]"
    return json.dumps([vars(failure) for failure in failures]).encode()


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
