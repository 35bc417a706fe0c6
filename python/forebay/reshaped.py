"""Steps that make several rows of one, or leave rows out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from forebay._function import Bound, Function
from forebay._settings import without_none
from forebay._split import PREFIX
from forebay._yielding import Rows
from forebay.ending import Ending
from forebay.errors import InvalidError
from forebay.expressions import Answer, Expression, col, function

if TYPE_CHECKING:
    from forebay.dataflow import DataFrame


# The rows that a function yielded, before they are taken apart.
_ROWS: Final = f"{PREFIX}rows"


class Reshaped(Ending):
    """The part of a data frame that changes how many rows there are."""

    @abstractmethod
    def _step(self, kind: str, settings: Mapping[str, Any], uid: str | None) -> DataFrame:
        """A step over this frame."""

    @abstractmethod
    def _expressions(self, kind: str, named: dict[str, Expression], uid: str | None, on_error: str | None) -> DataFrame:
        """A step that computes columns."""

    def explode(
        self, *columns: str | Expression, ignore_empty_and_null: bool = False, uid: str | None = None
    ) -> DataFrame:
        """Makes one row of each element of a list; the other columns are repeated.

        Shape:  several columns go together: their lists are equally long in each row, else the row is a dead letter.
        Nulls:  a null or empty list gives one row with null, or none with `ignore_empty_and_null`.
        Raises: InvalidError if a column is no list, when the job is planned; a tensor is none.

        >>> from forebay import testing
        >>> testing.rows([{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}]).explode("tags").collect().rows()
        [{'id': 1, 'tags': 'a'}, {'id': 1, 'tags': 'b'}, {'id': 2, 'tags': None}]
        """
        names = [each if isinstance(each, str) else each.column for each in columns]
        if not names or None in names:
            raise InvalidError("explode needs the names of columns; compute a list in with_column before")
        settings = {"columns": names, "ignore_empty_and_null": ignore_empty_and_null or None}
        return self._step("explode", without_none(settings), uid)

    def map(self, ask: Callable[..., Any], *, keep: str | Sequence[str] = (), uid: str | None = None) -> DataFrame:
        """Makes of each row the one that a function returns: a dict, dataclass, NamedTuple or TypedDict of values.

        The function gets a column for each parameter that has no default, by its name; a single parameter hinted `dict`
        gets the whole row, hinted as a TypedDict the columns that it names. Or pass a call: `label(col("body"))`.
        Columns in `keep` stay beside what it returns.

        Nulls:  a null is `None`; where the function returns `None`, all its columns are null.
        Raises: InvalidError for a function that returns one value or yields rows.

        >>> from typing import TypedDict
        >>> import forebay as fb
        >>> class Word(TypedDict):
        ...     text: str
        ...     length: int
        >>> @fb.func
        ... def measured(word: str) -> Word:
        ...     return {"text": word.upper(), "length": len(word)}
        >>> fb.testing.rows([{"word": "a", "n": 1}, {"word": "bb", "n": 2}]).map(measured, keep="n").collect().rows()
        [{'n': 1, 'text': 'A', 'length': 1}, {'n': 2, 'text': 'BB', 'length': 2}]
        """
        answer = self._asked(ask)
        if isinstance(answer, Rows):
            raise InvalidError(f"{answer.label} yields rows; pass it to flat_map")
        if not isinstance(answer, Answer) or _is_value(answer):
            raise InvalidError("map needs a function that returns a row; with_column names a single value")
        return self._beside(keep, {name: answer[name] for name in answer.call.outputs}, uid)

    def flat_map(self, ask: Callable[..., Any], *, keep: str | Sequence[str] = (), uid: str | None = None) -> DataFrame:
        """Makes of each row those that a function yields, of which there may be none.

        A generator, or a function that returns a list, `async` or not; what it yields is a value, or a dict, dataclass,
        NamedTuple or TypedDict of values, as its hint says: `Iterator[Word]`, `list[str]`. It gets what `map` gives.
        Columns in `keep` are repeated beside what it yields; a single value is the column `value`. All that is yielded
        of one row travels together, so it has to fit memory.

        Nulls:  a null is `None`; a function that returns `None` gives no row. With `on_error="null"` a row that
                failed gives one row of nulls.
        Raises: InvalidError for a function that yields nothing by its hints.

        >>> from collections.abc import Iterator
        >>> import forebay as fb
        >>> @fb.func
        ... def words(text: str) -> Iterator[str]:
        ...     yield from text.split()
        >>> posts = fb.testing.rows([{"id": 1, "text": "good day"}, {"id": 2, "text": ""}])
        >>> posts.flat_map(words, keep="id").collect().rows()
        [{'id': 1, 'value': 'good'}, {'id': 1, 'value': 'day'}]
        """
        rows = self._asked(ask)
        if not isinstance(rows, Rows):
            raise InvalidError("flat_map needs a function that yields rows, or returns a list of them")
        kept = [keep] if isinstance(keep, str) else list(keep)
        asked = self._expressions("with", {_ROWS: rows.answer}, uid, None)
        listed = asked.select(*kept, function("from_json", col(_ROWS), rows.type).alias(_ROWS))
        # Null, where the function never gives it, is a row that failed and is kept: `on_error="null"`.
        length = function("array_length", col(_ROWS))
        each = listed.filter(col(_ROWS).is_null() | (length > 0)).explode(_ROWS)
        return each.select(*kept, *(value.alias(name) for name, value in rows.columns(col(_ROWS)).items()))

    def _asked(self, ask: Callable[..., Any]) -> Any:
        """The answer of a function that gets columns by the names of its parameters."""
        from forebay.udf import func

        if isinstance(ask, Rows | Answer):
            return ask
        asked = ask if isinstance(ask, Function) else func(ask)
        needed = [parameter for parameter in asked.parameters if parameter.required]
        row = needed[0].row if len(needed) == 1 else None
        if row is None:
            return asked(**{parameter.name: col(parameter.name) for parameter in needed})
        pairs = [part for name in row or self.columns for part in (name, col(name))]
        return asked(**{needed[0].name: function("named_struct", *pairs)})

    def _beside(self, keep: str | Sequence[str], named: dict[str, Expression], uid: str | None) -> DataFrame:
        """These columns, and those that are kept."""
        kept = [keep] if isinstance(keep, str) else list(keep)
        twice = next((name for name in kept if name in named), None)
        if twice is not None:
            raise InvalidError(f"two columns would be called {twice!r}; leave it out of keep, or rename one")
        return self._expressions("with", named, uid, None).select(*kept, *named)

    def limit(self, rows: int, *, uid: str | None = None) -> DataFrame:
        """Keeps the first rows to come; then sources that nothing else reads stop, and the job ends.

        Which rows those are depends on their arrival where several subtasks send them; after a restart the count goes
        on where it was.

        Raises: InvalidError for less than one row.

        >>> from forebay import testing
        >>> testing.rows([{"n": n} for n in range(1000)]).limit(2).collect().rows()
        [{'n': 0}, {'n': 1}]
        """
        if rows < 1:
            raise InvalidError(f"limit needs at least 1 row, not {rows}")
        return self._step("limit", {"rows": rows}, uid)

    def sample(self, fraction: float, *, seed: int = 0, uid: str | None = None) -> DataFrame:
        """Keeps about this share of the rows, more than 0 and at most 1, without replacement.

        Each row stays or goes by the hash of its id: the same rows after a restart and in every run over the same
        files. Another `seed` keeps other rows.

        Raises: InvalidError for another share, or a negative seed.

        >>> from forebay import testing
        >>> numbers = testing.rows([{"n": n} for n in range(1000)])
        >>> 50 < len(numbers.sample(0.1, seed=3).collect()) < 150
        True
        """
        if not 0 < fraction <= 1 or seed < 0:
            raise InvalidError(f"sample needs a share in 0..=1 that is not 0 and a seed from 0, not {fraction}, {seed}")
        return self._step("sample", without_none({"ratio": float(fraction), "seed": seed or None}), uid)


def _is_value(answer: Answer) -> bool:
    """Whether it is of a function that returns one value, without a name."""
    return isinstance(answer.call.asked, Bound) and not answer.call.asked.function.several
