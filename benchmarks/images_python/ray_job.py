"""The job in Ray Data: `ray_job.py IMAGES_FOLDER OUT_DIR`. Starting the cluster is not in its time."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray
from fingerprint import SIDE, fingerprints

REQUEST_ROWS = 64


class Fingerprint:
    """The model."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The fingerprint of each image."""
        return {"path": batch["path"], "fingerprint": fingerprints(batch["image"])}


def main() -> None:
    """Runs the job and says how long it took without imports and the cluster's start."""
    images, out = sys.argv[1:]
    ray.init(num_cpus=2, object_store_memory=2 << 30, include_dashboard=False, log_to_driver=False)
    before = time.perf_counter()
    read = ray.data.read_images(images, size=(SIDE, SIDE), mode="RGB", include_paths=True)
    read.map_batches(Fingerprint, batch_size=REQUEST_ROWS, concurrency=1).write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))
    ray.shutdown()


if __name__ == "__main__":
    main()
