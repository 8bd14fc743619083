"""Makes typed configs of what is written. Keys, types and ranges come from dataclasses and their type hints.

A mapping is a patch of a frozen dataclass: of a preset, or of a class's defaults. Types are not guessed: only true and
false are booleans, and numbers are finite.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, TypeVar

from ablate.errors import UserError, as_written, close, nearest, place
from ablate.sweepfile.patch import known
from encoders.ranges import OneOf, Within

T = TypeVar("T")
BOOLEANS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
LISTS, MAPPINGS = (tuple, list, abc.Sequence), (dict, abc.Mapping)


def resolve(presets: Mapping[str, T], patch: Mapping[str, object], path: str, default: str | None = None) -> T:
    """Return the typed config that `patch` describes: the preset that it names (or `default`), with its changes.

    Raises UserError for an unknown preset, and as `typed` does.
    """
    patch = dict(patch)
    name = patch.pop("preset", default)
    if name is None:
        raise UserError(f"{path}: no preset given; {nearest('', presets)}")
    if not isinstance(name, str) or name not in presets:
        found = f"'{name}'" if isinstance(name, str) else repr(name)
        raise UserError(f"{path}: no preset {found}; {nearest(str(name), presets)}")
    return typed(presets[name], patch, path)


def typed(config: T, patch: object, path: str) -> T:
    """Return a copy of the frozen dataclass `config` with the mapping `patch` merged in.

    Raises UserError for an unknown key, a wrong type or a value out of range; it names the key, what was expected and
    what was found.
    """
    return _made(type(config), config, patch, path) if patch else config


def made(cls: type[T], written: object, path: str) -> T:
    """Make a dataclass from a mapping, with defaults for missing keys.

    Raises UserError as `typed` does, and for a missing key that has no default.
    """
    return _made(cls, None, written, path)


def setting(cls: type, key: str, written: object, path: str = "") -> typing.Any:
    """Read the value of one field of a dataclass; messages call it `path`, by default the key. Raises UserError."""
    return _read(hints(cls)[key], written, None, path or key)


def settable(config: object) -> None:
    """Raise UserError if a sweep file could not set some field of a config: by its type, or to its present value.

    The message gives the class's file and line.
    """
    cls = type(config)
    try:
        for name, hint in hints(cls).items():
            _read(hint, getattr(config, name), None, name)
    except (TypeError, UserError) as error:
        raise UserError(f"{cls.__qualname__} ({place(cls)}): {error}") from None


@cache
def hints(cls: type) -> dict[str, Hint]:
    """Return how each field of a dataclass is read. Raises TypeError for a field whose type no sweep file can set."""
    annotated, of = typing.get_type_hints(cls, include_extras=True), {}
    for one in dataclasses.fields(cls):
        try:
            of |= {one.name: _hint(annotated[one.name])} if one.init else {}
        except TypeError as error:
            raise TypeError(f"{one.name}: {error}") from None
    return of


@dataclass(frozen=True)
class Hint:
    """A type hint, in the form in which values are checked."""

    kinds: tuple[type, ...]
    """Classes that a value may have, None excluded. Every sequence type is given as tuple, and every mapping type as
    dict."""
    optional: bool
    ranges: tuple[Within | OneOf, ...]
    items: tuple[Hint, ...] = ()
    """Of a list or mapping, the hint of its values; of a tuple of fixed length, one hint per item."""
    fixed: bool = False
    """Whether it is a tuple of fixed length."""

    @property
    def choices(self) -> tuple[OneOf, ...]:
        """The names that text must be one of, if there are such."""
        return tuple(one for one in self.ranges if type(one) is OneOf)

    @property
    def mapping(self) -> bool:
        """Whether a value may be a mapping."""
        return any(kind is dict or dataclasses.is_dataclass(kind) for kind in self.kinds)

    def __str__(self) -> str:
        """What is expected, as part of a sentence."""
        return " or ".join(dict.fromkeys(self._said(kind) for kind in self.kinds))

    def _said(self, kind: type) -> str:
        within = "".join(f" {one}" for one in self.ranges if type(one) is Within)
        text = next((str(one) for one in self.choices), "text")
        if kind is tuple and self.fixed:
            return f"a list of {len(self.items)}"
        words = {int: f"a whole number{within}", float: f"a number{within}", bool: "true or false", str: text}
        return {**words, tuple: "a list", object: "a value"}.get(kind, "a mapping")


def _hint(hint: object) -> Hint:
    """Convert a type hint. Raises TypeError for a type that no sweep file can set."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        inner = _hint(arguments[0])
        return dataclasses.replace(inner, ranges=tuple(one for one in arguments[1:] if type(one) in (Within, OneOf)))
    if origin in (typing.Union, types.UnionType):
        members = [_hint(one) for one in arguments if one is not types.NoneType]
        return Hint(
            tuple(kind for one in members for kind in one.kinds),
            types.NoneType in arguments,
            tuple(within for one in members for within in one.ranges),
            next((one.items for one in members if one.items), ()),
            any(one.fixed for one in members),
        )
    if origin in LISTS or hint in LISTS:
        fixed = origin is tuple and bool(arguments) and arguments[-1] is not Ellipsis
        inner = arguments if fixed else arguments[:1] or (object,)
        return Hint((tuple,), False, (), tuple(map(_hint, inner)), fixed)
    if origin in MAPPINGS or hint in MAPPINGS:
        return Hint((dict,), False, (), (_hint(arguments[1] if arguments else object),))
    if hint in (object, typing.Any):
        return Hint((object,), True, ())
    if hint in (bool, int, float, str) or isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Hint((hint,), False, ())
    said = hint.__qualname__ if isinstance(hint, type) and not arguments else str(hint)
    raise TypeError(f"no sweep file can set a {said}; use bool, int, float, str, tuple, dict or a dataclass.")


