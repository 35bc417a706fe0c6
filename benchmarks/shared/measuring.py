"""Measures programs from outside, for the benchmarks that compare engines; a benchmark's `run.py` imports it.

CPU seconds are those of all processes that a program started, also of those that outlive it: this process takes
orphans over and waits for them. Memory is the greatest sum of their PSS, looked at five times a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = Path(os.environ.get("FOREBAY_CACHE") or Path.home() / ".cache/forebay")
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
BINARY: Final = Path(os.environ.get("FOREBAY_BIN") or TARGET / "debug/forebay")
MIB: Final = 1 << 20
# Each look reads the page tables of all descendants, which takes about 10 ms.
LOOK_SECONDS: Final = 0.2
_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass
class Measured:
    """What one run of a program took."""

    wall: float
    cpu: float
    memory_bytes: int
    stdout: str
    code: int


def descendants() -> list[int]:
    """Every process that this one started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(after_name[1]), []).append(int(entry.name))
    found = [os.getpid()]
    for parent in found:
        found.extend(children.get(parent, []))
    return found[1:]


def memory_bytes() -> int:
    """What they take together; pages that they share count once."""
    total = 0
    for process in descendants():
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


class Peak:
    """The greatest memory of all descendants while it is entered."""

    def __enter__(self) -> Peak:
        """Begins to look."""
        self.bytes, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.bytes = max(self.bytes, memory_bytes())


def measure(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    *,
    kill_when: Callable[[], bool] | None = None,
) -> Measured:
    """Runs a program; exits with what it said if it fails. With `kill_when`, kills it as soon as that is true."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    cpu, before = _cpu_seconds(), time.perf_counter()
    with Peak() as peak:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        killer = threading.Thread(target=_kill, args=(process, kill_when))
        killer.start()
        stdout, stderr = process.communicate()
        killer.join()
    wall = time.perf_counter() - before
    if process.returncode != (0 if kill_when is None else -signal.SIGKILL):
        raise SystemExit(f"{command}: exit code {process.returncode}\n{stdout[-2000:]}{stderr[-4000:]}")
    _wait_for_orphans()
    return Measured(wall, _cpu_seconds() - cpu, peak.bytes, stdout, process.returncode)


def environment_of(requirements: str, *, name: str, probe: str, apart: Sequence[str] = ()) -> Path:
    """The Python of a virtual environment in the cache, made if `probe` cannot be imported in it.

    What stands in `apart` is installed without its dependencies.
    """
    venv = CACHE / name
    python = venv / "bin/python"
    if not python.exists() or subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, "-r", str(ROOT / "python" / requirements)], check=True)
        if apart:
            subprocess.run([*install, "--no-deps", *apart], check=True)
    return python


def peers() -> Path:
    """The Python of Daft and Ray Data."""
    return environment_of("requirements-peers.txt", name="venv-peers", probe="import daft, ray.data, PIL")


def _kill(process: subprocess.Popen[str], when: Callable[[], bool] | None) -> None:
    while when is not None and process.poll() is None:
        if when():
            process.kill()
            return
        time.sleep(LOOK_SECONDS)


def _cpu_seconds() -> float:
    """User and system time of every child that was waited for."""
    times = os.times()
    return times.children_user + times.children_system


def _wait_for_orphans() -> None:
    """Waits until what a program left behind has ended, so that its time counts."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return
