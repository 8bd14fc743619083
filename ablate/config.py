"""Strict configuration: a sweep file and overrides become one dictionary, presets and patches become typed configs.

Hydra and OmegaConf live here only: OmegaConf reads YAML (1e-4 is a number, a key given twice is refused) and checks
patches against typed presets, Hydra's grammar parses overrides from the command line.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ablate.errors import UserError, nearest

SECTIONS = ("encoder", "tokenizer", "pretrain", "tasks")  # of a row and of `base`
PRETRAIN = ("objectives", "targets", "steps", "decay", "update", "optimizer")
SWEEP = (
    "name", "question", "changes_our_mind", "data", "seeds", "base", "rows", "tasks", "claims", "table", "resources",
    "labels", "axes",
)  # fmt: skip
COMMAND = ("root", "cluster", "workers")  # how a sweep runs, for the command line; allowed in a file too
COLLECTIONS = (("pretrain", "objectives"), ("pretrain", "targets"), ("tasks",))  # things by name: null removes one


@dataclass(frozen=True)
class Registry:
    """Presets by name for everything a sweep file can name, and defaults for what has no presets."""

    encoder: Mapping[str, Any]
    objectives: Mapping[str, Any]
    targets: Mapping[str, Any]
    tasks: Mapping[str, Any]
    data: Mapping[str, Any]
    tokenizer: Any
    update: Any
    optimizer: Any

    @classmethod
    def default(cls) -> Registry:
        """Collect the presets of this project."""
        from ablate.data import DATA
        from ablate.data.tokenizer import TokenizerConfig
        from ablate.optim import OptimizerConfig
        from ablate.pretrain import Update
        from ablate.tasks import TASKS
        from encoders.presets import PRESETS
        from objectives import OBJECTIVES
        from objectives.targets import TARGETS

        defaults = TokenizerConfig(), Update(), OptimizerConfig()
        return cls(PRESETS, OBJECTIVES, TARGETS, TASKS, DATA, *defaults)


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
    try:
        document = OmegaConf.load(path)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise UserError(f"{where}: this is not valid YAML: {e.problem or e.context}.") from None
    except (OmegaConfBaseException, UnicodeDecodeError) as e:
        raise UserError(f"{path}: {str(e).splitlines()[0]}.") from None
    if not isinstance(document, DictConfig):
        raise UserError(f"{path}: expected a mapping with 'base' and 'rows', found a list.")
    sweep = expand(OmegaConf.to_container(document, resolve=False), str(path))
    parent = sweep.pop("extends", None)
    if parent is not None:
        sweep = overlay(load(path.parent / str(parent), (*seen, path.resolve())), sweep)
    return {**sweep, "name": sweep.get("name", path.stem) if parent is None else _own_name(document, path)}


def _own_name(document: DictConfig, path: Path) -> str:
    """An extension never takes over the name, and so the folder, of what it extends."""
    return document.get("name") or path.stem


def expand(sweep: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Expand shorthand and check the shape: `nano` is {preset: nano}, an objective's 0.5 is {weight: 0.5}.

    Raises UserError for unknown keys of the sweep, of `base`, of a row and of its `pretrain`.
    """
    sweep = dict(sweep)
    valid = (*SWEEP, *COMMAND, "extends")
    for key in sweep:
        if key not in valid:
            raise UserError(f"{path}: unknown key '{key}'; {_hint(str(key), valid)}")
    if "data" in sweep:
        sweep["data"] = _preset(sweep["data"], "data")
    if sweep.get("base") is not None:
        sweep["base"] = section(sweep["base"], "base")
    if sweep.get("rows") is not None:
        rows = mapping(sweep["rows"], "rows")
        sweep["rows"] = {
            str(name): None if row is None else section(row, f"rows.{name}", ("after",)) for name, row in rows.items()
        }
    return sweep


def _hint(key: str, valid: Iterable[str]) -> str:
    return f"did you mean 'base.{key}'?" if key in SECTIONS else nearest(key, valid)


