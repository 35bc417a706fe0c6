"""Every example in a docstring runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import forebay

MODULES = [
    f"forebay.{module.name}"
    for module in pkgutil.iter_modules(forebay.__path__)
    if module.name not in ("_native", "__main__")
]


@pytest.mark.parametrize("name", ["forebay", *MODULES])
def test_examples_of_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
