"""The guide runs as written, and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from worker_process import HANG_SECONDS, PACKAGE

GUIDE = PACKAGE.parent / "docs/guide/python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
MARK = "=== next block ==="


def test_the_guide_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    blocks = BLOCK.findall(GUIDE.read_text())
    script = tmp_path / "guide.py"
    script.write_text(f'\nprint("{MARK}")\n'.join(code for code, _ in blocks))
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = [part.lstrip("\n") for part in done.stdout.split(f"{MARK}\n")]
    assert printed == [shown for _, shown in blocks]
