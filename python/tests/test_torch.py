"""Rows as torch tensors. Where torch is not installed, a stand-in takes the arrays that it would get."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import forebay as fb
from forebay import testing


@fb.func.batch(returns=fb.Tensor("float32", 2, 3))
def grid(n: np.ndarray) -> Any:
    return np.repeat(n, 6).reshape(-1, 2, 3).astype("float32")


NUMBERS = testing.rows([{"n": n, "x": n / 2, "even": n % 2 == 0, "text": str(n)} for n in range(10)])
PLAIN = NUMBERS.exclude("text")


class StandIn(ModuleType):
    """As much of torch as is asked for; refuses what torch takes only with a warning."""

    def from_numpy(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        assert array.flags.writeable
        assert array.dtype != object
        return array


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The real one where it is installed."""
    try:
        import torch
    except ImportError:
        monkeypatch.setitem(sys.modules, "torch", StandIn("torch"))
        return sys.modules["torch"]
    else:
        found: ModuleType = torch
        return found


def test_each_column_is_a_tensor_of_its_type(torch: ModuleType) -> None:
    found = PLAIN.with_column("grid", grid(fb.col("n"))).to_torch()
    order = np.argsort(np.asarray(found["n"]))
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "n": (10,),
        "x": (10,),
        "even": (10,),
        "grid": (10, 2, 3),
    }
    assert {name: str(each.dtype).removeprefix("torch.") for name, each in found.items()} == {
        "n": "int64",
        "x": "float64",
        "even": "bool",
        "grid": "float32",
    }
    assert np.asarray(found["even"])[order].tolist() == [True, False] * 5
    assert np.asarray(found["grid"])[order, 1, 2].tolist() == list(range(10))


def test_no_rows_are_tensors_of_no_rows(torch: ModuleType) -> None:
    found = PLAIN.with_column("grid", grid(fb.col("n"))).filter("n > 99").to_torch()
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "n": (0,),
        "x": (0,),
        "even": (0,),
        "grid": (0, 2, 3),
    }


def test_text_and_nulls_are_refused_with_the_name_of_the_column(torch: ModuleType) -> None:
    with pytest.raises(fb.errors.InvalidError, match=r"column text is string.*exclude\('text'\)"):
        NUMBERS.to_torch()
    with pytest.raises(fb.errors.InvalidError, match="column half has 5 nulls"):
        PLAIN.with_column("half", fb.expr("CASE WHEN even THEN n END")).to_torch()


def test_without_torch_it_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(fb.errors.InvalidError, match="pip install torch"):
        fb.read_parquet("nowhere/*.parquet").to_torch()
