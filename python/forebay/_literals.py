"""Names and constants as SQL that means them and nothing else."""

from __future__ import annotations

import datetime
import decimal
import math

from forebay.errors import InvalidError

_INT64 = range(-(2**63), 2**63)


def quoted_name(name: str) -> str:
    """The column of this name.

    Raises: InvalidError for a name that no column can have.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidError(f"a column has a name that is text and not empty, not {name!r}")
    return '"' + name.replace('"', '""') + '"'


def quoted_literal(value: object) -> str:
    """The constant.

    Raises: InvalidError for a type that SQL has no constants of.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return _whole(value)
        case float():
            return _float(value)
        case str():
            return _text(value)
        case bytes():
            return f"X'{value.hex()}'"
        case decimal.Decimal():
            return _decimal(value)
    return _time(value)


def _whole(value: int) -> str:
    if value not in _INT64:
        raise InvalidError(f"{value} does not fit 64 bits")
    # The least whole number has no positive counterpart to negate.
    return f"CAST('{value}' AS BIGINT)" if value == _INT64[0] else f"({value})" if value < 0 else str(value)


def _float(value: float) -> str:
    # NumPy's doubles are floats that show themselves in another way.
    value = float(value)
    if math.isfinite(value):
        return f"CAST('{value!r}' AS DOUBLE)" if value < 0 or "e" in repr(value) else repr(value)
    return f"CAST('{value}' AS DOUBLE)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise InvalidError(f"{value} is no constant of SQL")
    sign_digits, exponent = value.as_tuple().digits, value.as_tuple().exponent
    scale = max(0, -int(exponent))
    precision = max(len(sign_digits) + max(0, int(exponent)), scale, 1)
    return f"CAST('{value:f}' AS DECIMAL({precision}, {scale}))"


def _time(value: object) -> str:
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return f"arrow_cast('{value.isoformat()}', 'Timestamp(Microsecond, None)')"
        text = value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat()
        return f"arrow_cast('{text}Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    if isinstance(value, datetime.date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, datetime.timedelta):
        microseconds = value // datetime.timedelta(microseconds=1)
        return f"INTERVAL '{microseconds} microseconds'"
    raise InvalidError(
        f"{value!r:.100} ({type(value).__name__}) is no constant; there are None, bool, int, float, str, bytes, "
        "Decimal, date, datetime and timedelta, or a column: col(..)"
    )
