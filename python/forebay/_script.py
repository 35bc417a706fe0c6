"""`python -m forebay run FILE`: runs the job that a Python file declares, as `forebay run` does a job file.

The file is executed under a name of its own, so that what it guards with `if __name__ == "__main__"` is left out. Its
functions travel to workers whole, because no worker could import it by that name.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from forebay._function import SCRIPT
from forebay.errors import Error, InvalidError
from forebay.job import Job
from forebay.run import Report, Run

# The exit codes of `forebay run`.
COMPLETED, FAILED, REFUSED, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str]) -> int:
    """Runs the job and returns the exit status."""
    given = _parser().parse_intermixed_args(arguments)
    try:
        module = execute(Path(given.file), given.arguments)
        return _run(declared(module, given.job), given)
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED if isinstance(error, InvalidError) else FAILED


def execute(file: Path, arguments: Sequence[str] = ()) -> types.ModuleType:
    """The module that a file is, its folder first where modules are looked for.

    Raises: InvalidError if it cannot be read; whatever it raises.
    """
    import cloudpickle

    try:
        source = file.read_bytes()
    except OSError as error:
        raise InvalidError(f"cannot read {file}: {error.strerror}") from None
    module = types.ModuleType(SCRIPT)
    module.__file__ = str(file.resolve())
    sys.modules[SCRIPT] = module
    sys.argv = [str(file), *arguments]
    sys.path.insert(0, str(file.resolve().parent))
    cloudpickle.register_pickle_by_value(module)
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


def declared(module: types.ModuleType, name: str | None) -> Job:
    """The job of a module: the only one with a sink, or the one of this name.

    Raises: InvalidError if there is none, or several.
    """
    found = {key: value for key, value in vars(module).items() if isinstance(value, Job) and value.sinks}
    if name is not None:
        if name not in found:
            raise InvalidError(f"{module.__file__} has no job called {name}; it has {_listed(found)}")
        return found[name]
    if len(set(map(id, found.values()))) != 1:
        what = "declares no job with a sink" if not found else f"declares {_listed(found)}; say which with --job"
        raise InvalidError(f"{module.__file__} {what}: job = fb.Job(..).parquet(frame, path)")
    return next(iter(found.values()))


def _run(job: Job, given: argparse.Namespace) -> int:
    shown = {"line": True, "none": False}.get(given.progress)
    with job.run(checkpoints=given.checkpoints, resume=given.resume, keep=given.keep, progress=shown) as run:
        signal.signal(signal.SIGTERM, lambda *_: run.suspend())
        try:
            report = run.wait()
        except KeyboardInterrupt:
            report = _drained(run)
    if report is None:
        return INTERRUPTED
    if given.report is not None:
        Path(given.report).write_text(json.dumps(report.details, indent=2) + "\n")
    print(f"{job.name}: {report.outcome}, {report.rows_in} rows in, {report.rows_out} out, {report.dead_letters} dead")
    return COMPLETED if report.outcome == "completed" else STOPPED


def _drained(run: Run) -> Report | None:
    """How the run ended after Ctrl-C; nothing if a second one cancelled it."""
    try:
        return run.ended(0)
    except Error:
        return None


def _listed(found: dict[str, Job]) -> str:
    return ", ".join(found) or "none"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m forebay run", description="Runs the job that a file declares.")
    parser.add_argument("file", help="a Python file with a fb.Job at its top level")
    parser.add_argument("--job", metavar="NAME", help="the variable, where the file has several jobs")
    parser.add_argument("--checkpoints", metavar="DIR", help="goes on from there when it is run again")
    parser.add_argument("--resume", default="latest", help="latest, savepoint:NAME or a number (default: latest)")
    parser.add_argument("--keep", type=int, default=3, help="how many checkpoints stay (default: 3)")
    parser.add_argument("--report", metavar="FILE", help="gets the report as JSON")
    parser.add_argument("--progress", choices=["line", "none"], help="default: a line where there is a terminal")
    parser.add_argument("arguments", nargs="*", help="what the file finds in sys.argv; put -- before options")
    return parser
