"""Forebay: streams of rows through models, where asking a model is a step like any other.

>>> import forebay as fb
>>> fb.col("price") * 2
<("price" * 2)>
"""

from __future__ import annotations

from forebay import ai, errors
from forebay.dataflow import DataFrame
from forebay.expressions import Expression, col, count, expr, function, lit
from forebay.io import Table, read_csv, read_images, read_jsonl, read_parquet, table
from forebay.job import Job
from forebay.models import Model
from forebay.result import DeadLetterWarning, Result
from forebay.run import Report, Run
from forebay.types import Tensor
from forebay.udf import cls, func, method

__all__ = [
    "DataFrame",
    "DeadLetterWarning",
    "Expression",
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
    "table",
]
