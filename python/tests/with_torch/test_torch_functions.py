"""What functions get that take torch tensors, and what becomes of tensors that they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
import pytest
import torch

import forebay as fb
from forebay import testing
from forebay._execute import Executor
from forebay._frames import RowFailure
from forebay._function import Bound
from forebay.errors import DataError, InvalidError

NUMBERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
NOT_NUMBERS = [pa.array(["a"]), pa.array([[1.0]]), pa.array([1], pa.date32())]
CUBE = fb.Tensor("float32", 2, 3)


def cubes(value: str = "float32", rows: int = 6) -> pa.Array:
    """A column of tensors whose values count up."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(rows * 6).astype(value)), 6)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(lists.type.value_type, [2, 3]), lists)


def counted(rows: int = 6) -> torch.Tensor:
    """The same in torch."""
    return torch.arange(rows * 6.0).reshape(rows, 2, 3)


def answers(function: Any, **columns: pa.Array) -> tuple[dict[str, Any], list[RowFailure]]:
    """The outputs of a function for some rows, as arrays, and which rows failed."""
    executor = Executor(Bound(function, tuple(columns)))
    found, failures = executor.answer(pa.record_batch(columns))
    shapes = {slot.name: slot.shape for slot in function.outputs}
    columns = {name: found.column(name) for name in found.schema.names}
    return {name: _array(column, shapes[name]) for name, column in columns.items()}, failures


def _array(column: pa.Array, shape: tuple[int, ...]) -> Any:
    return column.flatten().to_numpy().reshape(-1, *shape) if shape else column.to_pylist()


def batched(returns: object, body: Callable[[Any], Any]) -> Any:
    """A batch function of one torch tensor."""

    def function(x: torch.Tensor) -> Any:
        return body(x)

    return fb.func.batch(returns=returns)(function)


def by_row(returns: object, body: Callable[[Any], Any]) -> Any:
    """The same for one row."""

    def function(x: torch.Tensor) -> Any:
        return body(x)

    return fb.func(returns=returns)(function)


# === what a function gets ===


@pytest.mark.parametrize("value", NUMBERS)
def test_columns_come_as_tensors_of_their_type_and_go_back_as_such(value: str) -> None:
    seen = []

    def same(x: torch.Tensor) -> Any:
        seen.append(x)
        return x.clone()

    found, _ = answers(batched(fb.Tensor(value, 2, 3), same), x=cubes(value))
    assert (seen[0].dtype, tuple(seen[0].shape)) == (getattr(torch, value), (6, 2, 3))
    assert found["value"].dtype == np.dtype(value)
    assert found["value"].tolist() == counted().tolist()
    plain, _ = answers(batched(value, same), x=pa.array(np.arange(6).astype(value)))
    assert (seen[1].dtype, plain["value"]) == (getattr(torch, value), list(range(6)))


def test_truth_values_come_and_go() -> None:
    found, _ = answers(batched(bool, lambda x: ~x), x=pa.array([True, False, True]))
    assert found["value"] == [False, True, False]
    lists = pa.FixedSizeListArray.from_arrays(pa.array([True, False, True, True]), 2)
    assert answers(batched(int, lambda x: x.sum(1)), x=lists)[0]["value"] == [1, 2]


def test_no_rows_are_a_tensor_of_no_rows() -> None:
    assert answers(batched(CUBE, lambda x: x * 2), x=cubes(rows=0))[0]["value"].shape == (0, 2, 3)


def test_slices_begin_where_they_begin() -> None:
    found, _ = answers(batched(CUBE, lambda x: x + 0), x=cubes().slice(2, 3))
    assert found["value"].tolist() == counted()[2:5].tolist()


def test_a_function_for_one_row_gets_a_tensor_too() -> None:
    found, _ = answers(by_row(CUBE, lambda x: x.mul(2)), x=cubes())
    assert found["value"].tolist() == (counted() * 2).tolist()
    assert answers(by_row(float, lambda x: x.sqrt()), x=pa.array([4.0, 9.0]))[0]["value"] == [2, 3]
    nothing = by_row(float, lambda x: -1 if x is None else x.sum())
    assert answers(nothing, x=pa.array([4.0, None]))[0]["value"] == [4, -1]
    assert answers(nothing, x=pa.nulls(2))[0]["value"] == [-1, -1]
    with_null = pa.array([None, [1, 2]], pa.list_(pa.int16(), 2))
    assert answers(nothing, x=with_null)[0]["value"] == [-1, 3]


