"""SQL over frames gives what SQL over tables gives."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

import forebay as fb
from forebay import testing

SALES = [{"shop": "abc"[n % 3] if n % 7 else None, "n": n, "price": None if n % 5 == 0 else n / 4} for n in range(60)]
MORE = [{"shop": "d", "n": n, "price": 1.5} for n in range(3)]


@pytest.fixture(scope="module")
def frames() -> dict[str, fb.DataFrame]:
    """Two sources with the same columns."""
    return {"sales": testing.rows(SALES), "more": testing.rows(MORE)}


@pytest.fixture(scope="module")
def tables() -> sqlite3.Connection:
    """The same rows in another engine."""
    connection = sqlite3.connect(":memory:")
    for name, rows in (("sales", SALES), ("more", MORE)):
        connection.execute(f"CREATE TABLE {name} (shop TEXT, n INTEGER, price REAL)")
        connection.executemany(f"INSERT INTO {name} VALUES (:shop, :n, :price)", rows)
    connection.row_factory = sqlite3.Row
    return connection


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM sales",
        "SELECT n, price * 2 AS twice FROM sales WHERE price > 3 AND shop IS NOT NULL",
        "SELECT s.n, s.shop AS place FROM sales AS s WHERE s.n % 2 = 0 OR s.price < 1",
        "SELECT shop, count(*) AS sold, sum(price) AS total, max(n) AS latest FROM sales GROUP BY shop",
        "SELECT shop, avg(price) + 1 AS more FROM sales WHERE n > 5 GROUP BY shop HAVING count(*) > 15",
        "SELECT n % 4 AS part, count(DISTINCT shop) AS shops FROM sales GROUP BY n % 4 HAVING part < 3",
        "SELECT count(*) AS sold, count(price) AS paid, min(price) AS least FROM sales",
        "SELECT shop, n FROM sales WHERE n < 4 UNION ALL SELECT shop, n FROM more UNION ALL SELECT shop, n FROM more",
        "WITH big AS (SELECT * FROM sales WHERE price > 10) SELECT shop, count(*) AS sold FROM big GROUP BY shop",
        "SELECT m.most FROM (SELECT shop, max(price) AS most FROM sales GROUP BY shop) AS m WHERE m.most > 13",
        "SELECT CASE WHEN price > 5 THEN 'much' ELSE 'little' END AS price, sum(n) AS n FROM sales GROUP BY price > 5",
    ],
)
def test_queries_give_what_sqlite_gives(
    query: str, frames: dict[str, fb.DataFrame], tables: sqlite3.Connection
) -> None:
    expected = [dict(row) for row in tables.execute(query)]
    assert expected
    found = fb.sql(query, **frames).collect().rows()
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_a_limit_is_a_limit(frames: dict[str, fb.DataFrame]) -> None:
    assert len(fb.sql("SELECT n FROM sales LIMIT 7", **frames).collect()) == 7


def test_event_time_is_cut() -> None:
    clicks = [{"at": f"2026-01-01T00:0{n // 3}:{n * 10 % 60:02}Z", "user": "ab"[n % 2]} for n in range(12)]
    frame = testing.rows(clicks).watermark("at", out_of_order="1m")
    query = "SELECT user, window_start AS start, count(*) AS n FROM df GROUP BY user, tumble(INTERVAL '1' MINUTE)"
    found = fb.sql(query, df=frame).collect().rows()
    assert sum(row["n"] for row in found) == 12
    assert {(row["user"], row["start"].minute) for row in found} == {
        (user, minute) for user in "ab" for minute in range(4)
    }
    hops = "SELECT window_end, count(*) AS n FROM df GROUP BY hop(INTERVAL '30 seconds', INTERVAL '1 minute')"
    assert sum(row["n"] for row in fb.sql(hops, df=frame).collect()) == 24


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT n FROM sales ORDER BY n", "ORDER BY"),
        ("SELECT DISTINCT n FROM sales", "DISTINCT"),
        ("SELECT n FROM nothing", "nothing"),
        ("SELECT n FROM sales JOIN more ON sales.n = more.n", "JOIN"),
        ("SELEC", "SQL statement"),
    ],
)
def test_what_is_no_step_is_refused_by_name(query: str, words: str, frames: dict[str, fb.DataFrame]) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        fb.sql(query, **frames)


def test_a_missing_column_is_said_when_the_job_is_planned(frames: dict[str, fb.DataFrame]) -> None:
    with pytest.raises(fb.errors.InvalidError, match='no column "m"'):
        fb.sql("SELECT m FROM sales", **frames).collect()


def test_only_frames_are_tables(frames: dict[str, Any]) -> None:
    with pytest.raises(fb.errors.InvalidError, match="not a data frame"):
        fb.sql("SELECT n FROM sales", sales=SALES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("total", "result"),
    [
        ("sum(cast(x as bigint))", [("a", 6, 2), ("b", 3, 1)]),
        ("sum(cast(x as bigint)) filter (where x <> 'bad')", [("a", 6, 3), ("b", 3, 1)]),
    ],
)
def test_a_row_that_cannot_be_aggregated_costs_itself(total: str, result: list[tuple[str, int, int]]) -> None:
    rows = testing.rows([{"k": key, "x": x} for key, x in [("a", "1"), ("a", "bad"), ("b", "3"), ("a", "5")]])
    found = fb.sql(f"select k, {total} as total, count(*) as n from t group by k", t=rows).collect()
    assert sorted((row["k"], row["total"], row["n"]) for row in found) == result
    dead = [(letter["kind"], "'bad'" in letter["reason"]) for letter in found.dead_letters]
    assert dead == ([] if "filter" in total else [("data", True)])
