"""Functions that make of each row one row, or several."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import pytest

import forebay as fb
from forebay import testing


class Word(NamedTuple):
    """A part of a text."""

    word: str
    length: int


class Post(TypedDict):
    """What a function reads of a row."""

    text: str
    likes: int


class Values(TypedDict):
    """One of each type."""

    whole: int
    number: float
    text: str
    data: bytes
    yes: bool


POSTS = [
    {"id": 1, "text": "one two", "likes": 3},
    {"id": 2, "text": "", "likes": 0},
    {"id": 3, "text": "x", "likes": 7},
]


@pytest.fixture(scope="module")
def posts() -> fb.DataFrame:
    """Three rows."""
    return testing.rows(POSTS)


@fb.func
def words(text: str) -> Iterator[Word]:
    """Yields the words of a text."""
    for word in text.split():
        yield Word(word, len(word))


@fb.func
def listed(row: dict[str, Any]) -> list[Post]:
    """Returns a row twice."""
    return [{"text": row["text"] * 2, "likes": row["id"] + more} for more in range(2)]


@fb.func
async def told(text: str) -> AsyncIterator[Word]:
    """Yields the words of a text, each after a moment."""
    for word in text.split():
        await asyncio.sleep(0)
        yield Word(word, len(word))


@fb.func
async def fetched(text: str) -> list[str]:
    """Returns the letters of a text later."""
    await asyncio.sleep(0)
    return list(text.replace(" ", ""))


@fb.func
def every(n: int) -> Iterator[Values]:
    """Yields what JSON has no words for."""
    yield {"whole": 2**63 - 1, "number": math.nan, "text": 'a"b\n', "data": b"\x00\xff", "yes": True}
    yield {"whole": n, "number": -math.inf, "text": "", "data": b"", "yes": False}


@fb.func
def picky(text: str) -> Iterator[int]:
    """Yields a number, then what is none."""
    yield 1
    if text == "x":
        raise ValueError("no more")
    yield text if text == "" else 2  # type: ignore[misc]


@fb.cls
class Splitter:
    """Splits at a text."""

    def __init__(self, at: str) -> None:
        """Remembers it."""
        self.at = at

    @fb.method
    def parts(self, text: str) -> list[str] | None:
        """Returns the parts, and nothing of an empty text."""
        return text.split(self.at) if text else None


@fb.func
def liked(row: Post) -> Post:
    """Returns a row changed."""
    return {"text": row["text"].upper(), "likes": row["likes"] + 1}


@fb.func
def single(text: str) -> int:
    """Returns one value."""
    return len(text)


def test_rows_that_come_later_are_rows_too(posts: fb.DataFrame) -> None:
    found = posts.flat_map(told, keep=["id"]).collect().rows()
    assert sorted(tuple(row.values()) for row in found) == [(1, "one", 3), (1, "two", 3), (3, "x", 1)]
    letters = posts.flat_map(fetched, keep=["id"]).collect().rows()
    assert sorted((row["id"], row["value"]) for row in letters) == [*((1, each) for each in "enootw"), (3, "x")]

    @fb.func
    async def failing(text: str) -> AsyncIterator[str]:
        yield text
        raise ValueError("no more")

    result = posts.flat_map(failing, keep=["id"]).collect()
    assert result.rows() == []
    assert len(result.dead_letters) == len(POSTS)
    assert all("raised ValueError: no more" in letter["reason"] for letter in result.dead_letters)


def test_each_yielded_row_is_a_row_also_when_the_worker_crashed_on_the_way(posts: fb.DataFrame) -> None:
    crash = testing.CrashOnce({"two"})

    @fb.func
    def fragile(text: str) -> Iterator[Word]:
        for word in text.split():
            crash.meet(word)
            yield Word(word, len(word))

    found = posts.flat_map(fragile, keep=["id"]).collect().rows()
    assert sorted(found, key=lambda row: (row["id"], row["word"])) == [
        {"id": 1, "word": "one", "length": 3},
        {"id": 1, "word": "two", "length": 3},
        {"id": 3, "word": "x", "length": 1},
    ]
    assert list(words("plain python")) == [Word("plain", 5), Word("python", 6)]


def test_rows_are_given_whole_and_lists_returned(posts: fb.DataFrame) -> None:
    found = posts.filter("id = 3").flat_map(listed).collect().rows()
    assert found == [{"text": "xx", "likes": 3}, {"text": "xx", "likes": 4}]


def test_values_come_through_as_they_are(posts: fb.DataFrame) -> None:
    first, second = posts.filter("id = 1").flat_map(every(fb.col("likes"))).collect()
    assert math.isnan(first.pop("number"))
    assert first == {"whole": 2**63 - 1, "text": 'a"b\n', "data": b"\x00\xff", "yes": True}
    assert second == {"whole": 3, "number": -math.inf, "text": "", "data": b"", "yes": False}


def test_a_row_whose_rows_are_wrong_is_a_dead_letter_as_a_whole(posts: fb.DataFrame) -> None:
    result = posts.flat_map(picky, keep="id").collect()
    assert result.rows() == [{"id": 1, "value": 1}, {"id": 1, "value": 2}]
    reasons = sorted(letter["reason"].partition("\n")[0] for letter in result.dead_letters)
    assert reasons[0].startswith("function picky raised DataError: it yielded a row whose value is no int64")
    assert reasons[1] == "function picky raised ValueError: no more"


def test_methods_yield_too_and_nothing_gives_no_row(posts: fb.DataFrame) -> None:
    parts = Splitter(" ").parts
    assert sorted(posts.flat_map(parts).collect().column("value")) == ["one", "two", "x"]


def test_rows_are_mapped(posts: fb.DataFrame) -> None:
    mapped = posts.map(liked, keep="id").collect().rows()
    assert sorted(mapped, key=lambda row: row["id"])[0] == {"id": 1, "text": "ONE TWO", "likes": 4}
    plain = posts.map(lambda_like).collect().column("twice")
    assert sorted(plain) == ["", "one twoone two", "xx"]


def lambda_like(text: str) -> TwiceRow:
    """Is not decorated."""
    return {"twice": text * 2}


class TwiceRow(TypedDict):
    """One field."""

    twice: str


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda rows: rows.flat_map(single), "needs a function that yields rows"),
        (lambda rows: rows.map(single), "with_column names a single value"),
        (lambda rows: rows.map(words), "pass it to flat_map"),
        (lambda rows: rows.map(liked, keep="text"), "two columns would be called 'text'"),
        (lambda rows: rows.flat_map(words, keep="word").schema, "two columns would be called 'word'"),
        (lambda rows: rows.with_column("w", words(fb.col("text"))), "for flat_map"),
    ],
)
def test_what_is_wrong_is_said(posts: fb.DataFrame, make: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        make(posts)


class Chunk(NamedTuple):
    """A part of a text with its embedding."""

    text: str
    vector: Annotated[Any, fb.Tensor("float32", 2, 2)]


def test_tensors_are_yielded(posts: fb.DataFrame) -> None:
    @fb.func
    def chunks(text: str) -> Iterator[Chunk]:
        for word in text.split():
            shape = (3,) if word == "x" else (2, 2)
            yield Chunk(word, None if word == "two" else np.full(shape, 1 / 3, dtype=np.float32))

    result = posts.flat_map(chunks, keep="id").collect()
    one, two = result.rows()
    assert (one["id"], one["text"], two["text"], two["vector"]) == (1, "one", "two", None)
    assert (one["vector"] == np.full((2, 2), np.float32(1 / 3))).all()
    assert one["vector"].dtype == np.float32
    assert "tensor of float32 [2, 2]: returned shape [3]" in result.dead_letters[0]["reason"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int64", "bool"])
def test_tensors_of_each_type_are_yielded(dtype: str, posts: fb.DataFrame) -> None:
    @fb.func(returns=fb.Tensor(dtype, 2))
    def ones(likes: int) -> Iterator[Any]:
        yield np.ones(2, dtype=dtype)

    values = posts.flat_map(ones).collect().column("value")
    assert [(value.dtype.name, value.tolist()) for value in values] == [(dtype, [1, 1])] * 3
