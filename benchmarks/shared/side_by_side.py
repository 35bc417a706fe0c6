"""Runs engines one after the other over one input and shows them in one table; a benchmark's `run.py` imports it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from measuring import MIB, Measured


def files_of(out: Path) -> list[Path]:
    """The Parquet files that a job wrote, without what it put beside them."""
    return [path for path in sorted(out.rglob("*.parquet")) if not any(part.startswith("_") for part in path.parts)]


def least_cpu(
    engines: Sequence[str], rounds: int, folder: Path, run: Callable[[str, Path], Measured]
) -> dict[str, Measured]:
    """Of each engine the run with the least CPU time.

    The engines run in turn in each round, so that what disturbs the machine disturbs all of them. `run` gets an engine
    and a path that nothing is at yet, for its output, which it also checks.
    """
    best: dict[str, Measured] = {}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, {rounds} round(s)", flush=True)
    for number in range(rounds):
        for place, engine in enumerate(engines):
            done = run(engine, folder / f"{place}-{number}")
            print(f"{engine}: {done.wall:.0f} s, {done.cpu:.0f} CPU s", file=sys.stderr, flush=True)
            if engine not in best or done.cpu < best[engine].cpu:
                best[engine] = done
    print(f"load {os.getloadavg()[0]:.1f} after")
    return best


def show(best: dict[str, Measured], column: str, of_job: Callable[[float], str]) -> None:
    """One table; ratios are to its first line.

    `column` is the title of what `of_job` makes of the seconds that the job took, which each engine's program says in
    its last line as `wall_seconds`.
    """
    first = next(iter(best.values()))
    print(f"| engine | wall s | job s | {column} | CPU s | CPU, Forebay = 1 | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for engine, run in best.items():
        job = float(json.loads(run.stdout.splitlines()[-1])["wall_seconds"])
        print(
            f"| {engine} | {run.wall:.2f} | {job:.2f} | {of_job(job)} | {run.cpu:.2f} "
            f"| {run.cpu / first.cpu:.2f} | {run.memory_bytes / MIB:.0f} |"
        )
