"""Measures how well the inference gate follows what a backend can take, beside an oracle and nine other limiters.

    python benchmarks/gate/run.py [--seeds K]

Runs `forebay bench gate` over every scenario of this folder in virtual time and prints its tables. The figures depend
on the seeds alone, not on the machine. `--seeds 20` is what RESULTS.md was made with.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")


def main() -> int:
    """Runs the benchmark; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each scenario with each limiter")
    arguments = parser.parse_args()
    command = [str(TARGET / "debug/forebay"), "bench", "gate", "--scenario", str(HERE / "scenarios")]
    return subprocess.run([*command, "--seeds", str(arguments.seeds)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