def section(value: Any, path: str, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Expand and check `base`, or a row with `extra` keys beside the sections."""
    found = known(value, path, (*extra, *SECTIONS))
    if "encoder" in found:
        found["encoder"] = _preset(found["encoder"], f"{path}.encoder")
    if "tokenizer" in found:
        found["tokenizer"] = mapping(found["tokenizer"], f"{path}.tokenizer")
    if "tasks" in found:
        tasks = mapping(found["tasks"], f"{path}.tasks")
        found["tasks"] = {k: v if v is None else _preset(v, f"{path}.tasks.{k}") for k, v in tasks.items()}
    if "pretrain" in found:
        where = f"{path}.pretrain"
        pretrain = found["pretrain"] = known(found["pretrain"], where, PRETRAIN)
        if "objectives" in pretrain:
            parts = mapping(pretrain["objectives"], f"{where}.objectives")
            pretrain["objectives"] = {k: _weighted(v, f"{where}.objectives.{k}") for k, v in parts.items()}
        if "targets" in pretrain:
            parts = mapping(pretrain["targets"], f"{where}.targets")
            pretrain["targets"] = {k: v if v is None else _preset(v, f"{where}.targets.{k}") for k, v in parts.items()}
        if "update" in pretrain:
            update = mapping(pretrain["update"], f"{where}.update")
            pretrain["update"] = {k: _quantity(k, v, f"{where}.update.{k}") for k, v in update.items()}
    return found


def mapping(value: Any, path: str) -> dict[str, Any]:
    """Return a copy of a mapping (nothing written counts as an empty one); raises UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{path}: expected a mapping, found {value!r}; write {path.split('.')[-1]}: {{key: value}}.")
    return dict(value)


def known(value: Any, path: str, valid: Iterable[str]) -> dict[str, Any]:
    """Return a copy of a mapping whose keys are all valid; raises UserError with the nearest valid key."""
    found, valid = mapping(value, path), tuple(valid)
    for key in found:
        if key not in valid:
            raise UserError(f"{path}.{key}: unknown key '{key}'; {nearest(str(key), valid)}")
    return found


def _preset(value: Any, path: str) -> dict[str, Any]:
    return {"preset": value} if isinstance(value, str) else mapping(value, path)


def _weighted(value: Any, path: str) -> dict[str, Any] | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"weight": value}
    return value if value is None else _preset(value, path)


UNITS = {"speech": "s", "text": "tokens", "pairs": "pairs"}


def _quantity(key: str, value: Any, path: str) -> Any:
    """Take the unit off "60 s" or "1500 tokens", checking that it is the right one; a bare number has it already."""
    if not isinstance(value, str) or value.startswith("${"):
        return value
    unit = UNITS.get(key, "")
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2] not in ("", unit):
        raise UserError(f"{path}: found '{value}', expected a number{f' of {unit}, as in 12 {unit}' if unit else ''}.")
    return float(match[1]) if "." in match[1] or "e" in match[1] else int(match[1])


