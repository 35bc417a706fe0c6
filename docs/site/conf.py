"""The site: every page of the repository that a user may want, as HTML that needs no network.

Sphinx with MyST and furo; MkDocs has had no release since 2024 and its Material theme only gets repairs since 2025.

The pages stay plain Markdown, as the repository shows them: what belongs to the site alone, such as the order of pages,
is here. A page that is missing from `PAGES`, a link or an anchor that leads nowhere, and a file that a browser would
fetch from elsewhere are errors. Nothing is written into the tree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

PAGES: Final[dict[str, list[str]]] = {
    "Guide": [
        "docs/guide/quickstart",
        "docs/guide/python",
        "docs/guide/torch",
        "docs/guide/process-functions",
        "docs/guide/failures",
        "docs/guide/when-not-to-use",
        "examples/python/README",
        "examples/digits/README",
        "examples/process/README",
    ],
    "Reference": [
        "docs/guide/python-api",
        "docs/reference/job-file",
        "docs/reference/run",
        "docs/reference/metrics",
        "docs/reference/errors",
        "GLOSSARY",
    ],
    "Models": ["docs/reference/models/*"],
    "Files, formats, functions": [
        "docs/reference/connectors/*",
        "docs/reference/formats/*",
        "docs/reference/functions/*",
    ],
    "How it works": ["ARCHITECTURE", "docs/internals/*"],
    "Measured": ["benchmarks/README", "benchmarks/*/*", "tests/e2e/README"],
    "Project": ["CHANGELOG", "changelog.d/README", "CONTRIBUTING"],
}

project = "Forebay"
html_title = "Forebay"
extensions = ["myst_parser"]
root_doc = "docs/index"
# All of docs/, so that a page which `PAGES` forgets is noticed; of the rest, what it names.
include_patterns = ["docs/**", *(f"{page}.md" for pages in PAGES.values() for page in pages)]
source_suffix = {".md": "markdown"}
# Anchors are those of the repository's own pages, which `cargo xtask tidy` checks, too.
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_extra_path = ["extra"]
html_static_path = ["style"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_copyright = False

# What a browser fetches while it shows a page; links that a reader may follow are not among it.
_FETCHED: Final = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\b(?:src|srcset)=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*?\brel=["']?(?:stylesheet|icon|preload|preconnect|prefetch|modulepreload|dns-prefetch))"""
    r"""[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)
_IMPORTED: Final = re.compile(r"""(?:@import\s*["']?|url\(\s*["']?)((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


def setup(app: Sphinx) -> None:
    """Adds the order of pages to the first one, and the last check."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", refuse_foreign_files)


def add_navigation(_app: Sphinx, page: str, text: list[str]) -> None:
    """Appends the tables of contents to the first page, from where the theme takes them."""
    if page != root_doc:
        return
    for title, pages in PAGES.items():
        text[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {title}\n\n"
        text[0] += "".join(f"/{each}\n" for each in pages) + "```\n"


def refuse_foreign_files(app: Sphinx, failure: Exception | None) -> None:
    """Fails the build if a page would fetch a script, a style, a font or a picture from elsewhere."""
    if failure is not None:
        return
    found = [f"{file.name}: {address}" for file in sorted(Path(app.outdir).rglob("*")) for address in foreign(file)]
    if found:
        raise ExtensionError("pages fetch from elsewhere: " + ", ".join(found))


def foreign(file: Path) -> list[str]:
    """Addresses outside of the site that a browser fetches for this page or style."""
    if file.suffix == ".html":
        text = file.read_text()
        styles = re.findall(r"<style\b.*?</style>", text, re.DOTALL | re.IGNORECASE)
        fetched = [first or second for first, second in _FETCHED.findall(text)]
        return fetched + [address for style in styles for address in _IMPORTED.findall(style)]
    return _IMPORTED.findall(file.read_text()) if file.suffix == ".css" else []
