"""Columns as torch tensors, for functions and for `to_torch`. torch is imported here only, when first asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from forebay import _convert
from forebay.errors import InvalidError

if TYPE_CHECKING:
    import numpy as np
    import torch


def imported() -> Any:
    """The module torch.

    Raises: InvalidError if it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise InvalidError(f"this needs torch, which cannot be imported: {error}; pip install torch") from error
    return torch


def tensors(table: pa.Table) -> dict[str, torch.Tensor]:
    """Each column as one tensor.

    Raises: InvalidError if torch is not installed, or for a column that no tensor can be made of.
    """
    module = imported()
    for name in table.column_names:
        _check(name, table.column(name))
    return {name: _of(module, _joined(table.column(name)), f"column {name}") for name in table.column_names}


def of_column(column: pa.Array) -> torch.Tensor:
    """A tensor over the memory of the column, which has no nulls but for those of floats, which are NaN.

    torch knows no tensors that cannot be written to: the memory has to be the function's own.

    Raises: InvalidError if this release of torch has not the type of its values.
    """
    return _of(imported(), _convert.writable(_convert.ndarray(column)), "its column")


def of_rows(column: pa.Array) -> list[torch.Tensor | None]:
    """A tensor for each row, `None` for null rows; over the memory of the column where none is null."""
    if not column.null_count:
        return list(of_column(column))
    if column.null_count == len(column):
        return [None] * len(column)
    valid = column.is_valid()
    rows = iter(of_column(column.filter(valid)))
    return [next(rows) if is_there else None for is_there in valid.to_pylist()]


def is_plain(value: Any) -> bool:
    """Says whether it is a torch tensor, or a parameter of a module, with all of its values in memory."""
    found: Any = sys.modules.get("torch")
    if found is None or type(value) not in (found.Tensor, found.nn.Parameter):
        return False
    is_special = value.is_nested or value.is_quantized or value.device.type == "meta"
    return value.layout == found.strided and not is_special


def content(tensor: torch.Tensor) -> tuple[object, ...]:
    """What a plain tensor is, apart from where it lies: the same for equal tensors in every process."""
    import torch

    values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    content = values.view(torch.uint8).numpy().tobytes()
    return type(tensor).__name__, str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad, content


def _check(name: str, column: pa.ChunkedArray) -> None:
    if not _convert.is_numeric(column.type):
        first = "make tensors of it with .tensor.reshape(..), or " if _convert.are_lists_of_numbers(column.type) else ""
        raise InvalidError(
            f"column {name} is {column.type}, of which torch has no tensor; {first}leave it out with exclude({name!r})"
        )
    if nulls := sum(map(_convert.nulls_in, column.chunks)):
        raise InvalidError(f"column {name} has {nulls} nulls, which torch has not; filter or fill them before")


def _of(module: Any, array: np.ndarray[Any, Any], what: str) -> torch.Tensor:
    try:
        tensor: torch.Tensor = module.from_numpy(array)
    except TypeError as error:
        # Before 2.3 torch had no uint16, uint32 and uint64.
        raise InvalidError(f"{what} is {array.dtype}, of which this torch has no tensor; cast it") from error
    return tensor


def _joined(column: pa.ChunkedArray) -> Any:
    """All rows in one array of their own, since torch takes every array for one that it may write to."""
    import numpy as np

    chunks = [_convert.ndarray(chunk) for chunk in column.chunks]
    return np.concatenate(chunks or [_convert.ndarray(pa.nulls(0, column.type))])
