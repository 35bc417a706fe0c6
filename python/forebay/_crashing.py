"""Runs of jobs that are killed at given rows and go on: what `testing.crash` and `testing.collect` are made of.

The job runs in a process of its own. A function behind the source meets the row in front of which a crash stands, notes
that it did, and kills that process, which is what a power loss does to it; then the next process goes on from the last
checkpoint. Run as a module it is that process: `python -m forebay._crashing JOB CHECKPOINTS REPORT`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from forebay.dataflow import DataFrame
from forebay.errors import KINDS, Error, InternalError, InvalidError
from forebay.expressions import col
from forebay.udf import func

COLUMN: Final = "_forebay_crash"
# Set in the processes that may be killed; its value is the process.
_VARIABLE: Final = "FOREBAY_CRASHING"
# Names the file that says that the process was killed at a crash, and not by anybody else.
_KILLED: Final = "FOREBAY_CRASHING_KILLED"


class Fragile(DataFrame):
    """A source with crashes between its rows."""

    def __init__(self, source: DataFrame, names: list[str], met: str) -> None:
        """Kills the run at the rows of `source` that have a number; each number once, noted in the folder `met`."""
        self._parts = (names, met)
        self._source = source
        super().__init__(source.filter(_tripping(met)(col(COLUMN)), uid=f"{COLUMN}es").select(*names).node)

    def watermark(self, time: str, **settings: Any) -> DataFrame:
        """As of any source."""
        return Fragile(self._source.watermark(time, **settings), *self._parts)


def run(job: dict[str, Any], folder: Path) -> str:
    """Runs a job to its end over all its crashes, and returns its report.

    Raises: the error of the job if it fails; InternalError if its process ends in any other way.
    """
    description, report, killed = folder / "job.json", folder / "report.json", folder / "killed"
    description.write_text(json.dumps(job))
    command = [sys.executable, "-m", "forebay._crashing", str(description), str(folder / "checkpoints"), str(report)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path, _KILLED: str(killed)}
    status = subprocess.run(command, env=environment, check=False).returncode
    while status == -signal.SIGKILL and killed.exists():
        killed.unlink()
        status = subprocess.run(command, env=environment, check=False).returncode
    if not report.exists():
        advice = "what it printed says more; -9 is a kill, by the system for want of memory or by a function"
        raise InternalError(f"the process of the job ended with {status}: {advice}")
    said = json.loads(report.read_text())
    if "kind" in said:
        raise KINDS[said["kind"]](said["message"])
    return report.read_text()


def _tripping(met: str) -> Any:
    @func(journal=False, order="ordered")
    def crash(number: str) -> bool:
        mark = Path(met) / number
        if number and not mark.exists():
            if os.environ.get(_VARIABLE) != str(os.getppid()):
                raise InvalidError("rows with crash() between them are run by testing.collect")
            mark.touch()
            Path(os.environ[_KILLED]).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            # The killed process may take a moment to go: a row further on would meet its own crash in this run.
            os._exit(1)
        return True

    return crash


def _main(description: str, checkpoints: str, report: str) -> None:
    from forebay import _engine

    os.environ[_VARIABLE] = str(os.getpid())
    job = json.loads(Path(description).read_text())
    try:
        native = _engine.start(
            job, checkpoints=checkpoints, journal=None, resume="latest", keep=3, python=sys.executable
        )
        with _engine.raised():
            text = native.wait(None)
    except Error as error:
        text = json.dumps({"kind": error.kind, "message": str(error)})
    assert text is not None, "waiting without a limit ends with a report"
    Path(report).write_text(text)


if __name__ == "__main__":
    _main(*sys.argv[1:])
