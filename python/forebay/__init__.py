"""Forebay: streams of rows through models, where asking a model is a step like any other.

>>> import forebay as fb
>>> fb.col("price") * 2
<("price" * 2)>
"""

from __future__ import annotations

from forebay.expressions import Expression, col, expr, lit
from forebay.types import Tensor
from forebay.udf import cls, func, method

__all__ = ["Expression", "Tensor", "cls", "col", "expr", "func", "lit", "method"]
