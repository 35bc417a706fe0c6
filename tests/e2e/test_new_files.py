"""A source that looks for new files: they come while the engine is killed and started again."""

from __future__ import annotations

import itertools
import json
import random
import threading
from pathlib import Path
from typing import Final

from conftest import MakeSpace
from harness import COMPLETED
from kills import Account, Totals, killed
from rows import balance, check_answers, committed

ROWS: Final = 1500
FILES: Final = 60
KILLS: Final = 10
SEED: Final = 61
BATCH_ROWS: Final = 8
IN_FLIGHT: Final = 4

JOB: Final = f"""\
name = "inbox"
checkpoint_interval = "100ms"

[source]
format = "jsonl"
path = "${{INPUT}}/*.jsonl"
monitor_interval = "500ms"
batch_rows = 64

[[step]]
uid = "all"
limit = {ROWS}

[[step]]
[step.infer]
uid = "ask"
model = "fake"
inputs = {{ text = "text" }}
outputs = {{ echo = "echo", length = "length" }}
batch_rows = {BATCH_ROWS}
in_flight = {IN_FLIGHT}
linger = "1ms"

[model.fake]
host = "fake"
service_time = "5ms"
log = "${{EXECUTIONS}}"

[sink]
format = "parquet"
path = "${{OUT}}"
"""


class Writer:
    """Writes files one after the other, every second one in two pieces; their names are in another order."""

    def __init__(self, folder: Path) -> None:
        """Writes the first file at once."""
        folder.mkdir(parents=True)
        self.folder, self.names = folder, random.Random(SEED).sample(range(FILES), FILES)
        self.ended = threading.Event()
        self.write(0)
        self.thread = threading.Thread(target=self._write_others)

    def write(self, place: int) -> None:
        """Writes one of the files, and rests between its pieces for less than the engine does between two looks."""
        rows = [{"id": number, "text": f"row {number}"} for number in range(place, ROWS, FILES)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with (self.folder / f"{self.names[place]:03}.jsonl").open("w") as file:
            cut = len(text) // 2 if place % 2 else len(text)
            file.write(text[:cut])
            file.flush()
            self.ended.wait(0.02 if place % 2 else 0)
            file.write(text[cut:])

    def _write_others(self) -> None:
        for place in range(1, FILES):
            self.ended.wait(0.15)
            self.write(place)


def test_files_that_come_between_kills_are_read_once(space: MakeSpace) -> None:
    """Nothing is lost, doubled or asked again once it was finished; the job ends when its limit is reached."""
    moments, totals = random.Random(SEED), Totals()
    workspace = space(JOB, "inbox")
    account = Account(workspace)
    writer = Writer(workspace.input)
    writer.thread.start()
    try:
        resume = None
        for kill in itertools.count(1):
            engine = workspace.start(resume=resume, parallelism=moments.choice([1, 2, 3]))
            if kill > KILLS:
                break
            assert killed(engine, moments.uniform(0.05, 1.6)), "it ended before all kills"
            account.note_kill()
            totals.kills += 1
            found = balance([row["id"] for row in committed(workspace.out)], set(range(ROWS)))
            assert found.sound, f"after kill {kill}: {found}"
            resume = "latest" if workspace.begun() else None
        engine.wait(COMPLETED)
    finally:
        writer.ended.set()
        writer.thread.join()
    rows = committed(workspace.out)
    assert balance([row["id"] for row in rows], set(range(ROWS))).exact
    check_answers(rows)
    totals.rows = ROWS
    account.close(ROWS, totals)
    print(f"\n{totals}")
    totals.check()
