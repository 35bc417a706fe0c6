"""SQL over data frames: the engine says which steps a query is, and frames are made of them."""

from __future__ import annotations

from typing import Any

from forebay import _engine
from forebay._graph import Node
from forebay.dataflow import DataFrame
from forebay.errors import InvalidError
from forebay.expressions import Expression


def sql(query: str, **frames: DataFrame) -> DataFrame:
    """The frame that a SQL query is, over the frames that it names.

    Taken are `SELECT` with `WHERE`, `GROUP BY`, `HAVING` and `LIMIT`, queries in `FROM`, `WITH`, and `UNION ALL`; every
    other clause is refused by name. `GROUP BY tumble(INTERVAL '1 minute')`, also `hop(EVERY, SIZE)` and `session(GAP)`,
    cuts the event time that `watermark` says, and gives `window_start` and `window_end`. Names are taken as written,
    upper and lower case included. `*` with expressions behind it replaces columns of the same name. Put no text of
    others into a query.

    Nulls:  as in SQL. A query without `GROUP BY` over no rows has no result, where SQL would count 0.
    Raises: InvalidError for what the engine has no step for, and for a frame that is not there.

    >>> from forebay import testing
    >>> sales = testing.rows([{"shop": "a", "price": 2}, {"shop": "b", "price": 3}, {"shop": "a", "price": 5}])
    >>> totals = sql("SELECT shop, sum(price) AS total FROM sales WHERE price > 2 GROUP BY shop", sales=sales)
    >>> sorted(totals.collect().rows(), key=lambda row: row["shop"])
    [{'shop': 'a', 'total': 5}, {'shop': 'b', 'total': 3}]
    """
    for name, frame in frames.items():
        if not isinstance(frame, DataFrame):
            raise InvalidError(f"{name} is a {type(frame).__name__}, not a data frame")
    made: list[DataFrame] = []
    for step in _engine.sql(query, list(frames)):
        made.append(_frame(step["action"], [made[place] for place in step["from"]], frames))
    return made[-1]


def _frame(action: Any, inputs: list[DataFrame], frames: dict[str, DataFrame]) -> DataFrame:
    if action == "union":
        return inputs[0].union(*inputs[1:])
    ((kind, said),) = action.items()
    match kind:
        case "table":
            return frames[said]
        case "limit":
            return inputs[0].limit(said)
        case "filter":
            return inputs[0].filter(Expression((f"({said})",)))
        case "group":
            return _step(kind, said, inputs[0])
        case "window":
            return _step(kind, _shape(said["shape"]) | said["group"], inputs[0])
    columns = {each["name"]: Expression((each["sql"],), name=each["name"]) for each in said}
    return inputs[0].select(*columns.values()) if kind == "select" else inputs[0].with_columns(columns)


def _shape(shape: dict[str, Any]) -> dict[str, Any]:
    """The settings of a window."""
    if "hop" in shape:
        every, size = shape["hop"]
        return {"slide": {"size": size, "every": every}}
    return shape


def _step(kind: str, settings: dict[str, Any], frame: DataFrame) -> DataFrame:
    return DataFrame(Node(kind, (frame.node,), {key: value for key, value in settings.items() if value}))
