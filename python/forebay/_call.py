"""Questions to functions and models: who is asked, about which columns, for which outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from forebay._options import Options
    from forebay.expressions import Expression


class Askable(Protocol):
    """What a call asks: a Python function or a model."""

    @property
    def label(self) -> str:
        """What steps and errors call it."""

    @property
    def key(self) -> object:
        """What is equal for two that are the same model of a job."""

    def table(self, folder: str) -> dict[str, Any]:
        """Returns its table in a job, after writing the files that the table names into `folder`."""


@dataclass(frozen=True, eq=False)
class Call:
    """A question to a function or model about every row; the same object asked for twice is asked once."""

    asked: Askable
    inputs: Mapping[str, Expression]
    outputs: tuple[str, ...]
    options: Options = field(default_factory=dict)  # type: ignore[assignment]


@dataclass(frozen=True)
class Output:
    """One output of a call, as a piece of an expression."""

    call: Call
    name: str


Piece = str | Output
