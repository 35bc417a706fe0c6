"""A job with a slow function, for tests that interrupt and kill: `endless.py FOLDER ROWS SECONDS_A_ROW`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pyarrow as pa

import forebay as fb
from forebay import testing


@fb.func(batch_rows=4, in_flight=2)
def slow(number: int, seconds: float) -> int:
    """Sleeps: it stands for a model."""
    time.sleep(seconds)
    return -number


def main(folder: Path, rows: int, seconds: float) -> None:
    """Writes to `out`, from where it was if it was started before."""
    source = folder / "rows"
    if not source.exists():
        source.mkdir()
        table = pa.table({"number": range(rows)})
        testing.write_files(table, source, files=4)
    frame = fb.read_parquet(source / "*.parquet", batch_rows=16)
    frame = frame.with_column(
        "answer", slow.with_options(log=str(folder / "executions.log"))(fb.col("number"), seconds)
    )
    job = fb.Job(name="endless", checkpoint_interval="100ms").parquet(frame, folder / "out")
    with job.run(checkpoints=folder / "checkpoints", progress=False) as run:
        print("started", flush=True)
        print(run.wait())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
