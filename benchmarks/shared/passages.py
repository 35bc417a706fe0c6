"""The texts of this benchmark: passages of the docstrings of Python's standard library, which are there already."""

from __future__ import annotations

import ast
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# About 80 tokens; shorter than the last of these says too little to be found by what it means.
CHARACTERS_MAX: Final = 400
CHARACTERS_MIN: Final = 60


def passages() -> Iterator[str]:
    """Each different passage once, in the order of the files."""
    seen: set[str] = set()
    for docstring in _docstrings():
        for passage in _cut(docstring):
            if len(passage) >= CHARACTERS_MIN and passage not in seen:
                seen.add(passage)
                yield passage


def _docstrings() -> Iterator[str]:
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in file.parts or "test" in file.parts:
            continue
        try:
            tree = ast.parse(file.read_text(errors="strict"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text


def _cut(docstring: str) -> Iterator[str]:
    """Whole paragraphs as long as they fit, longer ones between words."""
    held = ""
    for paragraph in docstring.split("\n\n"):
        for part in textwrap.wrap(" ".join(paragraph.split()), CHARACTERS_MAX):
            if held and len(held) + len(part) >= CHARACTERS_MAX:
                yield held
                held = ""
            held = f"{held} {part}".strip()
    if held:
        yield held
