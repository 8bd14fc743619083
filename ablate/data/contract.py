"""Contracts: what is asked of a class that others may write, checked when it is registered and never in a stage."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

from ablate.errors import UserError, place
from encoders.owner import Registered as Registered


class Complete(metaclass=ABCMeta):  # noqa: B024  those made from it have abstract methods
    """Base of contracts whose classes are checked whenever an object is made of one: by then, a class that lacks
    something has been built by the registry or by the plan, never first by a stage.
    """

    def __new__(cls, *_: object, **__: object) -> Any:
        complete(cls, next(base for base in cls.__mro__ if Complete in base.__bases__))
        return super().__new__(cls)


def complete(cls: object, base: type) -> None:
    """Raise UserError, with the class's file and line, unless `cls` is a class made from `base` that has all of it:
    every abstract method, and every `ClassVar` that a base names without a value.
    """
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise UserError(f"{cls!r} is no {base.__name__}: derive a class from it ({place(base)}), and register that.")
    if missing := lacks(cls):
        raise UserError(
            f"{cls.__qualname__} ({place(cls)}) lacks {', '.join(missing)}; {base.__name__} ({place(base)}) says what "
            "each is."
        )


def lacks(thing: object) -> list[str]:
    """Names of the abstract methods and class variables that a class still lacks, those of its bases first; of an
    object also the attributes that its bases name without a value.
    """
    cls = thing if isinstance(thing, type) else type(thing)
    said = {
        name: None
        for base in reversed(cls.__mro__)
        for name, hint in vars(base).get("__annotations__", {}).items()
        if (thing is not cls or str(hint).startswith(("ClassVar", "typing.ClassVar"))) and not hasattr(thing, name)
    }
    return [*said, *sorted(cls.__abstractmethods__)]
