"""Large tensors through jobs: they reach functions in shared memory, also when a worker dies over one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay as fb
from forebay import testing

WIDTH = 1 << 18
Pixels = fb.Tensor("float32", WIDTH)


@fb.func.batch(returns=Pixels, batch_rows=4)
def made(number: np.ndarray) -> Any:
    """A MiB for each row."""
    return np.outer(number, np.ones(WIDTH)).astype("float32")


@fb.func.batch(returns=Pixels, batch_rows=4)
def made_in_place(number: np.ndarray) -> Any:
    """The same, where the engine reads it."""
    out = fb.empty((len(number), WIDTH))
    out[:] = number[:, None]
    return out


@fb.func.batch(returns=Pixels, batch_rows=4)
def same(pixels: np.ndarray) -> Any:
    """What was given."""
    return pixels


@fb.func.batch(returns={"total": float, "shared": bool}, batch_rows=4)
def looked_at(pixels: np.ndarray) -> Any:
    """The sum of each row, and whether it lies in shared memory."""
    address = pixels.__array_interface__["data"][0]
    maps = Path("/proc/self/maps").read_text().splitlines()
    slabs = [line.split()[0].split("-") for line in maps if "memfd:forebay" in line]
    shared = any(int(first, 16) <= address < int(end, 16) for first, end in slabs)
    return {"total": pixels.sum(axis=1, dtype="float64"), "shared": [shared] * len(pixels)}


ROWS = testing.rows([{"number": number} for number in range(16)])
SUMS = [(float(number * WIDTH), True) for number in range(16)]


def sums(frame: fb.DataFrame, pixels: str) -> list[tuple[float, bool]]:
    result = frame.with_columns(looked_at(fb.col(pixels))).select("total", "shared").collect()
    assert result.dead_letters == []
    return sorted((row["total"], row["shared"]) for row in result)


@pytest.mark.parametrize("function", [made, made_in_place])
def test_a_tensor_goes_from_worker_to_worker_in_shared_memory(function: Any) -> None:
    frame = ROWS.with_column("pixels", function(fb.col("number")))
    assert sums(frame.with_column("again", same(fb.col("pixels"))), "again") == SUMS


def test_a_worker_that_dies_over_a_large_row_is_started_again() -> None:
    crash = testing.CrashOnce({3.0})

    @fb.func.batch(returns=Pixels, batch_rows=4)
    def fragile(pixels: np.ndarray) -> Any:
        for row in pixels:
            crash.meet(float(row[0]))
        return pixels

    frame = ROWS.with_column("pixels", made(fb.col("number")))
    assert sums(frame.with_column("again", fragile(fb.col("pixels"))), "again") == SUMS
