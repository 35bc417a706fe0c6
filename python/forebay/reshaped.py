"""Steps that make several rows of one, or leave rows out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forebay._settings import without_none
from forebay.ending import Ending
from forebay.errors import InvalidError

if TYPE_CHECKING:
    from forebay.dataflow import DataFrame


class Reshaped(Ending):
    """The part of a data frame that changes how many rows there are."""

    @abstractmethod
    def _step(self, kind: str, settings: Mapping[str, Any], uid: str | None) -> DataFrame:
        """A step over this frame."""

    def explode(self, *columns: str, ignore_empty_and_null: bool = False, uid: str | None = None) -> DataFrame:
        """Makes one row of each element of a list; the other columns are repeated.

        Shape:  several columns go together: their lists are equally long in each row, else the row is a dead letter.
        Nulls:  a null or empty list gives one row with null, or none with `ignore_empty_and_null`.
        Raises: InvalidError if a column is no list, when the job is planned; a tensor is none.

        >>> from forebay import testing
        >>> testing.rows([{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}]).explode("tags").collect().rows()
        [{'id': 1, 'tags': 'a'}, {'id': 1, 'tags': 'b'}, {'id': 2, 'tags': None}]
        """
        if not columns:
            raise InvalidError("explode needs the name of a column")
        settings = {"columns": list(columns), "ignore_empty_and_null": ignore_empty_and_null or None}
        return self._step("explode", without_none(settings), uid)

    def limit(self, rows: int, *, uid: str | None = None) -> DataFrame:
        """Keeps the first rows to come; then sources that nothing else reads stop, and the job ends.

        Which rows those are depends on their arrival where several subtasks send them; after a restart the count goes
        on where it was.

        Raises: InvalidError for less than one row.

        >>> from forebay import testing
        >>> testing.rows([{"n": n} for n in range(1000)]).limit(2).collect().rows()
        [{'n': 0}, {'n': 1}]
        """
        if rows < 1:
            raise InvalidError(f"limit needs at least 1 row, not {rows}")
        return self._step("limit", {"rows": rows}, uid)

    def sample(self, fraction: float, *, seed: int = 0, uid: str | None = None) -> DataFrame:
        """Keeps about this share of the rows, more than 0 and at most 1, without replacement.

        Each row stays or goes by the hash of its id: the same rows after a restart and in every run over the same
        files. Another `seed` keeps other rows.

        Raises: InvalidError for another share, or a negative seed.

        >>> from forebay import testing
        >>> numbers = testing.rows([{"n": n} for n in range(1000)])
        >>> 50 < len(numbers.sample(0.1, seed=3).collect()) < 150
        True
        """
        if not 0 < fraction <= 1 or seed < 0:
            raise InvalidError(f"sample needs a share in 0..=1 that is not 0 and a seed from 0, not {fraction}, {seed}")
        return self._step("sample", without_none({"ratio": float(fraction), "seed": seed or None}), uid)
