"""Two sources of JSON lines are joined by key and event time; the engine is killed and goes on at other parallelisms.

Every output is compared with nested loops over the rows that were written: each pair is there once, no other is.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from conftest import MakeSpace
from harness import COMPLETED, Engine, Workspace, wait_until

ROWS: Final = 4000
KEYS: Final = 40
FILES: Final = 3
NAME: Final = "joined"
START: Final = datetime(2026, 1, 31, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
BEFORE: Final = 3
AFTER: Final = 5
WITHIN: Final = f'{{ before = "{BEFORE}s", after = "{AFTER}s" }}'

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "50ms"

[source.bids]
format = "jsonl"
path = "${{INPUT}}/bids-*.jsonl"
batch_rows = 8
parallelism = 1
watermark = {{ time = "at", out_of_order = "20s" }}

[source.auctions]
format = "jsonl"
path = "${{INPUT}}/auctions-*.jsonl"
batch_rows = 16
parallelism = 1
watermark = {{ time = "at", out_of_order = "20s" }}

[[step]]
uid = "near"
from = "bids"
join = {{ stream = "auctions", on = {{ key = "key" }}, how = "left", prefix = "auction_", within = {WITHIN} }}

[[step]]
uid = "version"
from = "bids"
join = {{ stream = "auctions", on = {{ key = "key" }}, how = "left", prefix = "auction_", as_of = true }}

[[step]]
uid = "all"
from = "bids"
join = {{ stream = "auctions", on = {{ key = "key" }}, how = "full", prefix = "auction_" }}

[sink.near_out]
from = "near"
format = "jsonl"
path = "${{OUT}}/near"

[sink.version_out]
from = "version"
format = "jsonl"
path = "${{OUT}}/version"

[sink.all_out]
from = "all"
format = "jsonl"
path = "${{OUT}}/all"
kinds = "change"

[dead_letters]
path = "${{OUT}}/bad"
"""

Pair = tuple[int | None, int | None]


def rows(kind: str) -> list[dict[str, Any]]:
    """The rows of a source; `second` is their event time. They are out of order by up to 13 seconds."""
    step = 1 if kind == "bids" else 2
    # Some keys are of one source alone.
    shift = 0 if kind == "bids" else KEYS // 4
    found = []
    for number in range(0, ROWS, step):
        second = number // 20 + (number * 7) % 13
        found.append({"id": number, "key": f"key {(number * 31) % KEYS + shift}", "second": second})
    return found


def write_input(folder: Path) -> None:
    """Writes both sources, each in several files that hold its time one after the other, as log files do."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("bids", "auctions"):
        all_rows = rows(kind)
        size = -(-len(all_rows) // FILES)
        for place in range(FILES):
            lines = [
                json.dumps({"id": row["id"], "key": row["key"], "at": (START + row["second"] * SECOND).isoformat()})
                for row in all_rows[place * size : (place + 1) * size]
            ]
            (folder / f"{kind}-{place}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def by_key() -> dict[str, list[dict[str, Any]]]:
    """The auctions of each key."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows("auctions"):
        found.setdefault(row["key"], []).append(row)
    return found


def expected_near() -> Counter[Pair]:
    """Pairs within the interval, and bids without any."""
    auctions = by_key()
    pairs: Counter[Pair] = Counter()
    for bid in rows("bids"):
        near = [row for row in auctions.get(bid["key"], []) if -BEFORE <= row["second"] - bid["second"] <= AFTER]
        pairs.update((bid["id"], row["id"]) for row in near)
        if not near:
            pairs[bid["id"], None] += 1
    return pairs


def expected_all() -> Counter[Pair]:
    """All pairs of a key, and rows whose key the other source does not have."""
    auctions, keys = by_key(), {row["key"] for row in rows("bids")}
    pairs: Counter[Pair] = Counter()
    for bid in rows("bids"):
        partners = auctions.get(bid["key"], [])
        pairs.update((bid["id"], row["id"]) for row in partners)
        if not partners:
            pairs[bid["id"], None] += 1
    pairs.update((None, row["id"]) for row in rows("auctions") if row["key"] not in keys)
    return pairs


def output(out: Path, sink: str) -> list[dict[str, Any]]:
    """The rows that a sink has committed."""
    files = sorted((out / sink).glob("part-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def pairs(found: list[dict[str, Any]]) -> Counter[Pair]:
    """The pairs of rows that only add."""
    return Counter((row.get("id"), row.get("auction_id")) for row in found)


def folded(found: list[dict[str, Any]]) -> Counter[Pair]:
    """The pairs that are left when every change is applied."""
    counts: Counter[Pair] = Counter()
    for row in found:
        counts[row.get("id"), row.get("auction_id")] += 1 if row["change"] in ("+I", "+U") else -1
    assert min(counts.values(), default=0) >= 0, "a pair was taken back that was not there"
    return +counts


def check_versions(found: list[dict[str, Any]]) -> None:
    """Each bid is there once, with a version of its key of the latest second that is not after it."""
    auctions = by_key()
    seconds = {row["id"]: row["second"] for row in rows("auctions")}
    bids = {row["id"]: row for row in rows("bids")}
    assert Counter(row["id"] for row in found) == Counter(list(bids))
    for row in found:
        bid = bids[row["id"]]
        earlier = [other["second"] for other in auctions.get(bid["key"], []) if other["second"] <= bid["second"]]
        version = row.get("auction_id")
        assert (seconds[version] if version is not None else None) == max(earlier, default=None), row


def latest(workspace: Workspace) -> int:
    """Returns the newest published epoch, 0 before the first."""
    return max(map(int, workspace.published()), default=0)


def has_reached(workspace: Workspace, epoch: int) -> bool:
    """Whether `epoch` is published."""
    return workspace.begun() and latest(workspace) >= epoch


def has_reached_or_ended(engine: Engine, workspace: Workspace, epoch: int) -> bool:
    """Whether `epoch` is published, or nothing more will be."""
    return not engine.running() or has_reached(workspace, epoch)


def check_complete(workspace: Workspace) -> None:
    """Fails unless every sink has exactly what the oracle says."""
    assert pairs(output(workspace.out, "near")) == expected_near()
    assert folded(output(workspace.out, "all")) == expected_all()
    check_versions(output(workspace.out, "version"))
    assert not list((workspace.out / "bad").glob("part-*"))


def test_joins_are_exact_through_kills_at_changing_parallelism(space: MakeSpace) -> None:
    """What the joins keep survives kills, and restores at any parallelism."""
    workspace = space(JOB, NAME)
    write_input(workspace.input)
    resume, kills = None, 0
    for parallelism in (2, 3, 1):
        engine = workspace.start(resume=resume, parallelism=parallelism)
        reached = 2 + (latest(workspace) if resume else 0)
        wait_until(partial(has_reached_or_ended, engine, workspace, reached), f"epoch {reached} is published")
        if not engine.running():
            # A fast machine is through before the next checkpoints.
            engine.wait(COMPLETED)
            break
        engine.kill()
        kills += 1
        near = pairs(output(workspace.out, "near"))
        assert near <= expected_near(), "a pair is there that should not be, or twice"
        resume = "latest"
    assert kills > 0, "no kill, so the test proved nothing"
    workspace.run(resume=resume)
    check_complete(workspace)


def test_one_undisturbed_run_gives_what_the_oracle_gives(space: MakeSpace) -> None:
    """The plan shows how both streams come by key."""
    workspace = space(JOB, NAME)
    write_input(workspace.input)
    shown = workspace.command("plan", str(workspace.job_file))
    assert "within 3s before and 5s after" in shown, shown
    workspace.run()
    check_complete(workspace)
