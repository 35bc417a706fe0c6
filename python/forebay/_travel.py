"""How a function gets to its workers: as a file that cloudpickle writes and only workers read.

What workers can import travels as a name inside it. The version names what the answers of the function hang on, so that
a changed function is asked again: it is made of the function's source and of what its object is made with.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
import pickle
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from forebay import _torch
from forebay._function import by_name
from forebay._options import of_model
from forebay.errors import InvalidError

if TYPE_CHECKING:
    from forebay._function import Bound

_CACHED: Final = type(functools.lru_cache(len))


def table(bound: Bound, folder: str) -> dict[str, Any]:
    """The function's table in a job. Its file, named by its content, is written into `folder`.

    Raises: InvalidError if it cannot be pickled, for example because it holds an open file.
    """
    if not folder:
        raise InvalidError(f"function {bound.label} needs a folder to travel through; pass one: to_dict(folder)")
    try:
        content = pickled(bound)
    except Exception as error:
        raise InvalidError(
            f"function {bound.label} cannot be sent to a worker: {error}; make what it holds inside the function, "
            "or in __init__ of a class with @cls"
        ) from error
    file = Path(folder) / f"{bound.label}-{hashlib.sha256(content).hexdigest()[:16]}.pkl"
    file.write_bytes(content)
    options = {"version": version(bound, content), **of_model(bound.function.options)}
    path = [str(Path(entry or ".").resolve()) for entry in sys.path if Path(entry or ".").exists()]
    named = {"host": "python", "pickled": str(file), "path": path}
    return {**named, **options, "signature": bound.signature()}


def version(bound: Bound, content: bytes) -> str:
    """What names the function's answers: its source, the parameters that it is given, what its object is made with."""
    function = bound.function
    holder = function.plain if function.owner is None else function.owner.made_by.wrapped
    parts = [function.plain.__qualname__, repr(bound.given), repr(function.outputs)]
    try:
        parts.append(inspect.getsource(holder))
    except (OSError, TypeError):
        return hashlib.sha256(content).hexdigest()[:16]
    digest = hashlib.sha256("\0".join(parts).encode())
    if function.owner is not None:
        digest.update(pickled(_ordered(function.owner.arguments), to_compare=True))
    cells = inspect.getclosurevars(inspect.unwrap(function.plain)).nonlocals
    digest.update(pickled(_ordered(dict(sorted(cells.items()))), to_compare=True))
    return digest.hexdigest()[:16]


def pickled(value: Any, *, to_compare: bool = False) -> bytes:
    """What cloudpickle writes, and of what it writes so that no worker can read it, what they can.

    With `to_compare` it is for no worker, and the same in every process: cloudpickle writes random numbers for classes,
    torch addresses for tensors, and the order of sets of text is another one each time.
    """
    import cloudpickle

    if spawned := sys.modules.get("__mp_main__"):
        # The script of a process that multiprocessing has started, which workers cannot import by that name.
        cloudpickle.register_pickle_by_value(spawned)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Knows caches and every kind of TypedDict."""

        def reducer_override(self, each: Any) -> Any:
            if to_compare and (same := _comparable(each)) is not None:
                return tuple, (same,)
            if isinstance(each, _CACHED) and by_name(each) is None:
                return _cached, (each.__wrapped__, each.cache_parameters())
            # Before Python 3.12 only those of a class statement said what they are made with.
            if typing.is_typeddict(each) and "__orig_bases__" not in vars(each):
                each.__orig_bases__ = (typing.TypedDict,)
            reduced = super().reducer_override(each)
            if to_compare and reduced is NotImplemented:
                reduced = self.dispatch_table.get(type(each), _parts)(each)
            return _in_order(reduced) if to_compare else reduced

    written = io.BytesIO()
    Pickler(written).dump(value)
    return written.getvalue()


def _comparable(value: Any) -> tuple[object, ...] | None:
    """What stands for a value whose pickled form is another one in every process; `None` for any other value."""
    if _torch.is_plain(value):
        return _torch.content(value)
    classes = [each for each in value.__mro__ if by_name(each) is None] if isinstance(value, type) else []
    # The source of a class inside a function does not tell what the function gave it.
    if not classes or any("<locals>" in each.__qualname__ for each in classes):
        return None
    try:
        return tuple(map(inspect.getsource, classes))
    except (OSError, TypeError):
        return None


def _parts(value: Any) -> Any:
    """What pickle makes an object of whose class does not say so itself; `NotImplemented` for any other value."""
    kind: Any = type(value)
    says_nothing = kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
    if not says_nothing or isinstance(value, type | FunctionType):
        return NotImplemented
    return value.__reduce_ex__(pickle.DEFAULT_PROTOCOL)


def _in_order(reduced: Any) -> Any:
    """The parts of an object, with the sets among them in the same order in every process."""
    if not isinstance(reduced, tuple):
        return reduced
    made_by, arguments, *more = reduced
    return made_by, tuple(map(_ordered, arguments)), *map(_ordered, more)


def _cached(wrapped: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """A function with an empty cache of its own."""
    return functools.lru_cache(**parameters)(wrapped)


def _ordered(value: Any) -> Any:
    """The value with its sets in an order that is the same in every process."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, dict):
        return {key: _ordered(each) for key, each in value.items()}
    return [_ordered(each) for each in value] if isinstance(value, list | tuple) else value
