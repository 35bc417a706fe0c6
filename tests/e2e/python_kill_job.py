"""The job that `test_python_kills.py` kills: written with the Python API, started again by the same command.

    python_kill_job.py CHECKPOINTS REPORT [REPLICAS]

From the environment: INPUT, a folder of JSON lines; OUT, a folder for both sinks; EXECUTIONS, the file in which workers
note the request of each row that they have computed; NOTES, the one in which the model itself notes each row before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from jobs import PYTHON_KILLS_BATCH_ROWS, PYTHON_KILLS_EVERY, PYTHON_KILLS_NAME

import forebay as fb

ROW_SECONDS = 0.004


@fb.cls(batch_rows=PYTHON_KILLS_BATCH_ROWS, in_flight=3, attempts=100, log=os.environ["EXECUTIONS"])
class Loud:
    """A model that keeps an account of its own."""

    def __init__(self) -> None:
        """Opens the account, which all replicas add to."""
        self.notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @fb.method.batch
    def answer(self, id: list[int], text: list[str]) -> list[str]:  # noqa: A002 - the name of the column
        """Notes the rows on disk, and only then computes."""
        os.write(self.notes, "".join(f"{each}\n" for each in id).encode())
        os.fsync(self.notes)
        time.sleep(ROW_SECONDS * len(id))
        return [each.upper() for each in text]


def main() -> None:
    """Runs the job to its end, from wherever the last attempt left it."""
    checkpoints, report, *replicas = sys.argv[1:]
    rows = fb.read_jsonl(f"{os.environ['INPUT']}/*.jsonl", batch_rows=64)
    # Type checkers see the class undecorated.
    loud: Any = Loud()
    answers = loud.answer.with_options(replicas=int(replicas[0]) if replicas else 2)
    answered = rows.with_column("loud", answers(fb.col("id"), fb.col("text")))
    job = fb.Job(name=PYTHON_KILLS_NAME, parallelism=2, checkpoint_interval="200ms")
    job = job.parquet(answered, f"{os.environ['OUT']}/all")
    job = job.jsonl(answered.filter(fb.col("id") % PYTHON_KILLS_EVERY == 0), f"{os.environ['OUT']}/some")
    with job.run(checkpoints=checkpoints) as run:
        ended = run.wait()
    assert ended is not None, "waiting without a limit ends with a report"
    Path(report).write_text(json.dumps(ended.details))


if __name__ == "__main__":
    main()
