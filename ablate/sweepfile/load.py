"""Strict configuration: a sweep file and overrides become one dictionary, presets and patches become typed configs.

Hydra and OmegaConf live here only: OmegaConf reads YAML (1e-4 is a number, a key given twice is refused) and checks
patches against typed presets, Hydra's grammar parses overrides from the command line.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ablate.errors import UserError, nearest, place
from ablate.sweepfile.patch import expand, leaves, overlay

BOOL = "tag:yaml.org,2002:bool"
TIME = ("tag:yaml.org,2002:str", re.compile(r"\d+(:[0-5]?\d)+$"))


class Loader(get_yaml_loader()):  # type: ignore[misc]
    """OmegaConf's loader, in which only true and false are booleans: `on:` is a key of claims, `no` is Norwegian. And
    2:00:00 is text, not 7200.
    """

    yaml_implicit_resolvers = {
        letter: [TIME, *((tag, regexp) for tag, regexp in resolvers if not (tag == BOOL and letter not in "tTfF"))]
        for letter, resolvers in get_yaml_loader().yaml_implicit_resolvers.items()
    }


def _read(path: Path) -> dict[str, Any]:
    """Parse a YAML file; raises UserError with file and line."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise UserError(f"{where}: this is not valid YAML: {e.problem or e.context}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: this is not valid YAML: {str(e).splitlines()[0]}.") from None
    if not isinstance(document, dict):
        kind = "nothing" if document is None else f"a {type(document).__name__}"
        raise UserError(f"{path}: expected a mapping with 'base' and 'rows', found {kind}.")
    return document


