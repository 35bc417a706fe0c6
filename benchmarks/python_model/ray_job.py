"""The job of this benchmark in Ray Data: `ray_job.py ROWS_FILE OUT_DIR`. Starting the cluster is not in its time."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray

REQUEST_ROWS = 64
MODEL_SECONDS = 0.005


class Model:
    """Takes a constant time for a batch."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The number of characters of each text."""
        time.sleep(MODEL_SECONDS)
        return {"id": batch["id"], "length": [len(each) for each in batch["text"]]}


def main() -> None:
    """Runs the job and says how long it took without imports and the cluster's start."""
    rows, out = sys.argv[1:]
    ray.init(num_cpus=2, object_store_memory=1 << 30, include_dashboard=False, log_to_driver=False)
    before = time.perf_counter()
    ray.data.read_parquet(rows).map_batches(Model, batch_size=REQUEST_ROWS, concurrency=1).write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))
    ray.shutdown()


if __name__ == "__main__":
    main()
