"""A job: data frames on their way into sinks, and what is said about all of it together."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forebay import _engine
from forebay._compile import Compiler
from forebay._graph import Node
from forebay._options import Duration, Size, duration, size
from forebay.run import Run

if TYPE_CHECKING:
    from forebay.dataflow import DataFrame
    from forebay.testing import Clock


@dataclass(frozen=True)
class _Sink:
    node: Node
    settings: dict[str, Any]
    uid: str | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One or more sinks, run together. Immutable: every method that adds one returns a new job.

    What it takes is the top of a job file: `name`, `parallelism` (1), `key_groups` (128; fixed for the job's life),
    `checkpoint_interval` ("10s"), `dead_letters`, the folder of the rows that failed (`_dead_letters` in that of the
    first sink), and `state_memory` ("256MiB"), the memory of a step's keyed state in each subtask.

    >>> import forebay as fb
    >>> clicks = fb.read_jsonl("clicks/*.jsonl")
    >>> job = fb.Job(name="clicks").parquet(clicks, "out/all").jsonl(clicks.filter(fb.col("paid")), "out/paid")
    >>> list(job.to_dict()["sink"])
    ['sink', 'sink-2']
    """

    name: str = "job"
    parallelism: int | None = None
    key_groups: int | None = None
    checkpoint_interval: Duration | None = None
    dead_letters: str | Path | None = None
    state_memory: Size | None = None
    sinks: tuple[_Sink, ...] = ()

    def parquet(
        self,
        frame: DataFrame,
        path: str | Path,
        *,
        uid: str | None = None,
        kinds: str | None = None,
        file_bytes: Size | None = None,
        parallelism: int | None = None,
    ) -> Job:
        """Also writes the rows of `frame` to Parquet files in a folder, exactly once."""
        settings = {"path": str(path), "kinds": kinds, "file_bytes": file_bytes, "parallelism": parallelism}
        return self._with(frame, "parquet", settings, uid)

    def jsonl(
        self,
        frame: DataFrame,
        path: str | Path,
        *,
        uid: str | None = None,
        kinds: str | None = None,
        file_bytes: Size | None = None,
        parallelism: int | None = None,
    ) -> Job:
        """Also writes the rows of `frame` to files of one JSON object a line in a folder, exactly once."""
        settings = {"path": str(path), "kinds": kinds, "file_bytes": file_bytes, "parallelism": parallelism}
        return self._with(frame, "jsonl", settings, uid)

    def blackhole(self, frame: DataFrame, *, uid: str | None = None) -> Job:
        """Also runs `frame` and drops its rows; for measuring."""
        return self._with(frame, "blackhole", {}, uid)

    def to_dict(self, folder: str | None = None) -> dict[str, Any]:
        """The job in the shape of a job file. Python functions are written into `folder`, and refused without one."""
        compiler = Compiler(folder or "", _engine.columns)
        compiler.add([sink.node for sink in self.sinks])
        sinks = {
            sink.uid or compiler.fresh("sink"): {"from": compiler.uid_of(sink.node), **sink.settings}
            for sink in self.sinks
        }
        return {**compiler.job(self._settings(folder or "")), "sink": sinks}

    def explain(self) -> str:
        """What the engine will do: tasks, edges, regions, guarantees, what a failure costs."""
        with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
            return _engine.explain(self.to_dict(folder))

    def run(
        self,
        *,
        checkpoints: str | Path | None = None,
        journal: str | Path | None = None,
        resume: str | None = "latest",
        keep: int = 3,
        progress: bool | None = None,
        clock: Clock | None = None,
    ) -> Run:
        """Starts the job and returns at once.

        `checkpoints` is the folder from which the job goes on when it is started again; without one it starts from the
        beginning each time. `resume` says from where: "latest" is the newest checkpoint, and the beginning if there is
        none; "savepoint:NAME" a savepoint; "7" a checkpoint by its number; None is the beginning. `keep` says how many
        checkpoints stay. `progress` shows a line on the terminal while it is waited for; by default if there is one.
        `clock` is for tests: a `testing.Clock` to run under.

        Raises: InvalidError, before anything is read, if the job is not right.
        """
        folder = tempfile.TemporaryDirectory(prefix="forebay-", ignore_cleanup_errors=True)
        try:
            native = _engine.start(
                self.to_dict(folder.name),
                checkpoints=str(checkpoints or Path(folder.name) / "checkpoints"),
                lasting=bool(checkpoints),
                journal=None if journal is None else str(journal),
                resume=None if checkpoints is None else resume,
                keep=keep,
                python=sys.executable,
                clock=None if clock is None else clock.native,
            )
        except BaseException:
            folder.cleanup()
            raise
        return Run(native, folder, progress=progress)

    def to_json(self) -> str:
        """The job as JSON, for jobs without Python functions."""
        return json.dumps(self.to_dict(), indent=2)

    def _settings(self, folder: str) -> dict[str, Any]:
        interval = None if self.checkpoint_interval is None else duration(self.checkpoint_interval)
        dead_letters = self.dead_letters
        # The engine has a default for one sink with files. Of several, the first one's folder gets them; a job that
        # drops its rows drops them, too.
        paths = [sink.settings["path"] for sink in self.sinks if "path" in sink.settings]
        if dead_letters is None and len(self.sinks) != len(paths[:1]):
            dead_letters = f"{paths[0]}/_dead_letters" if paths else str(Path(folder) / "dead_letters")
        named = {
            "name": self.name,
            "parallelism": self.parallelism,
            "key_groups": self.key_groups,
            "checkpoint_interval": interval,
            "dead_letters": None if dead_letters is None else {"path": str(dead_letters)},
            "state_memory": None if self.state_memory is None else size(self.state_memory),
        }
        return {key: value for key, value in named.items() if value is not None}

    def _with(self, frame: DataFrame, format: str, settings: dict[str, Any], uid: str | None) -> Job:  # noqa: A002
        given = {"format": format} | {key: value for key, value in settings.items() if value is not None}
        if isinstance(given.get("file_bytes"), int):
            given["file_bytes"] = f"{given['file_bytes']}B"
        return dataclasses.replace(self, sinks=(*self.sinks, _Sink(frame.node, given, uid)))
