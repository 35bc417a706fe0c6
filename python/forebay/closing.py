"""Iterators over the rows of a running job, which is cancelled when nobody wants more."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class ClosingIterator(Generic[Item], Iterator[Item]):
    """Rows or batches as they come. The job begins with the first `next`; `close`, or leaving a `with`, cancels it.

    >>> from forebay import testing
    >>> with testing.rows([{"n": 1}, {"n": 2}]).iter_rows() as rows:
    ...     next(rows)
    {'n': 1}
    """

    def __init__(self, items: Generator[Item, None, None]) -> None:
        """Not for users: `iter_rows` and `iter_batches` make them."""
        self._items = items

    def __next__(self) -> Item:
        """Waits for the next one.

        Raises: the error of its kind if the job failed.
        """
        return next(self._items)

    def close(self) -> None:
        """Cancels the job, if it still runs, and waits until it has let go of everything. Nothing comes then."""
        self._items.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()
