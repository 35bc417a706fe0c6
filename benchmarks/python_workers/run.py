"""Measures how long a tensor takes to a Python worker and back, beyond what the function itself takes.

    python benchmarks/python_workers/run.py [--driver PATH] [--p50-max MICROSECONDS]

The driver, an example of `forebay-inference`, starts one worker for each line of the table and asks it again and
again about one tensor of 1, 10 or 64 MiB. Answers are compared with what was asked. The function says how long it took
by its own clock, and that is subtracted. `memcpy` copies as many bytes between two pieces of memory of one process, in
the same run. Exit code 1 if a median of the lines in place is above `--p50-max`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")


def measured(driver: Path) -> list[dict[str, Any]]:
    """The figures of the driver, in its order."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    command = [str(driver), sys.executable, str(HERE)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> int:
    """Runs, prints one table, says whether the aim is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", type=Path, default=TARGET / "debug/examples/python_workers")
    parser.add_argument("--p50-max", type=float, default=100.0)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    figures = measured(options.driver)
    print(f"load {os.getloadavg()[0]:.1f} after")
    print("| MiB | way | p50 us | p90 us | GB/s |")
    print("|---|---|---|---|---|")
    for each in figures:
        print(f"| {each['mib']} | {each['way']} | {each['p50_us']:,.0f} | {each['p90_us']:,.0f} | {each['gb_s']:.1f} |")
    worst = max(each["p50_us"] for each in figures if each["way"].startswith("in place"))
    return 0 if worst <= options.p50_max else 1


if __name__ == "__main__":
    sys.exit(main())
