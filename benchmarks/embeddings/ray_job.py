"""The job in Ray Data: `ray_job.py MODEL ROWS_FILE OUT_DIR`. Starting the cluster is not in its time."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray
from minilm_onnx import MiniLM

REQUEST_ROWS = 32
COPIES = 2


class Embedder:
    """The model, loaded once in each copy."""

    def __init__(self, path: str) -> None:
        """Loads it."""
        self.model = MiniLM(path)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The vectors of texts."""
        return {"id": batch["id"], "vector": self.model.embed([str(each) for each in batch["text"]])}


def main() -> None:
    """Runs the job and says how long it took without imports and the cluster's start."""
    model, rows, out = sys.argv[1:]
    # With two, both go to the copies, and what reads and writes waits for one for ever.
    ray.init(num_cpus=COPIES + 1, object_store_memory=1 << 30, include_dashboard=False, log_to_driver=False)
    before = time.perf_counter()
    embedded = ray.data.read_parquet(rows).map_batches(
        Embedder, fn_constructor_args=(model,), batch_size=REQUEST_ROWS, concurrency=COPIES
    )
    embedded.write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))
    ray.shutdown()


if __name__ == "__main__":
    main()
