"""What is about torch: with torch itself in an environment of its own, and what is said where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import forebay as fb
from worker_process import PACKAGE, TORCH

TESTS: Final = Path(__file__).parent / "with_torch"


# One process a file: one that hangs or crashes says which it was.
@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("test_*.py")))
def test_with_torch_itself(file: str) -> None:
    assert TORCH.is_file(), f"no {TORCH}: run scripts/setup.sh, which installs torch"
    command = [str(TORCH), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / file)]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_without_torch_it_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(fb.errors.InvalidError, match="pip install torch"):
        fb.read_parquet("nowhere/*.parquet").to_torch()
