"""Fixtures: the binary, a folder for each job, and images to read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import BINARY, ROOT, Workspace
from jobs import FAKE_NAME, fake_job

MakeSpace = Callable[..., Workspace]


@pytest.fixture(scope="session", autouse=True)
def binary() -> Path:
    """The binary under test; every test fails with the way to get it if there is none."""
    if not BINARY.exists():
        pytest.fail(f"{BINARY} does not exist; run `cargo build --workspace` or set FOREBAY_BIN")
    return BINARY


@pytest.fixture
def space(tmp_path: Path) -> Iterator[MakeSpace]:
    """Makes workspaces, and leaves no process behind when the test ends."""
    made: list[Workspace] = []

    def make(job_text: str | None = None, job: str = FAKE_NAME) -> Workspace:
        workspace = Workspace(tmp_path / f"job-{len(made) + 1}", fake_job() if job_text is None else job_text, job)
        made.append(workspace)
        return workspace

    yield make
    for workspace in made:
        for engine in workspace.engines:
            engine.end()


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 real images, PNG and JPEG, grey and RGB, with their `labels.csv`."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, str(ROOT / "examples/digits/render.py"), str(folder), "--count", "40"]
    subprocess.run(command, check=True, capture_output=True)
    return folder
