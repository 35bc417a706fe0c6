"""A job that runs on threads of its own: what it does just now, and how to end it."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from forebay import _engine
from forebay.errors import Error, InvalidError

# Between two looks whether Ctrl-C was pressed; the engine itself waits for nothing.
_LOOK_SECONDS: Final = 0.1
_PROGRESS_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Report:
    """How a job ended: `details` is all that `forebay run --report` writes.

    It covers the whole run, over every `Run.scale`: counts and times are those of all its parts together, and
    percentiles are of all their calls and checkpoints. Only `attempt` and `epoch`, and what models said of their
    limits, are the last part's.
    """

    outcome: str
    rows_in: int
    rows_out: int
    dead_letters: int
    seconds: float
    details: dict[str, Any]

    @classmethod
    def read(cls, text: str) -> Self:
        """Reads the engine's report."""
        read = json.loads(text)
        names = ("outcome", "rows_in", "rows_out", "dead_letters", "wall_seconds")
        outcome, rows_in, rows_out, dead_letters, seconds = (read[name] for name in names)
        return cls(outcome, rows_in, rows_out, dead_letters, seconds, read)


class Run:
    """A job that was started. Leaving its `with` block cancels it, unless it has ended.

    The first Ctrl-C while `wait` waits drains it, the second cancels it.
    """

    def __init__(self, native: Any, folder: tempfile.TemporaryDirectory[str], *, progress: bool | None = None) -> None:
        """Not for users: `Job.run` starts runs."""
        self._native = native
        self._folder = folder
        self._report: Report | None = None
        self._draining = False
        self._shown = sys.stderr.isatty() if progress is None else progress
        self._begun = self._looked = time.monotonic()

    def status(self) -> dict[str, Any]:
        """What it has done so far, and of each model how much is in flight and what its limit is."""
        return json.loads(self._native.status())  # type: ignore[no-any-return]

    def metrics(self) -> str:
        """What it has done so far as OpenMetrics text, for Prometheus and its relatives.

        Write it to a file that a collector reads, or serve it; docs/reference/metrics.md lists the names.
        """
        with _engine.raised():
            return str(self._native.metrics())

    def drain(self) -> None:
        """Lets it take nothing new, finish what is in flight, and leave a last checkpoint; returns at once."""
        self._native.drain()

    def cancel(self) -> None:
        """Drops what is in flight; output that no checkpoint covers does not appear. Returns at once."""
        self._native.cancel()

    def suspend(self) -> None:
        """Lets it take nothing new and leave a checkpoint at once, which keeps what is in flight; returns at once."""
        self._native.suspend()

    def scale(self, *, parallelism: int | None = None, replicas: Mapping[str, int] | None = None) -> None:
        """Has the job go on with other numbers of replicas of its models, with another parallelism, or both.

        `replicas` is by the name of the model, as `status` shows it: a Python class or function, or an ONNX file. It
        takes effect while the job runs, and the call returns at once. New replicas are started, and answer when they
        are loaded; `replicas_ready` in `status` counts them. Fewer: the last ones take nothing new and leave when they
        have answered what they run. How much is asked at a time follows the replicas, unless an `in_flight` of its own
        says it; with `latency` it is found out anew. The numbers hold until the end of this run, whatever fails or is
        started again in between.

        `parallelism` takes a stop: the job is suspended, which leaves a checkpoint at once, and started again from it
        inside this run; the call blocks until it runs, or has ended by itself meanwhile. Until then nothing is read or
        answered, and the workers of local models are started anew. What was in flight is asked again, as after
        `suspend`, but for answers that are in the journal. Sources, steps and sinks with a `parallelism` of their own
        keep theirs. `status`, `metrics` and the report count on, and whoever waits for the end waits on. Ctrl-C ends
        the waiting alone; the job is started again all the same.

        What cannot be is refused before anything changes: less than 1, a parallelism above the job's key groups,
        replicas of a model that runs elsewhere or for which there are too few GPUs (one that leaves has its own until
        it is gone), or a job that has ended or was told to. If the job cannot be started again, it has ended with its
        last checkpoint, and every `wait` says so.

        Raises: InvalidError if it is refused; the error of its kind if the job could not be started again.
        """
        if parallelism is None and not replicas:
            raise InvalidError('scale what? Say parallelism=4, or replicas={"model": 3}')
        with _engine.raised():
            self._native.scale(parallelism, dict(replicas or {}))

    def stop(self, *, savepoint: str | None = None) -> Report:
        """Drains it and waits for its end; then keeps the last checkpoint under a name, if one is given."""
        self.drain()
        report = self.wait()
        assert report is not None, "waiting without a limit ends with a report"
        if savepoint is not None:
            self.savepoint(savepoint)
        return report

    def savepoint(self, name: str) -> str:
        """Keeps the newest checkpoint under a name, for `Job.run(resume="savepoint:NAME")`, until it is removed.

        Raises: InvalidError if there is no checkpoint yet, or the job has no folder for them.
        """
        with _engine.raised():
            return str(self._native.savepoint(name))

    def wait(self, seconds: float | None = None) -> Report | None:
        """Waits for its end, at most so long; `None` if it is still running then.

        Raises: the error of its kind if it failed; KeyboardInterrupt once it has drained after Ctrl-C.
        """
        if self._report is None and not self._draining:
            try:
                return self.ended(seconds)
            except KeyboardInterrupt:
                self._draining = True
                print("\nfinishing what is in flight; press Ctrl-C again to drop it", file=sys.stderr)
                self.drain()
                self._end_or_cancel()
                raise
        return self.ended(seconds)

    def ended(self, seconds: float | None) -> Report | None:
        """As `wait`, but Ctrl-C is only raised."""
        limit = None if seconds is None else time.monotonic() + seconds
        while self._report is None:
            left = None if limit is None else limit - time.monotonic()
            self._look(_LOOK_SECONDS if left is None else min(_LOOK_SECONDS, max(left, 0.0)))
            if left is not None and left <= _LOOK_SECONDS:
                break
        return self._report

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancels it if it still runs, and waits until it has let go of everything."""
        if self._report is None:
            self.cancel()
            self._end_quietly()
        self._folder.cleanup()

    def __repr__(self) -> str:
        """Says how far it is."""
        return f"<Run: {self._report.outcome if self._report else 'running'}>"

    def _look(self, seconds: float) -> None:
        try:
            with _engine.raised():
                text = self._native.wait(seconds)
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                self._erase()
                self._folder.cleanup()
            raise
        if text is not None:
            self._report = Report.read(text)
            self._erase()
            self._folder.cleanup()
        elif self._shown and time.monotonic() - self._looked > _PROGRESS_SECONDS:
            self._show()

    def _end_or_cancel(self) -> None:
        """Waits for the end of draining; another Ctrl-C cancels."""
        try:
            self.ended(None)
        except KeyboardInterrupt:
            self.cancel()
            self._end_quietly()
            raise

    def _end_quietly(self) -> None:
        try:
            with _engine.raised():
                self._native.wait(None)
        except Error:
            return

    # === progress ===

    def _show(self) -> None:
        self._looked = time.monotonic()
        print(
            f"\r\x1b[K{progress_line(self.status(), self._looked - self._begun)}", end="", file=sys.stderr, flush=True
        )

    def _erase(self) -> None:
        if self._shown and self._looked != self._begun:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_line(status: dict[str, Any], seconds: float) -> str:
    """One line about a running job.

    >>> progress_line({"rows_out": 300, "models": {"shout": {"in_flight": 2, "limit": 4, "p99_seconds": 0.25}}}, 2.0)
    '300 rows out, 150/s | shout: in flight 2, limit 4, p99 0.25 s'
    """
    rows = status.get("rows_out", 0)
    parts = [f"{rows} rows out, {rows / max(seconds, 0.001):.0f}/s"]
    for name, model in status.get("models", {}).items():
        figures = [("in flight", model.get("in_flight"), ""), ("limit", model.get("limit"), "")]
        figures.append(("p99", model.get("p99_seconds"), " s"))
        known = [f"{what} {value:.3g}{unit}" for what, value, unit in figures if value is not None]
        parts.append(f"{name}: {', '.join(known)}")
    return " | ".join(parts)
