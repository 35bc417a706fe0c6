"""Every bash block below a line `<!-- run -->` in README.md, docs/ and examples/ runs as written, in a copy.

The copy has what git tracks, and `forebay` is on the path; blocks of one page share one copy and run in their order, so
a later block can use what an earlier one made. Blocks without the mark are not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from harness import BINARY, HANG_SECONDS, ROOT

BLOCK: Final = re.compile(r"^<!-- run -->\s*\n+```(?:bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
MARKED: Final = [page for page in PAGES if page.exists() and BLOCK.search(page.read_text())]


def copy_repository(folder: Path) -> Path:
    """Copies what git tracks or would track, without build products."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("page", MARKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_run_as_written(page: Path, tmp_path: Path) -> None:
    """What a reader types works."""
    copy = copy_repository(tmp_path / "repository")
    path = os.pathsep.join([str(BINARY.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    for block in BLOCK.findall(page.read_text()):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
