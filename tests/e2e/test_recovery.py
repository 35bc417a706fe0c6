"""Checkpoints that earlier code wrote are restored by this one, at any parallelism, and end as if nothing had happened.

The corpus is in `tests/recovery`; its README says what each folder holds.
"""

from __future__ import annotations

import json

import pytest
import recovery
from conftest import MakeSpace


@pytest.mark.parametrize("parallelism", [1, 2, 3, 5])
@pytest.mark.parametrize("name", recovery.entries())
def test_a_kept_checkpoint_is_restored_and_ends_as_expected(name: str, parallelism: int, space: MakeSpace) -> None:
    """Open windows, kept sides of a join, requests in flight, rows of edges, the journal: all go on where they were."""
    workspace = space(recovery.job_text(name), recovery.JOB)
    recovery.unpack(name, workspace)
    workspace.in_checkpoints("checkpoints", "verify")
    finished = workspace.finished()
    workspace.run(resume="latest", parallelism=parallelism)
    assert recovery.committed(workspace) == recovery.expected(name)
    again = set(workspace.executed()) & finished
    assert not again, f"finished before the kill and computed again: {sorted(again)[:3]}"


@pytest.mark.parametrize("name", recovery.entries())
def test_a_kept_checkpoint_holds_what_makes_a_restore_hard(name: str) -> None:
    """A folder without state, requests in flight or anything left to do would prove nothing."""
    about = json.loads((recovery.CORPUS / name / "about.json").read_text())
    assert about["in_flight"] > 0
    assert about["finished_requests"] > 0
    assert {"per_bidder", "early"} <= set(about["operators"])
    assert about["edges"], "no barrier overtook a row"
    assert about["earlier_files"] > 0, "no snapshot builds on an earlier one"
    # The first folder was written before there was such a count; it has one dead letter in all.
    assert name == "graph" or about["open_letters"] > 0, "no dead letter was left to commit"
    left = {sink: kept["rows"] for sink, kept in about["committed"].items()}
    whole = {sink: kept["rows"] for sink, kept in recovery.expected(name).items()}
    assert any(left.values()), left
    assert all(left[sink] <= whole[sink] for sink in whole)
    assert any(left[sink] < whole[sink] for sink in whole)
