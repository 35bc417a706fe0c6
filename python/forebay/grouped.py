"""A frame by key, before it is said what to compute of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forebay._settings import aggregates_of, named_expressions, without_none
from forebay.errors import InvalidError
from forebay.expressions import Expression

if TYPE_CHECKING:
    from forebay.dataflow import DataFrame
    from forebay.keyed import Keyed


class Grouped:
    """What `DataFrame.group_by` returns: `agg` says what is computed of the rows of each key."""

    def __init__(self, frame: Keyed, keys: list[str], settings: dict[str, Any], uid: str | None) -> None:
        """Not for users."""
        self._frame = frame
        self._keys = keys
        self._settings = settings
        self._uid = uid

    def agg(self, *aggregates: Expression, **named: Any) -> DataFrame:
        """One row for each key: the key, then the aggregates; when it comes, `group_by` says.

        An aggregate is one call of one function, such as `col("x").sum()`, `count()` or `expr("median(x)")`, named by
        its alias, else by its column.

        Nulls:  null is a key like any other; most aggregates leave nulls out.
        Raises: InvalidError without an aggregate.

        >>> import forebay as fb
        >>> sales = fb.testing.rows([{"shop": "a", "price": 2}, {"shop": "b", "price": 3}, {"shop": "a", "price": 5}])
        >>> totals = sales.group_by("shop").agg(fb.col("price").sum().alias("total"), sold=fb.count())
        >>> sorted(totals.collect().rows(), key=lambda row: row["shop"])
        [{'shop': 'a', 'total': 7, 'sold': 2}, {'shop': 'b', 'total': 3, 'sold': 1}]
        """
        given = named_expressions(aggregates, named)
        if not given:
            raise InvalidError('agg needs an aggregate, such as col("price").sum()')
        settings = {"by": self._keys or None, "aggregates": aggregates_of(given), **self._settings}
        return self._frame._step("group", without_none(settings), self._uid)
