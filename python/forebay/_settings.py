"""What users may write for columns, keys and aggregates, as the texts and expressions that a job has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forebay._literals import quoted_name
from forebay.errors import InvalidError
from forebay.expressions import Answer, Expression, col, lit


def named_expressions(columns: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Expression]:
    """Column names and what they are, in order.

    Raises: InvalidError where a name is missing or said twice.
    """
    found: list[tuple[str, Expression]] = []
    for each in columns:
        found += _several(each) if isinstance(each, Answer) and len(each.call.outputs) != 1 else [_alone(each)]
    found += [(name, lit(value)) for name, value in named.items()]
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidError(f"two columns would be called {twice!r}; give one another name with .alias(..)")
    return dict(found)


def _several(answer: Answer) -> list[tuple[str, Expression]]:
    if not answer.call.outputs:
        raise InvalidError(f'the outputs of {answer.call.asked.label} are not known here; take each with ["name"]')
    return [(name, answer[name]) for name in answer.call.outputs]


def _alone(given: Any) -> tuple[str, Expression]:
    if isinstance(given, str):
        return given, col(given)
    if not isinstance(given, Expression):
        raise InvalidError(
            f"{given!r:.100} is neither the name of a column nor an expression; for a constant: name=value"
        )
    if given.name is None:
        raise InvalidError(f"{given!r} has no name; give it one with .alias(..), or write name=expression")
    return given.name, given


def key_of(key: str | Expression) -> str:
    """A key or an order as a job says it."""
    if isinstance(key, str):
        return quoted_name(key)
    if key.calls():
        raise InvalidError(f"{key!r} asks a function; ask it in with_column before, and name that column here")
    if key.column is not None or key.name is None or key.descending:
        return key.sql()
    return f"{key.sql()} AS {quoted_name(key.name)}"


def keys_of(keys: str | Expression | Sequence[str | Expression]) -> list[str]:
    """Keys as a job says them."""
    return [key_of(each) for each in ([keys] if isinstance(keys, str | Expression) else keys)]


def aggregates_of(given: Expression | Sequence[Expression] | Mapping[str, Expression]) -> list[str]:
    """Aggregates with their names."""
    if isinstance(given, Expression):
        given = [given]
    named = named_expressions((), given) if isinstance(given, Mapping) else named_expressions(given, {})
    return [f"{each.sql()} AS {quoted_name(name)}" for name, each in named.items()]


def pairs_of(on: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Own columns and those of the other side."""
    if isinstance(on, Mapping):
        return dict(on)
    return {name: name for name in ([on] if isinstance(on, str) else on)}


def without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were said."""
    return {key: value for key, value in settings.items() if value is not None}