def load(path: str | Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a sweep file with what it extends, shorthand expanded; its name is the file's unless it says otherwise.

    Raises UserError with file and line for YAML that cannot be read, and for a file that extends itself.
    """
    path = Path(path)
    if path.resolve() in seen:
        raise UserError(f"{path}: extends itself, by way of {', '.join(p.name for p in seen)}; remove one 'extends'.")
    if not path.is_file():
        beside = [str(p) for p in sorted(path.parent.glob("*.yaml"))] if path.parent.is_dir() else []
        raise UserError(f"No sweep file '{path}'; {nearest(str(path), beside)}")
    sweep = expand(_read(path))
    name, parent = sweep.get("name", path.stem), sweep.pop("extends", None)
    if parent is not None:
        sweep = overlay(load(path.parent / str(parent), (*seen, path.resolve())), sweep)
    return {**sweep, "name": name}  # an extension never takes the name, and so the folder, of what it extends


def override(sweep: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply command-line overrides in Hydra's grammar; absent keys need no `+`, and `+` does not excuse unknown ones.

    `a.b=1` sets, `~a.b` removes; a choice, `base.encoder.width=32,64` or `range(1,4)`, becomes an axis.
    """
    for text in overrides:
        parsed = parse(text)
        keys = parsed.key_or_group.split(".")
        if parsed.is_delete():
            sweep = _without(sweep, keys, text)
        elif parsed.is_sweep_override():
            sweep = overlay(sweep, _choice(parsed, text))
        else:
            sweep = overlay(sweep, expand(_nested(keys, parsed.value())))
    return dict(sweep)


def parse(text: str) -> Override:
    """Read one override in Hydra's grammar. Raises UserError."""
    try:
        parsed = OverridesParser.create().parse_override(text)
    except HydraException as e:
        raise UserError(f"Override '{text}': {str(e).splitlines()[0]}; write key=value, ~key or key=[1,2].") from e
    if parsed.package is not None:
        raise UserError(f"Override '{text}': there are no packages here; write key=value.")
    return parsed


def set_by(overrides: Iterable[str]) -> set[str]:
    """Dotted paths of the settings that overrides set, as they lie in the sweep."""
    paths: set[str] = set()
    for text in overrides:
        parsed = parse(text)
        if parsed.is_sweep_override():
            choice = _choice(parsed, text)
            paths |= {f"axes.{axis}" for axis in choice["axes"]} if "axes" in choice else {*choice}
        elif not parsed.is_delete():
            paths |= {path for path, _ in leaves(expand(_nested(parsed.key_or_group.split("."), parsed.value())))}
    return paths


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return value


def _choice(parsed: Override, text: str) -> dict[str, Any]:
    if not parsed.is_discrete_sweep():
        raise UserError(f"Override '{text}': a sweep needs values one by one; write key=1,2 or key=range(1,4).")
    values, key = list(parsed.sweep_iterator()), parsed.key_or_group
    if key == "seeds":
        return {"seeds": values}
    if not key.startswith(("base.", "data.")) and key != "data":
        raise UserError(f"Override '{text}': only 'base' and 'data' have axes; write key=[1,2] for a list.")
    return {"axes": {key.removeprefix("base."): values}}


def _without(sweep: Mapping[str, Any], keys: list[str], text: str) -> dict[str, Any]:
    key, *rest = keys
    if not isinstance(sweep, Mapping) or key not in sweep:
        here = sweep if isinstance(sweep, Mapping) else ()
        raise UserError(f"Override '{text}': there is no '{key}' to remove; {nearest(key, here)}")
    if rest:
        return {**sweep, key: _without(sweep[key], rest, text)}
    return {k: v for k, v in sweep.items() if k != key}


def interpolated(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve OmegaConf interpolations such as `${base.pretrain.steps}` or `${oc.env:HOME}`."""
    try:
        return OmegaConf.to_container(OmegaConf.create(dict(sweep)), resolve=True)
    except OmegaConfBaseException as e:
        raise UserError(f"{e.full_key or 'sweep'}: {_sentence(e)}") from None


class _Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads as the same: text that it would take for a number is quoted."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(sweep: Mapping[str, Any]) -> str:
    """The text of a file that `load` and `interpolated` read as this sweep, which they made."""
    return yaml.dump(_escaped(sweep), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _escaped(value: Any) -> Any:
    """Have `${` stay what it is."""
    if isinstance(value, Mapping):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def resolve(presets: Mapping[str, Any], patch: Mapping[str, Any], path: str, default: str | None = None) -> Any:
    """Make the typed, frozen config that `patch` describes: the preset it names (or `default`), and its changes."""
    patch = dict(patch)
    name = patch.pop("preset", default)
    if name is None:
        raise UserError(f"{path}: no preset given; {nearest('', presets)}")
    if name not in presets:
        raise UserError(f"{path}: no preset '{name}'; {nearest(str(name), presets)}")
    return typed(presets[name], patch, path)


def typed(config: Any, patch: Mapping[str, Any], path: str) -> Any:
    """Return a copy of the frozen dataclass `config` with `patch` merged in, keys and types checked.

    Raises UserError naming the key, what is expected of it and what was found.
    """
    if not patch:
        return config
    _given(patch, path)
    node = OmegaConf.structured(config)
    _open(node, patch)
    try:
        return _build(OmegaConf.merge(node, dict(patch)), path)
    except ConfigKeyError as e:
        *parents, key = str(e.full_key).split(".")
        valid = OmegaConf.select(node, ".".join(parents)) if parents else node
        raise UserError(f"{'.'.join([path, *parents, key])}: unknown key '{key}'; {nearest(key, valid)}") from None
    except OmegaConfBaseException as e:
        raise UserError(_mistyped(config, patch, str(e.full_key or ""), path) or f"{path}: {_sentence(e)}") from None


def settable(config: Any) -> None:
    """Raise UserError, with the class's file and line, where a field of a config is of a type that no sweep file can
    set.
    """
    try:
        OmegaConf.structured(config)
    except OmegaConfBaseException as e:
        cls, field = type(config), f"{e.full_key}: " if e.full_key else ""
        raise UserError(f"{cls.__qualname__} ({place(cls)}): {field}{_sentence(e)}") from None


EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a list"}


def _mistyped(config: Any, patch: Any, full_key: str, path: str) -> str | None:
    """Say what the field at `full_key` should have been; None where that is not known."""
    hint: Any = type(config)
    for key in full_key.split(".") if full_key else ():
        hint = typing.get_type_hints(hint).get(key) if dataclasses.is_dataclass(hint) else None
        patch = patch.get(key) if isinstance(patch, Mapping) else None
    inner = [part for part in typing.get_args(hint) if part is not type(None)]
    kind = hint if hint in EXPECTED else typing.get_origin(hint) if typing.get_origin(hint) in EXPECTED else None
    if kind is None and len(inner) == 1:
        kind = inner[0]  # Optional
    return f"{path}.{full_key}: expected {EXPECTED[kind]}, found {patch!r}." if kind in EXPECTED else None


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") + "."


def _given(patch: Mapping[str, Any], path: str) -> None:
    """Refuse `???`, by which a file says that the user must give a value."""
    for key, value in patch.items():
        if isinstance(value, Mapping):
            _given(value, f"{path}.{key}")
        elif value == "???":
            raise UserError(f"{path}.{key}: must be given; write {path}.{key}=VALUE, or {key}: VALUE in the file.")


def _open(node: Container, patch: Any) -> None:
    """Lift the read-only flag that frozen dataclasses carry, and fill optional parts that `patch` writes into."""
    OmegaConf.set_readonly(node, None)
    if isinstance(node, DictConfig) and not node._is_none():
        for key in list(node):
            child, change = node._get_node(key), patch.get(key) if isinstance(patch, Mapping) else None
            if isinstance(child, DictConfig) and child._is_none() and isinstance(change, Mapping):
                if dataclasses.is_dataclass(child._metadata.ref_type):
                    node[key] = child._metadata.ref_type()
                    child = node._get_node(key)
            if isinstance(child, Container):
                _open(child, change)


def _build(node: Any, path: str) -> Any:
    """Turn a merged node into the dataclass it is of; lists become tuples."""
    if isinstance(node, ListConfig):
        return tuple(_build(item, path) for item in node)
    if not isinstance(node, DictConfig):
        return node
    values = {key: _build(node[key], f"{path}.{key}") for key in node}
    cls = OmegaConf.get_type(node)
    if not dataclasses.is_dataclass(cls):
        return values
    try:
        return cls(**values)
    except (ValueError, UserError) as e:
        raise UserError(f"{path}: {e}") from None
