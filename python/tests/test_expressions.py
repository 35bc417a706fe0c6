"""What expressions become: SQL that means what Python says, whatever names and texts are in it."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest

import forebay as fb
from forebay import testing
from forebay.expressions import Expression


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        (fb.col("a") + 1, '("a" + 1)'),
        (2 - fb.col("a"), '(2 - "a")'),
        (fb.col("a") / 2, '(CAST("a" AS DOUBLE) / 2)'),
        (-fb.col("a") % 3, '((- "a") % 3)'),
        ((fb.col("a") >= 1) & ~(fb.col("b") == "x"), '(("a" >= 1) AND (NOT ("b" = \'x\')))'),
        ((fb.col("a") < 1) | fb.col("b").not_null(), '(("a" < 1) OR ("b" IS NOT NULL))'),
        (fb.col("a").is_in([1, "two"]), "(\"a\" IN (1, 'two'))"),
        (fb.col("a").is_in([]), "FALSE"),
        (fb.col("a").between(1, 2), '(("a" >= 1) AND ("a" <= 2))'),
        (fb.col("a").fill_null(0), 'CASE WHEN ("a" IS NULL) THEN 0 ELSE "a" END'),
        (fb.col("a").is_null().if_else("no", fb.col("a")), 'CASE WHEN ("a" IS NULL) THEN \'no\' ELSE "a" END'),
        (fb.col("a").cast(int), 'CAST("a" AS BIGINT)'),
        (fb.col("a").cast("int32"), 'CAST("a" AS INT)'),
        (fb.col("a").cast("timestamp", strict=False), 'TRY_CAST("a" AS TIMESTAMP)'),
        (fb.col("a")["b'c"], "(\"a\")['b''c']"),
        (fb.col("a").str.replace("x", fb.col("b")), 'replace("a", \'x\', "b")'),
        (fb.col("a").dt.year(), "date_part('year', \"a\")"),
        (fb.expr("a > 1") & fb.col("b"), '((a > 1) AND "b")'),
        (fb.col("a").max(), 'max("a")'),
        (fb.col("a").count_distinct(), 'count(DISTINCT "a")'),
        (
            fb.col("c").image.to_tensor(8, 4, mode="L", dtype="float32", mean=0.5),
            "image_to_tensor(\"c\", 8, 4, 'L', 'float32', 0.5, 1.0)",
        ),
    ],
)
def test_python_becomes_sql(expression: Expression, sql: str) -> None:
    assert expression.sql() == sql


def test_units_of_time_are_checked_at_once() -> None:
    with pytest.raises(fb.errors.InvalidError, match="'fortnight' is no unit; there are second, minute"):
        fb.col("a").dt.truncate("fortnight")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        (None, "NULL"),
        (True, "TRUE"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "CAST('-9223372036854775808' AS BIGINT)"),
        (1.5, "1.5"),
        (-1e300, "CAST('-1e+300' AS DOUBLE)"),
        (float("nan"), "CAST('nan' AS DOUBLE)"),
        ("', 1); --", "''', 1); --'"),
        ("back\\slash\n${HOME}", "'back\\slash\n${HOME}'"),
        (b"\x00\xff", "X'00ff'"),
        (decimal.Decimal("-12.340"), "CAST('-12.340' AS DECIMAL(5, 3))"),
        (decimal.Decimal("1E3"), "CAST('1000' AS DECIMAL(4, 0))"),
        (datetime.date(2026, 1, 31), "DATE '2026-01-31'"),
        (
            datetime.datetime(2026, 1, 31, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
            """arrow_cast('2026-01-31T00:00:00Z', 'Timestamp(Microsecond, Some("UTC"))')""",
        ),
        (datetime.timedelta(seconds=1.5), "INTERVAL '1500000 microseconds'"),
    ],
)
def test_constants_are_quoted(value: object, sql: str) -> None:
    assert fb.lit(value).sql() == sql


@pytest.mark.parametrize("name", ['a"b', "a'b", "Ünïcode 行", "; DROP TABLE", "a\\", "${HOME}", " "])
def test_any_name_is_a_column(name: str) -> None:
    assert fb.col(name).sql() == '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize(
    ("value", "words"), [(2**63, "64 bits"), ({1}, "no constant"), (decimal.Decimal("NaN"), "no constant")]
)
def test_what_sql_has_no_constant_of_is_refused(value: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        fb.lit(value)


def test_an_expression_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="write & for and"):
        bool(fb.col("a") == 1)


def test_an_expression_is_no_list() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        list(fb.col("a"))  # type: ignore[call-overload]
    counted = testing.rows([{"a": 1}]).window(tumble="1s", aggregates=fb.count())
    assert counted.node.settings["aggregates"] == ['count(*) AS "count"']


def test_the_name_is_that_of_the_leftmost_column() -> None:
    assert ((1 + fb.col("a")) * fb.col("b")).name == "a"
    assert fb.col("a").alias("z").name == "z"
    assert fb.expr("a + 1").name is None


def test_types_have_the_names_of_numpy_and_arrow() -> None:
    names = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "bool"]
    cast = testing.rows([{"x": 1}]).select(*[fb.col("x").cast(name).alias(name) for name in names]).to_arrow()
    arrow = {"float32": "float", "float64": "double"}
    assert [str(kind) for kind in cast.schema.types] == [arrow.get(name, name) for name in names]


@pytest.mark.parametrize("kind", ["int); --", object, "a;b"])
def test_a_cast_takes_types_only(kind: Any) -> None:
    with pytest.raises(fb.errors.InvalidError):
        fb.col("a").cast(kind)


def test_image_mean_needs_floats() -> None:
    with pytest.raises(fb.errors.InvalidError, match="float32"):
        fb.col("c").image.to_tensor(8, 8, mean=0.5)