def merge(base: Mapping[str, Any], patch: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Merge as JSON Merge Patch (RFC 7396) does: mappings merge, scalars and lists replace, null removes.

    Stricter in one thing: null for a key that is not there is a mistake, and raises UserError.
    """
    result = dict(base)
    for key, value in patch.items():
        where = f"{path}.{key}" if path else str(key)
        if value is None:
            if key not in result:
                raise UserError(f"{where}: null removes a key, but there is no '{key}'; {nearest(str(key), base)}")
            del result[key]
        elif isinstance(value, Mapping):
            old = result.get(key)
            result[key] = merge(old if isinstance(old, Mapping) else {}, value, where)
        else:
            result[key] = value
    return result


def compose(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Make one patch of two, the second over the first; null stays, to be applied with the rest."""
    result = dict(first)
    for key, value in second.items():
        old = result.get(key)
        result[key] = compose(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def patched(row: Mapping[str, Any], patch: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Apply a row's patch: null removes an objective, target or task by name, and elsewhere is the value null.

    Raises UserError for null where there is nothing to remove.
    """
    result = compose(row, patch)
    for collection in COLLECTIONS:
        parts, before, holder = patch, row, result
        for key in collection:
            parts, before, outer, holder = parts.get(key, {}), before.get(key, {}), holder, holder.get(key, {})
        gone = [name for name, value in parts.items() if value is None]
        for name in gone:
            if name not in before:
                where = f"{path}.{'.'.join(collection)}.{name}"
                raise UserError(f"{where}: null removes it, but there is no '{name}' here; {nearest(name, before)}")
        if gone:
            outer[collection[-1]] = {name: value for name, value in holder.items() if name not in gone}
    return result


def overlay(sweep: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one expanded sweep over another: a merge, except that rows are patches themselves.

    `rows: {name: null}` removes a row; null within a row stays and is applied with the row.
    """
    rows, added = dict(sweep.get("rows") or {}), patch.get("rows") or {}
    for name, row in added.items():
        if row is None and rows.pop(name, None) is None:
            raise UserError(f"rows.{name}: null removes a row, but there is none; {nearest(name, rows)}")
        if row is not None:
            rows[name] = compose(rows.get(name, {}), row)
    result = merge({k: v for k, v in sweep.items() if k != "rows"}, {k: v for k, v in patch.items() if k != "rows"})
    return {**result, "rows": rows}


def override(sweep: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply command-line overrides in Hydra's grammar; absent keys need no `+`, and `+` does not excuse unknown ones.

    `a.b=1` sets, `~a.b` removes; a choice, `base.encoder.width=32,64` or `range(1,4)`, becomes an axis.
    """
    for text in overrides:
        try:
            parsed = OverridesParser.create().parse_override(text)
        except HydraException as e:
            raise UserError(f"Override '{text}': {str(e).splitlines()[0]}; write key=value, ~key or key=[1,2].") from e
        if parsed.package is not None:
            raise UserError(f"Override '{text}': there are no packages here; write key=value.")
        keys = parsed.key_or_group.split(".")
        if parsed.is_delete():
            sweep = _without(sweep, keys, text)
        elif parsed.is_sweep_override():
            sweep = overlay(sweep, _choice(parsed, text))
        else:
            sweep = overlay(sweep, expand(_nested(keys, parsed.value()), f"Override '{text}'"))
    return dict(sweep)


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
        raise UserError(f"Override '{text}': only what lies in 'base' or 'data' can be an axis; write key=[1,2] for a list.")
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
        raise UserError(f"{e.full_key or 'sweep'}: {str(e).splitlines()[0]}.") from None


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
    node = OmegaConf.structured(config)
    _open(node, patch)
    try:
        return _build(OmegaConf.merge(node, dict(patch)), path)
    except ConfigKeyError as e:
        *parents, key = str(e.full_key).split(".")
        valid = OmegaConf.select(node, ".".join(parents)) if parents else node
        raise UserError(f"{'.'.join([path, *parents, key])}: unknown key '{key}'; {nearest(key, valid)}") from None
    except OmegaConfBaseException as e:
        where = f"{path}.{e.full_key}" if e.full_key else path
        raise UserError(f"{where}: {str(e).splitlines()[0]}.") from None


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
    """Turn a merged node into the dataclass it is of; lists become tuples, `???` is refused."""
    if isinstance(node, ListConfig):
        return tuple(_build(item, path) for item in node)
    if not isinstance(node, DictConfig):
        return node
    for key in node:
        if OmegaConf.is_missing(node, key):
            raise UserError(f"{path}.{key}: must be given; write {path}.{key}=VALUE, or {key}: in the file.")
    values = {key: _build(node[key], f"{path}.{key}") for key in node}
    cls = OmegaConf.get_type(node)
    if not dataclasses.is_dataclass(cls):
        return values
    try:
        return cls(**values)
    except ValueError as e:
        raise UserError(f"{path}: {e}") from None
