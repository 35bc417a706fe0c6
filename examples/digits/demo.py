"""Runs the digits job, kills its engine half-way, resumes it, and shows that nothing is missing and nothing came twice.

    python examples/digits/demo.py [--repeat K] [--quick] [--folder DIR]

Images of the held-out half are rendered to real files, `--repeat` copies of each, so that the run lasts about ten
seconds. Once the model has classified half of them, the engine is killed with SIGKILL, as `kill -9` does it; what it
started must end by itself. A second engine resumes from the latest checkpoint.

The figures at the end are counted outside the engine: rows in are the rendered files, rows out are read from the
Parquet files with pyarrow, inferences are the lines that the model process wrote, one for each image it classified.
An answer that is durable at the kill (`forebay journal stats --ids`) must never be computed again. What the model
was just working on may be: it is shown on a line of its own.

Exit code 1 if a row was lost or doubled, or a finished inference was run again.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from engine import BINARY, HERE, ROOT, Kill, Places, resume, run_and_kill, say, style

SPLIT: Final = "held-out"
# Images of that split, see render.py.
SPLIT_IMAGES: Final = 899
# About ten seconds of work on two cores, and a second of it for CI.
REPEAT: Final = 20
REPEAT_QUICK: Final = 2


def render(places: Places, repeat: int) -> dict[str, int]:
    """Renders the images unless they are there, and returns the label of each file."""
    labels = places.images / "labels.csv"
    wanted = SPLIT_IMAGES * repeat
    # The labels are written after the images, so a file of the right length says that all are there.
    if not labels.exists() or len(labels.read_text().splitlines()) != wanted + 1:
        shutil.rmtree(places.images, ignore_errors=True)
        say(f"rendering {wanted} image files")
        command = [sys.executable, str(HERE / "render.py"), str(places.images), "--split", SPLIT]
        subprocess.run([*command, "--repeat", str(repeat)], check=True, stdout=subprocess.DEVNULL)
    with labels.open(newline="") as file:
        return {row["file"]: int(row["label"]) for row in csv.DictReader(file)}


# === counting ===


def read_answers(out: Path) -> Any:
    """Reads the committed Parquet files; names that start with `_` are the sink's own."""
    files = sorted(
        path for path in out.rglob("*.parquet") if not any(part[0] in "._" for part in path.relative_to(out).parts)
    )
    return pa.concat_tables([pq.read_table(path) for path in files])


@dataclass(frozen=True)
class Verdict:
    """What came out, held against what went in."""

    rows_in: int
    rows_out: int
    dead_letters: int
    lost: int
    doubled: int
    executions: int
    finished_again: int
    in_flight_again: int
    right: int

    @property
    def good(self) -> bool:
        """Says whether all promises were kept."""
        return self.lost == self.doubled == self.finished_again == self.dead_letters == 0


def judge(places: Places, labels: dict[str, int], killed: Kill) -> Verdict:
    """Counts everything from files that lie on the disk."""
    answers = read_answers(places.out)
    files = Counter(answers["file"].to_pylist())
    letters = sorted((places.out / "_dead_letters").glob("part-*.jsonl"))
    executed = places.executed()
    finished_again = sum(identity in killed.finished for identity in executed[killed.executed :])
    again = len(executed) - len(set(executed))
    truth = pa.array([labels[name] for name in answers["file"].to_pylist()], pa.int64())
    return Verdict(
        rows_in=len(labels),
        rows_out=answers.num_rows,
        dead_letters=sum(len(path.read_text().splitlines()) for path in letters),
        lost=len(labels.keys() - files.keys()),
        doubled=sum(count - 1 for count in files.values()),
        executions=len(executed),
        finished_again=finished_again,
        in_flight_again=again - finished_again,
        right=int(pc.sum(pc.equal(answers["predicted"].cast(pa.int64()), truth)).as_py() or 0),
    )


def show(verdict: Verdict, killed: Kill, report: dict[str, Any], places: Places) -> None:
    """Prints the figures."""
    model = report["models"]["digits"]

    def line(name: str, value: str, zero: int | None = None) -> None:
        code = "1" if zero is None else "1;32" if zero == 0 else "1;31"
        print(f"  {name:<38}{style(code, value)}")

    print()
    line("rows in (image files)", f"{verdict.rows_in}")
    line("rows out (committed Parquet)", f"{verdict.rows_out}")
    line("dead letters", f"{verdict.dead_letters}", verdict.dead_letters)
    line("lost", f"{verdict.lost}", verdict.lost)
    line("doubled", f"{verdict.doubled}", verdict.doubled)
    line("inferences run", f"{verdict.executions}")
    line("  finished before the kill", f"{len(killed.finished)}")
    line("  finished inferences run twice", f"{verdict.finished_again}", verdict.finished_again)
    line("  unfinished at the kill, begun again", f"{verdict.in_flight_again}")
    line("accuracy on held-out images", f"{verdict.right / max(verdict.rows_out, 1):.4f}")
    # Rows that the journal answered took no time of the model, so they do not count.
    line("rows/s through the model (2nd engine)", f"{model['rows'] / max(report['run_seconds'], 1e-9):.0f}")
    line("p50 / p99 of a request", f"{model['p50_seconds'] * 1e3:.1f} ms / {model['p99_seconds'] * 1e3:.1f} ms")
    line("answers", f"{places.out}")
    print()


def again(arguments: argparse.Namespace) -> str:
    """Returns the command that repeats this demo."""
    script = Path(__file__).resolve().relative_to(ROOT)
    words = [sys.executable, str(script), "--repeat", str(arguments.repeat), "--folder", str(arguments.folder)]
    prefix = f"FOREBAY_BIN={shlex.quote(os.environ['FOREBAY_BIN'])} " if "FOREBAY_BIN" in os.environ else ""
    return f"cd {shlex.quote(str(ROOT))} && {prefix}{shlex.join(words)}"


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description="Run the digits job, kill it half-way, resume it, count.")
    parser.add_argument("--repeat", type=int, help=f"copies of each of the {SPLIT_IMAGES} images")
    parser.add_argument("--quick", action="store_true", help=f"{REPEAT_QUICK} copies instead of {REPEAT}")
    parser.add_argument("--folder", type=Path, default=ROOT / "out/digits", help="where images and answers go")
    arguments = parser.parse_args()
    arguments.repeat = arguments.repeat or (REPEAT_QUICK if arguments.quick else REPEAT)
    arguments.folder = arguments.folder.resolve()
    if not BINARY.exists():
        parser.error(f"{BINARY} does not exist; build it with `cargo build --workspace` or set FOREBAY_BIN")
    return arguments


def main() -> int:
    """Runs the demo and answers its exit code."""
    arguments = parse()
    places = Places(arguments.folder)
    labels = render(places, arguments.repeat)
    shutil.rmtree(places.run, ignore_errors=True)
    places.run.mkdir(parents=True)
    killed = run_and_kill(places, len(labels))
    report = resume(places)
    verdict = judge(places, labels, killed)
    show(verdict, killed, report, places)
    print(f"  again: {again(arguments)}")
    if not verdict.good:
        print("a promise was not kept", file=sys.stderr)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
