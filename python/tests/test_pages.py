"""Pages that list what the code has, have all of it."""

from __future__ import annotations

import re
from typing import Final

import forebay as fb
from worker_process import PACKAGE

ROOT: Final = PACKAGE.parent
REFERENCE: Final = ROOT / "docs/reference"
ARGUMENTS: Final = ROOT / "crates/cli/src/arguments.rs"


def kinds_of_the_engine() -> list[str]:
    """Names of the variants of `Kind`, in their order."""
    source = (ROOT / "crates/core/src/error.rs").read_text()
    body = re.search(r"^pub enum Kind \{\n(.*?)^\}", source, re.MULTILINE | re.DOTALL)
    assert body
    return re.findall(r"^    (\w+),$", body[1], re.MULTILINE)


def test_every_kind_of_error_has_its_section() -> None:
    page = (REFERENCE / "errors.md").read_text()
    kinds = kinds_of_the_engine()
    assert kinds == list(fb.errors.KINDS), "the engine and Python have the same kinds"
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == kinds
    for kind, section in zip(kinds, page.split("\n## ")[1:], strict=True):
        assert "**What to do:**" in section, kind
        assert "```text\n" in section, f"{kind}: no example of what it says"
        assert f"| [{kind}](#{kind.lower()}) | `{fb.errors.KINDS[kind].__name__}` |" in page


def test_every_option_of_the_command_line_is_on_its_page() -> None:
    fields = re.findall(r"#\[arg\(long[^\n]*\)\]\s+(?:pub )?(\w+):", ARGUMENTS.read_text())
    page = (REFERENCE / "run.md").read_text()
    rows = re.findall(r"^\| `(--[^|]*) \|", page, re.MULTILINE)
    assert {"--" + field for field in fields} == {option for row in rows for option in re.findall(r"--[\w-]+", row)}


def test_every_command_is_on_its_page() -> None:
    enums = dict(re.findall(r"^pub enum (\w*Command) \{\n(.*?)^\}", ARGUMENTS.read_text(), re.MULTILINE | re.DOTALL))
    rows = re.findall(r"^\| `forebay (\w+)(.*?) \|", (REFERENCE / "run.md").read_text(), re.MULTILINE)
    assert len(enums) == 5
    for name, body in enums.items():
        group = name.removesuffix("Command").lower()
        for command in map(str.lower, re.findall(r"^    ([A-Z]\w+)", body, re.MULTILINE)):
            found = [rest for first, rest in rows if first == (group or command)]
            assert len(found) == 1, f"{group} {command}"
            assert not group or re.search(rf"\b{command}\b", found[0]), f"{group} {command}"
