"""What the workers run: each returns the tensor that it is given, and says in its first value how long it took."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

import forebay as fb
from forebay._function import Function

Array = np.ndarray[Any, Any]


def _same(pixels: Array) -> Array:
    return pixels


def _timed(made: Callable[[Any], Array]) -> Callable[[Array], Array]:
    def copied(pixels: Array) -> Array:
        started = perf_counter_ns()
        out = made(pixels.shape)
        np.copyto(out, pixels)
        out[0, 0] += perf_counter_ns() - started
        return out

    return copied


def _of(work: Callable[[Array], Array], mib: int) -> Function:
    def function(pixels: np.ndarray) -> Any:
        return work(pixels)

    return fb.func.batch(returns=fb.Tensor("float32", mib << 18))(function)


same_1, same_10, same_64 = (_of(_same, mib) for mib in (1, 10, 64))
filled_1, filled_10, filled_64 = (_of(_timed(fb.empty), mib) for mib in (1, 10, 64))
copied_1, copied_10, copied_64 = (_of(_timed(np.empty), mib) for mib in (1, 10, 64))
