"""The rows that a job gave, beside those that it could not process."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa
    import torch

    from forebay.run import Report

_REPR_ROWS: Final = 10
_CELL_CHARACTERS: Final = 40
# Ten of them keep a notebook below 3 MB.
_THUMBNAIL_BYTES_MAX: Final = 256 << 10
_IMAGES: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


class DeadLetterWarning(UserWarning):
    """Rows are missing from a result because they could not be processed."""


class Result:
    """What `collect` returns: the rows as they were committed, dead letters, and the report of the run."""

    def __init__(
        self,
        batches: list[pa.RecordBatch],
        dead_letters: list[dict[str, Any]],
        report: Report,
        schema: pa.Schema | None,
    ) -> None:
        """Not for users."""
        self._batches = batches
        self._schema = schema
        self.dead_letters = dead_letters
        self.report = report

    @cached_property
    def _table(self) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_batches(self._batches, self._schema)

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(batch.num_rows for batch in self._batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts; tensors are NumPy arrays."""
        from forebay._tensors import rows_of

        for batch in self._batches:
            yield from rows_of(batch)

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._table.schema

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts; tensors are NumPy arrays."""
        return list(self)

    def column(self, name: str) -> list[Any]:
        """The values of one column; tensors are NumPy arrays."""
        from forebay._convert import values

        return [value for batch in self._batches for value in values(batch.column(name))]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table; warns of dead letters."""
        self._warn()
        return self._table

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas data frame; warns of dead letters."""
        self._warn()
        return self._table.to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """The rows as a Polars data frame; warns of dead letters."""
        import polars

        self._warn()
        found = polars.from_arrow(self._table)
        assert isinstance(found, polars.DataFrame), "a table becomes a data frame"
        return found

    def to_torch(self) -> dict[str, torch.Tensor]:
        """The columns as torch tensors, by name; warns of dead letters.

        Shape:  out [rows] for a column of numbers or truth values, [rows, *shape] for one of tensors, of the same type.
        Nulls:  an error, since torch has none.
        Raises: InvalidError if torch is not installed, or for a column of anything else, such as text.
        """
        from forebay import _torch

        self._warn()
        return _torch.tensors(self._table)

    def __repr__(self) -> str:
        """The first rows, and how many there are."""
        return f"{table_text(self._first())}\n{self._summary()}"

    def _repr_html_(self) -> str:
        """The first rows as notebooks show them."""
        import html

        return f"{table_html(self._first())}<p>{html.escape(self._summary())}</p>"

    def _first(self) -> list[dict[str, Any]]:
        return [row for row, _ in zip(self, range(_REPR_ROWS), strict=False)]

    def _summary(self) -> str:
        dead = len(self.dead_letters)
        return f"{len(self)} rows" + (f", {dead} dead letters: {_first_line(self.dead_letters[0])}" if dead else "")

    def _warn(self) -> None:
        if self.dead_letters:
            first = _first_line(self.dead_letters[0])
            text = f"{len(self.dead_letters)} rows could not be processed and are not here, the first: {first}"
            warnings.warn(f"{text}; collect().dead_letters has them", DeadLetterWarning, stacklevel=3)


def dead_letters_in(folder: Path) -> list[dict[str, Any]]:
    """The dead letters that a job left in a folder, in the order of their files."""
    files = sorted(folder.rglob("part-*.jsonl"))
    # Not `splitlines`, which also splits at characters that JSON leaves as they are.
    return [json.loads(line) for file in files for line in file.read_text("utf-8").split("\n") if line]


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema without what the engine notes in it for itself."""
    return schema.remove_metadata()


def table_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a table of text.

    >>> print(table_text([{"id": 1, "text": "a"}, {"id": 20, "text": None}]))
    id  text
     1  a
    20  null
    """
    if not rows:
        return "no rows"
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    right = [isinstance(rows[0][name], int | float) and not isinstance(rows[0][name], bool) for name in names]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def table_html(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a table for notebooks; small encoded images are shown as such.

    >>> table_html([{"a<b": "x&y"}])
    '<table><tr><th>a&lt;b</th></tr><tr><td>x&amp;y</td></tr></table>'
    """
    import html

    if not rows:
        return "<p>no rows</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    lines = (
        "".join(f"<td>{_thumbnail(each) or html.escape(_cell(each))}</td>" for each in row.values()) for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _thumbnail(value: Any) -> str | None:
    """The HTML of an encoded image that is small enough to travel inside a page."""
    if not isinstance(value, bytes) or len(value) > _THUMBNAIL_BYTES_MAX:
        return None
    kind = next((kind for start, kind in _IMAGES.items() if value.startswith(start)), None)
    if kind is None:
        return None
    return f'<img src="data:image/{kind};base64,{base64.b64encode(value).decode()}" style="max-height:96px">'


def _cell(value: Any) -> str:
    text = "null" if value is None else f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
    text = text.replace("\n", " ")
    return text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…"


def _first_line(dead_letter: dict[str, Any]) -> str:
    return str(dead_letter.get("reason", "")).partition("\n")[0]
