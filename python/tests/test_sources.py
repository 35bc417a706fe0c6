"""Sources that look for new files, and columns that are said."""

from __future__ import annotations

import json
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay as fb
from forebay.errors import InvalidError


def put(folder: Path, name: str, *numbers: object) -> None:
    hidden = folder / f".{name}"
    hidden.write_text("".join(json.dumps({"n": number}) + "\n" for number in numbers))
    hidden.rename(folder / f"{name}.jsonl")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def test_what_comes_later_is_read_once_over_a_stop(inbox: Path, tmp_path: Path) -> None:
    put(inbox, "b", 1)
    frame = fb.read_jsonl(inbox / "*.jsonl", monitor_interval="50ms")
    job = fb.Job(checkpoint_interval="50ms").jsonl(frame, tmp_path / "out")
    for name, numbers in [("c", (2, 3)), ("a", (4,))]:
        with job.run(checkpoints=tmp_path / "checkpoints") as run:
            put(inbox, name, *numbers)
            while run.status()["rows_out"] < len(numbers):
                assert run.wait(0.02) is None, "it does not end by itself"
            assert run.stop().outcome == "stopped"
    assert sorted(fb.read_jsonl(tmp_path / "out/*.jsonl").collect().column("n")) == [1, 2, 3, 4]


def test_rows_without_end_are_not_collected(inbox: Path) -> None:
    put(inbox, "a", 1, 2, 3)
    frame = fb.read_jsonl(inbox / "*.jsonl", monitor_interval="50ms")
    for endless in [frame, frame.union(frame), frame.filter("n > 1")]:
        with pytest.raises(InvalidError, match="never end"):
            endless.collect()
    assert [row["n"] for row in frame.take(2)] == [1, 2]
    assert len(frame.limit(3).collect()) == 3
    with frame.iter_rows() as rows:
        assert next(rows)["n"] == 1


def test_a_group_over_rows_without_end_is_not_waited_for(inbox: Path) -> None:
    put(inbox, "a", 1, 2, 3)
    frame = fb.read_jsonl(inbox / "*.jsonl", monitor_interval="50ms")
    for waiting in [frame.group_by().agg(n=fb.count()).limit(1), frame.group_by("n").agg(k=fb.count())]:
        with pytest.raises(InvalidError, match=r'emit="changes"|never end'):
            waiting.collect()
        with pytest.raises(InvalidError, match=r'emit="changes"'):
            waiting.take(1)
    assert frame.limit(3).group_by().agg(n=fb.count()).collect().column("n") == [3]


def test_a_folder_may_be_empty_where_the_schema_is_said(inbox: Path, tmp_path: Path) -> None:
    schema: dict[str, type | str] = {
        "n": float,
        "who": "string",
        'two "words"': "int32",
        "seen": "timestamp",
        "all": "List(Utf8)",
    }
    frame = fb.read_jsonl(inbox / "*.jsonl", schema=schema, monitor_interval="50ms")
    types = ["double", "string", "int32", "timestamp[us]", "list<item: string>"]
    assert {field.name: str(field.type) for field in frame.schema} == dict(zip(schema, types, strict=True))
    with fb.Job(checkpoint_interval="50ms").parquet(frame, tmp_path / "out").run() as run:
        put(inbox, "a", 1, "no number", 2.5)
        while run.status()["rows_out"] < 2:
            assert run.wait(0.02) is None
        report = run.stop()
    assert report.dead_letters == 1
    assert fb.read_parquet(tmp_path / "out/*.parquet").collect().column("n") == [1.0, 2.5]


def test_a_schema_takes_the_place_of_the_first_file(inbox: Path) -> None:
    put(inbox, "a", 1)
    put(inbox, "b", 2.5)
    assert "2.5 has a fraction" in fb.read_jsonl(inbox / "*.jsonl").collect().dead_letters[0]["reason"]
    assert fb.read_jsonl(inbox / "*.jsonl", schema={"n": float}).collect().column("n") == [1.0, 2.5]
    with pytest.raises(InvalidError, match="no type"):
        fb.read_jsonl(inbox / "*.jsonl", schema={"n": "int31"}).collect()
    with pytest.raises(InvalidError, match="not <class 'dict'>"):
        fb.read_jsonl(inbox / "*.jsonl", schema={"n": dict})


def test_a_source_may_stop_to_look_for_new_files(inbox: Path, tmp_path: Path) -> None:
    def counted(**options: str) -> int:
        frame = fb.read_jsonl(inbox / "*.jsonl", schema={"n": int}, **options)  # type: ignore[arg-type]
        with fb.Job(checkpoint_interval="50ms").jsonl(frame, tmp_path / "out").run(checkpoints=tmp_path / "cp") as run:
            while "monitor_interval" in options and run.status()["rows_out"] < 2:
                assert run.wait(0.02) is None
            report = run.stop() if "monitor_interval" in options else run.wait()
        assert report is not None
        return report.rows_in

    put(inbox, "a", 1)
    put(inbox, "b", 2)
    assert counted(monitor_interval="50ms") == 2
    put(inbox, "c", 3)
    assert counted() == 0, "what was found is read, and nothing else is looked for"


def test_only_as_deep_as_the_path_says_is_looked_at(inbox: Path) -> None:
    put(inbox, "a", 1)
    loop = inbox / "below"
    loop.symlink_to(inbox)
    assert fb.read_jsonl(inbox / "*.jsonl").collect().column("n") == [1]
    assert fb.read_jsonl(inbox / "*" / "*.jsonl").collect().column("n") == [1]


