"""Functions of one kind of values, found as `col("x").str`, `.dt`, `.image`, `.url` and `.audio`.

Each is one function of the engine, but for what has to be waited for, which is a model that is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Unpack, get_args

from forebay._options import Options, Size
from forebay.errors import InvalidError
from forebay.expressions import Expression, function

Unit = Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year"]


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
        """True where the regular expression matches somewhere; it has no look-around and no back-references."""
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

    def truncate(self, unit: Unit) -> Expression:
        """The start of its second, minute, hour, day, week (on Monday), month, quarter or year.

        Raises: InvalidError for another unit.
        """
        if unit not in get_args(Unit):
            raise InvalidError(f"{unit!r:.100} is no unit; there are {', '.join(get_args(Unit))}")
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


class UrlFunctions:
    """Functions of URLs."""

    def __init__(self, url: Expression) -> None:
        """Works on `url`."""
        self._url = url

    def download(
        self,
        *,
        private_hosts: Sequence[str] = (),
        answer_bytes: Size | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> Expression:
        """The bytes behind every URL. Asks as a model is asked: see `Model.fetch` and its options.

        `in_flight` (32) bounds how many are asked for at a time, `timeout` (30 s) each try, `attempts` (3) the tries of
        a row, `answer_bytes` (32 MiB) what is read. `on_error` says what becomes of a URL that cannot be had: a dead
        letter, `"null"`, or `"fail"`. Every answer is kept until its row is written, so that no restart asks again;
        `journal=False` saves the disk that takes.

        Shape:  in [rows] text; out [rows] bytes.
        Nulls:  a null stays null.
        Raises: InvalidError for an option that there is not.

        >>> from forebay import col
        >>> col("photo").url.download(timeout="10s", on_error="null")
        <fetch(..).content>
        """
        from forebay.models import Model

        fetch = Model.fetch(private_hosts=private_hosts, answer_bytes=answer_bytes, headers=headers, **options)
        return fetch.predict(url=self._url)["content"]

    def parse(self) -> Expression:
        r"""The parts of every URL, as browsers read it; the password is left out.

        Shape:  in [rows] text; out [rows] structs of scheme, username, host, port, path, query and fragment.
        Nulls:  a null stays null, a part that is not there is null; what is no URL is an error of its row.

        >>> from forebay import col
        >>> col("link").url.parse()["host"].sql()
        '(parse_url("link"))[\'host\']'
        """
        return function("parse_url", self._url)


class AudioFunctions:
    """Functions of encoded audio: whole WAV or FLAC files."""

    def __init__(self, audio: Expression) -> None:
        """Works on `audio`."""
        self._audio = audio

    def decode(self, sample_rate: int | None = None) -> Expression:
        """The samples of one channel, the mean of all, at `sample_rate` a second, or at that of each file.

        Shape:  in [rows] encoded files; out [rows] lists of float32, -1 to 1 where a file holds whole numbers.
        Nulls:  a null stays null; what is no audio is an error of its row, see `on_error` of the step.

        >>> from forebay import col
        >>> col("content").audio.decode(16_000).sql()
        'decode_audio("content", 16000)'
        """
        return function("decode_audio", self._audio, *([] if sample_rate is None else [sample_rate]))

    def metadata(self) -> Expression:
        r"""Its `format`, `sample_rate`, `channels`, `frames` and `duration_seconds`, from its header alone.

        Shape:  in [rows] encoded files; out [rows] structs.
        Nulls:  a null stays null; what is no audio is an error of its row, see `on_error` of the step.

        >>> from forebay import col
        >>> col("content").audio.metadata()["duration_seconds"].sql()
        '(audio_metadata("content"))[\'duration_seconds\']'
        """
        return function("audio_metadata", self._audio)