@pytest.mark.parametrize("column", NOT_NUMBERS, ids=lambda column: str(column.type))
def test_columns_that_are_no_numbers_are_refused(column: pa.Array) -> None:
    with pytest.raises(InvalidError, match="parameter x takes a torch tensor, but its column is"):
        answers(batched(int, lambda x: x), x=column)


def test_nulls_are_an_error_of_their_rows_but_for_those_of_floats() -> None:
    for column in (
        pa.array([1, None]),
        pa.array([True, None]),
        pa.array([[1, 2], None], pa.list_(pa.int64(), 2)),
        pa.array([[1.0, None], [1.0, 2.0]], pa.list_(pa.float64(), 2)),
    ):
        with pytest.raises(DataError, match="x takes a torch tensor, which has no nulls; its column has 1 in"):
            answers(batched(int, lambda x: x), x=column)
    inside = pa.array([None, [1, None], [1, 2]], pa.list_(pa.int64(), 2))
    with pytest.raises(DataError, match="its column has 1 in 3 rows"):
        answers(by_row(int, lambda x: x.sum()), x=inside)
    assert answers(batched(bool, lambda x: x.isnan()), x=pa.array([1.0, None]))[0]["value"] == [False, True]


# === what becomes of what it returns ===


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda x: x, counted()),
        (lambda x: torch.nn.Parameter(torch.ones(1)) * x, counted()),
        (lambda x: x.transpose(1, 2).contiguous().transpose(1, 2), counted()),
        (lambda x: x.flip(0), counted().flip(0)),
        (lambda x: torch._neg_view(x), -counted()),
        (lambda x: torch.complex(x, x).conj().imag, -counted()),
        (lambda x: x.double(), counted()),
        (lambda x: x.half(), counted()),
        (lambda x: x.bfloat16(), counted()),
        (lambda x: (x % 4).to(torch.float8_e4m3fn), counted() % 4),
        (lambda x: list(x), counted()),
        (lambda x: list((x * torch.nn.Parameter(torch.ones(1))).bfloat16()), counted()),
        (lambda x: x[:1].expand(6, 2, 3), counted()[:1].expand(6, 2, 3)),
    ],
)
def test_tensors_of_every_kind_are_columns_of_tensors(body: Any, expected: torch.Tensor) -> None:
    assert answers(batched(CUBE, body), x=cubes())[0]["value"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("returns", "body", "expected"),
    [
        (float, lambda x: x.sum((1, 2)), [15.0, 51.0]),
        (float, lambda x: x.sum((1, 2)).bfloat16(), [15.0, 51.0]),
        (float, lambda x: list(x.sum((1, 2)) * torch.nn.Parameter(torch.ones(1))), [15.0, 51.0]),
        (int, lambda x: x.sum((1, 2)).to(torch.int16), [15, 51]),
        (int, lambda x: [each.argmax() for each in x], [5, 5]),
        (bool, lambda x: x.sum((1, 2)) > 20, [False, True]),
        (bool, lambda x: list(x.sum((1, 2)) > 20), [False, True]),
        (float, lambda x: [None, *x.sum((1, 2))[1:]], [None, 51.0]),
    ],
)
def test_tensors_of_one_axis_are_columns_of_values(returns: object, body: Any, expected: list[Any]) -> None:
    assert answers(batched(returns, body), x=cubes(rows=2))[0]["value"] == expected


