"""How a data frame ends: rows in this process, or files of a job.

Rows that come to this process are written by the job into a private folder first, and read from there as each
checkpoint commits them; so they are what a sink would have got, each once. The folder goes when the rows have been
read.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from forebay import _engine
from forebay._graph import Node, is_endless, waits_for_an_end
from forebay.closing import ClosingIterator
from forebay.errors import InvalidError
from forebay.job import Job
from forebay.result import Result, dead_letters_in, plain_schema, table_text
from forebay.run import Report, Run

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa
    import torch

    from forebay._running import JobSettings

# Rows of a long job are seen this soon; a job that ends before shows them at its end.
_INTERVAL: Final = "500ms"
_SHOWN_ROWS: Final = 10
# Between two looks for committed files.
_LOOK_SECONDS: Final = 0.02


class Ending:
    """The part of a data frame that runs it."""

    def __init__(self, node: Node) -> None:
        """Not for users: `read_*` begins data frames."""
        self.node = node

    def to_job(self, **settings: Any) -> Job:
        """A job that runs it and drops its rows: for a look at what the engine is told."""
        return Job(**settings).blackhole(self)  # type: ignore[arg-type]

    def explain(self, **settings: Any) -> str:
        """What the engine will do."""
        return self.to_job(**settings).explain()

    @property
    def schema(self) -> pa.Schema:
        """Names and types of its columns; looks into the files, asks no model anything about rows."""
        with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
            return plain_schema(_engine.schema(self.to_job().to_dict(folder)))

    @property
    def columns(self) -> list[str]:
        """Names of its columns."""
        return list(self.schema.names)

    # === rows in this process ===

    def collect(
        self, *, progress: bool | None = None, kinds: str | None = None, **settings: Unpack[JobSettings]
    ) -> Result:
        """Runs it to its end and returns all rows, and the dead letters.

        `kinds` names the column that says what rows of an update stream do; such streams need it.

        Raises: InvalidError, before anything is read, if a source has `monitor_interval` and no `limit` ends it, or a
                `group_by` waits for its end.
        """
        if is_endless(self.node):
            raise InvalidError(
                "these rows never end, because a source has monitor_interval: take(n) and iter_rows() give them as "
                "they come, limit(n) ends them, Job.run() and write_parquet() go on with them"
            )
        with self._started(progress, kinds, settings) as (run, folder):
            batches = list(_batches(run, folder))
            report = run.wait()
            assert report is not None, "the batches end with the run"
            found = dead_letters_in(folder / "dead_letters")
        return Result(batches, found, report, None if batches else self.schema)

    def iter_batches(
        self, *, progress: bool | None = None, kinds: str | None = None, **settings: Unpack[JobSettings]
    ) -> ClosingIterator[pa.RecordBatch]:
        """The rows in Arrow batches as they are committed. Closing it, or leaving a `with` over it, cancels the job."""
        return ClosingIterator(self._coming(progress, kinds, settings))

    def iter_rows(
        self, *, progress: bool | None = None, kinds: str | None = None, **settings: Unpack[JobSettings]
    ) -> ClosingIterator[dict[str, Any]]:
        """The rows as dicts, tensors as NumPy arrays, as `iter_batches` has them."""
        return ClosingIterator(_rows(self.iter_batches(progress=progress, kinds=kinds, **settings)))

    def take(
        self,
        rows: int,
        timeout: float | None = None,
        *,
        progress: bool | None = None,
        kinds: str | None = None,
        **settings: Unpack[JobSettings],
    ) -> list[dict[str, Any]]:
        """The first rows that come, as dicts; a `limit` ends the job when they are there.

        After `timeout` seconds the job is cancelled, and what was committed until then is returned.
        """
        if rows < 1:
            raise InvalidError(f"take needs at least 1 row, not {rows}")
        # A limit takes no updates, which come with their kinds.
        limited = self if kinds else Ending(Node("limit", (self.node,), {"rows": rows}))
        until = None if timeout is None else time.monotonic() + timeout
        with ClosingIterator(_rows(ClosingIterator(limited._coming(progress, kinds, settings, until)))) as found:
            return list(itertools.islice(found, rows))

    def show(self, rows: int = _SHOWN_ROWS, **settings: Unpack[JobSettings]) -> None:
        """Prints the first rows that come."""
        found = self.take(rows, **settings)
        print(table_text(found) if found else "no rows")

    def to_arrow(self, **settings: Unpack[JobSettings]) -> pa.Table:
        """All rows as an Arrow table; warns of dead letters."""
        return self.collect(**settings).to_arrow()

    def to_pandas(self, **settings: Unpack[JobSettings]) -> pandas.DataFrame:
        """All rows as a pandas data frame; warns of dead letters."""
        return self.collect(**settings).to_pandas()

    def to_polars(self, **settings: Unpack[JobSettings]) -> polars.DataFrame:
        """All rows as a Polars data frame; warns of dead letters."""
        return self.collect(**settings).to_polars()

    def to_torch(self, **settings: Unpack[JobSettings]) -> dict[str, torch.Tensor]:
        """All rows as torch tensors, one for each column; warns of dead letters.

        Shape:  out [rows] for a column of numbers or truth values, [rows, *shape] for one of tensors, of the same type.
        Nulls:  an error, since torch has none.
        Raises: InvalidError if torch is not installed, before anything runs; for a column of anything else, as text.
        """
        from forebay import _torch

        _torch.imported()
        return self.collect(**settings).to_torch()

    def _coming(
        self, progress: bool | None, kinds: str | None, settings: Any, until: float | None = None
    ) -> Generator[pa.RecordBatch, None, None]:
        with self._started(progress, kinds, settings) as (run, folder):
            yield from _batches(run, folder, until)

    # === files ===

    def write_parquet(
        self, path: str | Path, *, checkpoints: str | Path | None = None, kinds: str | None = None, **settings: Any
    ) -> Report:
        """Writes its rows to Parquet files in an empty folder, exactly once, and returns when all are there.

        With `checkpoints`, a call after one that did not get to its end goes on where that one was; after one that
        did, it warns that nothing is left to do.
        """
        return self._written(Job(**settings).parquet(self, path, kinds=kinds), checkpoints)  # type: ignore[arg-type]

    def write_jsonl(
        self, path: str | Path, *, checkpoints: str | Path | None = None, kinds: str | None = None, **settings: Any
    ) -> Report:
        """Writes its rows to files of one JSON object a line, as `write_parquet` does."""
        return self._written(Job(**settings).jsonl(self, path, kinds=kinds), checkpoints)  # type: ignore[arg-type]

    def _written(self, job: Job, checkpoints: str | Path | None) -> Report:
        goes_on = checkpoints is not None and Path(checkpoints).is_dir() and any(Path(checkpoints).iterdir())
        with job.run(checkpoints=checkpoints) as run:
            report = run.wait()
        assert report is not None, "waiting without a limit ends with a report"
        if goes_on and report.outcome == "completed" and report.rows_in + report.rows_out + report.dead_letters == 0:
            said = "had completed before, so nothing was left to do; new input needs new checkpoints"
            warnings.warn(f"job {job.name} of {checkpoints} {said}", stacklevel=3)
        return report

    @contextlib.contextmanager
    def _started(self, progress: bool | None, kinds: str | None, settings: Any) -> Iterator[tuple[Run, Path]]:
        """The running job, and the folder that its rows come to; both are gone afterwards."""
        if waits_for_an_end(self.node):
            raise InvalidError(
                "group_by has its rows once the input has ended, which never happens, because a source has "
                'monitor_interval: group_by(.., emit="changes") gives results as they change, window(..) by interval'
            )
        with tempfile.TemporaryDirectory(prefix="forebay-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            named = {"checkpoint_interval": _INTERVAL, "dead_letters": folder / "dead_letters", **settings}
            job = Job(**named).parquet(self, folder / "rows", kinds=kinds)  # type: ignore[arg-type]
            with job.run(progress=progress) as run:
                yield run, folder


def batches_of(files: Set[Path]) -> Iterator[pa.RecordBatch]:
    """The rows of files that a job committed, in the order in which each subtask wrote them."""
    import pyarrow.parquet as pq

    from forebay._tensors import restored

    for file in sorted(files, key=_position):
        yield from map(restored, pq.ParquetFile(file).iter_batches())


def _batches(run: Run, folder: Path, until: float | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of every file once it is committed. Files stay: a commit that is repeated looks for them."""
    read: set[Path] = set()
    ended = False
    while not ended:
        ended = run.ended(_LOOK_SECONDS) is not None or (until is not None and time.monotonic() >= until)
        new = committed(folder / "rows") - read
        yield from batches_of(new)
        read |= new


def committed(folder: Path) -> set[Path]:
    """The Parquet files that a job has committed to a folder."""
    return set(folder.glob("part-*.parquet"))


def _position(file: Path) -> list[int]:
    """Epoch, subtask and number of a file, so that files of one subtask come in their order."""
    return [int(part) for part in file.stem.split("-")[1:]]


def _rows(batches: ClosingIterator[pa.RecordBatch]) -> Generator[dict[str, Any], None, None]:
    from forebay._tensors import rows_of

    with batches:
        for batch in batches:
            yield from rows_of(batch, given_away=True)
