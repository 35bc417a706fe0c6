"""Values at the edges of their types come through as they are, or their row is a dead letter."""

from __future__ import annotations

import datetime
import decimal
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import forebay as fb
from forebay import _convert, testing
from forebay.errors import InvalidError
from forebay.types import Slot

NOON = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC)
HUGE = 2**53 + 1


def test_negative_zero_is_zero() -> None:
    zeros = testing.rows([{"a": -0.0}, {"a": 0.0}, {"a": 1.5}, {"a": None}])
    a = fb.col("a")
    assert len(zeros.filter(a == 0).collect()) == 2
    assert len(zeros.filter(a < 0).collect()) == 0
    assert len(zeros.filter(a.between(0, 1)).collect()) == 2
    assert zeros.filter(a >= 1.5).collect().column("a") == [1.5]
    expressions = ["a IN (0.0, 3.0, 4.0, 5.0)", "a IN (a + 1, 0.0)", "CASE a WHEN 0.0 THEN true ELSE false END"]
    for expression in expressions:
        assert len(zeros.filter(fb.expr(expression)).collect()) == 2, expression
    assert zeros.select(x=fb.expr("nullif(a, 0.0)")).collect().column("x") == [None, None, 1.5, None]
    counted = zeros.group_by().agg(n=fb.expr("count(DISTINCT a)"), low=fb.expr("count(a) FILTER (WHERE a = 0.0)"))
    assert counted.collect().rows() == [{"n": 2, "low": 2}]


def test_rounded_decimals_keep_their_scale() -> None:
    prices = testing.rows(pa.table({"price": [decimal.Decimal("1.25"), None]}))
    assert prices.select(x=fb.col("price").round(1)).collect().column("x") == [decimal.Decimal("1.30"), None]


def test_what_an_aggregate_takes_fails_where_it_does_not_fit() -> None:
    result = testing.rows([{"n": 2}, {"n": 1}]).group_by().agg(x=fb.expr(f"sum(n * {2**63 - 1})")).collect()
    assert result.rows() == [{"x": 2**63 - 1}]
    assert "Overflow" in result.dead_letters[0]["reason"]


def test_the_least_number_has_no_negative() -> None:
    result = testing.rows([{"n": -(2**63)}, {"n": 5}]).select(x=-fb.col("n")).collect()
    assert (result.column("x"), len(result.dead_letters)) == ([-5], 1)


def test_a_time_with_a_zone_is_that_moment_in_every_zone() -> None:
    rows = testing.rows(pa.table({"at": pa.array([NOON, None], pa.timestamp("us", "America/New_York"))}))
    at = fb.col("at")
    found = rows.select(same=at == NOON, late=at > NOON, past=at - fb.lit(NOON), filled=at.fill_null(NOON)).collect()
    assert sorted(found.rows(), key=lambda row: row["same"] is None) == [
        {"same": True, "late": False, "past": datetime.timedelta(0), "filled": NOON},
        {"same": None, "late": None, "past": None, "filled": NOON},
    ]


def test_the_end_of_time_can_be_compared_with() -> None:
    rows = testing.rows(pa.table({"at": [datetime.datetime(2024, 1, 1)]}))
    assert len(rows.filter(fb.col("at") < datetime.datetime(9999, 12, 31)).collect()) == 1


def test_doubles_of_numpy_are_constants() -> None:
    rows = testing.rows([{"a": 1.5}, {"a": -2.5}])
    assert rows.filter(fb.col("a") > np.float64(-2)).collect().column("a") == [1.5]


def test_times_in_seconds_stay_times() -> None:
    rows = testing.rows(
        pa.table(
            {
                "at": pa.array([NOON], pa.timestamp("s", "UTC")),
                "day": pa.array([NOON.date()], pa.date64()),
                "clock": pa.array([datetime.time(1, 2, 3)], pa.time32("s")),
            }
        )
    )
    (row,) = rows.collect().rows()
    assert row == {"at": NOON, "day": datetime.datetime(2024, 1, 1), "clock": datetime.time(1, 2, 3)}


