"""docs/guide/python-api.md has every public name, as its docstring says it. `UPDATE=1` rewrites the page."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from typing import Any, Final

import forebay as fb
from forebay import arrays, closing, namespaces
from worker_process import PACKAGE

PAGE: Final = PACKAGE.parent / "docs/guide/python-api.md"
HEAD: Final = """# Python, name by name

Made of the docstrings by `UPDATE=1 python -m pytest python/tests/test_api_reference.py`. How they belong together is in
[the guide](python.md), what options mean in [the reference](../reference/job-file.md), what each error asks of you on
[its page](../reference/errors.md).
"""
SECTIONS: Final[dict[str, list[Any]]] = {
    "Sources": [fb.read_parquet, fb.read_jsonl, fb.read_csv, fb.read_images, fb.table, fb.sql],
    "Frames": [fb.DataFrame, fb.Grouped],
    "Expressions": [fb.col, fb.lit, fb.expr, fb.function, fb.count, fb.Expression],
    "Texts: `Expression.str`": [namespaces.TextFunctions],
    "Dates and times: `Expression.dt`": [namespaces.DateTimeFunctions],
    "Images: `Expression.image`": [namespaces.ImageFunctions],
    "URLs: `Expression.url`": [namespaces.UrlFunctions],
    "Audio: `Expression.audio`": [namespaces.AudioFunctions],
    "Embeddings: `Expression.embedding`": [arrays.EmbeddingFunctions],
    "Tensors: `Expression.tensor`": [arrays.TensorFunctions],
    "Functions": [fb.func, fb.cls, fb.method, fb.Tensor, fb.empty],
    "Models": [fb.Model, fb.ai.predict, fb.ai.prompt, fb.ai.embed_text, fb.ai.classify_text],
    "Jobs and results": [fb.Job, fb.Run, fb.Report, fb.Result, closing.ClosingIterator, fb.DeadLetterWarning],
    "Errors": [fb.errors.Error, *fb.errors.KINDS.values()],
    "Tests": [
        fb.testing.rows,
        fb.testing.write_files,
        fb.testing.scripted,
        fb.testing.CrashOnce,
        fb.testing.crash,
        fb.testing.collect,
        fb.testing.Clock,
    ],
}


def described(thing: Any) -> str:
    """The docstring: prose, lists, and examples, which `test_examples.py` runs."""
    text = inspect.getdoc(thing) or ""
    return "\n\n".join(_paragraph(each) for each in re.split(r"\n{2,}", text.strip()))


def _paragraph(text: str) -> str:
    """Wrapped prose as one line; a list of `Shape:` and the like as a list; an example as such."""
    if text.startswith(">>>"):
        return f"```pycon\n{text}\n```"
    if re.match(r"(Shape|Nulls|Raises):", text):
        return "\n".join(f"- {line}" for line in text.splitlines())
    return " ".join(text.split())


def signature(name: str, thing: Any) -> str:
    """The call, without types: those are in editors, and in the docstring where they matter."""
    if isinstance(thing, property):
        return f"`{name}`"
    parameters = [each for each in inspect.signature(thing).parameters.values() if each.name not in ("self", "cls")]
    plain = [each.replace(annotation=each.empty, default=each.default) for each in parameters]
    text = str(inspect.Signature(plain))
    return f"`{name}{text}`"


def members(thing: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, inherited ones of this package included."""
    for name, member in inspect.getmembers(thing):
        plain = getattr(member, "fget", member)
        own = str(getattr(plain, "__module__", "")).startswith("forebay")
        if not name.startswith("_") and own and (callable(member) or isinstance(member, property)):
            yield name, member


def called(thing: Any) -> str:
    """What users call it behind `fb.`."""
    name = getattr(thing, "__name__", None) or {id(fb.func): "func", id(fb.method): "method"}[id(thing)]
    module = str(getattr(thing, "__module__", "")).removeprefix("forebay.")
    return f"{module}.{name}" if module in ("ai", "errors", "testing") else str(name)


def entry(title: str, thing: Any) -> Iterator[str]:
    """One name with a heading, and each that belongs to it with one of its own, so that links lead to every name."""
    name = called(thing)
    namespace = title.split("`")[1] if "`" in title else None
    if namespace is None:
        yield f"### {name}\n"
    if not isinstance(thing, type):
        yield f"{signature(name, thing)}\n"
    yield f"{described(thing)}\n"
    if isinstance(thing, type) and not issubclass(thing, BaseException):
        for each, member in members(thing):
            yield f"### {namespace}.{each}\n" if namespace else f"#### {name}.{each}\n"
            yield f"{signature(each, member)}\n"
            yield f"{described(member)}\n"
    elif name in ("func", "method"):
        yield f"#### {name}.batch\n"
        yield f"{signature('batch', thing.batch)}\n"
        yield f"{described(thing.batch)}\n"


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, things in SECTIONS.items():
        lines.append(f"## {title}\n")
        lines.extend(line for thing in things for line in entry(title, thing))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def test_every_public_name_has_its_place() -> None:
    there = {id(thing) for things in SECTIONS.values() for thing in things}
    missing = {name for name in fb.__all__ if id(getattr(fb, name)) not in there}
    assert missing == {"Table", "ai", "errors", "testing"}


def test_the_page_says_what_the_docstrings_say() -> None:
    made = page()
    if os.environ.get("UPDATE"):
        PAGE.write_text(made)
    assert PAGE.read_text() == made, "run it with UPDATE=1"
