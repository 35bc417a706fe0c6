"""Python functions in jobs: real worker processes, started, watched and restarted by the engine."""

from __future__ import annotations

import asyncio
import collections
import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict, cast

import numpy as np
import pyarrow as pa
import pytest

import forebay as fb
import functions_under_test as functions
from forebay import testing

WORDS = testing.rows([{"id": row, "word": word} for row, word in enumerate(["a", "bad", "c", "d"])])


@fb.func(batch_rows=4)
def behave(word: str, how: str) -> str:
    """Does to its process what it is told, at the word "bad"."""
    if word != "bad":
        return word.upper()
    match how:
        case "raise":
            raise ValueError("not that word")
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(3600)
        case "wrong type":
            return 3  # type: ignore[return-value]
        case "print":
            print("not that word", file=sys.stderr)
        case "memory":
            return str(len(bytearray(1 << 34)))
    return word


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ("raise", "data", "ValueError: not that word"),
        ("segfault", "unavailable", "signal 11"),
        ("exit", "unavailable", "status 3"),
        ("hang", "timeout", ""),
        ("wrong type", "data", "returned 3"),
        ("memory", "exhausted", "MemoryError"),
    ],
)
def test_a_bad_row_is_a_dead_letter_and_the_others_are_answered(how: str, kind: str, reason: str) -> None:
    function = behave.with_options(attempts=2, timeout="2s" if how == "hang" else "30s", memory="2GiB")
    result = WORDS.select("id", loud=function(fb.col("word"), how)).collect()
    assert sorted((row["id"], row["loud"]) for row in result) == [(0, "A"), (2, "C"), (3, "D")]
    (dead,) = result.dead_letters
    assert dead["kind"] == kind, dead
    assert reason in dead["reason"]
    assert '"bad"' in dead["input"]


def test_prints_of_functions_do_no_harm() -> None:
    assert sorted(WORDS.select(loud=behave(fb.col("word"), "print")).collect().column("loud")) == ["A", "C", "D", "bad"]


def test_a_batch_that_is_too_short_costs_the_rows_at_fault_only() -> None:
    @fb.func.batch(returns=str)
    def drops(words: list[str]) -> list[str]:
        return [word for word in words if word != "bad"]

    result = WORDS.select(same=drops(fb.col("word"))).collect()
    assert sorted(result.column("same")) == ["a", "c", "d"]
    assert "returned 0 rows for 1" in result.dead_letters[0]["reason"]


def test_a_batch_function_that_reduces_is_not_asked_for_single_rows() -> None:
    @fb.func.batch(returns=float, batch_rows=4)
    def mean(numbers: np.ndarray[Any, Any]) -> Any:
        return numbers.mean(keepdims=True)

    @fb.func.batch(returns=fb.Tensor("float32", 2), batch_rows=4)
    def mean_of(numbers: np.ndarray[Any, Any]) -> Any:
        return np.zeros((1, 2), np.float32)

    for function in [mean, mean_of]:
        result = testing.rows([{"n": float(n)} for n in range(4)]).select(x=function(fb.col("n"))).collect()
        assert len(result) == 0
        assert all("returned 1 rows for 4" in row["reason"] for row in result.dead_letters)
        assert len(result.dead_letters) == 4


@pytest.mark.parametrize(
    ("option", "left"), [({"on_error": "null"}, ["A", None, "C", "D"]), ({"fallback": "?"}, ["A", "?", "C", "D"])]
)
def test_a_row_without_an_answer_may_have_another(option: dict[str, Any], left: list[str | None]) -> None:
    function = behave.with_options(order="ordered", **option)
    result = WORDS.select(loud=function(fb.col("word"), "raise")).collect()
    assert (result.column("loud"), result.dead_letters) == (left, [])


class Score(TypedDict):
    """One field."""

    score: int


class Value(NamedTuple):
    """One field, called as what has no fields is."""

    value: int


def test_a_single_field_is_a_column_of_its_own_name() -> None:
    @fb.func
    def score(n: int) -> Score:
        return {"score": n + 10}

    @fb.func.batch(returns=Value)
    def value(n: pa.Array) -> Any:
        return {"value": n}

    @fb.func
    def values(n: int) -> list[Value]:
        return [Value(n)]

    rows = WORDS.select("id").filter("id = 1")
    assert rows.with_columns(score(fb.col("id")), value(fb.col("id"))).collect().rows() == [
        {"id": 1, "score": 11, "value": 1}
    ]
    assert rows.select(score(fb.col("id"))).collect().rows() == [{"score": 11}]
    assert rows.with_columns(other=score(fb.col("id"))).collect().rows() == [{"id": 1, "other": 11}]
    assert rows.map(value(fb.col("id"))).collect().rows() == [{"value": 1}]
    assert rows.flat_map(values(fb.col("id"))).collect().rows() == [{"value": 1}]


