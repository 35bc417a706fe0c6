"""A job cut in three by durable edges: killed at random, at changing parallelism, every row comes out exactly once."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from typing import Final

import pytest
from conftest import MakeSpace
from harness import FAILED, REFUSED
from jobs import CUT, CUT_BATCH_ROWS, CUT_IN_FLIGHT
from kills import killed, undisturbed_seconds
from rows import balance, check_answers, committed, write_rows

ROWS: Final = 2000
KILLS: Final = 12
SEED: Final = 38825
# A claim and three checkpoints.
DAMAGED_EPOCHS: Final = 4

# The job with a model in its first region too, so that it takes several checkpoints to read everything.
SLOW_STEP: Final = """\
[[step]]
[step.infer]
uid = "slow"
model = "slow"
inputs = { text = "text" }
outputs = { echo = "before" }
batch_rows = 32
in_flight = 1

[model.slow]
host = "fake"
service_time = "40ms"

"""
SLOW_FIRST: Final = CUT.replace('[[step]]\nuid = "read"', SLOW_STEP + '[[step]]\nuid = "read"')


def test_three_regions_survive_kills_and_other_parallelisms(space: MakeSpace) -> None:
    """Nothing is lost, doubled, or asked again beyond what was in flight; what is kept between regions is trimmed."""
    moments = random.Random(SEED)
    first = space(CUT, "cut")
    write_rows(first.input, ROWS)
    longest = undisturbed_seconds(first)
    workspace = space(CUT, "cut")
    write_rows(workspace.input, ROWS)
    kills, resume = 0, None
    for kill in range(KILLS):
        engine = workspace.start(resume=resume, parallelism=moments.choice([1, 2, 3, 5]))
        if not killed(engine, moments.uniform(0.0, longest)):
            break
        kills += 1
        found = balance([row["id"] for row in committed(workspace.out)], set(range(ROWS)))
        assert found.sound, f"after kill {kill + 1}: {found}"
        resume = "latest" if workspace.begun() else None
    else:
        workspace.run(resume=resume)
    assert kills > 0, "no kill, so the test proved nothing"
    rows = committed(workspace.out)
    assert balance([row["id"] for row in rows], set(range(ROWS))).exact
    assert all(row["after"] == row["id"] + 1 for row in rows)
    check_answers(rows)
    executed = Counter(workspace.executed())
    again = sum(executed.values()) - len(executed)
    assert len(executed) == ROWS
    # At most five subtasks have a request batch in each of their places when the engine is killed.
    assert again <= kills * 5 * CUT_IN_FLIGHT * CUT_BATCH_ROWS, f"{again} rows asked again in {kills} kills"


@pytest.mark.parametrize("region", [1, 2])
def test_a_damaged_checkpoint_of_one_region_takes_the_others_back_as_far_as_needed(
    space: MakeSpace, region: int
) -> None:
    """`--resume latest` refuses and names region and epoch; going back to that, every row comes out exactly once."""
    workspace = space(SLOW_FIRST, "cut")
    write_rows(workspace.input, ROWS)
    engine = workspace.start()

    def enough() -> bool:
        return all(len(workspace.published(place)) >= DAMAGED_EPOCHS for place in (1, 2, 3))

    engine.wait_until(lambda: enough() and bool(committed(workspace.out)), "checkpoints")
    engine.kill()
    victim = workspace.states(region)[-1]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0x10
    victim.write_bytes(content)
    said = workspace.run(FAILED, resume="latest").stderr
    assert victim.name in said, said
    listed = workspace.in_checkpoints("checkpoints", "verify", expected=FAILED)
    assert victim.name in listed, listed
    advice = re.search(rf"--resume (r{region}=(\d+))", said)
    assert advice, said
    refused = workspace.run(REFUSED, resume=int(advice[2])).stderr
    assert "which region" in refused, refused
    workspace.run(resume=advice[1])
    rows = committed(workspace.out)
    assert balance([row["id"] for row in rows], set(range(ROWS))).exact
    check_answers(rows)


def test_going_back_that_was_interrupted_is_carried_out_by_the_next_start(space: MakeSpace) -> None:
    """One region cannot claim its epoch; `--resume latest` then takes up the decision, not the newest of each."""
    workspace = space(SLOW_FIRST, "cut")
    write_rows(workspace.input, ROWS)
    engine = workspace.start()
    engine.wait_until(lambda: len(workspace.published(1)) >= DAMAGED_EPOCHS, "checkpoints")
    engine.wait_until(lambda: len(workspace.published(2)) >= DAMAGED_EPOCHS, "checkpoints behind")
    engine.kill()
    workspace.states(1)[-1].write_bytes(b"damaged")
    said = workspace.run(FAILED, resume="latest").stderr
    advice = re.search(r"--resume (r1=\d+)", said)
    assert advice, said
    decisions = workspace.checkpoints / workspace.job / "restore"
    before = len(list(decisions.glob("*")))
    in_the_way = workspace.region("epoch", 2) / f"{int(workspace.published(2)[-1]) + 1:010}.json"
    in_the_way.mkdir()
    workspace.run(FAILED, resume=advice[1])
    assert len(list(decisions.glob("*"))) == before + 1, "it failed before it decided, so the test proves nothing"
    in_the_way.rmdir()
    workspace.run(resume="latest")
    rows = committed(workspace.out)
    assert balance([row["id"] for row in rows], set(range(ROWS))).exact
    check_answers(rows)


def test_checkpoints_and_journals_of_every_region_can_be_looked_at(space: MakeSpace) -> None:
    """Without `--region` all are listed; one epoch is shown of the region that is named."""
    workspace = space(CUT, "cut")
    write_rows(workspace.input, ROWS)
    workspace.run()
    listed = workspace.in_checkpoints("checkpoints", "list")
    assert re.findall(r"^region (r\d)$", listed, re.MULTILINE) == ["r1", "r2", "r3"], listed
    newest = int(workspace.published(2)[-1])
    shown = json.loads(workspace.in_checkpoints("checkpoints", "show", str(newest), "--region", "r2"))
    assert shown["region"] == 1
    workspace.in_checkpoints("checkpoints", "show", str(newest), expected=REFUSED)
    workspace.in_checkpoints("checkpoints", "verify")
    unknown = workspace.in_checkpoints("checkpoints", "list", "--region", "r9", expected=REFUSED)
    assert "r1, r2, r3" in unknown, unknown
    assert "answers" in workspace.in_checkpoints("journal", "stats", "--region", "r2")


def test_the_report_counts_regions(space: MakeSpace) -> None:
    """Rows are counted as read once, in the region that reads the source, and as written once."""
    workspace = space(CUT, "cut")
    write_rows(workspace.input, ROWS)
    outcome = workspace.run()
    report = outcome.report
    assert report is not None
    assert [region["id"] for region in report["regions"]] == ["r1", "r2", "r3"], json.dumps(report)
    assert (report["rows_in"], report["rows_out"], report["dead_letters"]) == (ROWS, ROWS, 0)
    assert all(region["restarts"] == 0 for region in report["regions"])
