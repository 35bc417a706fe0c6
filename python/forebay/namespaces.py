"""Functions of one kind of values, found as `col("x").str`, `.dt` and `.image`; each is one function of the engine."""

from __future__ import annotations

from typing import Literal

from forebay.errors import InvalidError
from forebay.expressions import Expression, function


class TextFunctions:
    """Functions of text. A null stays null.

    >>> from forebay import col
    >>> col("name").str.strip().str.lower().sql()
    'lower(btrim("name"))'
    """

    def __init__(self, text: Expression) -> None:
        """Works on `text`."""
        self._text = text

    def lower(self) -> Expression:
        """In lower case."""
        return function("lower", self._text)

    def upper(self) -> Expression:
        """In upper case."""
        return function("upper", self._text)

    def strip(self) -> Expression:
        """Without spaces at both ends."""
        return function("btrim", self._text)

    def length(self) -> Expression:
        """How many characters it has."""
        return function("character_length", self._text)

    def contains(self, part: object) -> Expression:
        """True where `part`, taken as it is, occurs in it."""
        return function("contains", self._text, part)

    def startswith(self, start: object) -> Expression:
        """True where it starts so."""
        return function("starts_with", self._text, start)

    def endswith(self, end: object) -> Expression:
        """True where it ends so."""
        return function("ends_with", self._text, end)

    def match(self, pattern: str) -> Expression:
        """True where the regular expression matches somewhere."""
        return function("regexp_like", self._text, pattern)

    def replace(self, old: object, new: object) -> Expression:
        """With every `old`, taken as it is, replaced."""
        return function("replace", self._text, old, new)

    def left(self, characters: int) -> Expression:
        """The first characters."""
        return function("left", self._text, characters)

    def right(self, characters: int) -> Expression:
        """The last characters."""
        return function("right", self._text, characters)

    def reverse(self) -> Expression:
        """Backwards."""
        return function("reverse", self._text)

    def concat(self, *others: object) -> Expression:
        """With the others behind it; a null counts as empty text."""
        return function("concat", self._text, *others)


class DateTimeFunctions:
    r"""Functions of dates and timestamps. A null stays null.

    >>> from forebay import col
    >>> col("at").dt.truncate("hour").sql()
    'date_trunc(\'hour\', "at")'
    """

    def __init__(self, time: Expression) -> None:
        """Works on `time`."""
        self._time = time

    def year(self) -> Expression:
        """The year."""
        return self._part("year")

    def month(self) -> Expression:
        """The month, from 1."""
        return self._part("month")

    def day(self) -> Expression:
        """The day of the month, from 1."""
        return self._part("day")

    def hour(self) -> Expression:
        """The hour, 0 to 23."""
        return self._part("hour")

    def minute(self) -> Expression:
        """The minute."""
        return self._part("minute")

    def second(self) -> Expression:
        """The second, without its fraction."""
        return self._part("second")

    def date(self) -> Expression:
        """The day, without the time."""
        return self._time.cast("date")

    def truncate(
        self, unit: Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
    ) -> Expression:
        """The start of its hour, day and so on."""
        return function("date_trunc", unit, self._time)

    def _part(self, unit: str) -> Expression:
        return function("date_part", unit, self._time)


class ImageFunctions:
    """Functions of encoded images: whole JPEG, PNG, WebP, GIF or BMP files."""

    def __init__(self, image: Expression) -> None:
        """Works on `image`."""
        self._image = image

    def to_tensor(
        self,
        width: int,
        height: int,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        dtype: Literal["uint8", "float32"] = "uint8",
        mean: float | None = None,
        std: float | None = None,
    ) -> Expression:
        r"""Decodes and resizes every image, ignoring its aspect ratio.

        Shape:  in [rows] encoded images; out [rows, height, width, channels] of `dtype`, 3 channels for RGB, 1 for L.
        Nulls:  a null stays null; what is no image is an error of its row, see `on_error` of the step.
        Raises: InvalidError for `mean` or `std` without `dtype="float32"`.

        >>> from forebay import col
        >>> col("content").image.to_tensor(8, 8, mode="L").sql()
        'image_to_tensor("content", 8, 8, \'L\')'
        """
        arguments: list[object] = [
            width,
            height,
            mode,
            dtype,
            0.0 if mean is None else mean,
            1.0 if std is None else std,
        ]
        if mean is None and std is None:
            arguments = arguments[:4] if dtype != "uint8" else arguments[:3]
        elif dtype != "float32":
            raise InvalidError('mean and std need dtype="float32"')
        return function("image_to_tensor", self._image, *arguments)
