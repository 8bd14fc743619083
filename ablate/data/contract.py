"""Contracts of classes that others may write: checked when a class is registered, never first in a stage."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

from ablate.errors import UserError, place
from encoders.owner import Registered as Registered


class Complete(metaclass=ABCMeta):  # noqa: B024  those made from it have abstract methods
    """Base of contracts, which checks a class whenever an object is made of it. The registry or the plan makes one
    first, so an incomplete class never first fails in a stage.
    """

    def __new__(cls, *_: object, **__: object) -> Any:
        complete(cls, next(base for base in cls.__mro__ if Complete in base.__bases__))
        return super().__new__(cls)


def complete(cls: object, base: type) -> None:
    """Raise UserError, with the class's file and line, unless `cls` is a class derived from `base` that is complete:
    it has every abstract method, and every `ClassVar` that a base declares without a value.
    """
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise UserError(f"{cls!r} is no {base.__name__}: derive a class from it ({place(base)}), and register that.")
    if missing := lacks(cls):
        raise UserError(
            f"{cls.__qualname__} ({place(cls)}) lacks {', '.join(missing)}; {base.__name__} ({place(base)}) says what "
            "each is."
        )


def lacks(thing: object) -> list[str]:
    """Names of the abstract methods and class variables that a class still lacks, those of its bases first; for an
    object also the attributes that its bases declare without a value.
    """
    cls = thing if isinstance(thing, type) else type(thing)
    said = {
        name: None
        for base in reversed(cls.__mro__)
        for name, hint in vars(base).get("__annotations__", {}).items()
        if (thing is not cls or str(hint).startswith(("ClassVar", "typing.ClassVar"))) and not hasattr(thing, name)
    }
    return [*said, *sorted(cls.__abstractmethods__)]