def test_dead_letters_may_hold_any_character() -> None:
    rows = testing.rows([{"s": "1"}, {"s": "a\u2028b\u0085c"}])
    result = rows.with_columns(n=fb.col("s").cast(int)).collect()
    assert len(result) == 1
    assert json.loads(result.dead_letters[0]["input"]) == {"s": "a\u2028b\u0085c"}


def test_a_dead_letter_holds_what_its_row_held() -> None:
    table = {"day": [NOON.date()], "tags": [["a", "b"]], "text": ["x" * 5000], "nan": [float("nan")], "id": [7]}
    result = (
        testing.rows(pa.table(table)).select("day", "tags", "text", "nan", "id", q=fb.expr("1 / (id - 7)")).collect()
    )
    held = json.loads(result.dead_letters[0]["input"])
    assert (held["day"], held["tags"], held["nan"], held["id"]) == ("2024-01-01", "[a, b]", "NaN", 7)
    assert held["text"].startswith("xxx")
    assert held["text"].endswith("x...")


@pytest.mark.parametrize("use_process", [True, False])
def test_halves_of_characters_in_a_traceback_harm_nobody(use_process: bool) -> None:
    @fb.func(attempts=1, use_process=use_process)
    def size(n: int) -> int:
        if n == 3:
            raise ValueError("cannot open " + os.fsdecode(b"caf\xe9.txt"))
        return n

    result = testing.rows([{"n": n} for n in range(6)]).select(v=size(fb.col("n"))).collect()
    assert sorted(result.column("v")) == [0, 1, 2, 4, 5]
    (dead,) = result.dead_letters
    assert dead["kind"] == "data"
    assert "ValueError: cannot open caf\\udce9.txt" in dead["reason"]


def test_fractions_are_no_whole_numbers() -> None:
    @fb.func
    def half(n: int) -> int:
        return n / 2  # type: ignore[return-value]

    @fb.func.batch(returns=np.float32)
    def huge(n: list[int]) -> list[float]:
        return [1e300 if each == 1 else 0.1 for each in n]

    rows = testing.rows([{"n": 1}, {"n": 2}])
    result = rows.select(v=half(fb.col("n"))).collect()
    assert result.column("v") == [1]
    assert "0.5 is no whole number" in result.dead_letters[0]["reason"]
    result = rows.select(v=huge(fb.col("n"))).collect()
    assert result.column("v") == [pytest.approx(0.1)]
    assert "1e+300 does not fit float" in result.dead_letters[0]["reason"]


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("slot", "rows", "words"),
    [
        (Slot("v", "int8", (1,)), [[127], [200]], "200 does not fit int8"),
        (Slot("v", "int64", (1,)), [[1], [np.uint64(2**63)]], "9223372036854775808 does not fit int64"),
        (Slot("v", "float32", (1,)), [[INFINITE], [1e300]], r"1e.300 does not fit float32"),
        (Slot("v", "float16", (1,)), [[-INFINITE], [7e4]], r"70000\.0 does not fit float16"),
        (Slot("v", "float16"), [INFINITE, 70000], "70000 does not fit halffloat"),
        (Slot("v", "float32"), [INFINITE, 1e300], r"1e.300 does not fit float"),
        (Slot("v", "int64"), [decimal.Decimal(2), decimal.Decimal("1.9")], "1.9 is no whole number"),
        (Slot("v", "int64"), [np.float32(2), np.float32(1.5)], "1.5 is no whole number"),
        (Slot("v", "int64"), [None, np.True_], "True is a bool, not a int64"),
    ],
)
def test_what_does_not_fit_is_refused_as_a_row_a_list_and_an_array(slot: Slot, rows: list[Any], words: str) -> None:
    fitting = _convert.column_of_rows(rows[:1], slot).to_pylist()
    assert fitting == rows[:1]
    assert _convert.column_of_batch(rows[:1] if not slot.shape else np.array(rows[:1]), slot, 1).to_pylist() == fitting
    with pytest.raises(TypeError, match=words):
        _convert.column_of_rows(rows, slot)
    with pytest.raises(TypeError, match=words):
        _convert.column_of_batch(np.array(rows[1:]) if slot.shape else rows[1:], slot, 1)


