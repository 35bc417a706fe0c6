"""Forebay: streams of rows through models, where asking a model is a step like any other.

>>> import forebay as fb
>>> fb.col("price") * 2
<("price" * 2)>

Names are imported when they are first used, so that workers and scripts load only what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from forebay import ai, errors, testing
    from forebay._shared import empty
    from forebay.dataflow import DataFrame
    from forebay.expressions import Expression, col, count, expr, function, lit
    from forebay.grouped import Grouped
    from forebay.io import Table, read_csv, read_images, read_jsonl, read_parquet, table
    from forebay.job import Job
    from forebay.models import Model
    from forebay.query import sql
    from forebay.result import DeadLetterWarning, Result
    from forebay.run import Report, Run
    from forebay.types import Tensor
    from forebay.udf import cls, func, method

__all__ = [
    "DataFrame",
    "DeadLetterWarning",
    "Expression",
    "Grouped",
    "Job",
    "Model",
    "Report",
    "Result",
    "Run",
    "Table",
    "Tensor",
    "ai",
    "cls",
    "col",
    "count",
    "empty",
    "errors",
    "expr",
    "func",
    "function",
    "lit",
    "method",
    "read_csv",
    "read_images",
    "read_jsonl",
    "read_parquet",
    "sql",
    "table",
    "testing",
]

_MODULES: Final = {
    "_shared": ["empty"],
    "dataflow": ["DataFrame"],
    "expressions": ["Expression", "col", "count", "expr", "function", "lit"],
    "grouped": ["Grouped"],
    "io": ["Table", "read_csv", "read_images", "read_jsonl", "read_parquet", "table"],
    "job": ["Job"],
    "models": ["Model"],
    "query": ["sql"],
    "result": ["DeadLetterWarning", "Result"],
    "run": ["Report", "Run"],
    "types": ["Tensor"],
    "udf": ["cls", "func", "method"],
}
_PLACES: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports what is asked for the first time."""
    if name in _PLACES:
        found = getattr(import_module(f"forebay.{_PLACES[name]}"), name)
    elif name in __all__:
        found = import_module(f"forebay.{name}")
    else:
        raise AttributeError(f"module 'forebay' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names."""
    return __all__
