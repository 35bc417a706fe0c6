"""Functions that need no process of their own: each replica is a thread of this interpreter.

It loads the function and answers calls until nobody asks any more: what `_worker` does between frames, done between
arrays. A thread cannot be ended from outside, so that a call which hangs keeps its thread; what a function prints goes
where this program prints.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pyarrow as pa

from forebay._execute import Executor
from forebay._function import Bound
from forebay._worker import failure, load

if TYPE_CHECKING:
    from forebay import _native


def start(settings: str, name: str, calls: _native.Calls) -> None:
    """Serves `calls` in a thread of their own, which this program does not wait for when it ends."""
    threading.Thread(target=_serve, args=(settings, calls), name=f"forebay {name}", daemon=True).start()


def _serve(settings: str, calls: _native.Calls) -> None:
    try:
        bound = load(json.loads(settings))
        executor = Executor(bound)
    except BaseException as error:
        calls.refuse(**failure(error, loading=True))
        return
    calls.ready(json.dumps(bound.signature()))
    while (rows := calls.take()) is not None:
        _answer(calls, executor, bound, rows)
        # Until the next call comes, nobody but the engine needs them.
        del rows
    executor.close()


def _answer(calls: _native.Calls, executor: Executor, bound: Bound, rows: pa.RecordBatch) -> None:
    try:
        # torch takes every array for one that it may write to.
        in_torch = any(parameter.in_torch for parameter in bound.parameters)
        answers, failures = executor.answer(_copied(rows) if in_torch else rows)
        # A batch function may fill the same array again at its next call.
        answers = _copied(answers) if executor.lent else answers
        calls.answer(answers, [(each.row, each.reason) for each in failures])
    except BaseException as error:
        calls.fail(**failure(error, loading=False))


def _copied(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in memory that nobody else sees."""
    return pa.ipc.read_record_batch(rows.serialize(), rows.schema)