def test_who_answered_is_a_column_however_the_answer_is_used() -> None:
    loud = behave.with_options(fallback="?", fallback_column="by")(fb.col("word"), "raise")
    for frame in [WORDS.with_columns(loud), WORDS.with_columns(x=loud.str.lower()), WORDS.with_columns(x=loud)]:
        assert collections.Counter(frame.collect().column("by")) == {"behave": 3, "constant": 1}
        assert frame.schema.names[-1] in ("x", "by")
    assert WORDS.select("by", x=loud).schema.names == ["by", "x"]
    assert WORDS.filter(loud != "?").schema.names == ["id", "word"]


def test_on_error_fail_raises_what_the_function_raised() -> None:
    with pytest.raises(fb.errors.Error, match="ValueError: not that word"):
        WORDS.select(loud=behave.with_options(on_error="fail")(fb.col("word"), "raise")).collect()


def test_missing_rows_are_warned_of() -> None:
    with pytest.warns(fb.DeadLetterWarning, match="1 rows could not be processed.*not that word"):
        WORDS.select(loud=behave(fb.col("word"), "raise")).to_arrow()


def test_a_process_that_crashes_once_costs_no_row() -> None:
    crash = testing.CrashOnce({"bad"})

    @fb.func
    def fragile(word: str) -> str:
        crash.meet(word)
        return word * 2

    result = WORDS.select(twice=fragile(fb.col("word"))).collect()
    assert (sorted(result.column("twice")), result.dead_letters) == (["aa", "badbad", "cc", "dd"], [])


def test_calls_nest_and_stand_in_expressions() -> None:
    @fb.func
    def length(text: str) -> int:
        return len(text)

    @fb.func
    def twice(text: str) -> str:
        return text * 2

    word = fb.col("word")
    frame = (
        WORDS.filter(length(word) < 3)
        .with_column("word", twice(twice(word.str.upper())))
        .with_column("n", length(word) + 1)
    )
    assert frame.select("word", "n").collect().rows() == [
        {"word": "AAAA", "n": 5},
        {"word": "CCCC", "n": 5},
        {"word": "DDDD", "n": 5},
    ]
    assert frame.columns == ["id", "word", "n"]


def test_async_rows_of_a_batch_are_in_flight_together() -> None:
    together = asyncio.Event()
    met: list[int] = []

    @fb.func
    async def meet(number: int) -> int:
        met.append(number)
        if len(met) == 4:
            together.set()
        await together.wait()
        return number

    assert sorted(WORDS.select(n=meet(fb.col("id"))).collect().column("n")) == [0, 1, 2, 3]


def test_a_class_is_made_once_in_each_replica(tmp_path: Path) -> None:
    @fb.cls(replicas=2, batch_rows=1)
    class Tagged:
        """Says which process it is in."""

        def __init__(self, folder: str) -> None:
            """Notes that it is made."""
            (Path(folder) / str(os.getpid())).touch(exist_ok=False)

        @fb.method
        def process(self, number: int) -> int:
            """Its process."""
            return os.getpid()

    many = testing.rows([{"id": row} for row in range(200)])
    answers = many.select(process=Tagged(str(tmp_path)).process(fb.col("id"))).collect().column("process")
    assert len(answers) == 200
    assert {str(answer) for answer in answers} <= {file.name for file in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 2


class Statistics(NamedTuple):
    """Two outputs, one of them a tensor."""

    mean: float
    channels: Annotated[Any, fb.Tensor("float32", 3)]


def test_images_become_tensors_and_tensors_several_columns(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (20, 10), (10, 20, 30)).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"no image")

    @fb.func(returns=Statistics)
    def statistics(pixels: Annotated[np.ndarray[Any, Any], fb.Tensor("uint8", 4, 4, 3)]) -> Any:
        return Statistics(float(pixels.mean()), pixels.mean(axis=(0, 1)))

    images = fb.read_images(tmp_path / "*.png").exclude("path")
    found = statistics(fb.col("content").image.to_tensor(4, 4))
    result = images.with_columns(found, twice=found["mean"] * 2).exclude("content").collect()
    (row,) = result.rows()
    assert (row["mean"], row["channels"].tolist(), row["twice"]) == (20.0, [10.0, 20.0, 30.0], 40.0)
    assert "not an image" in result.dead_letters[0]["reason"]


