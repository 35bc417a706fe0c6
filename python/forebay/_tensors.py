"""Tensor columns as the engine's Parquet files have them, bytes with a shape beside, made tensors without a copy.

The layout is that of docs/reference/formats/parquet.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from forebay import _convert

_NAME: Final = b"ARROW:extension:name"
_METADATA: Final = b"ARROW:extension:metadata"
_TENSOR_BYTES: Final = b"forebay.tensor_bytes"


def restored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its tensors, and without what the engine notes in the schema for itself."""
    columns = [_column(column, field) for column, field in zip(batch.columns, batch.schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def rows_of(batch: pa.RecordBatch, *, given_away: bool = False) -> Iterator[dict[str, Any]]:
    """The rows as dicts; tensors are NumPy arrays, which may be written to if nobody else has the batch."""
    columns = [_own(column) if given_away else _convert.values(column) for column in batch.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))


def _own(column: pa.Array) -> list[Any]:
    values = _convert.values(column)
    if not _convert.is_tensor(column.type):
        return values
    return [None if value is None else _convert.writable(value) for value in values]


def _column(column: pa.Array, field: pa.Field) -> pa.Array:
    metadata = field.metadata or {}
    if metadata.get(_NAME) != _TENSOR_BYTES:
        return column
    known = json.loads(metadata[_METADATA])
    return _tensor(column, known["dtype"], known["shape"])


def _tensor(column: pa.Array, dtype: str, shape: list[int]) -> pa.Array:
    """The column as tensors over the same bytes."""
    tensor = pa.fixed_shape_tensor(_convert.value_type(dtype), shape)
    width = tensor.storage_type.list_size
    start = column.offset * column.type.byte_width
    data = column.buffers()[1].slice(start, len(column) * column.type.byte_width)
    if dtype == "bool":
        import numpy as np

        flat = pa.array(np.frombuffer(data, dtype=bool))
    else:
        flat = pa.Array.from_buffers(tensor.value_type, len(column) * width, [None, data])
    missing = column.is_null() if column.null_count else None
    storage = pa.FixedSizeListArray.from_arrays(flat, type=tensor.storage_type, mask=missing)
    return pa.ExtensionArray.from_storage(tensor, storage)
