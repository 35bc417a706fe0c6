"""The feedback loop through kills: predictions of two models, labels that are missing, late and revised, and figures.

An oracle in Python says what each prediction's row is at the end and what the figures of each interval are; whatever is
killed and however many subtasks there are, the tables are the same when all changes are applied.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from changes import changes, moment, run_through_kills, table, write_in_order
from conftest import MakeSpace
from harness import Workspace
from rows import committed

NAME: Final = "feedback"
REQUESTS: Final = 6_000
SEED: Final = 31
# Seconds.
WAIT: Final = 60
RETENTION: Final = 600
EVERY: Final = 120
REFERENCE: Final = 240

JOB: Final = f"""\
name = "{NAME}"
parallelism = 2
checkpoint_interval = "100ms"

[source.predictions]
format = "jsonl"
path = "${{INPUT}}/predictions/*.jsonl"
batch_rows = 64
parallelism = 1
watermark = {{ time = "at", out_of_order = "2s" }}

[source.labels]
format = "jsonl"
path = "${{INPUT}}/labels/*.jsonl"
batch_rows = 64
parallelism = 1
watermark = {{ time = "at", out_of_order = "2s" }}

[[step]]
uid = "judged"
from = "predictions"
feedback = {{ labels = "labels", on = {{ request = "request" }}, wait = "60s", retention = "10m", prefix = "label_" }}

[[step]]
uid = "quality"
metrics = {{ by = ["version"], score = "score", label = "label_clicked", every = "2m", allowed_lateness = "10m" }}

[[step]]
uid = "drift"
from = "predictions"
metrics = {{ by = ["version"], score = "score", label = "label", every = "2m",
    reference = {{ from = "2026-01-31T12:00:00Z", to = "2026-01-31T12:04:00Z" }} }}

[sink.judged_out]
from = "judged"
format = "parquet"
path = "${{OUT}}/judged"
kinds = "change"

[sink.quality_out]
from = "quality"
format = "parquet"
path = "${{OUT}}/quality"
kinds = "change"

[sink.drift_out]
from = "drift"
format = "parquet"
path = "${{OUT}}/drift"

[sink.late]
from = "judged.late"
format = "jsonl"
path = "${{OUT}}/late"

[sink.late_labels]
from = "judged.late_labels"
format = "jsonl"
path = "${{OUT}}/late_labels"

[sink.late_changes]
from = "quality.late"
format = "jsonl"
path = "${{OUT}}/late_changes"
kinds = "change"

