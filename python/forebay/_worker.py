"""What runs inside a worker process: connects to the engine, loads one function, answers calls until the socket closes.

`python -m forebay._worker --socket PATH [--memory REQUESTS ANSWERS] [--log FILE]`. One call at a time, on one thread.
What the function prints goes to the engine's log, never between frames. The process leaves when the engine does,
however the engine ends.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import importlib
import json
import os
import pickle
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

try:
    import pyarrow as pa
except ImportError as error:
    if __name__ != "__main__":
        raise
    sys.exit(
        f"{sys.executable} has no pyarrow ({error}): install it there, or give the model an interpreter that has it, "
        'python = "PATH"'
    )

from forebay import _frames, _shared
from forebay._execute import Executor, is_out_of_memory, speakable, trace
from forebay._function import Bound, Function, Instance
from forebay._hints import function_of
from forebay.errors import CorruptError, Error, InvalidError

_PR_SET_PDEATHSIG: Final = 1
# What OpenMP reads when it is loaded, and with it torch.
_THREADS: Final = "OMP_NUM_THREADS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves one engine; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m forebay._worker", description=__doc__)
    parser.add_argument("--socket", required=True, help="where the engine listens")
    parser.add_argument("--memory", type=int, nargs=2, help="descriptors of the memory shared with the engine")
    parser.add_argument("--log", help="gets the request id of every row that ran")
    given = parser.parse_args(arguments)
    _die_with_parent()
    # The engine stops workers by closing the socket; a Ctrl-C in the terminal is for the engine, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _print_by_line()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(given.socket)
        return _serve(connection, given.memory, given.log)


def _serve(connection: socket.socket, descriptors: Sequence[int] | None, log: str | None) -> int:
    frame = _frames.receive(connection)
    if frame is None:
        return 0
    try:
        _expect(_frames.OPEN, frame[0])
        settings = json.loads(frame[1].to_pybytes())
        bound = load(settings)
        _share_cores(settings.get("replicas", 1))
        executor = Executor(bound)
        memory = _memory(descriptors, bound)
    except BaseException as error:
        _frames.send_json(connection, _frames.FAILURE, failure(error, loading=True))
        return 0
    # What was imported stays: looking for garbage in it only takes time.
    gc.freeze()
    _frames.send_json(connection, _frames.READY, bound.signature())
    while (frame := _frames.receive(connection)) is not None:
        if memory is not None and frame[0] == _frames.CALL_SHARED:
            _answer_shared(connection, executor, frame[1], memory, log)
        else:
            _expect(_frames.CALL, frame[0])
            _answer(connection, executor, _frames.read_call(frame[1]), log)
    executor.close()
    return 0


def _memory(descriptors: Sequence[int] | None, bound: Bound) -> _shared.Memory | None:
    if descriptors is None:
        return None
    requests, answers = descriptors
    in_torch = any(parameter.in_torch for parameter in bound.parameters)
    return _shared.Memory(requests, answers, copy_on_write=in_torch)


def _share_cores(replicas: int) -> None:
    """Leaves each of several replicas its part of the cores: torch takes all of them in every process.

    Threads of OpenMP wait by spinning, so that replicas with more threads than cores are slower than a single one.
    """
    if replicas < 2 or _THREADS in os.environ:
        return
    threads = max(1, len(os.sched_getaffinity(0)) // replicas)
    os.environ[_THREADS] = str(threads)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _answer(connection: socket.socket, executor: Executor, call: _frames.Call, log: str | None) -> None:
    try:
        rows, failures = executor.answer(call.rows)
        _append(log, call)
        _frames.send_rows(connection, rows, failures)
    except ConnectionError:
        raise
    except BaseException as error:
        _frames.send_json(connection, _frames.FAILURE, failure(error, loading=False))


def _answer_shared(
    connection: socket.socket, executor: Executor, payload: pa.Buffer, memory: _shared.Memory, log: str | None
) -> None:
    answer = _answered(executor, payload, memory, log)
    # All views of this call that are ours are gone now; what is left is the function's.
    held = memory.held()
    front = b"" if held is None else _frames.held(held)
    if isinstance(answer, bytes):
        connection.sendall(front + answer)
        return
    connection.sendall(front)
    try:
        _frames.send_rows(connection, *answer)
    except _frames.FrameTooLongError as error:
        _frames.send_json(connection, _frames.FAILURE, failure(error, loading=False))


def _answered(
    executor: Executor, payload: pa.Buffer, memory: _shared.Memory, log: str | None
) -> bytes | tuple[pa.RecordBatch, list[_frames.RowFailure]]:
    """The frame that answers a call, or the rows if those have to go over the socket."""
    try:
        call = _frames.read_call_shared(payload, memory)
        _shared.run_in(call.spans)
        rows, failures = executor.answer(call.rows)
        _append(log, call)
        if call.spans is None or not executor.layout.travels:
            return rows, failures
        try:
            words = executor.layout.take_apart(rows, call.spans.place)
        except _shared.NoRoomError:
            return rows, failures
        del rows
        if call.spans.still_written():
            # The next call may come before the engine reads: only what nobody writes to may stay where it is.
            return executor.layout.put_together(iter(words), call.spans.copied()), failures
        return _frames.answer_shared(words, executor.layout, failures, call.spans.used)
    except BaseException as error:
        return _frames.failure(failure(error, loading=False))
    finally:
        _shared.run_in(None)


def _append(log: str | None, call: _frames.Call) -> None:
    """One write for all rows, so that the lines of several processes do not mix."""
    if log is not None:
        with Path(log).open("ab", buffering=0) as file:
            file.write("".join(f"{each:032x}\n" for each in call.ids()).encode())


def load(settings: dict[str, Any]) -> Bound:
    """The function that the engine names.

    Raises: InvalidError if it is not there; CorruptError if the file is not the one that the job was planned with.
    """
    path = settings.get("path") or []
    sys.path[:0] = [folder for folder in ([path] if isinstance(path, str) else path) if folder not in sys.path]
    if settings.get("memory_bytes"):
        resource.setrlimit(resource.RLIMIT_DATA, (settings["memory_bytes"],) * 2)
    if settings.get("pickled"):
        return _unpickled(settings["pickled"], settings.get("sha256"))
    return _imported(settings["function"])


def _unpickled(path: str, expected: str | None) -> Bound:
    content = Path(path).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if expected is not None and found != expected:
        raise CorruptError(
            "the pickled function is not the one that was planned", file=path, sha256=found, expected=expected
        )
    bound = pickle.loads(content)
    return bound if isinstance(bound, Bound) else _bound(bound, path)


def _imported(name: str) -> Bound:
    module, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InvalidError(f"module {module} has no {attribute}")
        found = getattr(found, part)
    return _bound(found, name)


def _bound(found: Any, name: str) -> Bound:
    """A function of anything callable: decorated or not, a class or a function."""
    from forebay.udf import Class, cls

    if isinstance(found, type):
        found = cls(found)
    if isinstance(found, Class):
        methods = found.methods()
        if len(methods) != 1:
            raise InvalidError(f"{name} has {len(methods)} methods to call; give it one, or __call__", methods=methods)
        found = found.method(methods[0], Instance(found, (), {}))
    if not isinstance(found, Function):
        if not callable(found):
            raise InvalidError(f"{name} is a {type(found).__name__}, which cannot be called")
        found = function_of(found, batch=False, returns=None, options={})
    return Bound(found, tuple(parameter.name for parameter in found.parameters if parameter.required))


def failure(error: BaseException, *, loading: bool) -> dict[str, str]:
    """What fails all rows of a call, or the start."""
    return {name: speakable(text) for name, text in _failure(error, loading=loading).items()}


def _failure(error: BaseException, *, loading: bool) -> dict[str, str]:
    if is_out_of_memory(error):
        return {"kind": "Exhausted", "reason": f"out of memory\n{trace(error)}"}
    if isinstance(error, _frames.FrameTooLongError):
        return {"kind": "Exhausted", "reason": str(error)}
    if isinstance(error, Error):
        shown = str(error) if error.__cause__ is None and not loading else f"{error}\n{trace(error)}"
        return {"kind": error.kind, "reason": shown}
    kind = "Invalid" if loading else "Data"
    return {"kind": kind, "reason": f"{type(error).__name__}: {error}\n{trace(error)}"}


def _die_with_parent() -> None:
    """Lets the kernel end this process when the engine's thread that started it ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _print_by_line() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _expect(wanted: int, got: int) -> None:
    if got != wanted:
        raise CorruptError("the engine sent another frame than it should", expected=wanted, frame=got)


if __name__ == "__main__":
    sys.exit(main())
