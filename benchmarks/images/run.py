"""Measures decode, resize and write of 2,000 JPEGs in Forebay and in Daft, in one run, and prints one table.

    python benchmarks/images/run.py [--forebay PATH] [--rounds K] [--no-peer]

Run it with the Python of `python/requirements-tools.txt`. What is missing is made first, in `$FOREBAY_CACHE` (default
`~/.cache/forebay`): the images by `make_images.py`, and the peer's virtual environment from
`python/requirements-peers.txt`.

Both engines are child processes, measured from outside in the same way: wall time, user and system time with that of
the children they waited for, and the peak memory of their largest process. Files are read once beforehand, so both find
them in the page cache. Forebay gets its paths through the environment of `job.toml`: `IMAGES`, a folder, and `OUT`.

Starting Python and importing Daft is part of Daft's process but not of its job; the table has both. Afterwards both
outputs are read: every image must be there once, and a sample must agree with Pillow's decode and resize, so that no
engine is fast by doing something else. Any of it failing makes the exit code 1; missing an aim does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
MIB: Final = 1024 * 1024
SIDE: Final = 224
PIXEL_BYTES: Final = SIDE * SIDE * 3
# Rows compared with Pillow.
SAMPLE: Final = 16
# Mean difference from Pillow, in levels of 255, that counts as the same image. Measured on 60 of these images: a JPEG
# decoded at half its size or another resampler below 3, red and blue exchanged above 14, another image above 50.
DIFFERENCE_MAX: Final = 5.0
# The aims of this benchmark: half of Daft's CPU seconds, and memory that a small machine has.
CPU_RATIO_AIM: Final = 0.5
PEAK_MIB_AIM: Final = 512


@dataclass
class Measured:
    """One engine's run: what it cost, and later what its output was found to be."""

    wall: float
    cpu: float
    peak_bytes: int
    out: Path
    stdout: str
    output_bytes: int = 0
    difference: float = 0.0
    faults: list[str] = field(default_factory=list)


def measure(command: list[str], out: Path, environment: dict[str, str]) -> Measured:
    """Runs a command to its end and measures it; exits with its output if it fails.

    The kernel starts a child's peak memory at what its parent held, so this process must be small when it calls:
    nothing larger than the standard library is imported before the last run.
    """
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        before = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode != 0:
            raise SystemExit(
                f"{' '.join(command)}: exit code {process.returncode}\n{stdout.read()[-2000:]}{stderr.read()[-4000:]}"
            )
        return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, out, stdout.read())


def run_forebay(binary: Path, images: Path, folder: Path) -> Measured:
    """Runs `job.toml` into a fresh folder, with checkpoints on, as a user would."""
    out = folder / "out"
    job = [str(binary), "run", str(HERE / "job.toml"), "--checkpoints", str(folder / "checkpoints")]
    return measure(job, out, {"IMAGES": str(images), "OUT": str(out)})


def run_daft(python: Path, images: Path, folder: Path) -> Measured:
    """Runs the peer into a fresh folder."""
    out = folder / "out"
    return measure([str(python), str(HERE / "daft_job.py"), f"{images}/*.jpg", str(out)], out, {})


def cheapest(run: Callable[[Path], Measured], rounds: int, folder: Path) -> Measured:
    """Runs an engine `rounds` times and returns the run with the least CPU time."""
    runs = []
    for number in range(rounds):
        (folder / str(number)).mkdir(parents=True)
        runs.append(run(folder / str(number)))
    return min(runs, key=lambda measured: measured.cpu)


def prepare_images(count: int) -> Path:
    """Makes the images unless they are there, and reads them once."""
    # The usual number has the plain name, so that other work on the same images finds them.
    images = CACHE / ("bench-images" if count == 2000 else f"bench-images-{count}")
    subprocess.run([sys.executable, str(HERE / "make_images.py"), str(images), "--count", str(count)], check=True)
    for path in images.glob("*.jpg"):
        path.read_bytes()
    return images


def prepare_peer() -> Path:
    """Makes the peer's virtual environment unless it is there, and returns its Python."""
    venv, requirements = CACHE / "venv-peers", ROOT / "python/requirements-peers.txt"
    python = venv / "bin/python"
    present = python.exists() and subprocess.run([python, "-c", "import daft"], check=False).returncode == 0
    if not present:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)
    return python


