"""Steps of data frames, run by the engine."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import forebay as fb
from forebay import testing
from forebay.result import table_html

PEOPLE = [
    {"id": 1, "name": "Ann", "age": 30},
    {"id": 2, "name": "Bob", "age": None},
    {"id": 3, "name": "Cid", "age": 50},
]

ONE = testing.rows(
    pa.table(
        {
            "text": [" One two "],
            "none": pa.array([None], pa.string()),
            "at": [datetime.datetime(2026, 2, 3, 4, 5, 6)],
            "number": [-2.25],
            "struct": [{"a": 1}],
        }
    )
)


@pytest.fixture(scope="module")
def people() -> fb.DataFrame:
    """Three rows."""
    return testing.rows(PEOPLE)


def test_columns_are_added_replaced_selected_and_dropped(people: fb.DataFrame) -> None:
    frame = people.with_columns({"id": fb.col("id") * 10}, older=fb.col("age") + 1).exclude("age").select("older", "id")
    assert frame.collect().rows() == [{"older": 31, "id": 10}, {"older": None, "id": 20}, {"older": 51, "id": 30}]
    assert people.with_column("half", people["age"] / 4).collect().column("half") == [7.5, None, 12.5]


def test_null_is_not_true(people: fb.DataFrame) -> None:
    assert people.filter(fb.col("age") > 40).collect().column("id") == [3]
    assert people.where("age < 40", ~fb.col("name").is_in(["Bob"])).collect().column("id") == [1]


@pytest.mark.parametrize("name", ['a"b', "a'b", "Ünïcode 行", "; DROP TABLE", "a\\", "${HOME}", "{{x}}", "A", "%"])
def test_names_and_texts_come_through_as_they_are(name: str) -> None:
    rows = testing.rows([{name: 1, "a": 2}]).with_column(f"{name}2", fb.col(name) + 1).with_column("text", name)
    assert rows.collect().rows() == [{name: 1, "a": 2, f"{name}2": 2, "text": name}]


def test_constants_come_through_as_they_are(people: fb.DataFrame) -> None:
    values: dict[str, Any] = {
        "whole": -(2**63),
        "float": -1e300,
        "bytes": b"\x00'",
        "day": datetime.date(2026, 1, 31),
        "time": datetime.datetime(2026, 1, 31, 12, 0, 0, 500),
        "yes": True,
    }
    row = people.select(**values).take(1)[0]
    assert row == values


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (fb.col("text").str.lower(), " one two "),
        (fb.col("text").str.upper(), " ONE TWO "),
        (fb.col("text").str.strip(), "One two"),
        (fb.col("text").str.length(), 9),
        (fb.col("text").str.contains("One"), True),
        (fb.col("text").str.startswith(" O"), True),
        (fb.col("text").str.endswith("x"), False),
        (fb.col("text").str.match("t.o"), True),
        (fb.col("text").str.replace(" ", "-"), "-One-two-"),
        (fb.col("text").str.left(2), " O"),
        (fb.col("text").str.right(2), "o "),
        (fb.col("text").str.reverse(), " owt enO "),
        (fb.col("text").str.concat("|", fb.col("none")), " One two |"),
        (fb.col("at").dt.year(), 2026),
        (fb.col("at").dt.month(), 2),
        (fb.col("at").dt.day(), 3),
        (fb.col("at").dt.hour(), 4),
        (fb.col("at").dt.minute(), 5),
        (fb.col("at").dt.second(), 6),
        (fb.col("at").dt.date(), datetime.date(2026, 2, 3)),
        (fb.col("at").dt.truncate("hour"), datetime.datetime(2026, 2, 3, 4)),
        (fb.col("number").abs(), 2.25),
        (fb.col("number").ceil(), -2.0),
        (fb.col("number").floor(), -3.0),
        (fb.col("number").round(1), -2.3),
        ((fb.col("number") * fb.col("number")).sqrt(), 2.25),
        (fb.col("number").abs().log().exp().round(3), 2.25),
        (fb.col("number") % 2, -0.25),
        (fb.col("number").between(-3, -2), True),
        (fb.col("none").fill_null("other"), "other"),
        ((fb.col("number") > 0).if_else("more", "less"), "less"),
        (fb.col("number").cast(int), -2),
        (fb.col("text").cast(int, strict=False), None),
        (fb.col("struct")["a"], 1),
    ],
)
def test_functions_compute(expression: fb.Expression, value: Any) -> None:
    assert ONE.select(x=expression).take(1) == [{"x": value}]


def test_the_schema_is_known_without_running(people: fb.DataFrame) -> None:
    frame = people.select("name", old=fb.col("age") > 40)
    assert frame.schema == pa.schema([pa.field("name", pa.string()), pa.field("old", pa.bool_())])
    assert frame.columns == ["name", "old"]


def test_union_has_the_rows_of_all(people: fb.DataFrame) -> None:
    young, old = people.filter("age < 40"), people.filter("age > 40")
    assert sorted(young.union(old).collect().column("id")) == [1, 3]


def test_rows_are_looked_up_in_a_table(people: fb.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "towns.csv").write_text("who,town\nAnn,Ulm\nCid,Rom\n")
    frame = people.join(fb.table(tmp_path / "towns.csv"), on={"name": "who"}, how="inner")
    assert frame.select("id", "town").collect().rows() == [{"id": 1, "town": "Ulm"}, {"id": 3, "town": "Rom"}]


def test_rows_of_two_streams_meet(people: fb.DataFrame) -> None:
    orders = testing.rows([{"buyer": 1, "item": "pen"}, {"buyer": 1, "item": "ink"}, {"buyer": 9, "item": "hat"}])
    found = orders.join(people, on={"buyer": "id"}).select("name", "item").collect()
    assert sorted(found.column("item")) == ["ink", "pen"]
    assert set(found.column("name")) == {"Ann"}


def test_windows_count_by_event_time() -> None:
    clicks = [
        {"at": f"2026-01-01T00:0{minute}:00Z", "user": user}
        for minute, user in [(0, "a"), (0, "b"), (0, "a"), (1, "a")]
    ]
    frame = testing.rows(clicks).watermark("at").window(tumble="1m", by="user", aggregates={"clicks": fb.count()})
    counted = frame.select("user", "clicks", minute=fb.col("window_start").dt.minute()).collect()
    assert sorted((row["user"], row["minute"], row["clicks"]) for row in counted) == [
        ("a", 0, 2),
        ("a", 1, 1),
        ("b", 0, 1),
    ]


def test_one_row_of_each_key_is_kept() -> None:
    rows = testing.rows([{"key": "a", "n": 1}, {"key": "a", "n": 2}, {"key": "b", "n": 3}])
    assert rows.deduplicate("key").collect().column("n") == [1, 3]


def test_the_first_rows_of_each_key_come_as_updates() -> None:
    rows = testing.rows([{"key": "a", "n": 1}, {"key": "a", "n": 2}])
    changes = rows.top(1, by="key", order=fb.col("n").desc()).collect(kinds="change").rows()
    left: dict[str, int] = {}
    for row in changes:
        left |= {row["key"]: row["n"]} if row["change"].startswith("+") else {}
    assert left == {"a": 2}


def test_a_frame_in_two_sinks_is_read_once(people: fb.DataFrame, tmp_path: Path) -> None:
    upper = people.select("id", name=fb.col("name").str.upper())
    job = fb.Job(name="two").parquet(upper, tmp_path / "all").jsonl(upper.filter("id = 1"), tmp_path / "one")
    with job.run() as run:
        report = run.wait()
    assert report is not None
    assert (report.outcome, report.rows_in, report.rows_out) == ("completed", 3, 4)
    assert next((tmp_path / "one").glob("*.jsonl")).read_text() == '{"id":1,"name":"ANN"}\n'


def test_uids_stay_when_other_steps_come_and_go(people: fb.DataFrame) -> None:
    def uids(frame: fb.DataFrame) -> list[str]:
        return [step["uid"] for step in frame.to_job().to_dict()["step"]]

    assert uids(people.filter("id > 1").deduplicate("id", uid="once")) == ["filter", "once"]
    assert uids(people.select("id").filter("id > 1").deduplicate("id")) == ["select", "filter", "deduplicate"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda rows: rows.select("nothing").schema, "nothing"),
        (lambda rows: rows.exclude("nothing").schema, "there is no column 'nothing'; there are id, name, age"),
        (lambda rows: rows.select(fb.expr("1 + 1")), "has no name"),
        (lambda rows: rows.select("id", id=fb.col("age")), "two columns"),
        (lambda rows: rows.filter(), "needs a predicate"),
        (lambda rows: rows.select("id").watermark("at"), "directly behind the read"),
        (lambda rows: rows.filter("true", uid="a b").schema, "letters, digits"),
        (lambda rows: rows.filter("true", uid="a").filter("true", uid="a").schema, "two parts"),
        (lambda rows: rows.take(0), "at least 1 row"),
        (lambda rows: fb.read_csv("/nowhere/*.csv").collect(), "nowhere"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(people: fb.DataFrame, make: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        make(people)


def test_results_become_tables_of_others(people: fb.DataFrame) -> None:
    assert people.to_arrow().num_rows == 3
    assert people.to_pandas()["name"].tolist() == ["Ann", "Bob", "Cid"]
    assert people.to_polars()["id"].to_list() == [1, 2, 3]
    assert people.filter("id > 5").to_arrow().schema.names == ["id", "name", "age"]


def test_show_prints_a_table(people: fb.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    people.show(2)
    assert capsys.readouterr().out == "id  name   age\n 1  Ann     30\n 2  Bob   null\n"
    assert "3 rows" in repr(people.collect())
    assert "<td>Ann</td>" in people.collect()._repr_html_()


def test_notebooks_show_images() -> None:
    shown = table_html([{"a": b"\x89PNG..", "b": b"other"}])
    assert '<img src="data:image/png;base64,iVBORy4u"' in shown
    assert "&lt;5 bytes&gt;" in shown


def test_the_plan_is_explained(people: fb.DataFrame) -> None:
    assert "tasks" in people.filter("id > 1").explain()


def test_predictions_meet_their_labels_and_are_measured() -> None:
    shown = [{"at": "2026-01-01T00:00:00Z", "request": row, "score": 0.9 if row else 0.2} for row in range(3)]
    clicked = [{"at": "2026-01-01T00:00:05Z", "request": row, "click": row == 1} for row in range(3)]
    labels = testing.rows(clicked).watermark("at")
    judged = (
        testing.rows(shown).watermark("at").feedback(labels, on="request", wait="1m", retention="1h", prefix="click_")
    )
    found = judged.metrics(score="score", label="click_click").collect(kinds="change").rows()[-1]
    assert (found["predictions"], found["labelled"], found["accuracy"]) == (3, 3, pytest.approx(2 / 3))


def test_a_row_for_which_an_expression_fails_is_a_dead_letter() -> None:
    numbers = testing.rows([{"n": n} for n in range(4)])
    result = numbers.select("n", q=fb.expr("6 / (n - 1)")).filter("12 / n > 3").collect()
    assert sorted((row["n"], row["q"]) for row in result) == [(2, 6), (3, 3)]
    assert [letter["input"] for letter in result.dead_letters] == ['{"n": 1}', '{"n": 0, "q": -6}']
    assert all("Divide by zero" in letter["reason"] for letter in result.dead_letters)


@pytest.mark.parametrize("expression", ["n * n", "n + n", "0 - n - n - n", "regexp_replace('(', concat(n, '('), 'x')"])
def test_numbers_that_do_not_fit_and_other_failures_of_a_row_are_dead_letters(expression: str) -> None:
    result = testing.rows([{"n": 2**62}]).select(x=fb.expr(expression)).collect()
    assert (result.rows(), len(result.dead_letters)) == ([], 1), result
