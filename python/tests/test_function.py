"""What decorators find out of hints, and what they refuse."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, TypedDict

import cloudpickle
import numpy as np
import numpy.typing as npt
import pytest

import forebay as fb
from forebay._function import Bound, Function
from forebay.types import Slot


@dataclasses.dataclass
class Person:
    """A dataclass."""

    name: str
    age: int | None


class Pair(NamedTuple):
    """With a tensor."""

    left: float
    right: Annotated[Any, fb.Tensor("float32", 2, 3)]


class Row(TypedDict):
    """Of a dict."""

    found: bool
    raw: bytes


@fb.func
def double(number: int) -> int:
    """Twice."""
    return 2 * number


@fb.cls(replicas=2, batch_rows=8)
class Counter:
    """Counts how often it is made."""

    made = 0

    def __init__(self, start: int = 0) -> None:
        """Counts."""
        Counter.wrapped.made += 1  # type: ignore[attr-defined]
        self.start = start

    @fb.method(batch_rows=4)
    def add(self, number: int) -> int:
        """A method of a job."""
        return self.start + number

    def plain(self) -> int:
        """Not decorated."""
        return self.start


@pytest.mark.parametrize(
    ("returns", "slots"),
    [
        (int, (Slot("value", "int64"),)),
        (str | None, (Slot("value", "string"),)),
        (bytes, (Slot("value", "binary"),)),
        (np.float32, (Slot("value", "float32"),)),
        ("uint8", (Slot("value", "uint8"),)),
        (fb.Tensor("float32", 384), (Slot("value", "float32", (384,)),)),
        (fb.Tensor("uint8", 3) | None, (Slot("value", "uint8", (3,)),)),
        (Person, (Slot("name", "string"), Slot("age", "int64"))),
        (Pair, (Slot("left", "float64"), Slot("right", "float32", (2, 3)))),
        (Row, (Slot("found", "bool"), Slot("raw", "binary"))),
        ({"a": float}, (Slot("a", "float64"),)),
    ],
)
def test_return_types_become_outputs(returns: object, slots: tuple[Slot, ...]) -> None:
    @fb.func(returns=returns)
    def function(text: str) -> Any:
        return text

    assert function.outputs == slots


def test_hints_say_in_which_form_a_batch_comes() -> None:
    @fb.func.batch(returns=float)
    def function(
        a: np.ndarray[Any, Any],
        b: npt.NDArray[np.float32],
        c: list[str],
        d: Annotated[Any, fb.Tensor("uint8", 4)],
        e: Any,
    ) -> Any:
        return a

    assert [(each.form, each.value) for each in function.parameters] == [
        ("numpy", "any"),
        ("numpy", "float32"),
        ("list", "string"),
        ("numpy", "uint8"),
        ("arrow", "any"),
    ]


def test_a_tensor_may_stand_in_a_hint_by_itself() -> None:
    def plain(a: Any, b: Any = None) -> Any:
        return a

    # As `from __future__ import annotations` leaves them; type checkers want `Annotated` around them.
    plain.__annotations__ = {
        "a": 'fb.Tensor["float32", 3]',
        "b": 'fb.Tensor["uint8", 2] | None',
        "return": 'fb.Tensor["float32", 3]',
    }
    function = fb.func(plain)
    assert [(each.value, each.shape) for each in function.parameters] == [("float32", (3,)), ("uint8", (2,))]
    assert function.outputs == (Slot("value", "float32", (3,)),)


def test_a_decorated_function_is_still_a_function() -> None:
    assert double(21) == 42
    assert vars(double)["__name__"] == "double"
    assert double.__doc__ == "Twice."


def test_a_class_is_made_once_and_only_when_needed() -> None:
    Counter.wrapped.made = 0  # type: ignore[attr-defined]
    counter = Counter(40)
    assert Counter.wrapped.made == 0  # type: ignore[attr-defined]
    assert (counter.add(2), counter.add(3), counter.plain()) == (42, 43, 40)
    assert Counter.wrapped.made == 1  # type: ignore[attr-defined]
    assert vars(counter.add)["options"] == {"replicas": 2, "batch_rows": 4}


@pytest.mark.parametrize("function", [double, double.with_options(batch_rows=3), Counter(1).add])
def test_functions_of_modules_travel_by_name(function: Function) -> None:
    copy = pickle.loads(cloudpickle.dumps(Bound(function, ("number",))))
    assert copy.function(2) == function(2)
    assert len(cloudpickle.dumps(function)) < 300


def test_functions_of_no_module_travel_whole() -> None:
    factor = 3

    @fb.func
    def times(number: int) -> int:
        return factor * number

    assert pickle.loads(cloudpickle.dumps(times))(5) == 15


def _yields_unknown(text: str) -> Any:
    yield text


def _yields_tensors(text: str) -> Iterator[Annotated[Any, fb.Tensor("float32", 3)]]:
    yield text


def _returns_nothing_known(text: str) -> Any:
    return text


def _takes_nothing() -> int:
    return 1


def _takes_all(*texts: str) -> int:
    return len(texts)


def test_a_function_of_whole_columns_yields_no_rows() -> None:
    with pytest.raises(fb.errors.InvalidError, match="only a function for one row"):
        fb.func.batch(_yields_tensors)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_yields_unknown, "hint or pass returns="),
        (_returns_nothing_known, "hint or pass returns="),
        (_takes_nothing, "takes nothing"),
        (_takes_all, "no name"),
    ],
)
def test_what_cannot_be_a_function_of_a_job_is_refused_at_once(function: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        fb.func(function)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: double(fb.col("a"), fb.col("b")), "takes 1 arguments"),
        (lambda: double(text=fb.col("a")), "no parameter 'text'"),
        (lambda: double.with_options(bach_rows=3), "no option 'bach_rows'"),
        (lambda: fb.Tensor("string", 3), "no values of type"),
        (lambda: fb.Tensor("float32", 0), "above 0"),
    ],
)
def test_wrong_calls_say_what_is_right(call: Any, words: str) -> None:
    with pytest.raises(fb.errors.InvalidError, match=words):
        call()
