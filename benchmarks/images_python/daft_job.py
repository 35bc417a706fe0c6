"""The job in Daft: `daft_job.py IMAGES_FOLDER OUT_DIR`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import daft
import numpy as np
from daft.functions import decode_image, download, resize
from fingerprint import SIDE, fingerprints

REQUEST_ROWS = 64


@daft.cls(max_concurrency=1)
class Fingerprint:
    """The model."""

    # Daft's decorators have no types.
    @daft.method.batch(return_dtype=daft.DataType.int64(), batch_size=REQUEST_ROWS)  # type: ignore[untyped-decorator]
    def of(self, pixels: daft.Series) -> Any:
        """The fingerprint of each image."""
        return fingerprints(np.stack(pixels.to_pylist()))


def main() -> None:
    """Runs the job and says how long it took without the imports."""
    images, out = sys.argv[1:]
    before = time.perf_counter()
    daft.set_runner_native()
    frame = daft.from_glob_path(f"{images}/*.jpg")
    pixels = resize(decode_image(download(daft.col("path")), mode="RGB"), SIDE, SIDE)
    frame.select("path", Fingerprint().of(pixels).alias("fingerprint")).write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))


if __name__ == "__main__":
    main()
