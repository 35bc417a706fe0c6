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
from forebay._settings import aggregates_of, key_of, keys_of, named_expressions, pairs_of, without_none
from forebay.ending import Ending
from forebay.errors import InvalidError
from forebay.expressions import Expression, col, expr

if TYPE_CHECKING:
    from forebay.io import Table

OnError = Literal["dead_letter", "fail", "null"]
Keys = str | Expression | Sequence[str | Expression]


class DataFrame(Ending):
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

    # === event time and keys ===

    def watermark(
        self,
        time: str,
        *,
        out_of_order: Duration | None = None,
        files: Literal["any_order", "in_order"] | None = None,
        idle: Duration | None = None,
        max_drift: Duration | None = None,
    ) -> DataFrame:
        """Says which column is the event time, and how far out of order; stands directly behind `read_*`."""
        if self.node.kind != "source":
            raise InvalidError("watermark stands directly behind the read_* that it is about")
        given = {"out_of_order": out_of_order, "idle": idle, "max_drift": max_drift}
        times = {key: duration(value) for key, value in given.items() if value is not None}
        settings = {**self.node.settings, "watermark": without_none({"time": time, "files": files}) | times}
        return DataFrame(Node("source", (), settings, self.node.uid))

    def window(
        self,
        *,
        aggregates: Sequence[Expression] | Mapping[str, Expression],
        by: Keys = (),
        tumble: Duration | None = None,
        slide: Mapping[str, Duration] | None = None,
        session: Duration | None = None,
        allowed_lateness: Duration | None = None,
        uid: str | None = None,
    ) -> DataFrame:
        """Aggregates of the rows of a key by event time; one of `tumble`, `slide` and `session` says over how long."""
        settings = {
            "tumble": tumble and duration(tumble),
            "slide": slide and {key: duration(value) for key, value in slide.items()},
            "session": session and duration(session),
            "by": keys_of(by) or None,
            "aggregates": aggregates_of(aggregates),
            "allowed_lateness": allowed_lateness and duration(allowed_lateness),
        }
        return self._step("window", without_none(settings), uid)

    def deduplicate(
        self,
        by: Keys,
        *,
        keep: Literal["first", "last"] | None = None,
        order: Literal["arrival", "event_time"] | None = None,
        ttl: Duration | None = None,
        uid: str | None = None,
    ) -> DataFrame:
        """Keeps one row of each key."""
        settings = {"by": keys_of(by), "keep": keep, "order": order, "ttl": ttl and duration(ttl)}
        return self._step("deduplicate", without_none(settings), uid)

    def top(
        self,
        rows: int,
        *,
        order: Keys,
        by: Keys = (),
        rank: str | None = None,
        ttl: Duration | None = None,
        uid: str | None = None,
    ) -> DataFrame:
        """Keeps the first rows of each key in an order; `col("x").desc()` counts downwards."""
        order_by = [order] if isinstance(order, str | Expression) else list(order)
        settings = {
            "rows": rows,
            "by": keys_of(by) or None,
            "order": [key_of(each) for each in order_by],
            "rank": rank,
            "ttl": ttl and duration(ttl),
        }
        return self._step("top", without_none(settings), uid)

    def durable(
        self,
        *,
        mode: Literal["commit_read", "id_dedupe"] | None = None,
        quota: str | None = None,
        uid: str | None = None,
    ) -> DataFrame:
        """Cuts the job: what is before and what is behind checkpoint and restart apart."""
        return self._step("durable", without_none({"mode": mode, "quota": quota}), uid)

    def side_output(self, output: str) -> DataFrame:
        """Rows that the last step lets go beside its own, such as `"late"` of a window."""
        return self._step("side", {"name": output}, None)

    # === inside ===

    def _step(self, kind: str, settings: Mapping[str, Any], uid: str | None) -> DataFrame:
        return DataFrame(Node(kind, (self.node,), settings, uid))

    def _expressions(self, kind: str, named: dict[str, Expression], uid: str | None, on_error: str | None) -> DataFrame:
        return self._step(kind, {"expressions": named, "on_error": on_error}, uid)
