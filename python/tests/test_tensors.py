"""Tensors come back from the engine's files as they went in, nulls and slices included."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forebay._convert import values
from forebay._tensors import restored


def as_bytes(array: np.ndarray[Any, Any], missing: set[int]) -> pa.RecordBatch:
    """A batch as the engine writes it."""
    rows = [None if row in missing else each.tobytes() for row, each in enumerate(array)]
    metadata = {"dtype": str(array.dtype), "shape": list(array.shape[1:])}
    notes = {"ARROW:extension:name": "forebay.tensor_bytes", "ARROW:extension:metadata": json.dumps(metadata)}
    field = pa.field("t", pa.binary(array[0].nbytes), metadata=notes)
    return pa.record_batch([pa.array(rows, field.type)], schema=pa.schema([field]))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "bool"])
@pytest.mark.parametrize("missing", [set(), {1}])
def test_tensors_come_back(dtype: str, missing: set[int]) -> None:
    array = (np.arange(24).reshape(4, 2, 3) % 5).astype(dtype)
    found = values(restored(as_bytes(array, missing).slice(1)).column(0))
    expected = [None if row in missing else array[row].tolist() for row in range(1, 4)]
    assert [None if each is None else each.tolist() for each in found] == expected


def test_values_are_not_copied() -> None:
    batch = as_bytes(np.zeros((2, 3), "float32"), set())
    tensor = restored(batch).column(0)
    assert tensor.storage.flatten().buffers()[1].address == batch.column(0).buffers()[1].address
