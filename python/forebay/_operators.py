"""Python's operators on expressions, and the aggregates of windows: each is one form of SQL."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forebay.expressions import Expression


class Operators:
    """The part of an expression that is operators."""

    __slots__ = ()

    @abstractmethod
    def _infix(self, operator: str, other: object) -> Expression:
        """Self, the operator, the other."""

    @abstractmethod
    def _reflected(self, operator: str, other: object) -> Expression:
        """The other, the operator, self."""

    @abstractmethod
    def _around(self, before: str, after: str) -> Expression:
        """Self between two pieces of SQL."""

    @abstractmethod
    def _as_double(self) -> Expression:
        """Self as a float."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        """Compares; null if either is null."""
        return self._infix("=", other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        """Compares; null if either is null."""
        return self._infix("<>", other)

    def __lt__(self, other: object) -> Expression:
        """Compares; null if either is null."""
        return self._infix("<", other)

    def __le__(self, other: object) -> Expression:
        """Compares; null if either is null."""
        return self._infix("<=", other)

    def __gt__(self, other: object) -> Expression:
        """Compares; null if either is null."""
        return self._infix(">", other)

    def __ge__(self, other: object) -> Expression:
        """Compares; null if either is null."""
        return self._infix(">=", other)

    def __add__(self, other: object) -> Expression:
        """Adds; for text use `concat`."""
        return self._infix("+", other)

    def __radd__(self, other: object) -> Expression:
        """Adds."""
        return self._reflected("+", other)

    def __sub__(self, other: object) -> Expression:
        """Subtracts."""
        return self._infix("-", other)

    def __rsub__(self, other: object) -> Expression:
        """Subtracts."""
        return self._reflected("-", other)

    def __mul__(self, other: object) -> Expression:
        """Multiplies."""
        return self._infix("*", other)

    def __rmul__(self, other: object) -> Expression:
        """Multiplies."""
        return self._reflected("*", other)

    def __truediv__(self, other: object) -> Expression:
        """Divides as Python does: the result is a float, also of whole numbers."""
        return self._as_double()._infix("/", other)

    def __rtruediv__(self, other: object) -> Expression:
        """Divides; the result is a float."""
        return self._as_double()._reflected("/", other)

    def __mod__(self, other: object) -> Expression:
        """The rest of a division, with the sign of the dividend, as in SQL."""
        return self._infix("%", other)

    def __neg__(self) -> Expression:
        """The negative."""
        return self._around("(- ", ")")

    def __and__(self, other: object) -> Expression:
        """Both are true."""
        return self._infix("AND", other)

    def __rand__(self, other: object) -> Expression:
        """Both are true."""
        return self._reflected("AND", other)

    def __or__(self, other: object) -> Expression:
        """One of them is true."""
        return self._infix("OR", other)

    def __ror__(self, other: object) -> Expression:
        """One of them is true."""
        return self._reflected("OR", other)

    def __invert__(self) -> Expression:
        """It is false."""
        return self._around("(NOT ", ")")

    # === aggregates, for windows ===

    def sum(self) -> Expression:
        """The sum of a window."""
        return self._around("sum(", ")")

    def mean(self) -> Expression:
        """The mean of a window."""
        return self._around("avg(", ")")

    def min(self) -> Expression:
        """The least value of a window."""
        return self._around("min(", ")")

    def max(self) -> Expression:
        """The greatest value of a window."""
        return self._around("max(", ")")

    def count(self) -> Expression:
        """How many values of a window are not null."""
        return self._around("count(", ")")

    def count_distinct(self) -> Expression:
        """How many different values a window has."""
        return self._around("count(DISTINCT ", ")")
