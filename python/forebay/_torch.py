"""Columns as torch tensors. torch is imported here only, when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from forebay import _convert
from forebay.errors import InvalidError

if TYPE_CHECKING:
    import torch


def imported() -> Any:
    """The module torch.

    Raises: InvalidError if it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise InvalidError(f"to_torch needs torch, which cannot be imported: {error}; pip install torch") from error
    return torch


def tensors(table: pa.Table) -> dict[str, torch.Tensor]:
    """Each column as one tensor.

    Raises: InvalidError if torch is not installed, or for a column that no tensor can be made of.
    """
    module = imported()
    for name in table.column_names:
        _check(name, table.column(name))
    return {name: module.from_numpy(_joined(table.column(name))) for name in table.column_names}


def _check(name: str, column: pa.ChunkedArray) -> None:
    kind = column.type
    numbers = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    if not _convert.is_tensor(kind) and not any(check(kind) for check in numbers):
        raise InvalidError(
            f"column {name} is {kind}, of which torch has no tensor; leave it out with exclude({name!r})"
        )
    if column.null_count:
        raise InvalidError(
            f"column {name} has {column.null_count} nulls, which torch has not; filter or fill them before"
        )


def _joined(column: pa.ChunkedArray) -> Any:
    """All rows in one array of their own, since torch takes every array for one that it may write to."""
    import numpy as np

    chunks = [_convert.ndarray(chunk) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.array(_convert.ndarray(column.combine_chunks()))
