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
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any


def canonical(config: Any) -> dict[str, Any]:
    """Return the JSON form of a frozen dataclass that says what it is: type tag, recipe and every field but "how".

    Floats are floats (1 in a float field is 1.0), tuples are lists, keys are sorted. Raises TypeError for values that
    JSON has no form for, ValueError for NaN and infinity.
    """
    return _plain(config, type(config))


def how(config: Any, path: str = "") -> dict[str, Any]:
    """Return what `canonical` leaves out, as dotted path → value."""
    if isinstance(config, Mapping):
        parts = [how(value, f"{path}{key}.") for key, value in config.items()]
    elif dataclasses.is_dataclass(config):
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        left_out = {f"{path}{name}": values.pop(name) for name in getattr(config, "how", ())}
        parts = [left_out, how(values, path)]
    else:
        parts = []
    return {key: value for part in parts for key, value in part.items()}


def modules(config: Any) -> dict[str, str]:
    """Return where the classes in a config live, as type tag → module; needed to restore it, no part of identity."""
    found: dict[str, str] = {}
    parts: Sequence[Any] = ()
    if dataclasses.is_dataclass(config):
        found[type(config).__qualname__] = type(config).__module__
        parts = [getattr(config, f.name) for f in dataclasses.fields(config)]
    elif isinstance(config, Mapping):
        parts = list(config.values())
    elif isinstance(config, (tuple, list)):
        parts = config
    for part in parts:
        for tag, module in modules(part).items():
            assert found.setdefault(tag, module) == module, f"two classes are called {tag}: rename one"
    return found


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


def _plain(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(value):
        cls, hints = type(value), _hints(type(value))
        left_out = getattr(cls, "how", ())
        fields = {
            f.name: _plain(getattr(value, f.name), hints[f.name])
            for f in dataclasses.fields(value)
            if f.name not in left_out
        }
        assert not {"type", "recipe"} & set(fields), f"{cls.__qualname__}: 'type' and 'recipe' are no names for fields"
        recipe = {"recipe": cls.recipe} if hasattr(cls, "recipe") else {}
        return {"type": cls.__qualname__, **recipe, **dict(sorted(fields.items()))}
    if isinstance(value, Mapping):
        inner = (typing.get_args(hint) or (str, Any))[1]
        return {str(key): _plain(value[key], inner) for key in sorted(value)}
    if isinstance(value, (tuple, list)):
        arguments = typing.get_args(hint)
        inner = arguments[0] if arguments else Any
        return [_plain(item, inner) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        number = float(value) if hint is float or float in typing.get_args(hint) else value
        if not math.isfinite(number):
            raise ValueError(f"{number} has no canonical form; use a finite number.")
        return number
    raise TypeError(f"a {type(value).__qualname__} ({value!r}) has no canonical form; use plain values.")


def stage_id(kind: str, version: int, config: Mapping[str, Any], parents: Sequence[tuple[str, str]]) -> str:
    """Return the id of a stage: 16 hexadecimal digits of a SHA-256 over what it is and what it starts from."""
    what = {"kind": kind, "version": version, "config": config, "parents": sorted([role, i] for role, i in parents)}
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
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
