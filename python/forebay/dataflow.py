"""The data frame: what to do with rows, written down step by step and run when rows or files are asked for.

Lazy and immutable: every method returns another frame and nothing is read. Frames may share steps, and a step that two
of them share is in the job once. What ends with rows in this process (`collect`, `show`, `take`, `iter_batches`) is in
`Ending`; what a job writes for good is in `Job` and `write_*`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from forebay._graph import Node
from forebay._options import Duration, duration
from forebay._settings import named_expressions, pairs_of, without_none
from forebay.errors import InvalidError
from forebay.expressions import Expression, col, expr
from forebay.keyed import Keyed

if TYPE_CHECKING:
    from forebay.io import Table

OnError = Literal["dead_letter", "fail", "null"]


class DataFrame(Keyed):
    """Rows that are not there yet.

    >>> import forebay as fb
    >>> posts = fb.read_jsonl("posts/*.jsonl").filter(fb.col("likes") > 3).select("id", text=fb.col("body").str.lower())
    >>> posts.to_job().to_dict()["step"][1]["select"]
    ['"id" AS "id"', 'lower("body") AS "text"']
    """

    def __getitem__(self, name: str) -> Expression:
        """The column of this name, the same as `col(name)`."""
        return col(name)

    # === columns and rows ===

    def select(
        self, *columns: str | Expression, uid: str | None = None, on_error: OnError | None = None, **named: Any
    ) -> DataFrame:
        """Replaces all columns by these: names, expressions with an alias, or `column=expression`."""
        return self._expressions("select", named_expressions(columns, named), uid, on_error)

    def with_column(
        self, column: str, value: Any, *, uid: str | None = None, on_error: OnError | None = None
    ) -> DataFrame:
        """Adds a column, or replaces the one of that name."""
        return self._expressions("with", named_expressions((), {column: value}), uid, on_error)

    def with_columns(
        self,
        *columns: Expression | Mapping[str, Any],
        uid: str | None = None,
        on_error: OnError | None = None,
        **named: Any,
    ) -> DataFrame:
        """Adds or replaces columns: mappings, expressions with an alias, answers with several outputs, or named."""
        given: dict[str, Any] = {}
        for each in columns:
            given |= dict(each) if isinstance(each, Mapping) else named_expressions((each,), {})
        return self._expressions("with", named_expressions((), {**given, **named}), uid, on_error)

    def filter(
        self, *predicates: Expression | str, uid: str | None = None, on_error: OnError | None = None
    ) -> DataFrame:
        """Keeps the rows for which all predicates are true; null is not true. Text is SQL."""
        each = [expr(one) if isinstance(one, str) else one for one in predicates]
        if not each:
            raise InvalidError("filter needs a predicate")
        whole = each[0]
        for one in each[1:]:
            whole = whole & one
        return self._expressions("filter", {"filter": whole}, uid, on_error)

    def where(
        self, *predicates: Expression | str, uid: str | None = None, on_error: OnError | None = None
    ) -> DataFrame:
        """The same as `filter`."""
        return self.filter(*predicates, uid=uid, on_error=on_error)

    def exclude(self, *columns: str, uid: str | None = None) -> DataFrame:
        """Drops columns."""
        return self._step("exclude", {"names": list(columns)}, uid)

    # === several streams ===

    def union(self, *others: DataFrame, uid: str | None = None) -> DataFrame:
        """The rows of all, which have the same columns."""
        return DataFrame(Node("union", (self.node, *(other.node for other in others)), {}, uid))

    def join(
        self,
        other: DataFrame | Table,
        *,
        on: str | Sequence[str] | Mapping[str, str],
        how: Literal["inner", "left", "right", "full"] | None = None,
        within: Mapping[str, Duration] | None = None,
        window: Duration | None = None,
        as_of: bool | None = None,
        ttl: Duration | None = None,
        prefix: str | None = None,
        uid: str | None = None,
    ) -> DataFrame:
        """Looks rows up in a `table` (default `how="left"`), or pairs them with the rows of another stream (`"inner"`).

        `on` names columns that both have, or maps own columns to the other's. At most one of `within`, `window`,
        `as_of` and `ttl`, for streams, says which rows may meet.
        """
        settings: dict[str, Any] = {"on": pairs_of(on), "how": how, "prefix": prefix, "as_of": as_of}
        settings |= {"window": window and duration(window), "ttl": ttl and duration(ttl)}
        settings["within"] = within and {side: duration(value) for side, value in within.items()}
        if isinstance(other, DataFrame):
            return DataFrame(Node("join", (self.node, other.node), without_none(settings), uid))
        return self._step(
            "join", {"table": {"format": other.format, "path": other.path}, **without_none(settings)}, uid
        )

    # === inside ===

    def _step(self, kind: str, settings: Mapping[str, Any], uid: str | None) -> DataFrame:
        return DataFrame(Node(kind, (self.node,), settings, uid))

    def _of(self, node: Node) -> DataFrame:
        return DataFrame(node)

    def _expressions(self, kind: str, named: dict[str, Expression], uid: str | None, on_error: str | None) -> DataFrame:
        return self._step(kind, {"expressions": named, "on_error": on_error}, uid)
