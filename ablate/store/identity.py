"""The identity of a stage: the canonical form of its config, the id made from it, and the way back to the config.

Runs outlive the code that made them, so an id expresses meaning rather than spelling. It contains no present name of a
module, class or field, but names that were given once and stay.

A **class** has a `tag: ClassVar[str]` in its own body ("joint", "contrastive"), and its form says `"type": tag`. The
class may be renamed and moved; its tag stays. Tags must be unique among the classes that a field's type hint allows: no
two subclasses of one base class may have the same tag. Further class variables, all of them optional:

- `recipe: ClassVar[int]`: a version of the code behind the class, part of the form, raised by hand when results change;
- `how: ClassVar[tuple[str, ...]]`: fields that say how a stage runs (such as where data lie), and not what it is; they
  are left out of the form;
- `removed: ClassVar[Mapping[str, str]]`: removed fields, each with the canonical text of its last value. They can no
  longer be set, but stay in the form: `removed = {"old_field": "0.5"}`.

A **field**'s name in the form never changes. To change a class that has been released, do one of these:

- *rename a field*: keep the name: `new: int = field(default=3, metadata={"name": "old"})`;
- *add a field*: state the value that means "as before this field existed", as canonical text (JSON, keys sorted, no
  spaces; a float as 0.0): `gain: float = field(default=1.0, metadata={"absent": "1.0"})`. At that value the field is
  left out of the form, so all earlier ids stay. That text never changes. The default may change; then ids of configs
  that use the new default change, as they should;
- *remove a field*: add it to `removed`, with the value that the code now always uses.

tests/golden-fields.json lists the names in each class's form; a test fails when one is added or removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ablate.errors import UserError, nearest, place


def canonical(config: Any) -> dict[str, Any]:
    """Return the canonical form of a config, a frozen dataclass, as JSON values: its tag, recipe and fields.

    A 1 in a float field becomes 1.0, tuples become lists, and keys are sorted. Raises TypeError for a class without a
    tag and for values without a JSON form, and ValueError for NaN and infinity.
    """
    return Forms().of(config, type(config)).plain


def how(config: Any) -> dict[str, Any]:
    """Return the fields that `canonical` leaves out because they only say how a stage runs, as dotted path → value."""
    return Forms().of(config, type(config)).how


@dataclass(frozen=True)
class Form:
    """The canonical form of a config or of a part of one."""

    plain: Any
    """The form as JSON values."""
    text: str
    """The form as compact JSON with sorted keys; ids are hashes of it."""
    how: Mapping[str, Any]
    """Values that only say how a stage runs, by dotted path."""


NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Forms:
    """Makes canonical forms, each frozen config's once, as the stages of a sweep share most parts."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[Any, Form]] = {}  # by id(): the config is kept, so no other object gets its id()

    def of(self, value: Any, hint: Any) -> Form:
        """Return the form of a value in a field with this type hint. Raises as `canonical` does."""
        if isinstance(value, (str, bool)) or value is None:
            return Form(value, json.dumps(value), NOTHING)
        if isinstance(value, (int, float)):
            number = float(value) if float in _members(hint) else value
            if not math.isfinite(number):
                raise ValueError(f"{number} has no canonical form; use a finite number.")
            return Form(number, json.dumps(number), NOTHING)
        if dataclasses.is_dataclass(value):
            if id(value) not in self.made:
                for base in _classes(hint):
                    find(base, tag_of(type(value)))  # no other class under that base may have its tag
                self.made[id(value)] = value, self._config(value)
            return self.made[id(value)][1]
        if isinstance(value, Mapping):
            return _joined({str(key): self.of(value[key], of_values(hint)) for key in sorted(value)})
        if isinstance(value, (tuple, list)):
            parts = [self.of(item, of_items(hint)) for item in value]
            if any(part.how for part in parts):
                raise TypeError(
                    f"{value!r} has configs with 'how' in a list, where it would be lost; put them in a mapping."
                )
            return Form([part.plain for part in parts], f"[{','.join(part.text for part in parts)}]", NOTHING)
        raise TypeError(f"a {type(value).__qualname__} ({value!r}) has no canonical form; use plain values.")

    def _config(self, config: Any) -> Form:
        cls = type(config)
        parts, apart = {"type": self.of(tag_of(cls), str)}, {}
        if (recipe := recipe_of(cls)) is not None:
            parts["recipe"] = self.of(recipe, int)
        for one in fields(cls):
            value = getattr(config, one.attribute)
            if one.how:
                apart[one.name] = self.of(value, one.hint).plain
                continue
            part = self.of(value, one.hint)
            if part.text != one.absent:
                parts[one.name] = part
        parts |= {name: Form(json.loads(text), text, NOTHING) for name, text in removed(cls).items()}
        form = _joined({name: parts[name] for name in ("type", "recipe", *sorted(parts)) if name in parts})
        return dataclasses.replace(form, how={**apart, **form.how})


