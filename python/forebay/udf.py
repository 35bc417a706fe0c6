"""Python functions and classes that a job asks: the decorators `func`, `cls` and `method`.

What is decorated stays plain Python: called with values it runs at once, in this process. Called with expressions it
becomes a step of the job, and runs in worker processes or in threads of this one, one for each replica. A class is made
once in each of them, when it is first needed. What yields rows is for `DataFrame.flat_map`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, Unpack, overload

from forebay._function import Function, Instance, by_name
from forebay._hints import function_of
from forebay._options import Options, checked
from forebay.errors import InvalidError

__all__ = ["Class", "cls", "func", "method"]

_MARK: Final = "__forebay_method__"
# A method takes values or columns; type checkers see the class undecorated, so that its methods have to say it.
Method = Callable[..., Any]


class Class:
    """A decorated class; calling it says how to make the object, and makes it only where it is needed."""

    def __init__(self, wrapped: type, options: Options) -> None:
        """Wraps `wrapped`."""
        functools.update_wrapper(self, wrapped, updated=())
        self.wrapped = wrapped
        self.options = options

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """An object whose decorated methods take values or columns."""
        return Instance(self, arguments, named)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Travels to a worker by name where it has one there, else as a whole."""
        return by_name(self) or (Class, (self.wrapped, self.options))

    def methods(self) -> list[str]:
        """The decorated methods, and `__call__`."""
        return [name for name in dir(self.wrapped) if name == "__call__" or hasattr(getattr(self.wrapped, name), _MARK)]

    def method(self, name: str, owner: Instance) -> Function:
        """The method of this name of an object."""
        plain = getattr(self.wrapped, name)
        marked = getattr(plain, _MARK, {"batch": False, "returns": None, "options": {}})
        options = {**self.options, **marked["options"]}
        return function_of(plain, batch=marked["batch"], returns=marked["returns"], options=options, owner=owner)


class _Func:
    """The decorator `func`, with `func.batch`."""

    @overload
    def __call__(self, function: Callable[..., Any], /) -> Function: ...
    @overload
    def __call__(
        self, /, *, returns: object = None, **options: Unpack[Options]
    ) -> Callable[[Callable[..., Any]], Function]: ...
    def __call__(self, function: Callable[..., Any] | None = None, /, *, returns: object = None, **options: Any) -> Any:
        """A function that is called once for each row; `async def` runs for all rows of a request batch at once."""
        return _decorate(function, batch=False, returns=returns, options=options)

    @overload
    def batch(self, function: Callable[..., Any], /) -> Function: ...
    @overload
    def batch(
        self, /, *, returns: object = None, **options: Unpack[Options]
    ) -> Callable[[Callable[..., Any]], Function]: ...
    def batch(self, function: Callable[..., Any] | None = None, /, *, returns: object = None, **options: Any) -> Any:
        """A function that is called with whole columns, in the form that its hints say; without hints Arrow arrays."""
        return _decorate(function, batch=True, returns=returns, options=options)


class _Method:
    """The decorator `method`, with `method.batch`."""

    @overload
    def __call__(self, function: Method, /) -> Method: ...
    @overload
    def __call__(self, /, *, returns: object = None, **options: Unpack[Options]) -> Callable[[Method], Method]: ...
    def __call__(self, function: Any = None, /, *, returns: object = None, **options: Any) -> Any:
        """A method that is called once for each row."""
        return _mark(function, batch=False, returns=returns, options=options)

    @overload
    def batch(self, function: Method, /) -> Method: ...
    @overload
    def batch(self, /, *, returns: object = None, **options: Unpack[Options]) -> Callable[[Method], Method]: ...
    def batch(self, function: Any = None, /, *, returns: object = None, **options: Any) -> Any:
        """A method that is called with whole columns."""
        return _mark(function, batch=True, returns=returns, options=options)


func = _Func()
method = _Method()


@overload
def cls(wrapped: type, /) -> Class: ...
@overload
def cls(**options: Unpack[Options]) -> Callable[[type], Class]: ...
def cls(wrapped: type | None = None, /, **options: Any) -> Any:
    """A class whose object is made once in each replica, and whose methods take columns.

    >>> import forebay as fb
    >>> @fb.cls(replicas=2)
    ... class Prefix:
    ...     def __init__(self, text: str) -> None:
    ...         self.text = text
    ...     @fb.method
    ...     def put(self, word: str) -> str:
    ...         return self.text + word
    >>> Prefix("un").put("known")
    'unknown'
    >>> Prefix("un").put(fb.col("word"))
    <put(..).value>
    """
    settings = checked(options)
    return Class(wrapped, settings) if wrapped is not None else lambda each: Class(each, settings)


def _decorate(function: Any, *, batch: bool, returns: object, options: dict[str, Any]) -> Any:
    settings = checked(options)

    def wrap(plain: Callable[..., Any]) -> Function:
        return function_of(plain, batch=batch, returns=returns, options=settings)

    return wrap if function is None else wrap(function)


def _mark(function: Any, *, batch: bool, returns: object, options: dict[str, Any]) -> Any:
    settings = checked(options)

    def wrap(plain: Any) -> Any:
        if not callable(plain):
            raise InvalidError("method stands above a method of a class that cls stands above")
        setattr(plain, _MARK, {"batch": batch, "returns": returns, "options": settings})
        return plain

    return wrap if function is None else wrap(function)
