"""A class with its config in it: the config knows the class, and one that lacks a part is refused where it stands."""

from __future__ import annotations

import inspect
from typing import Any


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


def incomplete(cls: type, what: str) -> Incomplete:
    """The error that `cls` is or lacks `what`, with where it is defined."""
    try:
        where = f"{inspect.getsourcefile(cls)}, line {inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # its text lies in no file
        where = f"in {cls.__module__}"
    return Incomplete(f"{cls.__qualname__} ({where}) {what}.")


def raised(cls: type, error: Exception) -> Incomplete:
    """The error that `cls` raised another one, tried on made-up sequences."""
    said = str(error).splitlines()[0] if str(error) else ""
    return incomplete(cls, f"raises {type(error).__name__}: {said}".rstrip(" .:") + ", with made-up sequences")
