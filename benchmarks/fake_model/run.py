"""Measures what the engine adds to a model: 20,000 rows through a fake model of 5 ms, against the ideal.

    python benchmarks/fake_model/run.py [--forebay PATH] [--repeats K] [--ratio-max R]

With request batches of 64 and one in flight, 313 request batches of 5 ms take 1.565 s if the model is never kept
waiting; whatever a run takes beyond that is the engine's. `job.toml` declares the model, the request batch and the
limit; if you change one there, change the constant here.

Counted is `run_seconds` of the report, from the first request sent to the last answer told, so that starting a process
is not in it. A sleep ends late, the later the busier the machine; a line says how long the same sleeps take without any
engine. Needs only the standard library. Exit code 1 if a row is missing or the best ratio is above `--ratio-max`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
ROWS: Final = 20_000
REQUEST_ROWS: Final = 64
MODEL_SECONDS: Final = 0.005
IDEAL_SECONDS: Final = math.ceil(ROWS / REQUEST_ROWS) * MODEL_SECONDS


def write_input(path: Path) -> None:
    """Writes the rows as JSON lines, `{"id": 0, "text": "row 0 of the fake model benchmark"}` and so on."""
    with path.open("w") as file:
        for number in range(ROWS):
            file.write(json.dumps({"id": number, "text": f"row {number} of the fake model benchmark"}) + "\n")


def run_once(binary: Path, rows: Path, folder: Path) -> float:
    """Runs the job in a fresh folder and returns its `run_seconds`; exits if it fails or loses a row."""
    report_file = folder / "report.json"
    command = [str(binary), "run", str(HERE / "job.toml"), "--checkpoints", str(folder / "checkpoints")]
    command += ["--report", str(report_file)]
    environment = os.environ | {"INPUT": str(rows), "OUT": str(folder / "out")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    report: dict[str, Any] = json.loads(report_file.read_text())
    if report["rows_out"] != ROWS:
        raise SystemExit(f"{report['rows_out']} rows out, expected {ROWS}")
    seconds = float(report["run_seconds"])
    if seconds < IDEAL_SECONDS:
        raise SystemExit(
            f"{seconds} s is below the ideal {IDEAL_SECONDS} s: job.toml does not declare what is measured"
        )
    return seconds


def bare_seconds() -> float:
    """Returns how long the model's sleeps take here with no engine around them, timer slack off as in the model."""
    Path("/proc/self/timerslack_ns").write_text("1000")
    before = time.perf_counter()
    for _ in range(math.ceil(ROWS / REQUEST_ROWS)):
        time.sleep(MODEL_SECONDS)
    return time.perf_counter() - before


def show(seconds: list[float]) -> None:
    """Prints a line per run, then the best and the median."""
    named = [(f"run {number}", value) for number, value in enumerate(seconds, start=1)]
    named += [("best", min(seconds)), ("median", statistics.median(seconds))]
    print("| run    | wall s | ideal s | wall / ideal |")
    print("| ------ | ------ | ------- | ------------ |")
    for name, value in named:
        print(f"| {name:<6} | {value:6.3f} | {IDEAL_SECONDS:7.3f} | {value / IDEAL_SECONDS:12.3f} |")


def main() -> int:
    """Runs the job several times over the same rows and prints the table."""
    parser = argparse.ArgumentParser(description="Measure the engine's cost beside a model of 5 ms.")
    parser.add_argument("--forebay", type=Path, default=TARGET / "debug/forebay", help="the binary to measure")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ratio-max", type=float, help="fail if the best wall / ideal is above this")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory(prefix="forebay-fake-model-") as name:
        rows = Path(name) / "rows.jsonl"
        write_input(rows)
        seconds = []
        for repeat in range(arguments.repeats):
            folder = Path(name) / str(repeat)
            folder.mkdir()
            seconds.append(run_once(arguments.forebay, rows, folder))
    print(f"load {os.getloadavg()[0]:.1f} after; the sleeps alone take {bare_seconds():.3f} s here")
    show(seconds)
    if arguments.ratio_max is not None and min(seconds) > arguments.ratio_max * IDEAL_SECONDS:
        print(f"best ratio is above {arguments.ratio_max}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
