"""Runs the `forebay` binary as a user does: one folder a job, real processes, real signals.

A `Workspace` holds what one job needs (input, output, checkpoints, the executions log) and starts attempts of it; an
`Engine` is one attempt that is running. Every engine gets a session of its own, so that what it started can be found
after it was killed.

Nothing here asserts how long something takes: the limits below only end a test that hangs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache/forebay/target")
BINARY: Final = Path(os.environ.get("FOREBAY_BIN") or TARGET / "debug/forebay")
# A minute is many times what any step here takes on a busy machine.
HANG_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.005
STDERR_SHOWN: Final = 4000

# Exit codes of `forebay run`.
COMPLETED: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
STOPPED: Final = 3
INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    code: int
    stderr: str
    report: dict[str, Any] | None


@dataclass
class Engine:
    """A running attempt and everything it started."""

    process: subprocess.Popen[bytes]
    stderr_file: Path
    report_file: Path

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self.stderr_file.read_text(errors="replace")

    def children(self) -> list[int]:
        """Returns the live processes of the engine's session, the engine itself left out."""
        return [pid for pid in session(self.process.pid) if pid != self.process.pid]

    def running(self) -> bool:
        """Says whether the engine has not ended yet."""
        return self.process.poll() is None

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for a condition; fails if the engine ends first."""

        def met() -> bool:
            if condition():
                return True
            if not self.running():
                pytest.fail(
                    f"the engine ended ({self.process.returncode}) before {what}\n{self.stderr[-STDERR_SHOWN:]}"
                )
            return False

        wait_until(met, what)

    def kill(self) -> None:
        """SIGKILLs the engine alone and fails unless its children then end by themselves."""
        self.process.kill()
        self.process.wait(HANG_SECONDS)
        wait_until(lambda: not self.children(), "the children of a killed engine to end by themselves")

    def interrupt(self) -> None:
        """Does what Ctrl-C in a terminal does: SIGINT to the engine and to everything in its process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, *expected: int) -> Outcome:
        """Waits for the end; fails unless the exit code is one of those expected."""
        try:
            code = self.process.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            self.end()
            pytest.fail(f"still running after {HANG_SECONDS} s\n{self.stderr[-STDERR_SHOWN:]}")
        if code not in expected:
            pytest.fail(f"exit code {code}, expected {expected}\n{self.stderr[-STDERR_SHOWN:]}")
        report = json.loads(self.report_file.read_text()) if self.report_file.exists() else None
        return Outcome(code, self.stderr, report)

    def end(self) -> None:
        """Kills whatever is left of the session."""
        for pid in session(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(HANG_SECONDS)


@dataclass
class Workspace:
    """The folder of one job: its file, its input and output, and the attempts made."""

    folder: Path
    job_text: str
    job: str
    environment: dict[str, str] = field(default_factory=dict)
    engines: list[Engine] = field(default_factory=list)
    checkpoints: Path = Path()
    out: Path = Path()

    def __post_init__(self) -> None:
        """Writes the job file and sets the paths that it reads from the environment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.job_file.write_text(self.job_text)
        self.checkpoints = self.folder / "checkpoints"
        self.out = self.folder / "out"

    @property
    def job_file(self) -> Path:
        """The job file."""
        return self.folder / "job.toml"

    @property
    def input(self) -> Path:
        """The folder that the job reads."""
        return self.folder / "input"

    @property
    def executions(self) -> Path:
        """The file to which the model process adds a line for every row it computes."""
        return self.folder / "executions.log"

    def variables(self) -> dict[str, str]:
        """Returns the environment of the binary."""
        paths = {"INPUT": str(self.input), "OUT": str(self.out), "EXECUTIONS": str(self.executions)}
        return os.environ | paths | self.environment

    def start(
        self, *, resume: str | int | None = None, parallelism: int | None = None, savepoint: str | None = None
    ) -> Engine:
        """Starts an attempt of the job."""
        number = len(self.engines) + 1
        stderr_file, report_file = self.folder / f"attempt-{number}.stderr", self.folder / f"attempt-{number}.json"
        command = [str(BINARY), "run", str(self.job_file), "--checkpoints", str(self.checkpoints)]
        command += ["--progress", "plain", "--report", str(report_file)]
        command += ["--resume", str(resume)] if resume is not None else []
        command += ["--parallelism", str(parallelism)] if parallelism is not None else []
        command += ["--savepoint", savepoint] if savepoint is not None else []
        with stderr_file.open("wb") as stderr:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.variables(), stdout=stderr, stderr=stderr, start_new_session=True
            )
        engine = Engine(process, stderr_file, report_file)
        self.engines.append(engine)
        return engine

    def run(
        self, expected: int = COMPLETED, *, resume: str | int | None = None, parallelism: int | None = None
    ) -> Outcome:
        """Runs an attempt to its end, which must be the one expected."""
        return self.start(resume=resume, parallelism=parallelism).wait(expected)

    def command(self, *arguments: str, expected: int = 0) -> str:
        """Runs another subcommand and returns its stdout, followed by its stderr if it was expected to fail."""
        done = subprocess.run(
            [str(BINARY), *arguments],
            cwd=ROOT,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        if done.returncode != expected:
            pytest.fail(
                f"forebay {' '.join(arguments)}: exit code {done.returncode}, expected {expected}\n"
                f"{done.stdout[-STDERR_SHOWN:]}{done.stderr[-STDERR_SHOWN:]}"
            )
        return done.stdout + (done.stderr if expected else "")

    def in_checkpoints(self, *arguments: str, expected: int = 0) -> str:
        """Runs a subcommand of `checkpoints` or `journal` on this job's folder."""
        return self.command(*arguments, "--checkpoints", str(self.checkpoints), expected=expected)

    def finished(self) -> set[str]:
        """Returns the ids of the requests whose answer is durable in the journal."""
        ids = self.folder / "finished.ids"
        self.in_checkpoints("journal", "stats", "--ids", str(ids))
        return set(ids.read_text().split())

    def executed(self) -> list[str]:
        """Returns the ids of the rows that the model process computed, in order, again for every time."""
        return self.executions.read_text().split() if self.executions.exists() else []

    def published(self, region: int = 1) -> list[str]:
        """Returns the numbers of a region's published epochs as they stand in file names, the newest last."""
        return sorted(path.stem for path in self.region("epoch", region).glob("*.json"))

    def manifests(self) -> list[Path]:
        """Returns what describes the newest published checkpoint."""
        return sorted(self.region("manifest").glob(f"{self.published()[-1]}-*.json"))

    def states(self, region: int = 1) -> list[Path]:
        """Returns the files of a region's newest published checkpoint that hold its subtasks' state."""
        return sorted(self.region("state", region).glob(f"{self.published(region)[-1]}-*/*.snap"))

    def region(self, part: str, region: int = 1) -> Path:
        """Returns a folder of one of the job's regions, 1 is `r1`."""
        return self.checkpoints / self.job / f"region-{region - 1}" / part

    def segments(self) -> list[Path]:
        """Returns the segments of the journal, the newest last."""
        return sorted((self.checkpoints / self.job / "journal").glob("*.fbj"))

    def logs(self, edge: str, savepoint: str | None = None) -> list[Path]:
        """Returns the files of a durable edge's log, or of the copy of it in a savepoint, the newest last."""
        folder = self.checkpoints / self.job / (f"savepoint-edges/{savepoint}" if savepoint else "edges") / edge
        return sorted(folder.glob("*.fbe"))

    def epochs(self) -> list[int]:
        """Returns the epochs of the checkpoints that `forebay checkpoints list` shows, in its order."""
        listed = self.in_checkpoints("checkpoints", "list")
        return [int(match) for match in re.findall(r"^\W*(?:epoch )?(\d+)\b", listed, re.MULTILINE)]

    def begun(self) -> bool:
        """Says whether an attempt left anything behind, so that the next one has to say `--resume`."""
        return any((self.checkpoints / self.job).rglob("*"))


def session(leader: int) -> list[int]:
    """Returns the live processes of a session: those that `leader` started, and those that they started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name of the program stands in brackets and may hold anything; the fields follow the last of them.
            state, _parent, _group, in_session = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(in_session) == leader and state not in "ZX":
            found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Polls a condition; fails if it does not come true in any reasonable time."""
    limit = time.monotonic() + HANG_SECONDS
    while not condition():
        if time.monotonic() > limit:
            pytest.fail(f"waited {HANG_SECONDS} s for {what}")
        time.sleep(POLL_SECONDS)
