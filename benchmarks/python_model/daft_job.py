"""The job of this benchmark in Daft: `daft_job.py ROWS_FILE OUT_DIR`. The model is in Daft's own process."""

from __future__ import annotations

import json
import sys
import time

import daft

REQUEST_ROWS = 64
MODEL_SECONDS = 0.005


@daft.cls(max_concurrency=1, use_process=False)
class Model:
    """Takes a constant time for a batch."""

    # Daft's decorators have no types.
    @daft.method.batch(return_dtype=daft.DataType.int64(), batch_size=REQUEST_ROWS)  # type: ignore[untyped-decorator]
    def length(self, text: daft.Series) -> list[int]:
        """The number of characters of each text."""
        time.sleep(MODEL_SECONDS)
        return [len(each) for each in text.to_pylist()]


def main() -> None:
    """Runs the job and says how long it took without the imports."""
    rows, out = sys.argv[1:]
    before = time.perf_counter()
    daft.set_runner_native()
    frame = daft.read_parquet(rows)
    frame.with_column("length", Model().length(daft.col("text"))).select("id", "length").write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))


if __name__ == "__main__":
    main()
