"""Functions of plain values, as methods of expressions; each is one form of SQL."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from forebay._operators import Operators

if TYPE_CHECKING:
    from forebay.expressions import Expression


class Functions(Operators):
    """The part of an expression that is functions of one value."""

    __slots__ = ()

    @abstractmethod
    def _function(self, name: str, *more: object) -> Expression:
        """A scalar function of self and more."""

    def is_null(self) -> Expression:
        """True where the value is null."""
        return self._around("(", " IS NULL)")

    def not_null(self) -> Expression:
        """True where the value is not null."""
        return self._around("(", " IS NOT NULL)")

    def between(self, low: object, high: object) -> Expression:
        """True from `low` to `high`, both included."""
        return (self >= low) & (self <= high)

    def abs(self) -> Expression:
        """The distance from zero."""
        return self._function("abs")

    def ceil(self) -> Expression:
        """The next whole number, upwards."""
        return self._function("ceil")

    def floor(self) -> Expression:
        """The next whole number, downwards."""
        return self._function("floor")

    def round(self, decimals: int = 0) -> Expression:
        """Rounded to so many decimals."""
        return self._function("round", decimals)

    def sqrt(self) -> Expression:
        """The square root."""
        return self._function("sqrt")

    def exp(self) -> Expression:
        """E to the power of the value."""
        return self._function("exp")

    def log(self) -> Expression:
        """The natural logarithm."""
        return self._function("ln")
