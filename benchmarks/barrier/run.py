"""Measures how long a barrier takes while 100,000 rows wait for a model that needs more than a minute for each.

    python benchmarks/barrier/run.py [--forebay PATH] [--rows N] [--hold SECONDS] [--p99-max SECONDS]

A server on loopback holds every request until `--hold` seconds after the last one came, so that all rows are in flight
at once and each for longer than that. `job.toml` takes a checkpoint every half second meanwhile. Counted are the times
of the report: a barrier from the sources through every subtask, and a checkpoint until it is published. Needs only the
standard library. Exit code 1 if a row is missing, if they were not all in flight together, or if the barrier's 99th
percentile is above `--p99-max`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")


class SlowModel:
    """Answers nothing until `hold` seconds have passed since the last request came."""

    def __init__(self, rows: int, hold: float) -> None:
        """Expects `rows` rows in all."""
        self.rows, self.hold = rows, hold
        self.waiting = self.most = 0
        self.all_here = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests in turn, each held and then echoed."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                rows = json.loads(await reader.readexactly(length))["rows"]
                await self.held(len(rows))
                body = json.dumps({"rows": [{"echo": row["text"]} for row in rows]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(f"content-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def held(self, rows: int) -> None:
        """Waits until all rows are here, and then the time to hold."""
        self.waiting += rows
        self.most = max(self.most, self.waiting)
        if self.waiting >= self.rows:
            self.all_here.set()
        await self.all_here.wait()
        await asyncio.sleep(self.hold)
        self.waiting -= rows


async def measured(binary: Path, rows: int, hold: float, folder: Path) -> tuple[dict[str, Any], int]:
    """Runs the job against the slow model; returns its report and the most rows that were in flight."""
    model = SlowModel(rows, hold)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, limit=1 << 20, backlog=4096)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": number, "text": f"row {number}"}) + "\n" for number in range(rows))
    command = [str(binary), "run", str(HERE / "job.toml"), "--checkpoints", str(folder / "checkpoints")]
    command += ["--report", str(folder / "report.json")]
    environment = os.environ | {"INPUT": str(folder / "rows.jsonl"), "OUT": str(folder / "out"), "URL": url}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, stderr = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{stderr.decode()[-4000:]}")
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report, model.most


def main() -> int:
    """Runs, prints one table, says whether the aim is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forebay", type=Path, default=TARGET / "debug/forebay")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--hold", type=float, default=75.0)
    parser.add_argument("--p99-max", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report, most = asyncio.run(measured(options.forebay, options.rows, options.hold, Path(folder)))
    if report["rows_out"] != options.rows or most < options.rows:
        raise SystemExit(f"{report['rows_out']} rows out and {most} in flight together, expected {options.rows}")
    times = report["checkpoints"]
    print("| rows in flight | held s | checkpoints | barrier p50 s | barrier p99 s | whole p50 s | whole p99 s |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {most} | {options.hold:.0f} | {times['published']} | {times['barrier_p50_seconds']:.3f} "
        f"| {times['barrier_p99_seconds']:.3f} | {times['whole_p50_seconds']:.3f} | {times['whole_p99_seconds']:.3f} |"
    )
    return 0 if times["barrier_p99_seconds"] <= options.p99_max else 1


if __name__ == "__main__":
    sys.exit(main())
