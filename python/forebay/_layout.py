"""Arrow arrays as lengths and buffers, and back: what stands for rows where these lie in shared memory.

The other side is `crates/inference/src/hosts/shared/layout.rs`; both walk a type in the order of Arrow's own IPC. Types
whose layout needs more than that (dictionaries, unions, views, run ends) do not travel so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import pyarrow as pa

# Where a buffer lies: in which slab, from where on, how many bytes.
Place = tuple[int, int, int]

Find = Callable[[int, int, int], pa.Buffer | None]

NOWHERE: Final[Place] = (0, 0, 0)
_FIXED: Final = (pa.types.is_primitive, pa.types.is_decimal, pa.types.is_fixed_size_binary)
_LARGE: Final = (pa.types.is_large_string, pa.types.is_large_binary, pa.types.is_large_list)


@dataclass(frozen=True)
class _Shape:
    """How arrays of a type lie in memory."""

    given: pa.DataType
    storage: pa.DataType
    # How many buffers, those of children apart; `None` if the type does not travel.
    buffers: int | None
    # The width of the offsets of text, bytes and lists, or 0; of other values; of a bit, 0.
    offset_bytes: int
    value_bytes: int
    children: list[_Shape] = field(default_factory=list)

    @classmethod
    def of(cls, given: pa.DataType) -> _Shape:
        """The shape of a type."""
        storage = given.storage_type if isinstance(given, pa.BaseExtensionType) else given
        children = [cls.of(child) for child in _children(storage)]
        is_value = _is_fixed(storage) and not pa.types.is_boolean(storage)
        width = storage.byte_width if is_value else 0
        return cls(given, storage, _buffers(storage), _offset_bytes(storage), width, children)

    @property
    def travels(self) -> bool:
        """Says whether arrays can be told as lengths and buffers."""
        return self.buffers is not None and all(child.travels for child in self.children)


class Layout:
    """How rows of a schema are told."""

    def __init__(self, schema: pa.Schema) -> None:
        """Looks at every type once."""
        self.schema = schema
        self._columns = [_Shape.of(each.type) for each in schema]
        self.travels = all(each.travels for each in self._columns)

    @staticmethod
    @lru_cache(maxsize=16)
    def decoded(schema: bytes) -> Layout:
        """The layout of a schema as Arrow encodes it."""
        return Layout(pa.ipc.read_schema(pa.py_buffer(schema)))

    @cached_property
    def encoded(self) -> bytes:
        """The schema as Arrow encodes it."""
        return bytes(self.schema.serialize().to_pybytes())

    def put_together(self, words: Iterator[int], buffer: Find) -> pa.RecordBatch:
        """The rows that words tell of; `buffer` finds the buffers."""
        rows = next(words)
        columns = [_array(each, words, buffer) for each in self._columns]
        if not columns:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def take_apart(self, rows: pa.RecordBatch, place: Callable[[pa.Buffer], Place]) -> list[int]:
        """The words that tell of some rows; `place` says where a buffer lies, or brings it there."""
        words = [rows.num_rows]
        for column, shape in zip(rows.columns, self._columns, strict=True):
            _tell(column, shape, words, place)
        return words


def _buffers(given: pa.DataType) -> int | None:
    if pa.types.is_null(given):
        return 0
    if pa.types.is_fixed_size_list(given) or pa.types.is_struct(given):
        return 1
    if pa.types.is_list(given) or pa.types.is_large_list(given) or _is_fixed(given):
        return 2
    return 3 if _offset_bytes(given) else None


def _is_fixed(given: pa.DataType) -> bool:
    return any(is_it(given) for is_it in _FIXED)


def _offset_bytes(given: pa.DataType) -> int:
    if pa.types.is_string(given) or pa.types.is_binary(given) or pa.types.is_list(given):
        return 4
    return 8 if any(is_it(given) for is_it in _LARGE) else 0


def _children(given: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_struct(given):
        return [given.field(index).type for index in range(given.num_fields)]
    has_one = pa.types.is_fixed_size_list(given) or pa.types.is_list(given) or pa.types.is_large_list(given)
    return [given.value_type] if has_one else []


def _array(shape: _Shape, words: Iterator[int], buffer: Find) -> pa.Array:
    length = next(words)
    if not shape.buffers:
        return pa.nulls(length)
    buffers = [buffer(next(words), next(words), next(words)) for _ in range(shape.buffers)]
    children = [_array(child, words, buffer) for child in shape.children]
    # Where there is no validity there is no null; nobody needs to count.
    nulls = -1 if buffers[0] is not None else 0
    array = pa.Array.from_buffers(shape.storage, length, buffers, nulls, 0, children or None)
    return array if shape.storage is shape.given else pa.ExtensionArray.from_storage(shape.given, array)


def _tell(array: pa.Array, shape: _Shape, words: list[int], place: Callable[[pa.Buffer], Place]) -> None:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    words.append(len(array))
    if not shape.buffers:
        return
    if array.offset:
        array = _from_whole_bytes(array, shape)
    for buffer in _own(array, shape):
        words.extend(NOWHERE if buffer is None else place(buffer))
    for child, child_shape in zip(_parts(array, shape), shape.children, strict=True):
        _tell(child, child_shape, words, place)


def _from_whole_bytes(array: pa.Array, shape: _Shape) -> pa.Array:
    """The array, copied if its rows begin inside a byte of bits, or if its offsets do not begin with it."""
    has_bits = array.null_count or pa.types.is_boolean(shape.storage)
    if (array.offset % 8 and has_bits) or shape.offset_bytes:
        return pa.concat_arrays([array, array.slice(0, 0)])
    return array


def _own(array: pa.Array, shape: _Shape) -> list[pa.Buffer | None]:
    """The buffers of its own rows, without those of its children."""
    start, length = array.offset, len(array)
    validity, *others = array.buffers()[: shape.buffers]
    own = [_bits(validity, start, length) if array.null_count else None]
    if width := shape.offset_bytes:
        offsets = others[0] and others[0].slice(0, (length + 1) * width if length else 0)
        own.append(offsets)
        if len(others) > 1:
            last = int.from_bytes(offsets[length * width :].to_pybytes(), "little") if length else 0
            own.append(others[1] and others[1].slice(0, last))
    elif width := shape.value_bytes:
        own.append(others[0] and others[0].slice(start * width, length * width))
    elif others:
        own.append(_bits(others[0], start, length))
    return own


def _bits(buffer: pa.Buffer | None, start: int, length: int) -> pa.Buffer | None:
    return buffer and buffer.slice(start // 8, (start % 8 + length + 7) // 8)


def _parts(array: pa.Array, shape: _Shape) -> list[pa.Array]:
    """The arrays that it is made of, with its own rows only."""
    if not shape.children:
        return []
    given = shape.storage
    if pa.types.is_struct(given):
        return [array.field(index) for index in range(given.num_fields)]
    if pa.types.is_fixed_size_list(given):
        return [array.values.slice(array.offset * given.list_size, len(array) * given.list_size)]
    return [array.values]
