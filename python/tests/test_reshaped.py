"""Steps that make several rows of one, leave rows out, or aggregate all of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

import forebay as fb
from forebay import testing

SALES = [
    {"shop": "a", "day": 1, "price": 2.0},
    {"shop": "b", "day": 1, "price": 3.0},
    {"shop": "a", "day": 2, "price": None},
    {"shop": None, "day": 2, "price": 7.0},
    {"shop": "a", "day": 2, "price": 5.0},
]


@pytest.fixture(scope="module")
def sales() -> fb.DataFrame:
    """Five rows."""
    return testing.rows(SALES)


def test_lists_become_rows_as_in_polars() -> None:
    lists = {"id": [1, 2, 3, 4], "a": [[1, None], [], None, [4]], "b": [["x", "y"], [], None, ["z"]]}
    table = pa.table(lists)
    frame = testing.rows(table)
    polars = pytest.importorskip("polars")
    peer = polars.from_arrow(table)
    kept = {"empty_as_null": True, "keep_nulls": True}
    assert frame.explode("a").collect().rows() == peer.explode("a", **kept).to_dicts()
    assert frame.explode("a", "b").collect().rows() == peer.explode("a", "b", **kept).to_dicts()
    assert frame.explode(fb.col("a"), ignore_empty_and_null=True).collect().column("id") == [1, 1, 4]


def test_structs_of_lists_keep_their_fields() -> None:
    frame = testing.rows([{"id": 1, "items": [{"name": "pen", "price": 2}, {"name": "ink", "price": 5}]}])
    found = frame.explode("items").select("id", fb.col("items")["name"], double=fb.col("items")["price"] * 2)
    assert found.collect().rows() == [{"id": 1, "name": "pen", "double": 4}, {"id": 1, "name": "ink", "double": 10}]


def test_a_long_list_becomes_as_many_rows() -> None:
    frame = testing.rows(pa.table({"id": [1, 2], "n": [list(range(200_000)), [7]]}))
    counted = frame.explode("n").group_by("id").agg(rows=fb.count(), most=fb.col("n").max()).collect().rows()
    assert sorted(counted, key=lambda row: row["id"]) == [
        {"id": 1, "rows": 200_000, "most": 199_999},
        {"id": 2, "rows": 1, "most": 7},
    ]


def test_elements_are_asked_one_by_one() -> None:
    frame = testing.rows([{"id": 1, "words": ["a", "bb"]}, {"id": 2, "words": ["ccc"]}]).explode("words")
    asked = frame.with_columns(testing.scripted().predict(text=fb.col("words"))).collect()
    assert Counter(asked.column("length")) == {1: 1, 2: 1, 3: 1}


def test_a_limit_ends_the_job_before_all_is_read() -> None:
    frame = testing.rows([{"n": n} for n in range(200_000)], files=4, batch_rows=100)
    result = frame.limit(150).collect()
    assert (len(result), result.report.outcome) == (150, "completed")
    assert result.report.rows_in < 200_000
    assert len(frame.limit(300_000).collect()) == 200_000


def test_a_sample_is_the_same_in_every_run() -> None:
    frame = testing.rows([{"n": n} for n in range(2000)])
    first, second = (frame.sample(0.2, seed=4).collect().column("n") for _ in range(2))
    assert first == second
    assert 300 < len(first) < 500
    assert frame.sample(0.2, seed=5).collect().column("n") != first
    assert len(frame.sample(1).collect()) == 2000


def test_groups_have_one_result_each(sales: fb.DataFrame) -> None:
    totals = sales.group_by("shop").agg(fb.col("price").sum().alias("total"), fb.col("price").mean(), rows=fb.count())
    assert totals.columns == ["shop", "total", "price", "rows"]
    assert sorted(totals.collect().rows(), key=repr) == [
        {"shop": "a", "total": 7.0, "price": 3.5, "rows": 3},
        {"shop": "b", "total": 3.0, "price": 3.0, "rows": 1},
        {"shop": None, "total": 7.0, "price": 7.0, "rows": 1},
    ]


def test_groups_are_by_expressions_and_by_nothing(sales: fb.DataFrame) -> None:
    late = (fb.col("day") > 1).alias("late")
    found = sales.group_by(late).agg(fb.expr("median(price)").alias("middle")).collect().rows()
    assert sorted(found, key=repr) == [{"late": False, "middle": 2.5}, {"late": True, "middle": 6.0}]
    both = sales.group_by(["shop", "day"]).agg(rows=fb.count())
    assert (both.columns, len(both.collect())) == (["shop", "day", "rows"], 4)
    assert sales.group_by().agg(fb.col("shop").count_distinct().alias("shops")).collect().rows() == [{"shops": 2}]
    assert len(sales.filter("false").group_by().agg(rows=fb.count()).collect()) == 0


def test_groups_give_their_changes() -> None:
    bids = [(1, 10, 3), (1, 10, 5), (2, 10, 9), (3, 20, 4)]
    frame = testing.rows([{"auction": a, "category": c, "price": p} for a, c, p in bids])
    winning = frame.group_by("auction", "category", emit="changes").agg(fb.col("price").max())
    prices = winning.group_by("category", emit="changes").agg(fb.col("price").mean())
    left: Counter[tuple[int, float]] = Counter()
    for row in prices.collect(kinds="change").rows():
        left[row["category"], row["price"]] += -1 if row["change"] in ("-U", "-D") else 1
    assert +left == Counter({(10, 7.0): 1, (20, 4.0): 1})
    ended = winning.group_by().agg(fb.col("price").sum(), rows=fb.count())
    assert ended.collect().rows() == [{"price": 18, "rows": 3}]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda rows: rows.explode(), "needs the names"),
        (lambda rows: rows.explode(fb.col("day") + 1), "needs the names"),
        (lambda rows: rows.explode("shop").schema, "which is no list"),
        (lambda rows: rows.limit(0), "at least 1 row"),
        (lambda rows: rows.sample(0), "a share"),
        (lambda rows: rows.sample(1.5), "a share"),
        (lambda rows: rows.group_by("shop").agg(), "needs an aggregate"),
        (lambda rows: rows.group_by("shop").agg(fb.col("price") + 1).schema, "one aggregate function"),
        (lambda rows: rows.group_by("shop", ttl="1h").agg(rows=fb.count()).schema, "leave out ttl"),
        (lambda rows: rows.group_by("shop").agg(fb.col("shop").max()).schema, 'two columns are called "shop"'),
    ],
)
def test_what_is_wrong_is_said(sales: fb.DataFrame, make: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        make(sales)