@pytest.mark.parametrize(
    ("returns", "body", "words"),
    [
        (fb.Tensor("uint8", 2, 3), lambda x: x, "values of type float32, not uint8"),
        (fb.Tensor("uint8", 2, 3), lambda x: x.long(), "values of type int64, not uint8"),
        (fb.Tensor("float16", 2, 3), lambda x: x + 1e9, "does not fit float16"),
        (CUBE, lambda x: x.to(torch.complex64), "values of type complex64"),
        (CUBE, lambda x: x.to_sparse(), "Sparse"),
        (CUBE, lambda x: x.transpose(1, 2), r"shape \[6, 3, 2\], not \[6, 2, 3\]"),
        (CUBE, lambda x: x[:5], "returned 5 rows for 6"),
        (CUBE, lambda x: x.sum(), "ndarray is no column"),
        (float, lambda x: x.sum(), "ndarray is no column"),
        (int, lambda x: x.sum((1, 2)), "returned float, not int64"),
        (int, lambda x: x.sum((1, 2)) > 2, "returned bool, not int64"),
        ("float32", lambda x: x.sum((1, 2)).double() * 1e300, "does not fit float"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(returns: object, body: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        answers(batched(returns, body), x=cubes())


def test_results_for_one_row_become_values() -> None:
    for returns, body, expected in (
        (float, lambda x: x.sum(), [15.0, 51.0]),
        (int, lambda x: x.argmax(), [5, 5]),
        (bool, lambda x: x.sum() > 20, [False, True]),
        ({"a": float, "b": int}, lambda x: {"a": x.max(), "b": x.argmin()}, None),
    ):
        found, failures = answers(by_row(returns, body), x=cubes(rows=2))
        assert failures == []
        assert found == ({"a": [5.0, 11.0], "b": [0, 0]} if expected is None else {"value": expected})
    row = by_row(fb.Tensor("float32", 3), lambda x: (x * torch.nn.Parameter(torch.ones(1))).sum(0).bfloat16())
    assert answers(row, x=cubes(rows=1))[0]["value"].tolist() == [[3.0, 5.0, 7.0]]
    _, failures = answers(by_row(int, lambda x: x.mean()), x=cubes(rows=2))
    first, second = (each.reason for each in failures)
    assert first.startswith("function function returned tensor(2.5000): 2.5 is no whole number")
    assert "8.5 is no whole number" in second


class Found(NamedTuple):
    """Two outputs."""

    sums: Annotated[torch.Tensor, fb.Tensor("float32", 3)]
    largest: float


@fb.func.batch
def both(x: Annotated[torch.Tensor, CUBE]) -> Found:
    """Two outputs of a batch."""
    return Found(x.sum(1), x.amax((1, 2)))


class Part(TypedDict):
    """A row of several."""

    row: Annotated[Any, fb.Tensor("float32", 3)]
    total: float


@fb.func
def parts(x: Annotated[torch.Tensor, CUBE]) -> Iterator[Part]:
    """Each row of a tensor."""
    for row in x:
        yield {"row": row, "total": row.sum()}


@fb.func
async def later(x: torch.Tensor) -> float:
    """In an asynchronous function."""
    return x.mean()  # type: ignore[no-any-return]


@fb.func.batch(returns=CUBE)
def made(n: torch.Tensor) -> Any:
    """Six numbers from each on; one number fails."""
    if (n == 13).any():
        raise ValueError("13")
    return (n[:, None] + torch.arange(6)).float().reshape(-1, 2, 3)


@pytest.mark.parametrize("use_process", [True, False])
def test_jobs_carry_tensors_from_function_to_function(use_process: bool) -> None:
    here = {"use_process": use_process, "batch_rows": 7}
    cube = made.with_options(**here)(fb.col("n"))
    frame = testing.rows([{"n": n} for n in range(30)]).with_column("x", cube)
    result = frame.with_columns(both.with_options(**here)(fb.col("x"))).with_columns(
        mean=later.with_options(**here)(fb.col("x"))
    )
    found = result.collect()
    assert [row["kind"] for row in found.dead_letters] == ["data"]
    assert len(found) == 29
    for row in found:
        assert torch.equal(torch.tensor(row["x"]), (row["n"] + torch.arange(6.0)).reshape(2, 3))
        assert (row["sums"].tolist(), row["largest"]) == (row["x"].sum(0).tolist(), row["n"] + 5)
        assert row["mean"] == row["n"] + 2.5
    split = frame.filter("n = 3").flat_map(parts.with_options(**here)).collect()
    assert [(row["row"].tolist(), row["total"]) for row in split] == [([3, 4, 5], 12.0), ([6, 7, 8], 21.0)]
