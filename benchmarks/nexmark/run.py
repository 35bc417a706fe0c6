"""Measures Nexmark's queries in Forebay and in Flink, in one run, and prints one table.

    python benchmarks/nexmark/run.py [--queries q0,q1] [--rows N] [--parallelism 1,2] [--forebay PATH] [--no-peer]

Run it with the Python of `python/requirements-tools.txt`; a JDK 17 must be there. Flink is installed first
(`flink.py`).

Both engines make the same rows, byte for byte, in their own process: Forebay by its source `nexmark`, Flink by a
connector
that does the same in Java. No file, no parser and no broker stands between, so what is measured is the engine and the
making of rows, which q0 shows nearly alone. Results are dropped by both.

First every query runs over few rows into files in both engines, and both results must be equal, row by row; otherwise
nothing is measured and the exit code is 1. Then come the measured runs. Both engines are child processes, measured from
outside in the same way: user and system time of the process until it ended, of every thread, compiler and collector
included. What a start costs is measured by the same query over no rows. The table has both ratios, with the start and
without; the aim counts without, because a stream's job starts once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import flink
import results

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or flink.CACHE / "target")
# Events per CPU second, Forebay's by Flink's.
RATIO_AIM: Final = 3.0


@dataclass
class Cost:
    """What one run cost."""

    wall: float
    cpu: float
    peak_bytes: int


# Runs a query over so many rows at a parallelism, in a folder.
Run = Callable[[str, int, int, Path], Cost]


@dataclass
class Engine:
    """One engine's runs of a query: the start alone, and the whole."""

    start: Cost
    whole: Cost

    def job_cpu(self) -> float:
        """CPU seconds without the start; at least a clock tick, so that a rate can be computed."""
        return max(self.whole.cpu - self.start.cpu, 0.01)


def measure(command: list[str], environment: dict[str, str]) -> Cost:
    """Runs a command to its end and measures it; exits with its output if it fails."""
    with tempfile.TemporaryFile("w+") as output:
        before = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)[:500]}: exit code {process.returncode}\n{output.read()[-6000:]}")
        return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def run_forebay(binary: Path, query: str, rows: int, parallelism: int, folder: Path, *, keep: bool) -> Cost:
    """Runs a query's job file over `rows` rows; with `keep` the result goes to files in `folder`."""
    job = (HERE / f"jobs/{query}.toml").read_text()
    job = re.sub(r"rows = [\d_]+", f"rows = {rows}", job)
    if keep:
        job = job.replace('format = "blackhole"', 'format = "jsonl"\npath = "${OUT}/rows"')
    path = folder / "job.toml"
    path.write_text(job)
    command = [str(binary), "run", str(path), "--parallelism", str(parallelism)]
    return measure([*command, "--checkpoints", str(folder / "checkpoints")], {"OUT": str(folder)})


def run_flink(start: list[str], query: str, rows: int, parallelism: int, folder: Path, *, keep: bool) -> Cost:
    """Runs a query over `rows` rows; with `keep` the result goes to a file in `folder`."""
    sink = str(folder / "rows.tsv") if keep else "blackhole"
    return measure(flink.command(start, query, rows, parallelism, folder, sink), {})


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def compare(binary: Path, start: list[str], query: str, rows: int, parallelism: int, folder: Path) -> str | None:
    """Runs a query in both engines and says how their results differ, if they do."""
    ours, theirs = fresh(folder / "forebay"), fresh(folder / "flink")
    run_forebay(binary, query, rows, parallelism, ours, keep=True)
    run_flink(start, query, rows, 1, theirs, keep=True)
    left, right = results.of_forebay(ours / "rows"), results.of_flink(theirs / "rows.tsv")
    print(f"{query}: {left.total()} rows in Forebay's result, {right.total()} in Flink's", flush=True)
    if not right:
        return "the result is empty, which proves nothing"
    return results.difference(left, right)


