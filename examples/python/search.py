"""Embeds text passages with a real model, exactly once, and answers a question from what was written.

`python search.py embed FOLDER [PASSAGES]` writes passages and their vectors; killed at any moment and started again,
it goes on where it was. `python search.py find FOLDER QUESTION` shows the nearest. The passages are docstrings of
Python's standard library: real text that is there already.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import forebay as fb

PASSAGES: Final = 5_000
# Shorter ones say too little to be found by what they mean.
CHARACTERS_MIN: Final = 80

Vector = fb.Tensor("float32", 384)


# A batch is padded to its longest text, so texts of about one length go together.
@fb.cls(batch_rows=32, linger="200ms", length="character_length(text)", timeout="5m")
class Embedder:
    """The model, once in each replica."""

    def __init__(self) -> None:
        """Loads the weights."""
        from minilm import MiniLM

        self.model = MiniLM()

    @fb.method.batch(returns=Vector)
    def embed(self, text: list[str]) -> Annotated[Any, Vector]:
        """The vectors of texts."""
        return self.model.embed(text)


def passages() -> Iterator[dict[str, str]]:
    """Docstrings of the standard library, with where they stand."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in file.parts or "test" in file.parts:
            continue
        try:
            tree = ast.parse(file.read_text(errors="strict"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) >= CHARACTERS_MIN:
                    yield {"place": f"{file.stem}.{node.name}", "text": text}


def embed(folder: Path, most: int) -> None:
    """Writes `folder/vectors`."""
    source = folder / "passages.parquet"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = [row for row, _ in zip(passages(), range(most), strict=False)]
        pq.write_table(pa.Table.from_pylist(rows), source)
    frame = fb.read_parquet(source, batch_rows=256).with_column("vector", Embedder().embed(fb.col("text")))
    report = frame.write_parquet(
        folder / "vectors", checkpoints=folder / "checkpoints", name="embed", checkpoint_interval="2s"
    )
    speed = report.rows_out / report.seconds
    print(f"{report.outcome}: {report.rows_out} passages in {report.seconds:.1f} s, {speed:.0f}/s")


def find(folder: Path, question: str) -> None:
    """Prints the passages that are nearest to a question."""
    table = ds.dataset(str(folder / "vectors"), format="parquet").to_table()
    vectors = np.frombuffer(b"".join(table["vector"].to_pylist()), dtype=np.float32).reshape(-1, Vector.shape[0])
    likeness = vectors @ Embedder().embed([question])[0]
    for row in np.argsort(-likeness)[:5].tolist():
        first = table["text"][row].as_py().splitlines()[0]
        print(f"{likeness[row]:.2f}  {table['place'][row]}: {first}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["embed", folder, *most]:
            embed(Path(folder), int(most[0]) if most else PASSAGES)
        case ["find", folder, question]:
            find(Path(folder), question)
        case _:
            sys.exit(__doc__)
