"""The `infer` step of a call, and the models that it needs in the job."""

from __future__ import annotations

import re
from typing import Any

from forebay._call import Askable, Call
from forebay._options import of_step
from forebay._split import Asking
from forebay.errors import InvalidError
from forebay.expressions import Answer, Expression


class Models:
    """The models of one job; one that several steps ask is there once."""

    def __init__(self, folder: str) -> None:
        """Functions write their files into `folder`."""
        self._folder = folder
        self._names: dict[object, str] = {}
        # What is asked has to live as long as its identity stands for it.
        self._held: list[Askable] = []
        self.tables: dict[str, dict[str, Any]] = {}

    def name_of(self, asked: Askable) -> str:
        """The name of a model in the job."""
        if asked.key not in self._names:
            stem = re.sub(r"[^A-Za-z0-9_-]", "-", asked.label)[:56]
            name, number = stem, 1
            while name in self.tables:
                number += 1
                name = f"{stem}-{number}"
            self.tables[name] = asked.table(self._folder)
            self._names[asked.key] = name
            self._held.append(asked)
        return self._names[asked.key]


def infer(step: Asking, models: Models) -> dict[str, Any]:
    """The settings of the step."""
    settings = dict(of_step(step.call.options))
    if "fallback" in settings:
        settings["fallback"] = _fallback(settings["fallback"], step, models)
    return {"model": models.name_of(step.call.asked), "inputs": step.inputs, "outputs": step.outputs, **settings}


def _fallback(given: Any, step: Asking, models: Models) -> list[dict[str, Any]]:
    entries = given if isinstance(given, list | tuple) else [given]
    return [_entry(each, step.call, step, models) for each in entries]


def _entry(given: Any, call: Call, step: Asking, models: Models) -> dict[str, Any]:
    """A constant, an expression, one of these for each output, or another model that is asked the same."""
    if isinstance(given, Answer):
        return {"model": models.name_of(given.call.asked)}
    if not isinstance(given, Expression | dict | str | int | float):
        asked = given.asked_with(tuple(call.inputs)) if hasattr(given, "asked_with") else given
        return {"model": models.name_of(asked)}
    if not isinstance(given, dict):
        if len(step.outputs) != 1:
            raise InvalidError(f"fallback of {call.asked.label}: say which output gets it: {{output: value}}")
        given = dict.fromkeys(step.outputs, given)
    kept = {name: value for name, value in given.items() if name in step.outputs}
    if any(isinstance(value, Expression) for value in kept.values()):
        from forebay.expressions import lit

        return {"sql": {name: lit(value).sql() for name, value in kept.items()}}
    return {"constant": kept}