def show(lines: list[list[str]]) -> None:
    """Prints a Markdown table with aligned columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in [lines[0], ["-" * width for width in widths], *lines[1:]]:
        print(f"| {' | '.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))} |")


def rate(rows: int, cpu: float) -> str:
    """Thousands of rows in a CPU second."""
    return f"{rows / cpu / 1000:,.0f}"


def line(query: str, rows: int, parallelism: int, ours: Engine, theirs: Engine | None) -> list[str]:
    """One line of the table."""
    cells = [query, str(parallelism), f"{ours.whole.cpu:.2f}", f"{ours.whole.wall:.1f}", rate(rows, ours.job_cpu())]
    cells.append(f"{ours.whole.peak_bytes / 2**20:.0f}")
    if theirs is None:
        return [*cells, *["-"] * 6]
    cells += [f"{theirs.whole.cpu:.2f}", f"{theirs.start.cpu:.2f}", f"{theirs.whole.wall:.1f}"]
    cells += [rate(rows, theirs.job_cpu()), f"{theirs.whole.cpu / ours.whole.cpu:.1f}"]
    return [*cells, f"{theirs.job_cpu() / ours.job_cpu():.1f}"]


def main() -> int:
    """Compares the results of both engines, measures both, and prints the table."""
    parser = argparse.ArgumentParser(description="Measure Nexmark in Forebay and Flink.")
    parser.add_argument("--forebay", type=Path, default=TARGET / "debug/forebay", help="the binary to measure")
    parser.add_argument(
        "--queries", default=",".join(queries()), help="which queries, default all that have a job file"
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of all streams in a measured run")
    parser.add_argument("--check-rows", type=int, default=200_000, help="rows of all streams in a compared run")
    parser.add_argument("--parallelism", default="1,2")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each; the one with least CPU counts")
    parser.add_argument("--no-peer", action="store_true", help="measure Forebay alone, compare nothing")
    parser.add_argument("--no-measure", action="store_true", help="compare results, measure nothing")
    arguments = parser.parse_args()
    start = None if arguments.no_peer else flink.prepare()
    chosen = arguments.queries.split(",")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, {arguments.rows} rows", flush=True)
    with tempfile.TemporaryDirectory(prefix="forebay-nexmark-") as name:
        folder = Path(name)
        if start:
            faults = {
                query: fault
                for query in chosen
                if (fault := compare(arguments.forebay, start, query, arguments.check_rows, 2, folder))
            }
            if faults:
                print("\n".join(f"{query}: {fault}" for query, fault in faults.items()))
                return 1
        if not arguments.no_measure:
            show(table(arguments, chosen, start, folder))
    return 0


def queries() -> list[str]:
    """Queries that have a job file, in order."""
    return sorted((path.stem for path in (HERE / "jobs").glob("q*.toml")), key=lambda query: int(query[1:]))


def table(arguments: argparse.Namespace, chosen: list[str], start: list[str] | None, folder: Path) -> list[list[str]]:
    """Measures every query at every parallelism, the engines in turn."""
    heads = ["query", "parallelism", "Forebay CPU s", "wall s", "k rows/CPU s", "peak MiB"]
    heads += [
        "Flink CPU s",
        "of it start",
        "wall s",
        "k rows/CPU s",
        "Flink / Forebay",
        f"without start (aim {RATIO_AIM})",
    ]
    lines = [heads]
    for query in chosen:
        for parallelism in map(int, arguments.parallelism.split(",")):

            def best(run: Run, rows: int, query: str = query, parallelism: int = parallelism) -> Cost:
                costs = [run(query, rows, parallelism, fresh(folder / "run")) for _ in range(arguments.rounds)]
                return min(costs, key=lambda cost: cost.cpu)

            def ours(query: str, rows: int, parallelism: int, folder: Path) -> Cost:
                return run_forebay(arguments.forebay, query, rows, parallelism, folder, keep=False)

            def theirs(query: str, rows: int, parallelism: int, folder: Path) -> Cost:
                return run_flink(start or [], query, rows, parallelism, folder, keep=False)

            forebay = Engine(best(ours, 0), best(ours, arguments.rows))
            peer = Engine(best(theirs, 0), best(theirs, arguments.rows)) if start else None
            lines.append(line(query, arguments.rows, parallelism, forebay, peer))
            print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    return lines


if __name__ == "__main__":
    sys.exit(main())
