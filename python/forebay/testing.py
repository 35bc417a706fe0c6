"""For tests of jobs: rows in memory as a source, a scripted model, and rows that make their worker crash, once.

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

from forebay._options import Options, checked
from forebay.io import read_jsonl, read_parquet
from forebay.models import Model

if TYPE_CHECKING:
    import pyarrow as pa

    from forebay.dataflow import DataFrame

__all__ = ["CrashOnce", "rows", "scripted", "write_files"]


def rows(
    given: Sequence[Mapping[str, Any]] | pa.Table,
    *,
    uid: str | None = None,
    files: int = 1,
    batch_rows: int | None = None,
) -> DataFrame:
    """A source of these rows, in as many files; they lie in a temporary folder until this process ends.

    Dicts become lines of JSON, and a table a Parquet file, which also keeps types that JSON has not.

    >>> rows([{"word": "a"}, {"word": "b"}]).filter("word > 'a'").collect().rows()
    [{'word': 'b'}]
    """
    folder = Path(tempfile.mkdtemp(prefix="rows-", dir=_folder()))
    suffix = write_files(given, folder, files=files)
    read = read_jsonl if suffix == "jsonl" else read_parquet
    return read(folder / f"*.{suffix}", uid=uid, batch_rows=batch_rows)


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

    def meet(self, value: object) -> None:
        """Ends this process if the value is one of them and is met for the first time."""
        if repr(value) not in self._values:
            return
        mark = Path(self._met) / repr(value).encode().hex()
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os._exit(70)


@cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="forebay-testing-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
