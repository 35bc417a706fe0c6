"""Pages with Python run as written, and print what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from worker_process import HANG_SECONDS, PACKAGE, TORCH

DOCS: Final = PACKAGE.parent / "docs"
# Each runs in a folder of its own; pages of one line go on where the one before left off.
PAGES: Final = [
    ["guide/quickstart.md", "guide/python.md"],
    ["guide/failures.md"],
    ["guide/torch.md"],
    ["reference/errors.md"],
]
# Run by the Python that has torch.
WITH_TORCH: Final = {"guide/torch.md"}
# Python in these is shown, and runs elsewhere or not at all: it reads what a job of the page would have written.
SHOWN: Final = {"index.md", "reference/formats/parquet.md"}
BLOCK: Final = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
MARK: Final = "=== next block ==="


@pytest.mark.parametrize("pages", PAGES, ids=lambda pages: pages[-1])
def test_the_pages_run_and_print_what_they_say(pages: list[str], tmp_path: Path) -> None:
    blocks = [block for page in pages for block in BLOCK.findall((DOCS / page).read_text())]
    script = tmp_path / "page.py"
    script.write_text(f'\nprint("{MARK}")\n'.join(code for code, _ in blocks))
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    python = TORCH if WITH_TORCH & set(pages) else Path(sys.executable)
    assert python.is_file(), f"no {python}: run scripts/setup.sh, which makes it"
    done = subprocess.run(
        [str(python), str(script)],
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


def test_every_page_with_python_runs() -> None:
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if BLOCK.search(page.read_text())}
    assert pages == {page for pages in PAGES for page in pages} | SHOWN
