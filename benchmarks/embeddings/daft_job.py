"""The job in Daft: `daft_job.py MODEL ROWS_FILE OUT_DIR`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import daft
from minilm_onnx import DIMENSIONS, MiniLM

REQUEST_ROWS = 32
COPIES = 2


@daft.cls(max_concurrency=COPIES)
class Embedder:
    """The model, loaded once in each copy."""

    def __init__(self, path: str) -> None:
        """Loads it."""
        self.model = MiniLM(path)

    # Daft's decorators have no types.
    @daft.method.batch(  # type: ignore[untyped-decorator]
        return_dtype=daft.DataType.embedding(daft.DataType.float32(), DIMENSIONS), batch_size=REQUEST_ROWS
    )
    def embed(self, text: daft.Series) -> Any:
        """The vectors of texts."""
        return self.model.embed(text.to_pylist())


def main() -> None:
    """Runs the job and says how long it took without the imports."""
    model, rows, out = sys.argv[1:]
    before = time.perf_counter()
    daft.set_runner_native()
    frame = daft.read_parquet(rows).with_column("vector", Embedder(model).embed(daft.col("text")))
    frame.select("id", "vector").write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))


if __name__ == "__main__":
    main()