@pytest.mark.parametrize("value", ["float16", "float32"])
@pytest.mark.parametrize("make", [np.array, pa.array])
def test_arrays_of_numbers_that_become_infinite_are_refused(value: str, make: Any) -> None:
    slot = Slot("v", value)
    given = make([1.5, INFINITE, -INFINITE, float("nan")])
    assert str(_convert.column_of_batch(given, slot, 4).to_pylist()) == "[1.5, inf, -inf, nan]"
    with pytest.raises(TypeError, match=r"-1e.300 does not fit"):
        _convert.column_of_batch(make([INFINITE, -1e300]), slot, 2)


def test_a_number_that_does_not_fit_costs_its_row_only() -> None:
    @fb.func
    def row(n: int) -> Annotated[Any, fb.Tensor("int8", 1)]:
        return [n]

    @fb.func.batch(returns=fb.Tensor("int8", 1))
    def batch(n: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return n.reshape(-1, 1)

    @fb.func(returns=fb.Tensor("int8", 1))
    def rows(n: int) -> Iterator[Any]:
        yield [n]

    numbers = testing.rows([{"n": 100}, {"n": 200}])
    for frame in [numbers.select(value=row(fb.col("n"))), numbers.select(value=batch(fb.col("n")))]:
        result = frame.collect()
        assert [each.tolist() for each in result.column("value")] == [[100]]
        assert "200 does not fit int8" in result.dead_letters[0]["reason"]
    result = numbers.flat_map(rows(fb.col("n"))).collect()
    assert [each.tolist() for each in result.column("value")] == [[100]]
    assert "200 does not fit int8" in result.dead_letters[0]["reason"]


def test_one_text_is_no_list_of_texts() -> None:
    @fb.func
    def tags(s: str) -> list[str]:
        return cast("list[str]", s)

    @fb.func.batch(returns=str)
    def batch(s: list[str]) -> list[str]:
        return cast("list[str]", s[0][: len(s)])

    texts = testing.rows([{"s": "abc"}])
    result = texts.flat_map(tags(fb.col("s"))).collect()
    assert result.rows() == []
    assert "returned 'abc', which is one value and no list of rows" in result.dead_letters[0]["reason"]
    assert "str is no column" in texts.select(v=batch(fb.col("s"))).collect().dead_letters[0]["reason"]


def test_whole_numbers_beside_nulls_keep_their_digits() -> None:
    @fb.func.batch(returns=str, batch_rows=2)
    def name(i: np.ndarray[Any, Any]) -> list[str]:
        return [f"user-{each}" for each in i]

    rows = testing.rows([{"i": HUGE}, {"i": None}])
    assert sorted(rows.select(v=name(fb.col("i"))).collect().column("v")) == [f"user-{HUGE}", "user-None"]


def test_a_set_is_no_column() -> None:
    @fb.func.batch(returns=int, attempts=1)
    def unordered(n: list[int]) -> set[int]:
        return set(n)

    result = testing.rows([{"n": 1}]).select(v=unordered(fb.col("n"))).collect()
    assert "set is no column" in result.dead_letters[0]["reason"]


def test_csv_keeps_fractions_and_times_of_day(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("d\n" + "2024-01-01\n" * 1000 + "2024-01-02T23:59:59\n")
    result = fb.read_csv(file).collect()
    assert len(result) == 1000
    assert "is no date" in result.dead_letters[0]["reason"]
    file.write_text("t\n" + "2024-01-01 10:00:00\n" * 1000 + "2024-01-01 10:00:00.75\n")
    assert fb.read_csv(file).collect().column("t")[-1] == datetime.datetime(2024, 1, 1, 10, 0, 0, 750000)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,score,score\n1,10,20\n")
    with pytest.raises(InvalidError, match="two columns `score`"):
        fb.read_csv(tmp_path / "a.csv").collect()
    pa.parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(InvalidError, match="two columns `a`"):
        fb.read_parquet(tmp_path / "a.parquet").collect()


def test_checkpoints_of_other_files_are_refused(tmp_path: Path) -> None:
    for month, numbers in [("june", [1, 2]), ("july", [7])]:
        (tmp_path / f"{month}.jsonl").write_text("".join(f'{{"id": {number}}}\n' for number in numbers))
    june = fb.read_jsonl(tmp_path / "june.jsonl")
    assert june.write_parquet(tmp_path / "out", checkpoints=tmp_path / "checkpoints").rows_in == 2
    with pytest.warns(UserWarning, match="had completed before"):
        june.write_parquet(tmp_path / "out", checkpoints=tmp_path / "checkpoints")
    with pytest.raises(InvalidError, match="checkpoints are of other files"):
        fb.read_jsonl(tmp_path / "july.jsonl").write_parquet(tmp_path / "july", checkpoints=tmp_path / "checkpoints")


def test_files_of_somebody_else_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "part-00000002-0-1.parquet").write_text("somebody else's file")
    with pytest.raises(InvalidError, match="another job's output"):
        testing.rows([{"a": 1}]).write_parquet(tmp_path)
    assert (tmp_path / "part-00000002-0-1.parquet").read_text() == "somebody else's file"


def test_a_fallback_with_fractions_is_refused_for_whole_numbers() -> None:
    @fb.func
    def half(n: int) -> int:
        return n // 2

    asked = testing.rows([{"n": 2}]).select(x=half.with_options(fallback=fb.col("n") + 0.4)(fb.col("n")))
    with pytest.raises(InvalidError, match="may have a fraction"):
        asked.collect()


def test_dates_of_all_years_are_compared_with_times() -> None:
    until = [datetime.datetime(2024, 1, 1), datetime.datetime(9999, 12, 31), None]
    rows = testing.rows(pa.table({"until": pa.array(until, pa.timestamp("us")), "day": pa.array(until, pa.date32())}))
    for expression in ["until = DATE '9999-12-31'", "until = day", "until > DATE '2000-01-01'"]:
        found = rows.filter(fb.expr(expression)).collect()
        assert (datetime.datetime(9999, 12, 31) in found.column("until"), len(found.dead_letters)) == (True, 0)
    assert len(rows.filter(fb.col("until") < datetime.date(9999, 12, 31)).collect()) == 1


def test_truth_values_come_back_as_a_tensor() -> None:
    @fb.func.batch(returns=fb.Tensor("bool", 2), on_error="null")
    def mask(i: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if (i == 9).any():
            raise ValueError("no mask")
        return np.stack([i > 1, i > 2], axis=1)

    found = testing.rows([{"i": 1}, {"i": 2}, {"i": 9}]).select("i", m=mask(fb.col("i"))).collect()
    seen = {row["i"]: row["m"] for row in found.rows()}
    assert (seen[1].dtype, seen[1].tolist(), seen[2].tolist(), seen[9]) == (bool, [False, False], [True, False], None)


def test_tensors_of_too_many_values_are_refused_by_their_number() -> None:
    @fb.func.batch(returns=fb.Tensor("uint8", 4096, 4097))
    def large(i: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.zeros((len(i), 4096, 4097), "uint8")

    with pytest.raises(InvalidError, match="at most 16777216 values a row"):
        testing.rows([{"i": 1}]).select(x=large(fb.col("i"))).collect()


def test_a_fallback_of_a_function_that_yields_is_one_that_yields_the_same() -> None:
    @fb.func(attempts=1)
    def broken(i: int) -> Iterator[int]:
        yield 1 // (i - i)

    @fb.func
    def whole(i: int) -> Iterator[int]:
        yield from (i, i + 1)

    rows = testing.rows([{"i": 1}])
    for fallback in ({"value": -1}, "[]", [{"value": -1}], 0):
        with pytest.raises(InvalidError, match="fallback of broken, which yields rows"):
            rows.flat_map(broken.with_options(fallback=fallback))
    assert rows.flat_map(broken.with_options(fallback=whole)).collect().column("value") == [1, 2]