def _joined(parts: Mapping[str, Form]) -> Form:
    """Return the form of a mapping."""
    text = ",".join(f"{json.dumps(key)}:{parts[key].text}" for key in sorted(parts))
    apart = {f"{key}.{path}": value for key, part in parts.items() for path, value in part.how.items()}
    return Form({key: part.plain for key, part in parts.items()}, f"{{{text}}}", apart)


# Declarations of classes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A field of a config class."""

    attribute: str
    """Its present name in code."""
    name: str
    """Its name in the form, which never changes."""
    hint: Any
    absent: str | None
    """Canonical text of the value at which the field is left out."""
    how: bool
    """Whether it only says how a stage runs."""


@cache
def fields(cls: type) -> tuple[Field, ...]:
    """Return the fields of a config class. Raises TypeError if two have one name or an `absent` is not canonical."""
    hints, apart, entries = typing.get_type_hints(cls), getattr(cls, "how", ()), []
    for one in dataclasses.fields(cls):
        if unknown := sorted(set(one.metadata) - {"name", "absent"}):
            raise TypeError(f"{_named(cls)}: metadata of {one.name} has '{unknown[0]}', expected name or absent.")
        absent = one.metadata.get("absent")
        if absent is not None:
            _canonical(absent, hints[one.name], cls, f"absent of {one.name}")
        name = one.metadata.get("name", one.name)
        entries.append(Field(one.name, name, hints[one.name], absent, one.name in apart))
    names = ["type", "recipe", *removed(cls), *(one.name for one in entries)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TypeError(f"{_named(cls)}: several things in its form are called {', '.join(twice)}.")
    return tuple(entries)


@cache
def removed(cls: type) -> dict[str, str]:
    """Return the removed fields of a config class, with the canonical text of their last values.

    Raises TypeError for text that is not canonical.
    """
    texts = {name: text for one in reversed(cls.__mro__) for name, text in vars(one).get("removed", {}).items()}
    for name, text in texts.items():
        _canonical(text, Any, cls, f"removed '{name}'")
    return texts


def _canonical(text: Any, hint: Any, cls: type, what: str) -> None:
    """Raise TypeError unless `text` is the canonical text of a value. `what` in `cls` is named in the message."""
    try:
        expected = Forms().of(json.loads(text), hint).text
    except (TypeError, ValueError):
        raise TypeError(
            f"{_named(cls)}: {what} is {text!r}, expected the JSON text of a value, such as '0.0' or '\"name\"'."
        ) from None
    if expected != text:
        raise TypeError(f"{_named(cls)}: {what} is '{text}', in canonical text '{expected}'.")


def tag_of(cls: type) -> str:
    """Return the tag of a config class. Raises TypeError if its own body has none."""
    if "tag" not in vars(cls):
        raise TypeError(
            f'{_named(cls)} has no tag: say what it is called in ids, tag: ClassVar[str] = "..." in its own body.'
        )
    return cls.tag


def _named(cls: type) -> str:
    return f"{cls.__qualname__} ({place(cls)})"


def recipe_of(cls: type) -> int | None:
    """Return the recipe of a config class, or None."""
    return next((vars(one)["recipe"] for one in cls.__mro__ if "recipe" in vars(one)), None)


def find(base: type, tag: str) -> type | None:
    """Return the class with this tag among `base` and its subclasses, or None. Raises TypeError if there are two."""
    classes = [cls for cls in _below(base) if vars(cls).get("tag") == tag]
    if len(classes) > 1:
        names = " and ".join(sorted(map(_named, classes)))
        raise TypeError(f"{names} have one tag, '{tag}': give one of them another.")
    return classes[0] if classes else None


def _below(base: type) -> Iterator[type]:
    """Yield a class and all its subclasses, each once."""
    seen, stack = set(), [base]
    while stack:
        cls = stack.pop()
        if cls not in seen:
            seen.add(cls)
            yield cls
            stack += cls.__subclasses__()


def _members(hint: Any) -> list[Any]:
    """Return the members of a union, None excluded, or the hint itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [part for part in typing.get_args(hint) if part is not type(None)] if union else [hint]


def _classes(hint: Any) -> list[type]:
    """Return the config classes that a type hint allows."""
    return [part for part in _members(hint) if isinstance(part, type) and dataclasses.is_dataclass(part)]


def of_items(hint: Any) -> Any:
    """Return the type hint of the items of a list or tuple."""
    return (typing.get_args(_members(hint)[0]) or (Any,))[0]


def of_values(hint: Any) -> Any:
    """Return the type hint of the values of a mapping."""
    return (typing.get_args(_members(hint)[0]) or (str, Any))[1]


# From form to config --------------------------------------------------------------------------------------------


def restore(data: Any, hint: Any, how: Mapping[str, Any] = NOTHING) -> Any:
    """Make the config that a field with this type hint held, from its canonical form and its "how" values.

    Its class must have been imported. Raises UserError if the form has a class, field or value that this code does not
    have, as records of newer code do.
    """
    if isinstance(data, list):
        return tuple(restore(item, of_items(hint)) for item in data)
    if not isinstance(data, Mapping):
        return data
    bases = _classes(hint)
    if not bases:
        return {key: restore(value, of_values(hint), _within(how, key)) for key, value in data.items()}
    cls = _class(bases, data["type"])
    values, left = {}, set(data) - {"type", "recipe"}
    for one in fields(cls):
        left.discard(one.name)
        if one.how and one.name in how:
            values[one.attribute] = restore(how[one.name], one.hint)
        elif one.name in data:
            values[one.attribute] = restore(data[one.name], one.hint, _within(how, one.name))
        elif one.absent is not None:
            values[one.attribute] = restore(json.loads(one.absent), one.hint)
        elif not one.how:
            raise UserError(
                f"A record lacks the setting '{one.name}' of '{cls.tag}', which was added later and has no "
                "'absent'; the value that it was made with is unknown."
            )
    for name in sorted(left):
        last = removed(cls).get(name)
        if last is None:
            raise UserError(
                f"A record has a setting '{name}' of '{cls.tag}' that this code does not know; update ablate, or add "
                "it to the class's 'removed'."
            )
        if json.loads(last) != data[name]:
            was = json.dumps(data[name])
            raise UserError(
                f"A record has {was} for '{name}' of '{cls.tag}'; that setting was removed and is always {last} now."
            )
    return cls(**values)


def _class(bases: list[type], tag: str) -> type:
    classes = [cls for base in bases if (cls := find(base, tag))]
    if not classes:
        known = sorted({vars(cls)["tag"] for base in bases for cls in _below(base) if "tag" in vars(cls)})
        raise UserError(
            f"A record is of a '{tag}', which this code does not know; {nearest(tag, known)} Is it a plugin's? Name "
            "its module in ABLATE_PLUGINS."
        )
    return classes[0]


def _within(how: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {path.removeprefix(f"{key}."): value for path, value in how.items() if path.startswith(f"{key}.")}


# Ids ------------------------------------------------------------------------------------------------------------


def stage_id(kind: str, version: int, config: Mapping[str, Any], parents: Iterable[tuple[str, str]]) -> str:
    """Return the id of a stage: the first 16 hexadecimal digits of a SHA-256 hash of its form and its parents' ids."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashed(kind, version, text, parents)


def hashed(kind: str, version: int, config: str, parents: Iterable[tuple[str, str]]) -> str:
    """Return the id of a stage whose config is given as canonical text (see `Form.text`)."""
    inputs = json.dumps(sorted([role, id] for role, id in parents), separators=(",", ":"))
    text = f'{{"config":{config},"kind":{json.dumps(kind)},"parents":{inputs},"version":{version}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted path → value."""
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    result: dict[str, Any] = {}
    for key, part in value.items():
        result |= flat(part, f"{path}.{key}" if path else str(key))
    return result
