"""For tests of jobs: rows in memory, crashes between them, a clock, a scripted model, values that crash a worker once.

The real engine runs the job, with real worker processes; only what is outside of it is replaced.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from forebay import _engine
from forebay._options import Duration, Options, checked, duration
from forebay.ending import batches_of, committed
from forebay.errors import InvalidError
from forebay.io import read_jsonl, read_parquet
from forebay.job import Job
from forebay.models import Model
from forebay.result import Result, dead_letters_in
from forebay.run import Report

if TYPE_CHECKING:
    import pyarrow as pa

    from forebay._running import JobSettings
    from forebay.dataflow import DataFrame

__all__ = ["Clock", "Crash", "CrashOnce", "collect", "crash", "rows", "scripted", "write_files"]


class Clock:
    """A clock that can be moved ahead: tests wait for no deadline, timeout, pause or interval.

    By itself it runs as any other. Event time is in the rows and follows no clock. Functions and models have clocks of
    their own: one that takes an hour still does, and its caller can give it up at once.

    >>> import tempfile
    >>> from forebay import Job, col
    >>> clock = Clock()
    >>> slow = scripted(service_time="1h", deadline="30s", timeout="45s")
    >>> asked = rows([{"text": "late"}]).with_columns(slow.predict(text=col("text")))
    >>> with tempfile.TemporaryDirectory() as out, Job().jsonl(asked, out).run(clock=clock) as run:
    ...     while (report := run.wait(0.01)) is None:
    ...         clock.advance("1s")
    >>> report.dead_letters
    1
    """

    def __init__(self) -> None:
        """A clock that was not moved yet; several runs may share it."""
        self.native = _engine.native().Clock()

    def advance(self, by: Duration) -> None:
        """Moves it ahead: what was to happen within this time happens now.

        Raises: InvalidError for what is no duration.
        """
        with _engine.raised():
            self.native.advance(duration(by))


class Crash:
    """A place between rows where the run is killed; `crash` makes it."""


def crash() -> Crash:
    """Stands between rows given to `rows`: `collect` kills the run there, as a power loss would, and lets it go on.

    >>> len(collect(rows([{"n": 1}, crash(), {"n": 2}])))
    2
    """
    return Crash()


def rows(
    given: Sequence[Mapping[str, Any] | Crash] | pa.Table,
    *,
    uid: str | None = None,
    files: int = 1,
    batch_rows: int | None = None,
) -> DataFrame:
    """A source of these rows, in as many files; they lie in a temporary folder until this process ends.

    Dicts become lines of JSON, and a table a Parquet file, which also keeps types that JSON has not. Between dicts may
    stand `crash()`; then only `collect` of this module runs the job.

    Raises: InvalidError for a crash with no row behind it.

    >>> rows([{"word": "a"}, {"word": "b"}]).filter("word > 'a'").collect().rows()
    [{'word': 'b'}]
    """
    plain = _numbered(given) if isinstance(given, Sequence) else given
    folder = Path(tempfile.mkdtemp(prefix="rows-", dir=_folder()))
    suffix = write_files(plain, folder, files=files)
    read = read_jsonl if suffix == "jsonl" else read_parquet
    source = read(folder / f"*.{suffix}", uid=uid, batch_rows=batch_rows)
    if plain is given or not isinstance(plain, list):
        return source
    from forebay._crashing import COLUMN, Fragile

    names = dict.fromkeys(name for row in plain for name in row if name != COLUMN)
    return Fragile(source, list(names), tempfile.mkdtemp(prefix="met-", dir=_folder()))


def collect(frame: DataFrame, **settings: Unpack[JobSettings]) -> Result:
    """Runs a frame as its own `collect` does, over every `crash` between its rows.

    The job runs in a process of its own, which is killed when it meets the row behind a crash, and goes on in the next
    one from its last checkpoint. What was committed in the end is returned; `report.details["attempt"]` counts starts.

    >>> words = rows([{"word": "a"}, crash(), {"word": "b"}, crash(), {"word": "a"}])
    >>> from forebay import count
    >>> counted = collect(words.group_by("word").agg(n=count()))
    >>> sorted((row["word"], row["n"]) for row in counted), counted.report.details["attempt"]
    ([('a', 2), ('b', 1)], 3)
    """
    from forebay import _crashing

    with tempfile.TemporaryDirectory(prefix="forebay-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        named: Any = {"checkpoint_interval": "50ms", "dead_letters": folder / "dead_letters", **settings}
        report = Report.read(_crashing.run(Job(**named).parquet(frame, folder / "rows").to_dict(name), folder))
        batches = list(batches_of(committed(folder / "rows")))
        return Result(batches, dead_letters_in(folder / "dead_letters"), report, None if batches else frame.schema)


def write_files(given: Sequence[Mapping[str, Any]] | pa.Table, folder: Path, *, files: int = 1) -> str:
    """Writes rows to files of about the same length, and returns the end of their names: `jsonl` or `parquet`."""
    each = -(-len(given) // files)
    for number in range(files):
        file = folder / f"{number:05}"
        if isinstance(given, Sequence):
            lines = (json.dumps(row) + "\n" for row in given[number * each : (number + 1) * each])
            file.with_suffix(".jsonl").write_text("".join(lines))
        else:
            import pyarrow.parquet as pq

            pq.write_table(given.slice(number * each, each), file.with_suffix(".parquet"))
    return "jsonl" if isinstance(given, Sequence) else "parquet"


def scripted(
    *,
    service_time: str | None = None,
    fail_on: str | None = None,
    crash_on: str | None = None,
    name: str = "scripted",
    **options: Unpack[Options],
) -> Model:
    """The engine's own model for tests: takes `text`, gives `echo` and `length`; slow, failing or dying as told."""
    script = {"host": "fake", "service_time": service_time, "fail_on": fail_on, "crash_on": crash_on}
    settings = {key: value for key, value in script.items() if value is not None}
    return Model(settings, outputs=("echo", "length"), name=name, options=checked(options))


