"""`to_torch` with torch itself: columns of every type become tensors of that type, or are refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import forebay as fb
from forebay import testing
from forebay._torch import tensors

NUMBERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]


def flat(values: Any, width: int) -> pa.Array:
    """Lists of a fixed length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values), width)


def cubes(values: Any) -> pa.Array:
    """Tensors of two rows and three columns."""
    kind = pa.fixed_shape_tensor(pa.array(values).type, [2, 3])
    return pa.ExtensionArray.from_storage(kind, flat(values, 6))


def read(folder: Path, columns: dict[str, pa.Array]) -> fb.DataFrame:
    """A frame over a Parquet file of some columns."""
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return fb.read_parquet(str(folder / "rows.parquet"))


def test_each_column_is_a_tensor_of_its_type_and_shape(tmp_path: Path) -> None:
    columns = {name: pa.array(np.arange(7).astype(name)) for name in NUMBERS}
    columns |= {f"{name}_tensor": cubes(np.arange(42).astype(name)) for name in NUMBERS}
    columns["bool"] = pa.array([row % 2 == 0 for row in range(7)])
    columns["bools"] = flat([row % 3 == 0 for row in range(21)], 3)
    columns["nested"] = flat(flat(np.arange(42, dtype="float32"), 3), 2)
    frame = read(tmp_path, columns)
    found, none = frame.to_torch(), frame.filter("int64 > 99").to_torch()
    for name in NUMBERS:
        assert torch.equal(found[name], torch.arange(7).to(getattr(torch, name)))
        assert torch.equal(found[f"{name}_tensor"], torch.arange(42).reshape(7, 2, 3).to(getattr(torch, name)))
        assert (none[f"{name}_tensor"].dtype, none[f"{name}_tensor"].shape) == (getattr(torch, name), (0, 2, 3))
        assert (none[name].dtype, none[name].shape) == (getattr(torch, name), (0,))
    assert torch.equal(found["bool"], torch.arange(7) % 2 == 0)
    assert torch.equal(found["bools"], torch.arange(21).reshape(7, 3) % 3 == 0)
    assert torch.equal(found["nested"], torch.arange(42.0).reshape(7, 2, 3))
    assert (none["nested"].shape, none["bools"].dtype) == ((0, 2, 3), torch.bool)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array(list("abc")), r"column x is string.*exclude\('x'\)"),
        (pa.array([[1.0], [2.0], []]), "column x is list<.*make tensors of it with"),
        (flat(list("abcdef"), 2), "column x is fixed_size_list<.*string"),
        (pa.array([1, 2, 3], pa.timestamp("us")), "column x is timestamp"),
        (pa.array([1, None, 3]), "column x has 1 nulls"),
        (pa.array([True, None, None]), "column x has 2 nulls"),
        (pa.array([1.0, None, 3.0]), "column x has 1 nulls"),
        (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)), "column x has 1 nulls"),
        (flat([1, None, 3, None, 5, 6], 2), "column x has 2 nulls"),
        (flat([1.0, None, 3.0, 4.0, 5.0, 6.0], 2), "column x has 1 nulls"),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else "",
)
def test_what_torch_has_not_is_refused_by_name(column: pa.Array, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        tensors(pa.table({"n": [1, 2, 3], "x": column}))


def test_tensors_of_a_result_are_memory_of_their_own(tmp_path: Path) -> None:
    result = read(tmp_path, {"x": cubes(np.zeros(42, "float32"))}).collect()
    result.to_torch()["x"].add_(1)
    assert torch.equal(result.to_torch()["x"], torch.zeros(7, 2, 3))


@fb.func.batch(returns=fb.Tensor("float32", 4), batch_rows=32)
def vector(n: np.ndarray) -> Any:
    """The number and the three behind it."""
    return np.add.outer(n, np.arange(4)).astype("float32")


FRAME = testing.rows([{"n": n} for n in range(300)]).with_column("v", vector(fb.col("n")))


class Rows(torch.utils.data.IterableDataset):  # type: ignore[misc]
    """The rows of a job as they come."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One by one."""
        with FRAME.iter_rows() as rows:
            yield from rows


def test_a_loader_reads_rows_as_they_come() -> None:
    seen = []
    for batch in torch.utils.data.DataLoader(Rows(), batch_size=64):
        assert torch.equal(batch["v"], batch["n"][:, None] + torch.arange(4.0))
        seen += batch["n"].tolist()
    assert sorted(seen) == list(range(300))


def test_rows_that_are_given_away_may_be_written_to() -> None:
    (row,) = FRAME.take(1)
    torch.from_numpy(row["v"]).zero_()
    assert row["v"].tolist() == [0.0] * 4