def test_batches_come_as_numpy_and_leave_as_tensors() -> None:
    @fb.func.batch(returns=fb.Tensor("float32", 2))
    def embed(number: np.ndarray[Any, Any]) -> Any:
        assert isinstance(number, np.ndarray)
        return np.stack([number, -number], axis=1).astype("float32")

    frame = WORDS.select(vector=embed.with_options(order="ordered")(fb.col("id")))
    result = frame.collect()
    assert [vector.tolist() for vector in result.column("vector")] == [[float(row), -float(row)] for row in range(4)]
    assert result.to_arrow()["vector"].chunk(0).to_numpy_ndarray().shape == (4, 2)


def test_functions_of_modules_and_classes_run_too() -> None:
    found = functions.Finder("cat").find(fb.col("id"))
    rows = WORDS.select("id", label=found["label"], scores=found["scores"]).collect().rows()
    assert collections.Counter(row["label"] for row in rows) == {"cat": 4}


def test_a_column_of_another_type_fails_the_job_with_what_to_do() -> None:
    with pytest.raises(fb.errors.InvalidError, match="takes string, but its column is int64; change the hint, or cast"):
        WORDS.select(loud=behave(fb.col("id"), "")).collect()


def test_a_function_that_cannot_travel_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:

        @fb.func
        def writes(word: str) -> int:
            return file.write(word)

        with pytest.raises(fb.errors.InvalidError, match="cannot be sent to a worker"):
            WORDS.select(n=writes(fb.col("word"))).collect()


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_class_that_cannot_be_made_fails_the_job_with_its_traceback(replicas: int) -> None:
    @fb.cls(replicas=replicas)
    class Broken:
        """Has no model."""

        def __init__(self) -> None:
            """Raises."""
            raise FileNotFoundError("weights.bin")

        @fb.method
        def ask(self, word: str) -> str:
            """Never called."""
            return word

    with pytest.raises(fb.errors.Error, match=r"FileNotFoundError: weights\.bin"):
        WORDS.select(n=Broken().ask(fb.col("word"))).collect()


class Pair(TypedDict):
    """What a function gives in two columns."""

    first: int
    second: str


def test_what_does_not_fit_is_called_by_its_name() -> None:
    @fb.func
    def half(word: str) -> Pair:
        return cast("Pair", {"first": 1})

    @fb.func.batch(returns=Pair)
    def table(words: pa.Array) -> Any:
        return pa.table({"first": [1] * len(words)})

    @fb.func
    def number(word: str) -> str:
        return cast("str", len(word))

    missing = [WORDS.with_columns(function(fb.col("word"))) for function in [half, table]]
    for frame, said in [
        *((each, "there is no second") for each in missing),
        (WORDS.select(x=number(fb.col("word"))), "int is no text"),
    ]:
        assert said in frame.collect().dead_letters[0]["reason"]


def test_rows_kept_and_written_again_are_not_those_that_were_answered() -> None:
    kept: list[np.ndarray[Any, Any]] = []

    @fb.func.batch(returns=fb.Tensor("uint8", 20_000), batch_rows=8)
    def answered(numbers: np.ndarray[Any, Any]) -> Any:
        made = fb.empty((len(numbers), 20_000), "uint8")
        made[:] = numbers[:, None]
        for each in kept:
            each[:] = 255
        kept[:] = [made]
        return made

    rows = testing.rows([{"n": n} for n in range(200)])
    for row in rows.select("n", x=answered(fb.col("n"))).collect().rows():
        assert (row["x"] == row["n"]).all(), row["n"]


def test_a_row_that_fails_to_yield_is_a_row_of_nulls_where_that_was_asked_for() -> None:
    @fb.func(on_error="null")
    def letters(word: str) -> list[str] | None:
        if word == "bad":
            raise ValueError(word)
        return {"a": [], "c": None}.get(word, [word, word])

    yielded = WORDS.flat_map(letters, keep="id").collect().rows()
    assert sorted((row["id"], row["value"]) for row in yielded) == [(1, None), (3, "d"), (3, "d")]


@pytest.mark.parametrize("name", ["CancelledError", "CorruptError", "DataError", "FencedError", "InternalError"])
def test_an_error_that_a_function_raises_is_of_its_row_alone(name: str) -> None:
    error = getattr(fb.errors, name)

    @fb.func
    def raising(word: str) -> str:
        if word == "bad":
            raise error("no")
        return word

    result = WORDS.select(x=raising(fb.col("word"))).collect()
    assert (sorted(result.column("x")), len(result.dead_letters)) == (["a", "c", "d"], 1)


@fb.func(replicas=2)
def cores(word: str) -> str:
    """How many threads libraries may have in this worker."""
    return os.environ.get("OMP_NUM_THREADS", "")


def test_replicas_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = WORDS.select(threads=cores(fb.col("word"))).collect().column("threads")
    assert set(found) == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
