"""A Python function as a job sees it: what it takes and gives, how it is called, and how it travels to a worker.

Everything is found out when the function is decorated, from its hints, so that a mistake shows there and not in a
worker.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from forebay._call import Call
from forebay._options import Options, checked, of_model
from forebay.errors import InvalidError
from forebay.expressions import Answer, Expression, lit
from forebay.types import ANY, Slot

# The name under which `python -m forebay run` executes a file.
SCRIPT: Final = "__forebay__"
# Of a script there is only one in a process; the second is that of a process which multiprocessing has started.
_OF_SCRIPTS: Final = ("__main__", "__mp_main__", SCRIPT)

if TYPE_CHECKING:
    from forebay.udf import Class


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, the type that its hint gives, the form in which a batch function takes it."""

    name: str
    value: str
    shape: tuple[int, ...]
    form: str
    required: bool
    # Where it takes a whole row as a dict: the columns that its hint names, none for all of them.
    row: tuple[str, ...] | None = None

    @property
    def in_torch(self) -> bool:
        """Whether it is a torch tensor, of a batch or of one row."""
        return self.form in ("torch", "torch_row")

    def slot(self) -> Slot:
        """The input; tensors are exact, any other column is checked when it comes."""
        return Slot(self.name, self.value, self.shape) if self.shape else Slot(self.name, ANY)


class Instance:
    """An object of a decorated class, made when a method first runs; every worker makes its own."""

    def __init__(self, made_by: Class, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Remembers how to make it."""
        self._made: Any = None
        self._recipe = (made_by, arguments, named)

    @property
    def made_by(self) -> Class:
        """The decorated class."""
        return self._recipe[0]

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What it is made with."""
        return self._recipe[1:]

    def load(self) -> Any:
        """The object itself."""
        if self._made is None:
            made_by, arguments, named = self._recipe
            self._made = made_by.wrapped(*arguments, **named)
        return self._made

    def __getattr__(self, name: str) -> Any:
        """A method as a function of a job, or an attribute of the object."""
        made_by = self._recipe[0]
        return made_by.method(name, self) if name in made_by.methods() else getattr(self.load(), name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Calls the class's own `__call__`."""
        return self._recipe[0].method("__call__", self)(*arguments, **named)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels without what it made."""
        return Instance, self._recipe


@dataclass(eq=False)
class Function:
    """A decorated function or method."""

    plain: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    outputs: tuple[Slot, ...]
    batch: bool
    options: Options
    owner: Instance | None = None
    several: bool = False
    origin: Function | None = None
    label: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Takes over name and documentation."""
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(self.plain, name, None))
        self.label = str(getattr(self.plain, "__name__", "")).strip("_<>") or "function"

    @property
    def asynchronous(self) -> bool:
        """Whether it is `async def`."""
        return inspect.iscoroutinefunction(self.plain)

    def load(self) -> Callable[..., Any]:
        """What to call with values; makes the object that it is a method of."""
        if self.owner is None:
            return self.plain
        return typing.cast(Callable[..., Any], self.plain.__get__(self.owner.load()))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Runs at once with values; with expressions, an answer for each row of a job."""
        if not any(isinstance(each, Expression) for each in (*arguments, *named.values())):
            return self.load()(*arguments, **named)
        inputs = self._bound(arguments, named)
        asked = Bound(self, tuple(inputs))
        # A field is a column of its own name, also where it is the only one; a value takes its name from an input.
        name = self.outputs[0].name if self.several and len(self.outputs) == 1 else None
        return Answer(Call(asked, inputs, tuple(slot.name for slot in self.outputs), self.options), name=name)

    def with_options(self, **options: Any) -> Function:
        """The same function, asked in another way."""
        return dataclasses.replace(
            self,
            options={**self.options, **checked(options)},
            origin=self.origin or self,
        )

    def asked_with(self, given: tuple[str, ...]) -> Bound:
        """What a worker is sent that is given these parameters.

        Raises: InvalidError if it has other ones.
        """
        self._bound((), {name: lit(None) for name in given})
        return Bound(self, given)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Travels to a worker by name where it has one there, else as a whole."""
        if self.origin is not None:
            return _itself, (self.origin,)
        if self.owner is not None and by_name(self.owner.made_by):
            return getattr, (self.owner, self.plain.__name__)
        if self.owner is not None:
            # Of a class that travels whole, names that only hints use stay behind; so what they said travels, too.
            return _method, (type(self), self.plain.__name__, self.owner, self._parts()[1:])
        return by_name(self) or (type(self), self._parts())

    def _parts(self) -> tuple[Any, ...]:
        """What it is made of anew in a worker."""
        return self.plain, self.parameters, self.outputs, self.batch, self.options, self.owner, self.several

    def _bound(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Expression]:
        """What each parameter is given."""
        names = [parameter.name for parameter in self.parameters]
        if len(arguments) > len(names):
            raise InvalidError(f"function {self.label} takes {len(names)} arguments, not {len(arguments)}")
        given = dict(zip(names, arguments, strict=False)) | named
        unknown = [name for name in given if name not in names]
        missing = [each.name for each in self.parameters if each.required and each.name not in given]
        if unknown or missing or len(given) < len(arguments) + len(named):
            what = f"has no parameter {unknown[0]!r}" if unknown else f"needs {', '.join(missing) or 'each value once'}"
            raise InvalidError(f"function {self.label} {what}; it takes {', '.join(names)}")
        return {name: lit(given[name]) for name in names if name in given}


@dataclass(frozen=True, eq=False)
class Bound:
    """A function with the parameters that a job gives it: what a worker is sent."""

    function: Function
    given: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name of the function."""
        return self.function.label

    @property
    def key(self) -> object:
        """The function, what it is given, and what its workers are told."""
        function = self.function
        whose = id(function.plain if function.owner is None else function.owner)
        return whose, self.function.plain.__name__, self.given, repr(of_model(function.options))

    @property
    def parameters(self) -> list[Parameter]:
        """Those that are given, in their order."""
        return [each for each in self.function.parameters if each.name in self.given]

    def signature(self) -> dict[str, Any]:
        """What it takes and gives, as the engine reads it."""
        inputs = [parameter.slot().to_json() for parameter in self.parameters]
        return {"inputs": inputs, "outputs": [slot.to_json() for slot in self.function.outputs]}

    def table(self, folder: str) -> dict[str, Any]:
        """Its table in a job; writes the function into `folder`."""
        from forebay._travel import table

        return table(self, folder)


def by_name(decorated: Any) -> str | None:
    """The name under which its module holds a decorated object, if workers can import that module."""
    found: Any = sys.modules.get(decorated.__module__)
    for part in getattr(decorated, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    importable = found is decorated and decorated.__module__ not in _OF_SCRIPTS
    return str(decorated.__qualname__) if importable else None


def _method(kind: type[Function], name: str, owner: Instance, parts: tuple[Any, ...]) -> Function:
    return kind(getattr(owner.made_by.wrapped, name), *parts)


def _itself(origin: Function) -> Function:
    return origin
