"""The graph that a data frame records: sources, steps, side outputs. Values only; nothing is read or run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Node:
    """A source, or a step over other nodes; the same node used twice is one step with two readers."""

    kind: str
    inputs: tuple[Node, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    uid: str | None = None


def is_endless(node: Node) -> bool:
    """Whether its rows have no end: a source of new files is behind it, and no `limit` between."""
    return _finds_endless([node])


def waits_for_an_end(node: Node) -> bool:
    """Whether it has rows only once endless input has ended: a `group_by` of such rows, without `emit="changes"`."""
    at_the_end = (each for each in ordered([node]) if each.kind == "group" and each.settings.get("emit") != "changes")
    return any(_finds_endless(list(each.inputs)) for each in at_the_end)


def _finds_endless(stack: list[Node]) -> bool:
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if node.kind == "limit" or id(node) in seen:
            continue
        seen.add(id(node))
        if "monitor_interval" in node.settings:
            return True
        stack.extend(node.inputs)
    return False


def ordered(nodes: list[Node]) -> Iterator[Node]:
    """Every node that these hang on, and themselves, each after those that it reads."""
    seen: set[int] = set()
    # Long chains are deeper than Python's stack.
    stack = [(node, False) for node in reversed(nodes)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((each, False) for each in reversed(node.inputs))
