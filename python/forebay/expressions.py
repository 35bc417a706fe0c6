"""Expressions over columns: written in Python, run by the engine as SQL.

An expression is SQL text in pieces; between them may stand answers of functions and models, for which the data frame
puts steps in front. Names and literals are always quoted, so that no value of yours is read as SQL. Nothing is computed
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from forebay._call import Call, Output, Piece
from forebay._functions import Functions
from forebay._literals import quoted_literal, quoted_name
from forebay.errors import InvalidError

if TYPE_CHECKING:
    from forebay.arrays import EmbeddingFunctions, TensorFunctions
    from forebay.namespaces import AudioFunctions, DateTimeFunctions, ImageFunctions, TextFunctions, UrlFunctions

# Inside the class `str` is the namespace of text functions.
Text = str


class Expression(Functions):
    """A value of every row.

    >>> (col("price") * 2 > lit(3)).sql()
    '(("price" * 2) > 3)'
    >>> col('a"b').is_null().alias("missing").sql()
    '("a""b" IS NULL)'
    """

    __slots__ = ("_column", "_descending", "_name", "_pieces")

    def __init__(self, pieces: tuple[Piece, ...], *, name: Text | None = None, column: Text | None = None) -> None:
        """Not for users: `col`, `lit` and `expr` make expressions."""
        self._pieces = pieces
        self._name = name
        self._column = column
        self._descending = False

    # === names ===

    @property
    def name(self) -> Text | None:
        """The name of the column it becomes: its alias, else that of its leftmost column."""
        return self._name

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """SQL text, and between it answers."""
        return self._pieces

    @property
    def column(self) -> Text | None:
        """The column that it is, unless it computes something."""
        return self._column

    @property
    def descending(self) -> bool:
        """Whether `desc` made it, for an order."""
        return self._descending

    def desc(self) -> Expression:
        """For `top`: the greatest first."""
        made = Expression((*self._pieces, " DESC"), name=self._name)
        made._descending = True
        return made

    def alias(self, name: Text) -> Expression:
        """The same value under another name."""
        return Expression(self._pieces, name=name, column=self._column)

    def sql(self, answers: Mapping[Output, Text] | None = None) -> Text:
        """The SQL of the value, where `answers` are the columns that answers stand in.

        Raises: InvalidError if an answer has no column.
        """
        return "".join(piece if isinstance(piece, str) else _answer(piece, answers or {}) for piece in self._pieces)

    def calls(self) -> list[Call]:
        """The calls in it, each once, from left to right."""
        return list(dict.fromkeys(piece.call for piece in self._pieces if isinstance(piece, Output)))

    def __repr__(self) -> Text:
        """Returns the SQL, answers as calls."""
        shown = "".join(
            piece if isinstance(piece, str) else f"{piece.call.asked.label}(..).{piece.name}" for piece in self._pieces
        )
        return f"<{shown}>"

    def __bool__(self) -> bool:
        """Refuses: an expression has a value for each row only."""
        raise TypeError("an expression is not true or false by itself; write & for and, | for or, ~ for not")

    # Python would ask for `[0]`, `[1]` and so on for ever.
    __iter__: ClassVar[None] = None

    # === functions ===

    def __getitem__(self, key: Text) -> Expression:
        """One field of a struct."""
        return Expression((*_made("(", self, ")").pieces, f"[{quoted_literal(key)}]"), name=key)

    def is_in(self, values: Sequence[object]) -> Expression:
        """True where the value is one of these; an empty list gives false."""
        if not values:
            return lit(False).alias(self.name or "is_in")
        return _made("(", self, " IN (", *_listed(values), "))")

    def fill_null(self, value: object) -> Expression:
        """The value, or the other where it is null."""
        return self.is_null().if_else(value, self)

    def if_else(self, if_true: object, if_false: object) -> Expression:
        """One value where this is true, the other where it is false or null."""
        return _made("CASE WHEN ", self, " THEN ", lit(if_true), " ELSE ", lit(if_false), " END")

    def cast(self, to: type | Text, *, strict: bool = True) -> Expression:
        """The value as another type: `int`, `float`, `str`, `bool`, `bytes`, or a name: `"int32"`, `"timestamp"`.

        Without `strict` a value that cannot be cast becomes null; with it, its row is a dead letter.

        >>> col("age").cast(int, strict=False).sql()
        'TRY_CAST("age" AS BIGINT)'
        """
        return _made("CAST(" if strict else "TRY_CAST(", self, f" AS {_sql_type(to)})")

    @property
    def str(self) -> TextFunctions:
        """Functions of text."""
        from forebay.namespaces import TextFunctions

        return TextFunctions(self)

    @property
    def dt(self) -> DateTimeFunctions:
        """Functions of dates and times."""
        from forebay.namespaces import DateTimeFunctions

        return DateTimeFunctions(self)

    @property
    def image(self) -> ImageFunctions:
        """Functions of encoded images."""
        from forebay.namespaces import ImageFunctions

        return ImageFunctions(self)

    @property
    def url(self) -> UrlFunctions:
        """Functions of URLs."""
        from forebay.namespaces import UrlFunctions

        return UrlFunctions(self)

    @property
    def audio(self) -> AudioFunctions:
        """Functions of encoded audio."""
        from forebay.namespaces import AudioFunctions

        return AudioFunctions(self)

    @property
    def embedding(self) -> EmbeddingFunctions:
        """Functions of embeddings."""
        from forebay.arrays import EmbeddingFunctions

        return EmbeddingFunctions(self)

    @property
    def tensor(self) -> TensorFunctions:
        """Functions of tensors."""
        from forebay.arrays import TensorFunctions

        return TensorFunctions(self)

    # === what operators and functions are made of ===

    def _function(self, name: Text, *more: object) -> Expression:
        return function(name, self, *more)

    def _infix(self, operator: Text, other: object) -> Expression:
        return _made("(", self, f" {operator} ", lit(other), ")")

    def _reflected(self, operator: Text, other: object) -> Expression:
        return _made("(", lit(other), f" {operator} ", self, ")")

    def _around(self, before: Text, after: Text) -> Expression:
        return _made(before, self, after)

    def _as_double(self) -> Expression:
        return self.cast("double")


class Answer(Expression):
    """What a function or model says: a value if it has one output, else fields to take with `answer["name"]`."""

    __slots__ = ("call",)

    def __init__(self, call: Call, *, name: str | None = None) -> None:
        """Stands for the outputs of `call`."""
        self.call = call
        first = next((each.name for each in call.inputs.values() if each.name), None)
        super().__init__((Output(call, call.outputs[0] if len(call.outputs) == 1 else "*"),), name=name or first)

    def __getitem__(self, key: str) -> Expression:
        """One output; any name is taken where the outputs are not known here, and the engine compares it."""
        if self.call.outputs and key not in self.call.outputs:
            raise InvalidError(f"{self.call.asked.label} has no output {key!r}; there are {list(self.call.outputs)}")
        return Expression((Output(self.call, key),), name=key)


def col(name: str) -> Expression:
    """The column of this name, as written, upper and lower case included.

    >>> col("Total Price").sql()
    '"Total Price"'
    """
    return Expression((quoted_name(name),), name=name, column=name)


def lit(value: object) -> Expression:
    """A constant: None, bool, int, float, str, bytes, Decimal, date, datetime or timedelta.

    >>> lit("it's").sql(), lit(-1).sql(), lit(None).sql()
    ("'it''s'", '(-1)', 'NULL')
    """
    if isinstance(value, Expression):
        return value
    return Expression((quoted_literal(value),), name="literal")


def expr(sql: str) -> Expression:
    """An expression in DataFusion's SQL. It is taken as it is: put no text of others into it, but use `lit`.

    >>> expr("CASE WHEN age > 17 THEN 'adult' ELSE 'child' END").alias("group").name
    'group'
    """
    return Expression((f"({sql})",))


def count() -> Expression:
    """How many rows a window has.

    >>> count().alias("clicks").sql()
    'count(*)'
    """
    return Expression(("count(*)",), name="count")


def function(name: str, *arguments: object) -> Expression:
    r"""A call of one of DataFusion's scalar functions.

    >>> function("concat", col("a"), "-", col("b")).sql()
    'concat("a", \'-\', "b")'
    """
    return _made(f"{name}(", *_listed(arguments), ")")


def _listed(values: Sequence[Any]) -> Sequence[object]:
    """The values with commas between them."""
    return [piece for value in values for piece in (", ", lit(value))][1:]


def _made(*parts: object) -> Expression:
    """The parts one after the other: text as SQL, expressions by their pieces, named by the leftmost column."""
    pieces: list[Piece] = []
    name = None
    for part in parts:
        if isinstance(part, Expression):
            pieces.extend(part.pieces)
            name = name or (part.name if part.name != "literal" else None)
        else:
            pieces.append(str(part))
    return Expression(tuple(pieces), name=name)


def _answer(output: Output, answers: Mapping[Output, str]) -> str:
    if output.name == "*" and not output.call.outputs:
        raise InvalidError(f'the outputs of {output.call.asked.label} are not known here; take each with ["name"]')
    if output.name == "*":
        raise InvalidError(
            f"{output.call.asked.label} has the outputs {list(output.call.outputs)}; take one of them with "
            f'["{output.call.outputs[0]}"], or pass the call by itself to with_columns(..), which adds all'
        )
    if output not in answers:
        raise InvalidError(
            f"{output.call.asked.label} cannot be asked here; ask it in with_column, select or filter before"
        )
    return quoted_name(answers[output])


# Of types as NumPy and Arrow call them.
_SQL_NAMES: Final = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INT",
    "int64": "BIGINT",
    "uint8": "TINYINT UNSIGNED",
    "uint16": "SMALLINT UNSIGNED",
    "uint32": "INT UNSIGNED",
    "uint64": "BIGINT UNSIGNED",
    "float32": "REAL",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "binary": "BYTEA",
}


def _sql_type(to: type | str) -> str:
    known = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN", bytes: "BYTEA"}
    if isinstance(to, type):
        if to not in known:
            raise InvalidError(f"cast knows int, float, str, bool, bytes and names of SQL types, not {to.__name__}")
        return known[to]
    to = _SQL_NAMES.get(to.lower(), to)
    if not all(part.isalnum() or part in " (),_'+:/" for part in to):
        raise InvalidError(f"{to!r} is no SQL type")
    return to.upper() if "'" not in to else to