[dead_letters]
path = "${{OUT}}/bad"
"""


@dataclass
class Request:
    """A request: when it came, the scores of both models, and its labels with their times."""

    number: int
    second: float
    scores: dict[str, float]
    labels: list[tuple[float, bool]] = field(default_factory=list)

    def state(self) -> tuple[bool | None, str]:
        """Returns the label that counts and what became of it."""
        counting = sorted(label for label in self.labels if label[0] <= self.second + RETENTION)
        if not counting:
            return None, "missing"
        at, clicked = counting[-1]
        if len(counting) > 1:
            return clicked, "revised"
        return clicked, "matched" if at <= self.second + WAIT else "late"


def requests() -> list[Request]:
    """Returns requests over 20 minutes: the first model is good, the second drifts away from the truth."""
    draw = random.Random(SEED)
    made = []
    for number in range(REQUESTS):
        second = number / 5 + draw.randrange(1000) / 1e6
        truth = draw.random()
        drifted = min(1.0, max(0.0, truth + draw.uniform(-0.2, 0.2) + number / REQUESTS / 2))
        # Thousandths, off the edges of narrow bins.
        scores = {version: (int(score * 999) + 0.5) / 1000 for version, score in (("a", truth), ("b", drifted))}
        request = Request(number, second, scores)
        clicked = draw.random() < truth
        fate = draw.random()
        if fate < 0.8:
            request.labels.append((second + draw.uniform(0, WAIT), clicked))
        elif fate < 0.9:
            request.labels.append((second + draw.uniform(WAIT + 1, RETENTION), clicked))
        elif fate < 0.93:
            request.labels.append((second + RETENTION + 1, clicked))
        if 0.7 < fate < 0.85:
            request.labels.append((second + draw.uniform(0, RETENTION), not clicked))
        made.append(request)
    return made


def write_input(workspace: Workspace) -> list[Request]:
    """Writes predictions and labels, rows at most 2 s out of order, and returns the requests."""
    draw = random.Random(SEED + 1)
    made = requests()
    predictions: list[tuple[float, dict[str, Any]]] = [
        (
            request.second + draw.uniform(0, 2),
            {
                "at": moment(request.second),
                "request": request.number,
                "version": version,
                "score": score,
                "label": score < 0.5,
            },
        )
        for request in made
        for version, score in request.scores.items()
    ]
    labels: list[tuple[float, dict[str, Any]]] = [
        (at + draw.uniform(0, 2), {"at": moment(at), "request": request.number, "clicked": clicked})
        for request in made
        for at, clicked in request.labels
    ]
    write_in_order(workspace.input / "predictions", predictions, 3)
    write_in_order(workspace.input / "labels", labels, 3)
    return made


def figures(rows: list[tuple[float, bool | None]]) -> list[float | None]:
    """Returns predictions, labelled, accuracy, precision, recall, AUC, log loss and calibration error of rows."""
    labelled = [(score, label) for score, label in rows if label is not None]
    true = [score for score, label in labelled if label]
    false = [score for score, label in labelled if not label]
    hits = sum(score >= 0.5 for score in true)
    positive = sum(score >= 0.5 for score, _ in labelled)
    gaps: defaultdict[int, float] = defaultdict(float)
    for score, label in labelled:
        gaps[int(score * 10)] += score - label
    won = sum((high > low) + (high == low) / 2 for high in true for low in false)
    right = sum((score >= 0.5) == label for score, label in labelled)

    def ratio(part: float, every: int) -> float | None:
        return part / every if every else None

    return [
        len(rows),
        len(labelled),
        ratio(right, len(labelled)),
        ratio(hits, positive),
        ratio(hits, len(true)),
        ratio(won, len(true) * len(false)),
        ratio(-sum(math.log(score if label else 1 - score) for score, label in labelled), len(labelled)),
        ratio(sum(abs(gap) for gap in gaps.values()), len(labelled)),
    ]


def stability(own: list[float], reference: list[float]) -> float:
    """Returns the population stability index of scores."""

    def share(scores: list[float], place: int) -> float:
        return max(sum(int(score * 10) == place for score in scores) / len(scores), 1e-4)

    pairs = [(share(own, place), share(reference, place)) for place in range(10)]
    return sum((p - q) * math.log(p / q) for p, q in pairs)


def check(workspace: Workspace, made: list[Request]) -> None:
    """Fails unless each sink has exactly what the oracle says."""
    expected = Counter((request.number, version, *request.state()) for request in made for version in request.scores)
    names = [name for name in committed(workspace.out / "judged")[0] if name != "change"]
    found = Counter(
        tuple(
            dict(zip(names, row, strict=True))[name] for name in ("request", "version", "label_clicked", "label_state")
        )
        for row in table(workspace, "judged")
    )
    assert found == expected
    assert {state for *_, state in found} == {"missing", "matched", "late", "revised"}
    assert changes(workspace, "judged").keys() == {"+I", "-U", "+U"}

    panes: defaultdict[tuple[str, int], list[tuple[float, bool | None]]] = defaultdict(list)
    for request in made:
        for version, score in request.scores.items():
            panes[version, int(request.second // EVERY)].append((score, request.state()[0]))
    quality = {(row[0], row[1]): row[4:] for row in table(workspace, "quality")}
    assert quality.keys() == {(version, moment(place * EVERY)) for version, place in panes}
    for (version, place), rows in panes.items():
        assert quality[version, moment(place * EVERY)] == pytest.approx(tuple(figures(rows)), abs=1e-6)

    drift = {(row[0], row[1]): row[-1] for row in table(workspace, "drift")}
    for (version, place), rows in panes.items():
        period = [request.scores[version] for request in made if request.second < REFERENCE]
        known = stability([score for score, _ in rows], period) if (place + 1) * EVERY >= REFERENCE else None
        assert drift[version, moment(place * EVERY)] == pytest.approx(known, abs=1e-6)
    for folder in ("late", "late_labels", "late_changes", "bad"):
        assert not list((workspace.out / folder).glob("part-*"))


def test_feedback_gives_what_an_oracle_gives(space: MakeSpace) -> None:
    """One undisturbed run, and the plan that `forebay plan` shows for it."""
    workspace = space(JOB, NAME)
    made = write_input(workspace)
    shown = workspace.command("plan", str(workspace.job_file))
    assert "labels of labels on request = request" in shown, shown
    workspace.run()
    check(workspace, made)


def test_feedback_is_exact_through_kills_at_changing_parallelism(space: MakeSpace) -> None:
    """Killed with predictions waiting for labels and resumed at other parallelisms, every figure is the same."""
    workspace = space(JOB, NAME)
    made = write_input(workspace)
    run_through_kills(workspace, (2, 3, 1, 4))
    check(workspace, made)
