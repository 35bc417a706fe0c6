"""Measures how long one region takes to restart, and what the other one does meanwhile.

    python benchmarks/regions/run.py [--forebay PATH] [--runs N] [--plot FILE.svg]

`job.toml` is cut in two. While it runs, the folder of the second region's output becomes a file for a moment, so that
its writes fail and it restarts; models stay loaded. Twice in each run: the sixth failure within ten minutes would end
the job. Counted are the report's longest restart of each run, by the engine's own clock, and from outside the rows that
each region's model computed in every tenth of a second. The ratio compares the first region's median rate within one
second after a failure with its median at all other times. Needs only the standard library. Exit code 1 if a row is lost
or doubled, if a model was loaded again, or if a restart took longer than `--restart-max`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
ROWS: Final = 20_000
STEP_SECONDS: Final = 0.1
FAILED: Final = "region r2 failed"
# Bytes of one line of a model's log: a row's id in hex.
LINE_BYTES: Final = 33


@dataclass
class Run:
    """What one run came to."""

    report: dict[str, Any]
    # Seconds since the start, and the rows that the first and the second model had computed by then.
    samples: list[tuple[float, int, int]] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)


def computed(log: Path) -> int:
    """Returns the rows that a model has computed."""
    return log.stat().st_size // LINE_BYTES if log.exists() else 0


def fail_once(folder: Path, stderr: Path, seen: int) -> None:
    """Makes the second region's writes fail until it says so."""
    out, away = folder / "out/second", folder / "out/away"
    out.rename(away)
    out.write_text("in the way\n")
    limit = time.monotonic() + 30
    while stderr.read_text().count(FAILED) <= seen:
        if time.monotonic() > limit:
            raise SystemExit("the second region did not fail")
        time.sleep(0.002)
    out.unlink()
    away.rename(out)


def run(binary: Path, folder: Path) -> Run:
    """Runs the job, makes its second region fail at a third and at two thirds."""
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": number, "text": f"row {number}"}) + "\n" for number in range(ROWS))
    command = [str(binary), "run", str(HERE / "job.toml"), "--checkpoints", str(folder / "checkpoints")]
    command += ["--report", str(folder / "report.json"), "--progress", "none"]
    environment = os.environ | {"INPUT": str(folder / "rows.jsonl"), "FOLDER": str(folder)}
    stderr = folder / "stderr"
    found = Run({})
    with stderr.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        begun = time.monotonic()
        while process.poll() is None:
            now = time.monotonic() - begun
            first, second = computed(folder / "first.log"), computed(folder / "second.log")
            found.samples.append((now, first, second))
            if first > ROWS * (len(found.failures) + 1) // 3 and len(found.failures) < 2:
                found.failures.append(now)
                fail_once(folder, stderr, len(found.failures) - 1)
            time.sleep(max(0.0, begun + len(found.samples) * STEP_SECONDS - time.monotonic()))
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{stderr.read_text()[-4000:]}")
    found.report = json.loads((folder / "report.json").read_text())
    check(folder, found)
    return found


def check(folder: Path, found: Run) -> None:
    """Fails if a row is lost or doubled, or a model was loaded again."""
    for name in ("first", "second"):
        files = (folder / "out" / name).glob("*.jsonl")
        ids = [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]
        if sorted(ids) != list(range(ROWS)):
            raise SystemExit(f"out/{name}: {len(ids)} rows, {len(set(ids))} different, expected {ROWS}")
    restarts = [model["replica_restarts"] for model in found.report["models"].values()]
    if any(restarts) or found.report["regions"][0]["restarts"] != 0:
        raise SystemExit(f"more than the second region restarted: {found.report}")


def rates(found: Run, of: int) -> list[tuple[float, float]]:
    """Returns rows a second of the first (0) or second (1) model by time."""
    pairs = zip(found.samples, found.samples[1:], strict=False)
    return [(late[0], (late[1 + of] - early[1 + of]) / max(late[0] - early[0], 1e-3)) for early, late in pairs]


def ratio_while_failing(found: Run) -> float:
    """Returns the first region's median rate within a second after a failure by its median at other times."""
    # Neither the start nor what comes after the first region has read everything.
    whole = [(at, rate) for at, rate in rates(found, 0) if rate > 0][3:-3]
    near = [rate for at, rate in whole if any(0 <= at - failure <= 1 for failure in found.failures)]
    other = [rate for at, rate in whole if not any(0 <= at - failure <= 1 for failure in found.failures)]
    return statistics.median(near) / statistics.median(other)


def plot(found: Run, path: Path) -> None:
    """Draws both rates over time as an SVG, with a line at each failure."""
    both = [rates(found, 0), rates(found, 1)]
    longest = max(at for series in both for at, _ in series)
    highest = max(rate for series in both for _, rate in series)
    width, height, left, top = 900, 300, 60, 30

    def place(at: float, rate: float) -> str:
        return f"{left + at / longest * width:.1f},{top + height - rate / highest * height:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 80}" height="{height + 80}" font-size="13">']
    parts.append(
        f'<text x="{left}" y="18">rows/s of the models of r1 (blue) and r2 (orange); red: the output of r2 fails</text>'
    )
    for failure in found.failures:
        x = left + failure / longest * width
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}" stroke="red"/>')
    for series, colour in zip(both, ("steelblue", "darkorange"), strict=True):
        points = " ".join(place(at, rate) for at, rate in series)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    parts.append(f'<text x="4" y="{top + 10}">{highest:.0f}</text><text x="4" y="{top + height}">0</text>')
    parts.append(f'<text x="{left + width - 40}" y="{top + height + 20}">{longest:.0f} s</text></svg>')
    path.write_text("\n".join(parts) + "\n")


def main() -> int:
    """Runs, prints one table, says whether the aim is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forebay", type=Path, default=TARGET / "debug/forebay")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--restart-max", type=float, default=2.0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    print("| run | restarts of r2 | longest restart s | r1 rows/s within 1 s of a failure / else |")
    print("|---|---|---|---|")
    longest = 0.0
    for number in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            found = run(options.forebay, Path(folder))
        region = found.report["regions"][1]
        longest = max(longest, region["restart_max_seconds"])
        ratio = ratio_while_failing(found)
        print(
            f"| {number + 1} | {region['restarts']} | {region['restart_max_seconds']:.3f} | {ratio:.2f} |", flush=True
        )
        if options.plot and number == 0:
            plot(found, options.plot)
    return 0 if longest <= options.restart_max else 1


if __name__ == "__main__":
    sys.exit(main())
