"""The site refuses pages that a browser could not show without a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from worker_process import PACKAGE


def foreign() -> Callable[[Path], list[str]]:
    """The check of `docs/site/conf.py`, which is a file and no module of a package."""
    spec = importlib.util.spec_from_file_location("site_conf", PACKAGE.parent / "docs/site/conf.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.foreign  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
        ("a.html", "<script defer\n src='//cdn.example/a.js'></script>", ["//cdn.example/a.js"]),
        ("a.html", '<link href="https://fonts.example/f.css" rel="stylesheet">', ["https://fonts.example/f.css"]),
        ("a.html", '<link rel="preconnect" href="https://fonts.example">', ["https://fonts.example"]),
        ("a.html", '<img alt="b" src="http://badge.example/b.svg">', ["http://badge.example/b.svg"]),
        ("a.html", "<style>@import url(https://fonts.example/f.css);</style>", ["https://fonts.example/f.css"]),
        ("a.css", 'a { background: url("//img.example/a.png") }', ["//img.example/a.png"]),
        ("a.html", '<a href="https://example.org">a link may leave</a><script src="_static/a.js"></script>', []),
        ("a.html", '<link rel="index" href="genindex.html"><p>@import "https://in.a/text"</p>', []),
        ("a.css", "/* see https://example.org */ a { background: url(data:image/png;base64,AA//BB) }", []),
        ("a.js", '"https://example.org"', []),
    ],
)
def test_what_comes_from_elsewhere_is_found(name: str, text: str, found: list[str], tmp_path: Path) -> None:
    page = tmp_path / name
    page.write_text(text)
    assert foreign()(page) == found
