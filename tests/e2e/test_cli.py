"""The other subcommands: what they print, in the words a user needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import MakeSpace
from harness import COMPLETED, FAILED, REFUSED, Workspace
from rows import check_exact, committed, write_rows

ROWS = 200
SUBCOMMANDS = ("run", "plan", "schema", "checkpoints", "journal")


@pytest.fixture
def completed(space: MakeSpace) -> Workspace:
    """A job that ran to its end."""
    workspace = space()
    write_rows(workspace.input, ROWS)
    workspace.run()
    return workspace


def test_plan_shows_tasks_edges_regions_and_each_sinks_guarantee(space: MakeSpace) -> None:
    """Planning reads the input's columns and starts nothing."""
    workspace = space()
    write_rows(workspace.input, 8)
    plan = workspace.command("plan", str(workspace.job_file)).lower()
    for part in ("task", "region", "edge", "exactly", "source", "ask", "sink", "fake", str(workspace.out).lower()):
        assert part in plan, f"{part!r} is not in the plan:\n{plan}"
    assert not workspace.out.exists()
    assert not workspace.executions.exists()


def test_checkpoints_can_be_listed_shown_and_verified(completed: Workspace) -> None:
    """Each shows the newest epoch."""
    epochs = completed.epochs()
    assert epochs
    newest = max(epochs)
    shown = completed.in_checkpoints("checkpoints", "show", str(newest))
    assert str(newest) in shown
    assert "source" in shown
    assert "ok" in completed.in_checkpoints("checkpoints", "verify").lower()
    completed.in_checkpoints("checkpoints", "verify", str(newest))
    completed.in_checkpoints("checkpoints", "list", "--job", completed.job)


def test_an_epoch_that_does_not_exist_is_an_error_that_names_it(completed: Workspace) -> None:
    """Not an empty answer."""
    said = completed.command(
        "checkpoints", "show", "987654", "--checkpoints", str(completed.checkpoints), expected=REFUSED
    )
    assert "987654" in said


def test_a_completed_job_resumed_again_has_nothing_to_do(completed: Workspace) -> None:
    """A script may run the same command until it succeeds."""
    rows, executed = len(committed(completed.out)), completed.executed()
    outcome = completed.run(resume="latest")
    assert "nothing was left to do" in outcome.stderr
    assert (len(committed(completed.out)), completed.executed()) == (rows, executed)


def test_a_second_engine_of_the_same_job_is_turned_away(space: MakeSpace) -> None:
    """It names who holds the job, and the first engine does not notice."""
    workspace = space()
    write_rows(workspace.input, 2000)
    first = workspace.start()
    first.wait_until(lambda: bool(workspace.executed()), "the model computes")
    said = workspace.run(FAILED, resume="latest").stderr
    assert str(first.process.pid) in said, said
    first.wait(COMPLETED)
    check_exact(workspace.out, 2000)


def test_journal_stats_counts_every_answer(completed: Workspace) -> None:
    """As many ids as the model computed."""
    stats = completed.in_checkpoints("journal", "stats")
    assert str(ROWS) in stats, stats
    assert completed.finished() == set(completed.executed())


def test_report_agrees_with_the_output(completed: Workspace) -> None:
    """The figures that a script reads."""
    report = json.loads((completed.folder / "attempt-1.json").read_text())
    assert (report["job"], report["outcome"]) == ("answers", "completed")
    assert (report["rows_in"], report["rows_out"], report["dead_letters"]) == (ROWS, ROWS, 0)
    model = report["models"]["fake"]
    assert (model["rows"], model["journal_hits"], model["replica_restarts"]) == (ROWS, 0, 0)
    assert 0 < model["p50_seconds"] <= model["p99_seconds"]
    assert str(completed.out) in report["sink"]


def references(value: Any) -> list[str]:
    """Returns every `$ref` in a JSON value."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for part in value.values() for ref in references(part)]
    return [ref for part in value for ref in references(part)] if isinstance(value, list) else []


def test_schema_describes_the_job_file(space: MakeSpace) -> None:
    """JSON Schema whose references resolve and whose top is the job file's."""
    schema = json.loads(space().command("schema"))
    assert "json-schema.org" in schema["$schema"]
    assert {"name", "source", "step", "model", "sink", "dead_letters"} <= schema["properties"].keys()
    assert {"name", "source", "sink"} <= set(schema["required"])
    assert schema["additionalProperties"] is False
    for reference in references(schema):
        target = schema
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_help_says_what_a_subcommand_does(space: MakeSpace, subcommand: str) -> None:
    """The overview names it, and its own help shows how to call it."""
    workspace = space()
    assert subcommand in workspace.command("--help")
    assert f"forebay {subcommand}" in workspace.command(subcommand, "--help")


def test_version_is_printed(space: MakeSpace) -> None:
    """For bug reports."""
    assert space().command("--version").startswith("forebay ")
