"""Tensors come back from the engine's files as they went in, nulls and slices included."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forebay._convert import ndarray, values
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


@pytest.mark.parametrize("is_sliced", [False, True])
def test_whole_numbers_beside_nulls_keep_their_digits(is_sliced: bool) -> None:
    large = 2**53 + 1
    column = pa.array([[7, 7], [large, None], None, [large, 2]], pa.list_(pa.int64(), 2))
    found = values(column.slice(1) if is_sliced else column)[-3:]
    assert [None if each is None else each.tolist() for each in found] == [[large, None], None, [large, 2]]


NESTED = [
    (pa.list_(pa.int64()), [[2**53 + 1], [None], None]),
    (pa.list_(pa.list_(pa.int64())), [[[2**53 + 1], []], [[None]], None]),
    (pa.struct({"a": pa.int64(), "b": pa.list_(pa.int32())}), [{"a": 2**53 + 1, "b": [1]}, {"a": None, "b": None}]),
    (pa.list_(pa.struct({"a": pa.int64()})), [[{"a": 2**53 + 1}], [{"a": None}], []]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 2**53 + 1)], [("b", None)], None]),
]


@pytest.mark.parametrize(("kind", "rows"), NESTED)
def test_whole_numbers_in_values_beside_nulls_keep_their_digits(kind: pa.DataType, rows: list[Any]) -> None:
    found = ndarray(pa.array(rows, kind))
    assert (found.dtype, found.shape) == (object, (len(rows),))
    assert pa.array([as_python(each) for each in found], kind).to_pylist() == rows
    assert "nan" not in str(found), "a null among whole numbers is None"


def as_python(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [as_python(each) for each in value]
    return {name: as_python(each) for name, each in value.items()} if isinstance(value, dict) else value


def test_only_rows_without_nulls_of_their_own_are_arrays_of_numbers() -> None:
    column = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2))
    assert column.values.null_count == 2
    assert [None if each is None else (each.dtype, each.tolist()) for each in values(column)] == [
        (np.int16, [1, 2]),
        None,
        (np.int16, [3, 4]),
    ]


def test_lists_of_lists_of_fixed_lengths_are_one_array() -> None:
    inner = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(24, dtype="int8")), 3)
    column = pa.FixedSizeListArray.from_arrays(inner, 2)
    assert np.array_equal(ndarray(column.slice(1, 2)), np.arange(6, 18).reshape(2, 2, 3))
    assert ndarray(column).dtype == np.int8
    some = pa.FixedSizeListArray.from_arrays(inner, 2, mask=pa.array([False, True, False, False]))
    assert [None if each is None else each.shape for each in values(some)] == [(2, 3), None, (2, 3), (2, 3)]


def test_values_are_not_copied() -> None:
    batch = as_bytes(np.zeros((2, 3), "float32"), set())
    tensor = restored(batch).column(0)
    assert tensor.storage.flatten().buffers()[1].address == batch.column(0).buffers()[1].address
