"""Functions on embeddings in a job file: rows are chosen by likeness, bad ones are dead letters with their reason."""

from __future__ import annotations

import json
from typing import Final

import pytest
from conftest import MakeSpace
from rows import committed, dead_letters

NAME: Final = "nearest"

JOB: Final = f"""\
name = "{NAME}"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"

[[step]]
select = ["id", "cosine_similarity(v, '[0.6, 0.8]') AS likeness", "l2_normalize(v) AS v"]

[[step]]
filter = "likeness > 0.5"

[sink]
format = "parquet"
path = "${{OUT}}"
"""


def test_a_job_file_chooses_rows_by_likeness(space: MakeSpace) -> None:
    """Two rows like the constant, one unlike, one null, three that cannot be compared."""
    workspace = space(JOB, NAME)
    workspace.input.mkdir()
    rows = [[3, 4], [4, 3], [-3, -4], None, [0, 0], [1, 2, 3], [1, None]]
    lines = [json.dumps({"id": number, "v": values}) + "\n" for number, values in enumerate(rows)]
    (workspace.input / "rows.jsonl").write_text("".join(lines))
    workspace.run()
    likeness = {row["id"]: (row["likeness"], row["v"]) for row in committed(workspace.out)}
    assert likeness == {0: (pytest.approx(1), [0.6, 0.8]), 1: (pytest.approx(0.96), [0.8, 0.6])}
    found = {json.loads(letter["input"])["id"]: letter["reason"] for letter in dead_letters(workspace.out)}
    assert found == {
        4: "use embedding (reason=all values are zero, which is no direction)",
        5: "use embedding (reason=it has 3 values, the other 2)",
        6: "use embedding (reason=a value of it is null)",
    }
