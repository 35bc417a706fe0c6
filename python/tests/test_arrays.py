"""Embeddings and tensors in the engine give what NumPy gives, from JSON lines and SQL alike."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import forebay as fb
from forebay import testing

RANDOM = np.random.default_rng(7)
ROWS = [{"id": n, "v": RANDOM.normal(size=24).tolist(), "w": RANDOM.normal(size=24).tolist()} for n in range(40)]
BAD = [
    {"id": 100, "v": [0.0] * 24, "w": [1.0] * 24},
    {"id": 101, "v": [1.0] * 23, "w": [1.0] * 24},
    {"id": 102, "v": [None] + [1.0] * 23, "w": [1.0] * 24},
]
NULL = {"id": 103, "v": None, "w": [1.0] * 24}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> fb.DataFrame:
    """Good and bad rows as JSON lines."""
    path = tmp_path_factory.mktemp("vectors") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *BAD, NULL]))
    return fb.read_jsonl(str(path))


def cosine(left: Any, right: Any) -> float:
    """The oracle."""
    return float(np.dot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right)))


def by_id(result: fb.Result) -> dict[int, dict[str, Any]]:
    """The rows by their number."""
    return {row["id"]: row for row in result.rows()}


def test_columns_and_constants_are_compared_as_numpy_does(vectors: fb.DataFrame) -> None:
    v, constant = fb.col("v").embedding, ROWS[0]["w"]
    result = vectors.select(
        "id",
        cosine=v.cosine_similarity(fb.col("w")),
        apart=v.cosine_distance(np.array(constant)),
        dot=v.dot_product(constant),
        distance=v.euclidean_distance(fb.col("w")),
    ).collect()
    found = by_id(result)
    for row in ROWS:
        assert found[row["id"]] == {
            "id": row["id"],
            "cosine": pytest.approx(cosine(row["v"], row["w"])),
            "apart": pytest.approx(1 - cosine(row["v"], constant)),
            "dot": pytest.approx(np.dot(row["v"], constant)),
            "distance": pytest.approx(np.linalg.norm(np.subtract(row["v"], row["w"]))),
        }
    assert found[103] == {"id": 103, "cosine": None, "apart": None, "dot": None, "distance": None}
    reasons = sorted((json.loads(each["input"])["id"], each["reason"]) for each in result.dead_letters)
    assert reasons == [
        (100, "use embedding (reason=all values are zero, which is no direction)"),
        (101, "use embedding (reason=it has 23 values, the other 24)"),
        (102, "use embedding (reason=a value of it is null)"),
    ]
    assert len(found) == 41


def test_bad_rows_may_be_null(vectors: fb.DataFrame) -> None:
    result = vectors.select("id", unit=fb.col("v").embedding.l2_normalize(), on_error="null").collect()
    found = by_id(result)
    assert [found[number]["unit"] for number in (100, 102, 103)] == [None] * 3
    assert np.linalg.norm(found[101]["unit"]) == pytest.approx(1)
    assert found[5]["unit"] == pytest.approx(np.divide(ROWS[5]["v"], np.linalg.norm(ROWS[5]["v"])).tolist())


def test_a_truncated_embedding_is_a_tensor_that_functions_take(vectors: fb.DataFrame) -> None:
    @fb.func
    def total(v: fb.Tensor("float64", 8)) -> float:  # type: ignore[valid-type]
        """Its sum."""
        return float(np.sum(v))

    short = vectors.filter("id < 100").with_columns(v=fb.col("v").embedding.truncate(8))
    found = by_id(short.with_columns(total=total(fb.col("v"))).select("id", "v", "total").collect())
    for row in ROWS:
        assert found[row["id"]]["v"].tolist() == row["v"][:8]
        assert found[row["id"]]["total"] == pytest.approx(sum(row["v"][:8]))


def test_sql_compares_with_arrays_and_texts(vectors: fb.DataFrame) -> None:
    constant = [round(value, 3) for value in ROWS[1]["w"]]
    text = f"SELECT id, dot_product(v, '{constant}') AS a, dot_product(v, {constant}) AS b FROM t"
    found = by_id(fb.sql(text, t=vectors.filter("id < 100")).collect())
    assert len(found) == 40
    for row in ROWS:
        expected = pytest.approx(np.dot(row["v"], constant))
        assert found[row["id"]] == {"id": row["id"], "a": expected, "b": expected}


def test_lists_become_tensors_of_any_shape_and_type(vectors: fb.DataFrame) -> None:
    tensor = fb.col("v").tensor.reshape(2, 3, 4)
    result = vectors.select(
        "id", tensor=tensor, half=tensor.tensor.cast("float16"), flat=tensor.tensor.reshape(-1, 12).tensor.flatten()
    ).collect()
    found = by_id(result)
    for row in ROWS:
        values = np.array(row["v"])
        kept = found[row["id"]]
        assert (kept["tensor"] == values.reshape(2, 3, 4)).all()
        assert kept["half"].dtype == np.float16
        assert (kept["half"] == values.astype("float16").reshape(2, 3, 4)).all()
        assert kept["flat"].tolist() == row["v"]
    assert found[103]["tensor"] is None
    assert sorted(each["reason"] for each in result.dead_letters) == [
        "use tensor (reason=a value of it is null)",
        "use tensor (reason=it has 23 values, not 24)",
    ]


def test_values_that_do_not_fit_are_dead_letters() -> None:
    rows = testing.rows([{"v": [1.9, 255.0]}, {"v": [0.0, 256.0]}, {"v": [-1.0, 0.0]}])
    result = rows.select(bytes=fb.col("v").tensor.reshape(2).tensor.cast("uint8")).collect()
    assert [row["bytes"].tolist() for row in result.rows()] == [[1, 255]]
    assert [each["reason"] for each in result.dead_letters] == [
        "use tensor (reason=a value of it does not fit uint8)"
    ] * 2


@pytest.mark.parametrize("other", ["w", b"w", [], [1.0, float("nan")], [10**400], [[1.0]], ["a"], {1.0, 2.0}, 3, None])
def test_what_is_no_embedding_is_refused(other: Any) -> None:
    with pytest.raises(fb.errors.InvalidError, match="is no embedding"):
        fb.col("v").embedding.cosine_similarity(other)


def test_types_are_compared_before_anything_runs(vectors: fb.DataFrame) -> None:
    tensor = fb.col("v").tensor.reshape(2, 12)
    for value, words in (
        (fb.col("id").embedding.l2_normalize(), "a column of lists of numbers"),
        (tensor.embedding.l2_normalize(), "tensors of one axis"),
        (tensor.tensor.flatten().embedding.dot_product([1.0]), "24 values"),
        (tensor.tensor.reshape(5, 5), "a shape of 24 values"),
        (fb.col("v").tensor.flatten(), "its length"),
        (fb.col("v").tensor.cast("uint8"), "a column of tensors"),
    ):
        with pytest.raises(fb.errors.InvalidError, match=words):
            _ = vectors.select(x=value).schema