def inspect(measured: Measured, images: Path, count: int, *, fixed_size_binary: bool) -> None:
    """Reads an engine's Parquet files and notes their size, their difference from Pillow, and every fault found."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path for path in measured.out.rglob("*.parquet") if not is_hidden(path.relative_to(measured.out)))
    measured.output_bytes = sum(path.stat().st_size for path in files)
    names: list[str] = []
    for path in files:
        file = pq.ParquetFile(path)
        kind = file.schema_arrow.field("pixels").type
        if fixed_size_binary and kind != pa.binary(PIXEL_BYTES):
            measured.faults.append(f"{path.name}: pixels is {kind}, not FixedSizeBinary({PIXEL_BYTES})")
        names += [name_of(value) for value in file.read(columns=["path"])["path"].to_pylist()]
    if sorted(names) != sorted(path.name for path in images.glob("*.jpg")):
        measured.faults.append(f"{len(names)} rows, {len(set(names))} different images, expected {count} of each")
    if files:
        sample = next(pq.ParquetFile(files[0]).iter_batches(batch_size=SAMPLE, columns=["path", "pixels"]))
        measured.difference = difference(sample, images)
        if not measured.difference <= DIFFERENCE_MAX:
            measured.faults.append(f"differs from Pillow by {measured.difference:.1f} levels in the mean")


def is_hidden(path: Path) -> bool:
    """Says whether a path is a sink's own, such as `_staging/part-3.parquet`, and no output."""
    return any(part.startswith((".", "_")) for part in path.parts)


def name_of(path_or_url: str) -> str:
    """Returns the base name of a path or URL."""
    return path_or_url.rsplit("/", 1)[-1]


def difference(sample: Any, images: Path) -> float:
    """Returns the largest mean difference of any sampled row from Pillow's decode and bilinear resize, in levels."""
    import numpy as np
    from PIL import Image

    worst = 0.0
    for path, pixels in zip(sample.column("path").to_pylist(), sample.column("pixels"), strict=True):
        value = pixels.as_py()
        ours = np.asarray(value if isinstance(value, list) else np.frombuffer(value, dtype=np.uint8), dtype=np.float32)
        with Image.open(images / name_of(path)) as file:
            image = file.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        worst = max(worst, float(np.abs(ours - np.asarray(image, dtype=np.float32).ravel()).mean()))
    return worst


def ratio(ours: float, theirs: float) -> str:
    """Formats ours / theirs."""
    return f"{ours / theirs:.2f}"


def table(forebay: Measured | None, daft: Measured | None) -> list[list[str]]:
    """Lays out what was measured: a line per measure, a column per engine, then the ratios."""
    job = json.loads(daft.stdout.splitlines()[-1]) if daft else {}
    lines = [["measure", "Forebay", "Daft", "Daft, job alone", "Forebay / Daft", "Forebay / job alone", "aim"]]

    def add(name: str, pick: Callable[[Measured], float], alone: float | None, aim: str, digits: int) -> None:
        ours, theirs = (pick(engine) if engine else None for engine in (forebay, daft))
        cells = [f"{value:.{digits}f}" if value is not None else "-" for value in (ours, theirs, alone)]
        cells += [ratio(ours, value) if ours is not None and value else "-" for value in (theirs, alone)]
        lines.append([name, *cells, aim])

    add("wall s", lambda engine: engine.wall, job.get("wall_seconds"), "", 2)
    add("CPU s", lambda engine: engine.cpu, job.get("cpu_seconds"), f"ratio <= {CPU_RATIO_AIM}", 2)
    add("peak memory MiB", lambda engine: engine.peak_bytes / MIB, None, f"<= {PEAK_MIB_AIM} MiB", 0)
    add("output MiB", lambda engine: engine.output_bytes / MIB, None, "", 1)
    add("from Pillow, levels", lambda engine: engine.difference, None, f"<= {DIFFERENCE_MAX:.0f}", 2)
    return lines


def show(lines: list[list[str]]) -> None:
    """Prints a Markdown table with aligned columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    for line in lines:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> int:
    """Prepares, measures both engines, inspects their outputs, and prints the table."""
    parser = argparse.ArgumentParser(description="Measure Forebay and Daft on decode, resize, write.")
    parser.add_argument("--forebay", type=Path, default=TARGET / "debug/forebay", help="the binary to measure")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each engine; the one with least CPU counts")
    parser.add_argument("--no-peer", action="store_true", help="measure Forebay alone")
    parser.add_argument("--peer-only", action="store_true", help="measure Daft alone")
    arguments = parser.parse_args()
    images = prepare_images(arguments.count)
    python = None if arguments.no_peer else prepare_peer()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, {arguments.rounds} round(s)")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        binary, rounds = arguments.forebay, arguments.rounds
        ours = (
            None
            if arguments.peer_only
            else cheapest(lambda out: run_forebay(binary, images, out), rounds, folder / "forebay")
        )
        theirs = cheapest(lambda out: run_daft(python, images, out), rounds, folder / "daft") if python else None
        faults = []
        for engine, measured in (("forebay", ours), ("daft", theirs)):
            if measured:
                inspect(measured, images, arguments.count, fixed_size_binary=measured is ours)
                faults += [f"{engine}: {fault}" for fault in measured.faults]
    show(table(ours, theirs))
    print("\n".join(faults) or f"every output holds {arguments.count} rows, each image once")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