def _made(cls: type[T], before: T | None, patch: object, path: str) -> T:
    of = hints(cls)
    given = known(patch, path, of)
    old = {key: getattr(before, key) if before is not None else None for key in given}
    values = {key: _read(of[key], value, old[key], f"{path}.{key}") for key, value in given.items()}
    if before is None:
        for one in dataclasses.fields(cls):
            needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
            if needed and one.init and one.name not in values:
                raise UserError(f"{path}: '{one.name}' is missing; expected {of[one.name]}.")
    try:
        return dataclasses.replace(before, **values) if before is not None else cls(**values)
    except (ValueError, UserError) as e:
        raise UserError(f"{path}: {e}") from None


def _read(hint: Hint, value: object, before: object, path: str) -> object:
    """Read a value as its type hint says; a mapping is a patch of the value `before`. Raises UserError."""
    if value == "???":
        raise UserError(f"{path}: must be given; write {path}=VALUE, or {path.split('.')[-1]}: VALUE in the file.")
    if value is None and hint.optional:
        return None
    for kind in hint.kinds:
        read = READERS.get(kind, _config)(hint, kind, value, before, path)
        if read is not None:
            break
    else:
        raise UserError(f"{path}: expected {hint}, found {as_written(value)}{_advice(hint, value, path)}")
    if not isinstance(read, Mapping) and not all(one.holds(read) for one in hint.ranges):
        near = close(str(value), [name for one in hint.choices for name in one.names])
        raise UserError(
            f"{path}: expected {hint}, found {as_written(value)}{f'; did you mean {near!r}?' if near else '.'}"
        )
    return read


def _advice(hint: Hint, value: object, path: str) -> str:
    """Return the end of an error message, with a guess at what was meant."""
    if bool in hint.kinds and str(value).lower() in BOOLEANS:
        return f"; write {str(BOOLEANS[str(value).lower()]).lower()}."
    if isinstance(value, str) and {int, float} & {*hint.kinds} and re.match(r"[-+]?[\d.]+(e[-+]?\d+)?#", value, re.I):
        return "; a comment needs a space before its #."
    if str in hint.kinds and isinstance(value, bool) and all(one.holds(str(value).lower()) for one in hint.choices):
        return f"; write '{str(value).lower()}', in quotes."
    if int in hint.kinds and isinstance(value, float) and value % 1 == 0:
        return f"; write {value:.0f}."
    if tuple in hint.kinds and not hint.fixed and isinstance(value, (str, int, float)):
        return f"; write [{value}]."
    if hint.mapping and not isinstance(value, Mapping):
        name = "" if path.endswith("]") else f"{path.split('.')[-1]}: "
        return f"; write {name}{{key: value}}."
    return "."


Reader = Callable[[Hint, type, object, object, str], object]
"""Reads a value, given also the value before and the path. Returns None if the value is of another type."""


def _bool(hint: Hint, kind: type, value: object, before: object, path: str) -> bool | None:
    return value if isinstance(value, bool) else None


def _int(hint: Hint, kind: type, value: object, before: object, path: str) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+", value):  # from an environment variable
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(hint: Hint, kind: type, value: object, before: object, path: str) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        raise UserError(f"{path}: expected {hint}, found {value}; it has to be finite.")
    return number


def _str(hint: Hint, kind: type, value: object, before: object, path: str) -> str | None:
    """Read text; a number becomes text as it is printed."""
    return None if isinstance(value, bool) or not isinstance(value, (str, int, float)) else str(value)


def _tuple(hint: Hint, kind: type, value: object, before: object, path: str) -> tuple[object, ...] | None:
    if value == "" and not hint.fixed:
        return ()  # as everywhere: '' is none
    if not isinstance(value, (list, tuple)) or hint.fixed and len(value) != len(hint.items):
        return None
    of = hint.items if hint.fixed else hint.items * len(value)
    return tuple(_read(one, item, None, f"{path}[{i}]") for i, (one, item) in enumerate(zip(of, value, strict=True)))


def _dict(hint: Hint, kind: type, value: object, before: object, path: str) -> dict[str, object] | None:
    if not isinstance(value, Mapping):
        return None
    old = before if isinstance(before, Mapping) else {}
    read = {key: _read(hint.items[0], part, old.get(key), f"{path}.{key}") for key, part in value.items()}
    return {**old, **read}


def _object(hint: Hint, kind: type, value: object, before: object, path: str) -> object:
    if isinstance(value, (list, tuple)):
        return tuple(_object(hint, kind, item, None, path) for item in value)
    return value


def _config(hint: Hint, kind: type, value: object, before: object, path: str) -> object:
    if isinstance(value, kind):
        settable(value)
        return value
    if not isinstance(value, Mapping):
        return None
    if isinstance(before, kind):
        return _made(type(before), before, value, path)
    return _made(kind, None, value, path)


READERS: dict[type, Reader] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    tuple: _tuple,
    dict: _dict,
    object: _object,
}
