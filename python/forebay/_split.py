"""Expressions with calls in them, taken apart: each call becomes an `infer` step, what is left is SQL.

Inputs of a call that are more than a column are computed in a step before it, under a name of ours that is dropped in
the end. Calls of calls come out innermost first. A call that stands in several places is asked once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from forebay._call import Call, Output
from forebay._literals import quoted_name
from forebay.expressions import Expression

PREFIX = "_forebay_"


@dataclass
class Asking:
    """One `infer` step: the call, its inputs and outputs by column."""

    call: Call
    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass
class Split:
    """The steps to put in front, in order, and where each answer stands then."""

    steps: list[list[str] | Asking] = field(default_factory=list)
    answers: dict[Output, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    _number: int = 0

    def fresh(self) -> str:
        """A name of ours."""
        self._number += 1
        self.made.append(f"{PREFIX}{self._number}")
        return self.made[-1]


def split(expressions: Iterable[Expression], named: dict[Output, str]) -> Split:
    """Takes the calls out of expressions; the outputs in `named` get that column, which stays."""
    found = Split()
    every = list(expressions)
    used = list(dict.fromkeys(output for each in every for output in outputs_in(each)))
    for expression in every:
        for call in expression.calls():
            _ask(call, used, named, found)
    return found


def aliased(expression: Expression, name: str, answers: dict[Output, str]) -> str:
    """The item of a `select` or `with` step."""
    return f"{expression.sql(answers)} AS {quoted_name(name)}"


def _ask(call: Call, used: list[Output], named: dict[Output, str], found: Split) -> None:
    if any(isinstance(step, Asking) and step.call is call for step in found.steps):
        return
    columns = {name: _column(value, used, named, found) for name, value in call.inputs.items()}
    outputs = {}
    for output in used:
        if output.call is call and output.name != "*":
            found.answers[output] = outputs[output.name] = named.get(output) or found.fresh()
    found.steps.append(Asking(call, columns, outputs))


def _column(value: Expression, used: list[Output], named: dict[Output, str], found: Split) -> str:
    """The column that an input stands in, made in a step of its own if need be."""
    if value.column is not None:
        return value.column
    for call in value.calls():
        _ask(call, used, named, found)
    if len(value.pieces) == 1 and isinstance(value.pieces[0], Output) and value.pieces[0] in found.answers:
        return found.answers[value.pieces[0]]
    name = found.fresh()
    found.steps.append([aliased(value, name, found.answers)])
    return name


def outputs_in(expression: Expression) -> Iterator[Output]:
    """Every output that an expression hangs on, also inside the inputs of its calls."""
    for piece in expression.pieces:
        if isinstance(piece, Output):
            for value in piece.call.inputs.values():
                yield from outputs_in(value)
            yield piece
