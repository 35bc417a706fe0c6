"""The engine, compiled. Jobs go in as JSON, reports and plans come out as text; rows pass to threads only."""

import pyarrow as pa

class NativeError(Exception):
    """What the engine could not do; `forebay.errors` has a class for each kind."""

    kind: str
    message: str
    context: list[tuple[str, str]]
    chain: str

class Run:
    """A job that was started."""

    def wait(self, seconds: float | None = None) -> str | None:
        """The report, or None if it is still running after so long."""

    def status(self) -> str:
        """What it has done so far, as JSON."""

    def metrics(self) -> str:
        """What it has done so far, as OpenMetrics text."""

    def drain(self) -> None:
        """Takes nothing new."""

    def suspend(self) -> None:
        """Takes nothing new, and keeps what is in flight in a checkpoint."""

    def scale(self, parallelism: int | None, replicas: dict[str, int]) -> None:
        """Goes on with other replicas and at another parallelism; returns when it does."""

    def savepoint(self, name: str) -> str:
        """Keeps the newest checkpoint under a name."""

    def cancel(self) -> None:
        """Drops what is in flight."""

class Clock:
    """A clock that can be moved ahead."""

    def __init__(self) -> None:
        """One that was not moved yet."""

    def advance(self, duration: str) -> None:
        """Moves it ahead."""

class Calls:
    """The calls of one thread that runs a function in this interpreter."""

    def ready(self, signature: str) -> None:
        """The function is loaded; what it takes and gives, as JSON."""

    def refuse(self, kind: str, reason: str) -> None:
        """The function cannot be loaded."""

    def take(self) -> pa.RecordBatch | None:
        """The rows of the next call; waits for it. None when nobody asks any more."""

    def answer(self, rows: pa.RecordBatch, refused: list[tuple[int, str]]) -> None:
        """Answers the call that was taken; each refused row with the reason."""

    def fail(self, kind: str, reason: str) -> None:
        """No row of the call that was taken is answered."""

def version() -> str:
    """The version of the engine."""

def worker(args: list[str]) -> int:
    """Serves one engine as the process of a model that it hosts; returns the exit status."""

def explain(job: str, *, python: str | None = None) -> str:
    """The plan, as `forebay plan` prints it."""

def schema(job: str, uid: str | None = None, *, python: str | None = None) -> bytes:
    """The Arrow schema of what a sink gets, as an IPC message."""

def sql(query: str, frames: list[str]) -> str:
    """The steps of a SQL query over the frames of these names, as JSON."""

def run(
    job: str,
    *,
    checkpoints: str,
    lasting: bool = True,
    journal: str | None = None,
    resume: str | None = None,
    keep: int = 3,
    python: str | None = None,
    clock: Clock | None = None,
) -> Run:
    """Plans a job and starts it."""
