"""How a function gets to its workers: as a file that cloudpickle writes and only workers read.

What workers can import travels as a name inside it. The version names what the answers of the function hang on, so that
a changed function is asked again: it is made of the function's source and of what its object is made with.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
        digest.update(pickled(_ordered(function.owner.arguments)))
    cells = inspect.getclosurevars(inspect.unwrap(function.plain)).nonlocals
    digest.update(pickled(_ordered(dict(sorted(cells.items())))))
    return digest.hexdigest()[:16]


def pickled(value: Any) -> bytes:
    """What cloudpickle writes, and of what it writes so that no worker can read it, what they can."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Knows caches and every kind of TypedDict."""

        def reducer_override(self, each: Any) -> Any:
            if isinstance(each, _CACHED) and by_name(each) is None:
                return _cached, (each.__wrapped__, each.cache_parameters())
            # Before Python 3.12 only those of a class statement said what they are made with.
            if typing.is_typeddict(each) and "__orig_bases__" not in vars(each):
                each.__orig_bases__ = (typing.TypedDict,)
            return super().reducer_override(each)

    written = io.BytesIO()
    Pickler(written).dump(value)
    return written.getvalue()


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
