"""Settings of a whole job, as every method that runs one takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from forebay._options import Duration, Size


class JobSettings(TypedDict, total=False):
    """See docs/reference/job-file.md, section "The job"."""

    name: str
    parallelism: int
    key_groups: int
    checkpoint_interval: Duration
    dead_letters: str | Path
    state_memory: Size
