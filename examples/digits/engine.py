"""What the demo does to the engine: start it, show its progress, kill it, resume it.

Everything is seen from outside, as a user sees it: by the process, its stderr, and the files it leaves.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache/forebay/target")
BINARY: Final = Path(os.environ.get("FOREBAY_BIN") or TARGET / "debug/forebay")
# Share of the images that the model has classified when the engine is killed.
KILL_AT_RATIO: Final = 0.5
# Ends a demo that hangs; many times what any step takes.
HANG_SECONDS: Final = 300.0
ORPHAN_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.02
TTY: Final = sys.stdout.isatty()


@dataclass(frozen=True)
class Places:
    """Where everything of the demo lies."""

    folder: Path

    @property
    def images(self) -> Path:
        """The rendered images and their labels."""
        return self.folder / "images"

    @property
    def run(self) -> Path:
        """All that one run makes; removed before the next."""
        return self.folder / "run"

    @property
    def out(self) -> Path:
        """The committed answers."""
        return self.run / "answers"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints and the journal."""
        return self.run / "checkpoints"

    @property
    def executions(self) -> Path:
        """A line for each image that the model classified."""
        return self.run / "executions.log"

    def executed(self) -> list[str]:
        """Returns the ids of the classified images in order, again for every time."""
        return self.executions.read_text().split() if self.executions.exists() else []


@dataclass(frozen=True)
class Kill:
    """What was seen when the engine was killed."""

    executed: int
    finished: set[str]
    children: int
    children_seconds: float


def style(code: str, text: str) -> str:
    """Colours text on a terminal."""
    return f"\033[{code}m{text}\033[0m" if TTY else text


def say(text: str) -> None:
    """Prints a step of the demo."""
    print(f"{style('1;36', '==>')} {text}", flush=True)


def show_progress(line: str) -> None:
    """Shows a progress line: over the one before on a terminal, below it elsewhere."""
    if TTY:
        columns = shutil.get_terminal_size().columns
        print(f"\r\033[K    {style('2', line[: columns - 5])}", end="", flush=True)
    else:
        print(f"    {line}", flush=True)


def end_progress() -> None:
    """Ends the line that progress was shown on."""
    if TTY:
        print(flush=True)


def command(places: Places, report: Path, resume: bool) -> list[str]:
    """Returns the command line of an attempt."""
    job = (HERE / "job.toml").relative_to(ROOT)
    words = [str(BINARY), "run", str(job), "--checkpoints", str(places.checkpoints)]
    words += ["--progress", "plain", "--report", str(report)]
    return [*words, "--resume", "latest"] if resume else words


def variables(places: Places) -> dict[str, str]:
    """Returns what the job file reads from the environment."""
    return {"DIGITS": str(places.images), "OUT": str(places.out), "EXECUTIONS": str(places.executions)}


def start(places: Places, words: list[str], number: int) -> tuple[subprocess.Popen[bytes], Path]:
    """Starts an engine in a session of its own; returns it and the file that gets its stderr."""
    stderr_file = places.run / f"attempt-{number}.stderr"
    with stderr_file.open("wb") as stderr:
        environment = os.environ | variables(places)
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=stderr, start_new_session=True)
    return process, stderr_file


def watch(process: subprocess.Popen[bytes], stderr_file: Path, enough: Callable[[], bool]) -> bool:
    """Streams progress until the engine ends (answers False) or `enough` holds (answers True)."""
    limit = time.monotonic() + HANG_SECONDS
    with stderr_file.open(errors="replace") as stderr:
        while True:
            ended = process.poll() is not None
            for line in stderr.read().splitlines():
                show_progress(line)
            if ended:
                end_progress()
                return False
            if enough():
                return True
            if time.monotonic() > limit:
                process.kill()
                raise SystemExit(f"still running after {HANG_SECONDS} s, see {stderr_file}")
            time.sleep(POLL_SECONDS)


def others_in_session(leader: int) -> list[int]:
    """Returns the live processes that `leader` started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == leader != int(entry.name) and state not in "ZX":
            found.append(int(entry.name))
    return found


def kill(process: subprocess.Popen[bytes], places: Places) -> Kill:
    """Kills the engine, sees its children end by themselves, and notes what was finished by then."""
    children = len(others_in_session(process.pid))
    process.kill()
    process.wait()
    end_progress()
    before = time.monotonic()
    while others_in_session(process.pid) and time.monotonic() < before + ORPHAN_SECONDS:
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - before
    if left := others_in_session(process.pid):
        raise SystemExit(f"processes {left} are still there {ORPHAN_SECONDS} s after their engine was killed")
    ids = places.run / "finished.ids"
    words = [str(BINARY), "journal", "stats", "--checkpoints", str(places.checkpoints), "--ids", str(ids)]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return Kill(len(places.executed()), set(ids.read_text().split()), children, seconds)


def run_and_kill(places: Places, images: int) -> Kill:
    """Runs a first engine until half of the images are classified, and kills it."""
    words = command(places, places.run / "attempt-1.json", resume=False)
    say(f"starting: {style('2', shlex.join(words))}")
    process, stderr_file = start(places, words, 1)
    # Ids have one length, so the size of the file tells the count without reading it all.
    half = int(images * KILL_AT_RATIO)
    if not watch(process, stderr_file, lambda: len(places.executed()) >= half):
        raise SystemExit(
            f"the engine ended ({process.returncode}) before it could be killed\n{stderr_file.read_text()}"
        )
    killed = kill(process, places)
    say(
        f"{style('1;31', 'killed')} engine {process.pid} with SIGKILL after {killed.executed} classifications; "
        f"its {killed.children} child process(es) ended by themselves within {killed.children_seconds:.1f} s"
    )
    return killed


def resume(places: Places) -> dict[str, Any]:
    """Runs a second engine to the end and returns its report."""
    report_file = places.run / "attempt-2.json"
    words = command(places, report_file, resume=True)
    say(f"resuming: {style('2', shlex.join(words))}")
    process, stderr_file = start(places, words, 2)
    watch(process, stderr_file, lambda: False)
    if process.returncode != 0:
        raise SystemExit(f"the resumed engine ended with {process.returncode}\n{stderr_file.read_text()}")
    report: dict[str, Any] = json.loads(report_file.read_text())
    return report
