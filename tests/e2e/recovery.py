"""The recovery corpus: where it lies, and how a folder of it is unpacked and its output compared."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any, Final

from harness import ROOT, Workspace

CORPUS: Final = ROOT / "tests/recovery"
# Dead letters say times since, which were named by their type when the folders were written.
_TIME: Final = re.compile(r'(\\"date_time\\": )\\"[^"\\]*\\"')
_OF_TYPE: Final = r'\1\\"<Timestamp(µs)>\\"'
SINKS: Final = ("answers", "joined", "windows", "bad")
JOB: Final = "recovery"


def entries() -> list[str]:
    """Returns the names of the folders."""
    return sorted(path.parent.name for path in CORPUS.glob("*/left.tar.xz"))


def job_text(name: str) -> str:
    """Returns the job file of a folder."""
    return (CORPUS / name / "job.toml").read_text()


def unpack(name: str, workspace: Workspace) -> None:
    """Puts what the kill left where `workspace` expects its own."""
    with tarfile.open(CORPUS / name / "left.tar.xz") as left:
        left.extractall(workspace.folder, filter="data")


def expected(name: str) -> dict[str, Any]:
    """Returns what an undisturbed run commits, by sink."""
    text: dict[str, Any] = json.loads((CORPUS / name / "expected.json").read_text())
    return text


def committed(workspace: Workspace) -> dict[str, Any]:
    """Returns how many rows each sink has committed, and a hash of them in order."""
    return {sink: digest(rows(workspace.out / sink)) for sink in SINKS}


def rows(folder: Path) -> list[str]:
    """Returns the lines of a sink, sorted."""
    lines = (line for path in folder.glob("part-*.jsonl") for line in path.read_text().splitlines())
    return sorted(_TIME.sub(_OF_TYPE, line) for line in lines)


def digest(lines: list[str]) -> dict[str, Any]:
    """Returns the number of lines and their hash."""
    return {"rows": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
