"""Tests with torch itself, for the environment of python/requirements-torch.txt; `../test_torch.py` runs them there."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

# Workers import functions of these tests from there.
sys.path.append(str(Path(__file__).parent))

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
