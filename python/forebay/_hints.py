"""What the hints of a function say: the types of its columns, the form of a batch, its outputs.

Everything is found out when the function is decorated, so that a mistake shows there and not in a worker.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

from forebay._function import Function, Instance, Parameter
from forebay._yielding import Yielding, is_rows
from forebay.errors import InvalidError
from forebay.types import ANY, Slot, Tensor, bare, fields_of, outputs_of, type_of

# In which form a batch function takes its columns, by the package and name of its hints.
_FORMS: Final[Mapping[tuple[str, str], str]] = {
    ("numpy", "ndarray"): "numpy",
    ("pandas", "Series"): "pandas",
    ("polars", "Series"): "polars",
    ("torch", "Tensor"): "torch",
    ("builtins", "list"): "list",
}


def function_of(
    plain: Callable[..., Any], *, batch: bool, returns: object, options: Any, owner: Instance | None = None
) -> Function:
    """Finds out what a function takes and gives.

    Raises: InvalidError for parameters that no column can be given to, for a result without type, and for a batch
        function that yields.
    """
    name = getattr(plain, "__name__", "function")
    hints = _hints(plain)
    signature = list(inspect.signature(plain).parameters.values())[owner is not None :]
    parameters = tuple(_parameter(each, hints.get(each.name), name, batch) for each in signature)
    if not parameters:
        raise InvalidError(f"function {name}: it takes nothing, so no column can be given to it")
    yields = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
    if yields or (not batch and returns is None and is_rows(bare(hints.get("return")))):
        if batch:
            raise InvalidError(f"function {name}: only a function for one row can yield rows")
        element = _yielded(returns, hints.get("return"))
        text, fields, named = Slot("value", "string"), outputs_of(element, name), fields_of(bare(element)) is not None
        return Yielding(plain, parameters, (text,), False, options, owner, fields=fields, named=named)
    hint = returns if returns is not None else _element(hints.get("return")) if batch else hints.get("return")
    outputs = outputs_of(hint, name)
    several = fields_of(bare(hint)) is not None
    return Function(plain, parameters, outputs, batch, options, owner, several)


def _yielded(returns: object, hint: object) -> object:
    """What a function that yields gives each time: `returns`, else what its iterator is hinted to give."""
    return returns if returns is not None else next(iter(typing.get_args(bare(hint))), None)


def _hints(plain: Callable[..., Any]) -> dict[str, Any]:
    """The hints that can be evaluated; one that names something of an inner scope is as good as none."""
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except (NameError, TypeError):
        names = {**getattr(plain, "__globals__", {}), **inspect.getclosurevars(plain).nonlocals}
        found = {name: _evaluated(hint, names) for name, hint in inspect.get_annotations(plain).items()}
        return {name: hint for name, hint in found.items() if hint is not None}


def _evaluated(hint: Any, names: dict[str, Any]) -> Any:
    if not isinstance(hint, str):
        return hint
    # `pandas.Series[float]` is good for type checkers only.
    for text in (hint, hint.partition("[")[0]):
        try:
            return eval(text, names)
        except (NameError, TypeError):
            continue
    return None


def _parameter(given: inspect.Parameter, hint: object, function: str, batch: bool) -> Parameter:
    if given.kind not in (given.POSITIONAL_OR_KEYWORD, given.KEYWORD_ONLY):
        raise InvalidError(f"function {function}: parameter {given.name} has no name to give a column to")
    value, shape = type_of(_element(hint) if batch else hint) or (ANY, ())
    form = _form(hint)
    if not batch:
        form = "torch_row" if form == "torch" else "row"
    return Parameter(given.name, value, shape, form, given.default is given.empty, None if batch else _row(hint))


def _row(hint: object) -> tuple[str, ...] | None:
    """The columns of a row that is taken as a dict; none for all of them."""
    plain = bare(hint)
    if typing.is_typeddict(plain):
        return tuple(typing.get_type_hints(plain))
    return () if (typing.get_origin(plain) or plain) in (dict, Mapping) else None


def _form(hint: object) -> str:
    plain = bare(hint)
    if isinstance(plain, Tensor):
        around = next(iter(typing.get_args(hint)), Any)
        plain = around
        if plain is Any:
            return "numpy"
    plain = typing.get_origin(plain) or plain
    package = getattr(plain, "__module__", "").partition(".")[0]
    return _FORMS.get((package, getattr(plain, "__name__", "")), "arrow")


def _element(hint: object) -> object:
    """What one row of a column with this hint is: `float32` of `NDArray[float32]`, `str` of `list[str]`."""
    plain = bare(hint)
    if typing.get_origin(plain) is list:
        return typing.get_args(plain)[0]
    if getattr(typing.get_origin(plain), "__name__", "") == "ndarray":
        inner = typing.get_args(plain)[-1]
        return next(iter(typing.get_args(inner)), None)
    return plain
