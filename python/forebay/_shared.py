"""Memory that the engine and this worker both see: rows are read where the engine laid them, answers written there.

Two memfds come with the process, each mapped once: requests, which only the engine can write, and answers, which only
this process writes. Each call names spans of them. The engine lends a span again when this side no longer says that
something looks at it: weak references tell, so a function may keep what it was given or returned as long as it likes.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from forebay._layout import NOWHERE, Find, Place

if TYPE_CHECKING:
    import numpy as np

REQUESTS: Final = 1
ANSWERS: Final = 2
_HELD_ANSWERS: Final = 2
# Where buffers begin, as Arrow recommends.
_ALIGNMENT: Final = 64


class NoRoomError(Exception):
    """The answer does not fit into the span that the engine gave for it."""


@dataclass
class _Looked:
    """The spans of one call, as far as anything looks at them."""

    call: int
    rows: weakref.ref[memoryview]
    # All arrays made for answers are views of one.
    answers: weakref.ref[np.ndarray[Any, Any]] | None = None

    def held(self) -> int:
        """1 for its rows and 2 for its answers, if they are held."""
        return (self.rows() is not None) + _HELD_ANSWERS * (self.answers is not None and self.answers() is not None)


class Memory:
    """Both mappings, and which calls still have views of them."""

    def __init__(self, requests: int, answers: int, *, copy_on_write: bool = False) -> None:
        """Maps both descriptors and closes them.

        With `copy_on_write`, writing to a request changes a page of this process and not of the engine: torch knows no
        read-only tensors, and a function that divides one in place must not end its process.
        """
        self.copy_on_write = copy_on_write
        # The system counts all of it as private memory, of which `memory` may allow less: then rows are copied.
        private = _mapped(requests, mmap.ACCESS_COPY) if copy_on_write else None
        self.copies = copy_on_write and private is None
        self._requests = private or mmap.mmap(requests, os.fstat(requests).st_size, access=mmap.ACCESS_READ)
        self._answers = mmap.mmap(answers, os.fstat(answers).st_size)
        self.requests_address = pa.py_buffer(memoryview(self._requests)).address
        self.answers_address = pa.py_buffer(memoryview(self._answers)).address
        os.close(requests)
        os.close(answers)
        self._looked: list[_Looked] = []
        self._told = False

    def spans(self, call: int, start: int, length: int) -> Spans:
        """What the engine gave for a call: all requests to read, and some bytes to answer in."""
        rows, answers = memoryview(self._requests), memoryview(self._answers)[start : start + length]
        self._looked.append(_Looked(call, weakref.ref(rows)))
        return Spans(self, self._looked[-1], rows, answers, start)

    def renew(self, start: int, length: int) -> None:
        """Forgets what was written here over a request that lay in the same place before."""
        first = start - start % mmap.PAGESIZE
        self._requests.madvise(mmap.MADV_DONTNEED, first, start + length - first)

    def held(self) -> list[int] | None:
        """The calls that something still looks at, each with what of it; `None` if there is nothing new to say."""
        self._looked = [each for each in self._looked if each.held()]
        before, self._told = self._told, bool(self._looked)
        return [word for each in self._looked for word in (each.call, each.held())] if before or self._told else None


def _mapped(descriptor: int, access: int) -> mmap.mmap | None:
    try:
        return mmap.mmap(descriptor, os.fstat(descriptor).st_size, access=access)
    except OSError:
        return None


class Spans:
    """The memory of one call."""

    def __init__(self, memory: Memory, looked: _Looked, rows: memoryview, answers: memoryview, start: int) -> None:
        """Spans that begin at `start` of the answers."""
        self._memory = memory
        self._looked = looked
        self._rows = pa.py_buffer(rows)
        self._given: list[tuple[int, int]] = []
        self._answers = answers
        self._start = start
        self._address = memory.answers_address + start
        self._whole: np.ndarray[Any, Any] | None = None
        self.used = 0

    def buffer(self, slab: int, start: int, length: int) -> pa.Buffer | None:
        """The bytes at a place of the requests, where they are."""
        if not slab:
            return None
        found = self._rows.slice(start, length)
        if self._memory.copies:
            return pa.py_buffer(bytearray(memoryview(found)))
        if self._memory.copy_on_write:
            # What is written there the engine does not see, so no answer may lie there.
            self._memory.renew(start, length)
        else:
            self._given.append((found.address, found.address + length))
        return found

    def place(self, buffer: pa.Buffer) -> Place:
        """Where a buffer of the answer lies: where it is, if the engine can look there; otherwise it is copied.

        Raises: NoRoomError.
        """
        address, length = buffer.address, buffer.size
        if not length:
            return NOWHERE
        if any(first <= address and address + length <= end for first, end in self._given):
            return REQUESTS, address - self._memory.requests_address, length
        at = address - self._address
        if not 0 <= at <= len(self._answers) - length:
            at = self._take(length)
            self._answers[at : at + length] = memoryview(buffer).cast("B")
        return ANSWERS, self._start + at, length

    def array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
        """An array of the answer's own memory; `None` if there is no room."""
        import numpy as np

        length = math.prod(shape) * dtype.itemsize
        try:
            at = self._take(length)
        except NoRoomError:
            return None
        if self._whole is None:
            self._whole = np.frombuffer(self._answers, "uint8")
            self._looked.answers = weakref.ref(self._whole)
        return self._whole[at : at + length].view(dtype).reshape(shape)

    def still_written(self) -> bool:
        """Whether something else than the answer has arrays of its memory, and may write to them."""
        self._whole = None
        return bool(self._looked.held() & _HELD_ANSWERS)

    def copied(self) -> Find:
        """Finds the buffers that `place` placed, those of the answer in a copy."""
        answers = pa.py_buffer(bytes(self._answers[: self.used]))

        def find(slab: int, start: int, length: int) -> pa.Buffer | None:
            if slab == REQUESTS:
                return self._rows.slice(start, length)
            return answers.slice(start - self._start, length) if slab else None

        return find

    def _take(self, length: int) -> int:
        with _taking:
            at = -(-self.used // _ALIGNMENT) * _ALIGNMENT
            if at + length > len(self._answers):
                raise NoRoomError
            self.used = at + length
            return at


# A function may make arrays in threads of its own.
_taking: Final = threading.Lock()
# The memory of the call that runs; a worker runs one at a time.
_running: Spans | None = None


def run_in(spans: Spans | None) -> None:
    """Says whose call runs now."""
    global _running
    _running = spans


def empty(shape: int | Sequence[int], dtype: Any = "float32") -> np.ndarray[Any, Any]:
    """A new array to return, its values not set; in a worker it lies where the engine reads it, and is not copied.

    It is `numpy.empty` elsewhere, and where the answer has become larger than the last ones were.

    >>> empty((2, 3), "uint8").shape
    (2, 3)
    """
    import numpy as np

    whole: Sequence[int] = [shape] if isinstance(shape, int) else list(shape)
    of = np.dtype(dtype)
    if _running is not None and 0 not in whole and not of.hasobject:
        made = _running.array(whole, of)
        if made is not None:
            return made
    return np.empty(whole, of)
