"""The job of this benchmark in Forebay: `forebay_job.py ROWS_FILE OUT_DIR [threads] -> one line of JSON`."""

from __future__ import annotations

import json
import sys
import time

import forebay as fb

REQUEST_ROWS = 64
MODEL_SECONDS = 0.005


class Model:
    """Takes a constant time for a batch."""

    @fb.method.batch
    def length(self, text: list[str]) -> list[int]:
        """The number of characters of each text."""
        time.sleep(MODEL_SECONDS)
        return [len(each) for each in text]


def main() -> None:
    """Runs the job and says how long it took without the imports."""
    rows, out, *where = sys.argv[1:]
    model = fb.cls(batch_rows=REQUEST_ROWS, replicas=1, use_process=where != ["threads"])(Model)
    before = time.perf_counter()
    answers = model().length(fb.col("text"))
    fb.read_parquet(rows).with_column("length", answers).select("id", "length").write_parquet(out)
    print(json.dumps({"wall_seconds": time.perf_counter() - before}))


if __name__ == "__main__":
    main()
