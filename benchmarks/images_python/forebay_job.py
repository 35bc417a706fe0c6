"""The job in Forebay: `forebay_job.py IMAGES_FOLDER OUT_DIR`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from fingerprint import SIDE, fingerprints

import forebay as fb

REQUEST_ROWS = 64


@fb.cls(batch_rows=REQUEST_ROWS, replicas=1)
class Fingerprint:
    """The model."""

    @fb.method.batch(returns=int)
    def of(self, pixels: np.ndarray) -> Any:
        """The fingerprint of each image."""
        return fingerprints(pixels)


def main() -> None:
    """Runs the job and says how long it took without the imports."""
    images, out = sys.argv[1:]
    before = time.perf_counter()
    model: Any = Fingerprint()
    pixels = fb.read_images(f"{images}/*.jpg").select("path", pixels=fb.col("content").image.to_tensor(SIDE, SIDE))
    found = pixels.with_column("fingerprint", model.of(fb.col("pixels"))).select("path", "fingerprint")
    found.write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))


if __name__ == "__main__":
    main()
