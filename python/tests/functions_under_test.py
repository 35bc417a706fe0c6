"""Functions that behave and misbehave, for workers to import."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

import forebay as fb

# Where two threads of one process wait for each other.
MEETING = threading.Barrier(2)


@fb.func
def shout(text: str) -> str:
    """Raises for nulls and for "bad", returns a number for "number"."""
    print(f"heard {text}")
    print("in a low voice", file=sys.stderr)
    if text == "bad":
        raise ValueError("not that word")
    return 3 if text == "number" else text.upper()  # type: ignore[return-value]


@fb.func
def ends(how: str) -> str:
    """Ends its process, or says that it cannot go on, in many ways."""
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit("enough")
        case "memory":
            raise MemoryError
        case "overload":
            raise fb.errors.OverloadError("the service is full")
    return how


meeting = asyncio.Event()


@fb.func
async def meet(number: int) -> int:
    """Waits for row 2, which comes last: that ends only if rows run at once."""
    if number == 2:
        meeting.set()
    await meeting.wait()
    if number == 1:
        raise RuntimeError("one")
    return number * 10


@fb.func.batch(returns=fb.Tensor("float32", 2, 2))
def doubled(pixels: Annotated[np.ndarray[Any, Any], fb.Tensor("float32", 2, 2)]) -> Any:
    """In NumPy; tells whether it was given a view."""
    print("view" if pixels.base is not None and not pixels.flags.writeable else "copy")
    return pixels * 2


@fb.func.batch(returns=float)
def in_pandas(number: pd.Series[float]) -> Any:
    """In pandas."""
    return number + 0.5


@fb.func.batch(returns=int)
def misshapen(number: pa.Array) -> Any:
    """Returns what it is told by its first row."""
    match number[0].as_py():
        case 0:
            return number.to_pylist()[1:]
        case 1:
            return ["text"] * len(number)
        case 2:
            return 7
    raise KeyError("number")


class Found(NamedTuple):
    """Two outputs."""

    label: str
    scores: Annotated[Any, fb.Tensor("float32", 2)]


@fb.cls
class Finder:
    """Two outputs of a class that is made once."""

    def __init__(self, label: str) -> None:
        """Says that it is made."""
        print("made")
        self.label = label

    @fb.method
    def find(self, number: float | None) -> Found | None:
        """Nothing for nothing."""
        return None if number is None else Found(self.label, [number, -number])


class Plain:
    """Not decorated."""

    def __call__(self, text: str) -> int:
        """The length."""
        return len(text)


def hungry(text: str) -> int:
    """Takes more memory than there may be."""
    return len(bytearray(1 << 40))


not_callable = 3


def _row(mib: int) -> fb.Tensor:
    return fb.Tensor("float32", mib * (1 << 18))


def same(mib: int) -> Any:
    """Returns its tensor."""
    return _batch(lambda pixels: pixels, mib)


def halved(mib: int) -> Any:
    """Returns an array of its own."""
    return _batch(lambda pixels: pixels / 2, mib)


def halved_in_place(mib: int) -> Any:
    """Returns an array of the answer's memory, if there is room."""
    return _batch(lambda pixels: np.divide(pixels, 2, out=fb.empty(pixels.shape)), mib)


def _batch(work: Any, mib: int) -> Any:
    def function(pixels: np.ndarray[Any, Any]) -> Any:
        return work(pixels)

    return fb.func.batch(returns=_row(mib))(function)


def looks(mib: int) -> Any:
    """Says what it was given, and tries to write there."""

    def function(pixels: np.ndarray[Any, Any]) -> Any:
        try:
            pixels[:] = 0
        except ValueError as error:
            print(f"ValueError: {error}")
        said = (
            f"{'view' if pixels.base is not None else 'copy'}, {'writable' if pixels.flags.writeable else 'read-only'}"
        )
        return [said] * len(pixels)

    return fb.func.batch(returns=str)(function)


class Keeper:
    """Functions that keep arrays from one call to the next."""

    kept: Any = None

    def first(self, mib: int) -> Any:
        """Returns the tensor of its first call, until it is given a negative number."""

        def function(pixels: np.ndarray[Any, Any]) -> Any:
            if self.kept is None:
                self.kept = pixels[:]
            answer = self.kept
            if pixels[0, 0] < 0:
                self.kept = None
                answer = pixels
            return answer

        return fb.func.batch(returns=_row(mib))(function)

    def same_array(self, mib: int) -> Any:
        """Writes its answers into the same array each time."""

        def function(pixels: np.ndarray[Any, Any]) -> Any:
            if self.kept is None:
                self.kept = fb.empty(pixels.shape)
            self.kept[:] = pixels
            return self.kept

        return fb.func.batch(returns=_row(mib))(function)