class CrashOnce:
    """Values that kill the process which meets them, the first time only; for use inside a function.

    >>> crash = CrashOnce({"b"})
    >>> crash.meet("a")

    A copy in another process, or the same job after a restart, knows what was met before.
    """

    def __init__(self, values: Iterable[object]) -> None:
        """Remembers them in a folder that lasts as long as this process."""
        self._values = {repr(value) for value in values}
        self._met = tempfile.mkdtemp(prefix="met-", dir=_folder())
        self._made_by = os.getpid()

    def meet(self, value: object) -> None:
        """Ends this process if the value is one of them and is met for the first time.

        Raises: InvalidError in the process that made it, which is the test's own: where a function is called directly,
            or runs in a thread of it (`use_process=False`).
        """
        if repr(value) not in self._values:
            return
        if os.getpid() == self._made_by:
            raise InvalidError("CrashOnce would end the test's own process; its function needs a worker process")
        mark = Path(self._met) / repr(value).encode().hex()
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os._exit(70)


def _numbered(given: Sequence[Mapping[str, Any] | Crash]) -> Sequence[Mapping[str, Any]]:
    """The rows; where crashes stand between them, each row behind one has its number."""
    if not any(isinstance(each, Crash) for each in given):
        return given  # type: ignore[return-value]
    from forebay._crashing import COLUMN

    found: list[dict[str, Any]] = []
    crashes = 0
    pending = False
    for each in given:
        if isinstance(each, Crash):
            crashes, pending = crashes + (not pending), True
        else:
            found.append({**each, COLUMN: str(crashes) if pending else ""})
            pending = False
    if pending:
        raise InvalidError("a crash() stands in front of a row, and there is none behind the last one")
    return found


@cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="forebay-testing-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
