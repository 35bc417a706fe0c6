"""Steps that keep state: by key, by event time, or as a log between two regions of a job."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from forebay._graph import Node
from forebay._options import Duration, duration
from forebay._settings import aggregates_of, key_of, keys_of, pairs_of, without_none
from forebay.errors import InvalidError
from forebay.expressions import Expression
from forebay.grouped import Grouped
from forebay.reshaped import Reshaped

if TYPE_CHECKING:
    from forebay.dataflow import DataFrame

Keys = str | Expression | Sequence[str | Expression]


class Keyed(Reshaped):
    """The part of a data frame that keeps state."""

    @abstractmethod
    def _of(self, node: Node) -> DataFrame:
        """A frame of a node."""

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
        return self._of(Node("source", (), settings, self.node.uid))

    def window(
        self,
        *,
        aggregates: Expression | Sequence[Expression] | Mapping[str, Expression],
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

    def group_by(
        self,
        *by: Keys,
        emit: Literal["end", "changes"] | None = None,
        ttl: Duration | None = None,
        uid: str | None = None,
    ) -> Grouped:
        """The rows by key, for `.agg(..)`, which computes of all of them.

        Without a key all rows are one group. By default each key gives one row, once the input has ended. With
        `emit="changes"` results come as they change, as updates: a new one takes back the one before. `ttl`, which
        needs event time, then says how long a key is remembered after its latest row. For results by interval use
        `window`.
        """
        settings = {"emit": emit, "ttl": ttl and duration(ttl)}
        return Grouped(self, [key for each in by for key in keys_of(each)], without_none(settings), uid)

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

    def feedback(
        self,
        labels: DataFrame,
        *,
        on: str | Sequence[str] | Mapping[str, str],
        wait: Duration,
        retention: Duration,
        before: Duration | None = None,
        prefix: str | None = None,
        uid: str | None = None,
    ) -> DataFrame:
        """Gives each prediction the label that comes for it later; `labels` is the stream of those."""
        settings: dict[str, Any] = {
            "on": pairs_of(on),
            "wait": duration(wait),
            "retention": duration(retention),
            "prefix": prefix,
        }
        settings["before"] = before and duration(before)
        return self._of(Node("feedback", (self.node, labels.node), without_none(settings), uid))

    def metrics(
        self,
        *,
        score: str,
        label: str,
        by: Keys = (),
        every: Duration | None = None,
        allowed_lateness: Duration | None = None,
        threshold: float | None = None,
        bins: int | None = None,
        reference: Mapping[str, str] | None = None,
        uid: str | None = None,
    ) -> DataFrame:
        """How good predictions were, by key and interval of event time: accuracy, AUC, calibration and so on."""
        settings = {
            "score": score,
            "label": label,
            "by": keys_of(by) or None,
            "every": every and duration(every),
            "allowed_lateness": allowed_lateness and duration(allowed_lateness),
            "threshold": threshold,
            "bins": bins,
            "reference": reference and dict(reference),
        }
        return self._step("metrics", without_none(settings), uid)

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
