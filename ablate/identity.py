"""What a stage *is*: the canonical form of a config, the id made of it, and how two stages differ.

A class may list fields in `how: ClassVar[tuple[str, ...]]`: they say how a stage runs, not what it is (where data lies,
for instance), and stay out of the canonical form. A class variable `recipe` (a version of code) is part of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any


def canonical(config: Any) -> dict[str, Any]:
    """Return the JSON form of a frozen dataclass that says what it is: type tag, recipe and every field but "how".

    Floats are floats (1 in a float field is 1.0), tuples are lists, keys are sorted. Raises TypeError for values that
    JSON has no form for, ValueError for NaN and infinity.
    """
    return Forms().of(config, type(config)).plain


def how(config: Any) -> dict[str, Any]:
    """Return what `canonical` leaves out, as dotted path → value."""
    return Forms().of(config, type(config)).how


def modules(config: Any) -> dict[str, str]:
    """Return where the classes in a config live, as type tag → module; needed to restore it, no part of identity."""
    return Forms().of(config, type(config)).modules


@dataclass(frozen=True)
class Form:
    """What there is to know of a config or a part of one."""

    plain: Any
    """Its canonical form."""
    text: str
    """That form as JSON with sorted keys and nothing to spare: what ids are hashes of."""
    modules: Mapping[str, str]
    """Where its classes live, by type tag."""
    how: Mapping[str, Any]
    """What the canonical form leaves out, by dotted path."""


NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Forms:
    """Makes canonical forms, of every frozen config once: the stages of a sweep are made of few distinct parts."""

    def __init__(self) -> None:
        self.made: dict[tuple[int, Any], tuple[Any, Form]] = {}  # the config is kept, so that its id stays its own

    def of(self, value: Any, hint: Any) -> Form:
        """The form of a value in a field with this type hint."""
        if isinstance(value, (str, bool)) or value is None:
            return Form(value, json.dumps(value), NOTHING, NOTHING)
        if isinstance(value, (int, float)):
            number = float(value) if hint is float or float in typing.get_args(hint) else value
            if not math.isfinite(number):
                raise ValueError(f"{number} has no canonical form; use a finite number.")
            return Form(number, json.dumps(number), NOTHING, NOTHING)
        if dataclasses.is_dataclass(value):
            key = id(value), None
            if key not in self.made:
                self.made[key] = value, self._config(value)
            return self.made[key][1]
        if isinstance(value, Mapping):
            inner = (typing.get_args(hint) or (str, Any))[1]
            return _joined({str(key): self.of(value[key], inner) for key in sorted(value)})
        if isinstance(value, (tuple, list)):
            arguments = typing.get_args(hint)
            parts = [self.of(item, arguments[0] if arguments else Any) for item in value]
            text = f"[{','.join(part.text for part in parts)}]"
            return Form([part.plain for part in parts], text, _modules(parts), NOTHING)
        raise TypeError(f"a {type(value).__qualname__} ({value!r}) has no canonical form; use plain values.")

    def _config(self, config: Any) -> Form:
        cls, hints = type(config), _hints(type(config))
        left_out = getattr(cls, "how", ())
        fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        assert not {"type", "recipe"} & set(fields), f"{cls.__qualname__}: 'type' and 'recipe' are no names for fields"
        parts = {"type": self.of(cls.__qualname__, str)}
        if hasattr(cls, "recipe"):
            parts["recipe"] = self.of(cls.recipe, int)
        parts |= {name: self.of(fields[name], hints[name]) for name in sorted(fields) if name not in left_out}
        form = _joined(parts)
        found = _modules([form], {cls.__qualname__: cls.__module__})
        return dataclasses.replace(form, modules=found, how={**{name: fields[name] for name in left_out}, **form.how})


def _joined(parts: Mapping[str, Form]) -> Form:
    """The form of a mapping."""
    text = ",".join(f"{json.dumps(key)}:{parts[key].text}" for key in sorted(parts))
    how = {f"{key}.{path}": value for key, part in parts.items() for path, value in part.how.items()}
    return Form({key: part.plain for key, part in parts.items()}, f"{{{text}}}", _modules(parts.values()), how)


def _modules(parts: Iterable[Form], own: Mapping[str, str] = NOTHING) -> Mapping[str, str]:
    found = dict(own)
    for part in parts:
        for tag, module in part.modules.items():
            assert found.setdefault(tag, module) == module, f"two classes are called {tag}: rename one"
    return found or NOTHING


def restore(data: Any, where: Mapping[str, str], how: Mapping[str, Any] = types.MappingProxyType({})) -> Any:
    """Make the config again from its canonical form, the modules of its classes, and its "how" values."""
    if isinstance(data, list):
        return tuple(restore(item, where) for item in data)
    if not isinstance(data, Mapping):
        return data
    values = {
        key: restore(value, where, _below(how, key)) for key, value in data.items() if key not in ("type", "recipe")
    }
    if "type" not in data:
        return values
    cls: Any = importlib.import_module(where[data["type"]])
    for name in data["type"].split("."):
        cls = getattr(cls, name)
    return cls(**values, **{key: value for key, value in how.items() if "." not in key})


def _below(how: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {path.removeprefix(f"{key}."): value for path, value in how.items() if path.startswith(f"{key}.")}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def stage_id(kind: str, version: int, config: Mapping[str, Any], parents: Iterable[tuple[str, str]]) -> str:
    """Return the id of a stage: 16 hexadecimal digits of a SHA-256 over what it is and what it starts from."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashed(kind, version, text, parents)


def hashed(kind: str, version: int, config: str, parents: Iterable[tuple[str, str]]) -> str:
    """Return the id of a stage whose canonical form is written already (see `Form.text`)."""
    inputs = json.dumps(sorted([role, id] for role, id in parents), separators=(",", ":"))
    text = f'{{"config":{config},"kind":{json.dumps(kind)},"parents":{inputs},"version":{version}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def explain(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Say how two identities (the content of identity.json) differ, one readable line per difference."""
    keys = ("kind", "version", "config", "parents")
    a, b = (flat({key: one.get(key) for key in keys}) for one in (first, second))
    lines = []
    for path in sorted(a.keys() | b.keys()):
        if path not in b:
            lines.append(f"{path}: {_show(a[path])} only in the first")
        elif path not in a:
            lines.append(f"{path}: {_show(b[path])} only in the second")
        elif a[path] != b[path] or type(a[path]) is not type(b[path]):
            lines.append(f"{path}: {_show(a[path])} → {_show(b[path])}")
    return lines


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted path → value; `parents` (pairs of role and id) count as a mapping."""
    if path == "parents":
        value = {role: parent for role, parent in value}
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    result: dict[str, Any] = {}
    for key, part in value.items():
        name = f"{path}.{key}" if path and path != "config" else str(key)
        result |= flat(part, name)
    return result


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
