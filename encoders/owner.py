"""Classes with a nested config: the config knows its class, and a class that lacks a part is rejected when it is
defined. Also the lists of extensions by name, for all kinds of extension.
"""

from __future__ import annotations

import inspect
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Incomplete(TypeError):
    """A class lacks something that its contract requires. The message names the class, its file and its line."""


class Owner:
    """A class whose settings are a nested class, `Config`.

    `Config.owner` is then the class. A class with a `Config` of its own must be complete: Incomplete is raised when it
    is defined if it or its config lacks a method of its contract, or if the config is no dataclass or has no tag of its
    own. A class without a `Config` may be a base of others.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" in vars(cls):
            cls.Config.owner = cls
            _check(cls, cls.Config)


class Registered(UserDict[str, T]):
    """Things by name, each checked when it is added.

    `check(name, thing)` raises for an invalid one; `of(thing)` is the thing's class. Raises Incomplete, with both
    files, if the name belongs to a thing of another class, or if two classes have the same tag: records and ids
    distinguish them by it.
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
            same = (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__)  # maybe imported again
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
            raise incomplete(part, f"has no {' and no '.join(lacking)}; its base class says what is required")
    if "__dataclass_fields__" not in vars(config):
        raise incomplete(config, "is not a dataclass; write @dataclass(frozen=True, kw_only=True) above it")
    if not isinstance(vars(config).get("tag"), str):
        name = cls.__name__.lower()
        raise incomplete(config, f'has no tag, its permanent name in ids; write tag: ClassVar[str] = "{name}"')


def _abstract(cls: type, name: str) -> bool:
    return getattr(inspect.getattr_static(cls, name), "__isabstractmethod__", False)


def incomplete(cls: Any, what: str) -> Incomplete:
    """The error that `cls` is or lacks `what`, with the place of its definition."""
    return Incomplete(f"{_named(cls)} {what}.")


def _named(cls: Any) -> str:
    try:
        where = f"{inspect.getsourcefile(cls)}, line {inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # defined in no file
        where = f"in {cls.__module__}"
    return f"{cls.__qualname__} ({where})"


def raised(cls: type, error: Exception) -> Incomplete:
    """The error that `cls` raised another error when tried on made-up sequences."""
    said = str(error).splitlines()[0] if str(error) else ""
    return incomplete(cls, f"raises {type(error).__name__}: {said}".rstrip(" .:") + ", with made-up sequences")
