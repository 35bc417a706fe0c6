"""The job in Forebay: `forebay_job.py MODEL ROWS_FILE OUT_DIR CHECKPOINTS LOG by_length|as_they_come`.

Started again with the same words after a crash, it goes on where it was. LOG gets the request of every row that ran.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

from minilm_onnx import DIMENSIONS, MiniLM

import forebay as fb

REQUEST_ROWS = 32
REPLICAS = 2

Vector = fb.Tensor("float32", DIMENSIONS)


@fb.cls(batch_rows=REQUEST_ROWS, replicas=REPLICAS, timeout="10m")
class Embedder:
    """The model, once in each replica."""

    def __init__(self, path: str) -> None:
        """Loads it."""
        self.model = MiniLM(path)

    @fb.method.batch(returns=Vector)
    def embed(self, text: list[str]) -> Annotated[Any, Vector]:
        """The vectors of texts."""
        return self.model.embed(text)


def main() -> None:
    """Runs the job and says how long it took without the imports."""
    model, rows, out, checkpoints, log, order = sys.argv[1:]
    before = time.perf_counter()
    embedder: Any = Embedder(model)
    # A batch is padded to its longest text; with `length` texts of about one length go together.
    options = {"length": "character_length(text)", "linger": "200ms"} if order == "by_length" else {}
    embed = embedder.embed.with_options(log=log, **options)
    frame = fb.read_parquet(rows).with_column("vector", embed(fb.col("text"))).select("id", "vector")
    report = frame.write_parquet(out, checkpoints=checkpoints, name="embeddings", checkpoint_interval="1s")
    asked = report.details["models"]["embed"]
    seconds = time.perf_counter() - before
    print(json.dumps({"wall_seconds": seconds, "asked": asked["rows"], "found": asked["journal_hits"]}))


if __name__ == "__main__":
    main()
