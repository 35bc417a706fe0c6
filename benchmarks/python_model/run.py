"""Measures a Python model of 5 ms in Forebay, Daft and Ray Data, in one run, and prints one table.

    python benchmarks/python_model/run.py [--rows N] [--rounds K] [--only ENGINE]

20,000 rows of text from Parquet through a class in Python that sleeps 5 ms for a batch of 64 and answers with
lengths, one batch at a time, into Parquet. If the model never waits that takes 1.565 s. `forebay in threads` is the
same with `use_process=False`. The package `forebay` is taken from the tree (`cargo xtask python` puts its native part
there); the peers get a virtual environment of their own in `$FOREBAY_CACHE`, from `python/requirements-peers.txt`.

Each engine is a process measured from outside, as `shared/measuring.py` says. `job` is the time that the program itself
took from building the frame to the last file; starting Python, importing and, for Ray, starting its cluster are in
`wall` only. Every output is read: each row must be there once, with its answer. The input is Parquet because Daft hands
the rows of JSON lines to a function three at a time.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "shared"))

import measuring  # noqa: E402
import side_by_side  # noqa: E402

REQUEST_ROWS: Final = 64
MODEL_SECONDS: Final = 0.005
# Daft calls the class in its own process, Ray in one beside it, Forebay as it is told.
ENGINES: Final = ["forebay", "forebay in threads", "daft", "ray"]


def text(number: int) -> str:
    """The text of a row; lengths differ."""
    return f"row {number} of the Python model benchmark"


def write_rows(path: Path, rows: int) -> None:
    """Writes the input."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": range(rows), "text": [text(number) for number in range(rows)]}), path)


def check(out: Path, rows: int) -> None:
    """Exits unless every row is there once with its answer."""
    import pyarrow.parquet as pq

    found: dict[int, int] = {}
    for path in side_by_side.files_of(out):
        table = pq.read_table(path).to_pydict()
        found |= dict(zip(table["id"], table["length"], strict=True))
    if found != {number: len(text(number)) for number in range(rows)}:
        raise SystemExit(f"{out}: {len(found)} different rows, or wrong answers; expected {rows}")


def main() -> int:
    """Runs every engine as often as asked and shows the run of each with the least CPU time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=ENGINES, help="one engine alone")
    options = parser.parse_args()
    engines = [options.only] if options.only else ENGINES
    with tempfile.TemporaryDirectory(prefix="forebay-python-model-") as folder:
        rows = Path(folder) / "rows.parquet"
        write_rows(rows, options.rows)

        def run(engine: str, out: Path) -> measuring.Measured:
            name, *where = engine.split(" in ")
            own = name == "forebay"
            environment = {"PYTHONPATH": str(measuring.ROOT / "python")} if own else {}
            python = Path(sys.executable) if own else measuring.peers()
            done = measuring.measure([python, HERE / f"{name}_job.py", rows, out, *where], environment)
            check(out, options.rows)
            return done

        best = side_by_side.least_cpu(engines, options.rounds, Path(folder), run)
    ideal = math.ceil(options.rows / REQUEST_ROWS) * MODEL_SECONDS
    print(f"ideal {ideal:.3f} s")
    side_by_side.show(best, "job / ideal", lambda job: f"{job / ideal:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