def test_what_rows_met_is_what_those_meet_that_take_them_back(inbox: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.csv"

    def run(least: int, rows: int) -> None:
        best = fb.read_jsonl(inbox / "*.jsonl", schema={"n": int}, monitor_interval="50ms").top(
            1, order=fb.col("n").desc()
        )
        named = best.join(fb.table(names), on="n", how="left").filter(fb.col("n") >= least)
        job = fb.Job(checkpoint_interval="50ms").jsonl(named, tmp_path / "out", kinds="kind")
        with job.run(checkpoints=tmp_path / "checkpoints") as running:
            while running.status()["rows_out"] < rows:
                assert running.wait(0.02) is None
            running.stop()

    names.write_text("n,name\n1,one\n2,two\n")
    put(inbox, "a", 1)
    run(0, 1)
    put(inbox, "b", 2)
    names.write_text("n,name\n1,uno\n2,due\n")
    with pytest.raises(InvalidError, match="the table has changed"):
        run(0, 2)
    names.write_text("n,name\n1,one\n2,two\n")
    with pytest.raises(InvalidError, match="an expression over updates"):
        run(2, 2)
    run(0, 2)
    out = fb.read_jsonl(tmp_path / "out/*.jsonl").collect().rows()
    assert sorted((row["kind"], row["n"], row["name"]) for row in out) == [
        ("+I", 1, "one"),
        ("+I", 2, "two"),
        ("-D", 1, "one"),
    ]


def test_a_csv_file_with_carriage_returns_alone_is_not_taken_for_a_header(inbox: Path) -> None:
    (inbox / "1.csv").write_bytes(b"a,b\r\n1,2\r\n")
    (inbox / "2.csv").write_bytes(b"a,b\r5,6\r7,8\r")
    result = fb.read_csv(inbox / "*.csv").collect()
    assert result.rows() == [{"a": 1, "b": 2}]
    assert "carriage returns alone" in result.dead_letters[0]["reason"]
    with pytest.raises(InvalidError, match="carriage returns alone"):
        fb.read_csv(inbox / "2.csv").collect()


def test_tensors_of_another_order_or_shape_are_refused(inbox: Path) -> None:
    def write(name: str, shape: list[int], order: list[int] | None = None) -> None:
        values = pa.FixedSizeListArray.from_arrays(pa.array(range(6), pa.float32()), 6)
        kind = pa.fixed_shape_tensor(pa.float32(), shape, permutation=order)
        pq.write_table(pa.table({"t": pa.ExtensionArray.from_storage(kind, values)}), inbox / name)

    write("permuted.parquet", [2, 3], [1, 0])
    with pytest.raises(InvalidError, match=r"axes of column `t` are stored in another order .* \[1, 0\]"):
        fb.read_parquet(inbox / "permuted.parquet").collect()
    write("a.parquet", [2, 3])
    write("b.parquet", [3, 2])
    result = fb.read_parquet(inbox / "[ab].parquet").collect()
    assert [row["t"].tolist() for row in result] == [[[0, 1, 2], [3, 4, 5]]]
    (letter,) = result.dead_letters
    assert "shape [3, 2] in this file, not [2, 3]" in str(letter)


def test_declared_types_take_no_number_that_they_would_change(tmp_path: Path) -> None:
    lines = tmp_path / "n.jsonl"
    cases: list[tuple[str, list[str], list[str], list[Any]]] = [
        ("Int64", ["9007199254740993"], ["123456789012345678.9", "9007199254740993.0", "1e-400"], [2**53 + 1]),
        ("Decimal128(5, 2)", ["1.230", '"4.5"'], ["1.239", '"9.999"'], [Decimal("1.23"), Decimal("4.50")]),
        ("Timestamp(Microsecond, None)", ["1"], ["9223372036854775808", "-1e30"], [datetime(1970, 1, 1, 0, 0, 0, 1)]),
        ("Time64(Microsecond)", ["1"], ["86400000000", "-1"], [time(0, 0, 0, 1)]),
        ("Float32", ["1.5", "3.4028235e38"], ["1e300"], [1.5, 3.4028234663852886e38]),
        ("Float64", ["1e300"], ["1e400"], [1e300]),
    ]
    for kind, good, bad, expected in cases:
        lines.write_text("".join(f'{{"x": {value}}}\n' for value in good + bad))
        result = fb.read_jsonl(lines, schema={"x": kind}).collect()
        assert (result.column("x"), len(result.dead_letters)) == (expected, len(bad)), kind


@pytest.mark.parametrize("kind", ["Decimal64(5, 2)", "Decimal128(5, 2)", "Decimal256(5, 2)"])
def test_decimals_of_csv_are_exact_or_dead_letters(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "n.csv"
    table.write_text("x,y\n1.239,1\n1.230,2\n1.2e1,3\n-.5,4\n,5\n1234.5,6\nabc,7\n")
    result = fb.read_csv(table, schema={"x": kind, "y": int}).collect()
    assert result.column("x") == [Decimal("1.23"), Decimal("12.00"), Decimal("-0.50"), None]
    reasons = [letter["reason"] for letter in result.dead_letters]
    assert len(reasons) == 3
    assert "1.239 has 3 digits behind the point" in reasons[0]


@pytest.mark.parametrize(("first", "later"), [(".123", ".123456"), (".123456789", ".5"), ("", ".000001")])
def test_csv_times_are_in_microseconds_whatever_the_first_ones_have(tmp_path: Path, first: str, later: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text("t\n" + f"2020-01-01T10:00:00{first}\n" * 1000 + f"2400-01-01T10:00:00{later}\n")
    found = fb.read_csv(file).collect()
    assert found.dead_letters == []
    assert found.column("t")[-1] == datetime.fromisoformat(f"2400-01-01T10:00:00{later}")
