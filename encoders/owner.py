"""A class with its config in it: the config knows the class, and one that lacks a part is refused where it stands. And
the lists of what there is by name, which all kinds of extension have.
"""

from __future__ import annotations

import inspect
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Incomplete(TypeError):
    """A class lacks something that its contract asks for. The sentence names the class, its file and its line."""


class Owner:
    """A class whose settings are a class of its own within it, `Config`.

    `Config.owner` is then the class. A class with a `Config` of its own is taken to be whole: where it is defined,
    Incomplete is raised if a method of its contract is missing in it or in its config, or if the config is no dataclass
    or has no tag of its own. One without may be a base of others.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" in vars(cls):
            cls.Config.owner = cls
            _check(cls, cls.Config)


class Registered(UserDict[str, T]):
    """Things by name, each checked when it is put in.

    `check(name, thing)` raises for what cannot be there. A thing is of the class `of(thing)`. Raises Incomplete, with
    both files, where a name is that of a thing of another class, or where two classes have one tag: records and ids
    tell them apart by it.
    """

    def __init__(
        self,
        things: Mapping[str, T],
        check: Callable[[str, T], None] = lambda name, thing: None,
        of: Callable[[T], Any] = type,
    ) -> None:
        self._check, self._of = check, of
        super().__init__(things)

    def __setitem__(self, name: str, thing: T) -> None:
        self._check(name, thing)
        cls = self._of(thing)
        for key, other in ((key, self._of(one)) for key, one in self.items()):
            same = (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__)  # perhaps read anew
            if key == name and not same:
                raise incomplete(cls, f"takes the name '{name}' of {_named(other)}; choose another")
            if key != name and other is not cls and _tag(cls) is not None and _tag(cls) == _tag(other):
                raise incomplete(cls, f"has the tag '{_tag(cls)}', and so has {_named(other)}; give one another")
        super().__setitem__(name, thing)


def _tag(cls: Any) -> str | None:
    return vars(cls).get("tag")


def _check(cls: type, config: type) -> None:
    for part in (cls, config):
        asked = {name for base in part.__mro__ for name in vars(base).get("__abstractmethods__", ())}
        if lacking := sorted(name for name in asked if _abstract(part, name)):
            raise incomplete(part, f"has no {' and no '.join(lacking)}; its base class says what is asked of it")
    if "__dataclass_fields__" not in vars(config):
        raise incomplete(config, "is no dataclass; write @dataclass(frozen=True, kw_only=True) above it")
    if not isinstance(vars(config).get("tag"), str):
        name = cls.__name__.lower()
        raise incomplete(config, f'has no tag, its name in ids for ever; write tag: ClassVar[str] = "{name}"')


def _abstract(cls: type, name: str) -> bool:
    return getattr(inspect.getattr_static(cls, name), "__isabstractmethod__", False)


def incomplete(cls: Any, what: str) -> Incomplete:
    """The error that `cls` is or lacks `what`, with where it is defined."""
    return Incomplete(f"{_named(cls)} {what}.")


def _named(cls: Any) -> str:
    try:
        where = f"{inspect.getsourcefile(cls)}, line {inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # its text lies in no file
        where = f"in {cls.__module__}"
    return f"{cls.__qualname__} ({where})"


def raised(cls: type, error: Exception) -> Incomplete:
    """The error that `cls` raised another one, tried on made-up sequences."""
    said = str(error).splitlines()[0] if str(error) else ""
    return incomplete(cls, f"raises {type(error).__name__}: {said}".rstrip(" .:") + ", with made-up sequences")
