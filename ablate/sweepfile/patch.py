"""The sweep file as plain dictionaries: shorthand, which keys there are, how patches merge; and such dictionaries as
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ablate.data.streams import STREAMS
from ablate.errors import UserError, nearest

SECTIONS = ("encoder", "tokenizer", "pretrain", "tasks", "stages")  # of a row and of `base`
PRETRAIN = ("objectives", "weights", "targets", "steps", "decay", "update", "optimizer")
SWEEP = (
    "name",
    "question",
    "changes_our_mind",
    "data",
    "seeds",
    "base",
    "rows",
    "tasks",
    "claims",
    "table",
    "resources",
    "labels",
    "axes",
    "plugins",
)
COMMAND = ("root", "cluster", "workers")  # how a sweep runs, for the command line; allowed in a file too
# things by name: null removes one
COLLECTIONS = (("pretrain", "objectives"), ("pretrain", "targets"), ("tasks",), ("stages",))


def expand(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Expand shorthand and check the shape: `nano` is {preset: nano}, an objective's 0.5 is {weight: 0.5}.

    Raises UserError for unknown keys of the sweep, of `base`, of a row and of its `pretrain`.
    """
    sweep = dict(sweep)
    valid = (*SWEEP, *COMMAND, "extends")
    for key in sweep:
        if key not in valid:
            raise UserError(f"{key}: unknown key '{key}'; {_hint(str(key), valid)}")
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
    expanded = known(value, path, (*extra, *SECTIONS))
    if "encoder" in expanded:
        expanded["encoder"] = _preset(expanded["encoder"], f"{path}.encoder")
    if "tokenizer" in expanded:
        expanded["tokenizer"] = mapping(expanded["tokenizer"], f"{path}.tokenizer")
    if "tasks" in expanded:
        tasks = mapping(expanded["tasks"], f"{path}.tasks")
        expanded["tasks"] = {k: v if v is None else _preset(v, f"{path}.tasks.{k}") for k, v in tasks.items()}
    if "stages" in expanded:
        stages = mapping(expanded["stages"], f"{path}.stages")
        expanded["stages"] = {k: v if v is None else mapping(v, f"{path}.stages.{k}") for k, v in stages.items()}
    if "pretrain" in expanded:
        where = f"{path}.pretrain"
        pretrain = expanded["pretrain"] = known(expanded["pretrain"], where, PRETRAIN)
        if "objectives" in pretrain:
            parts = mapping(pretrain["objectives"], f"{where}.objectives")
            pretrain["objectives"] = {k: _weighted(v, f"{where}.objectives.{k}") for k, v in parts.items()}
        if "targets" in pretrain:
            parts = mapping(pretrain["targets"], f"{where}.targets")
            pretrain["targets"] = {k: v if v is None else _preset(v, f"{where}.targets.{k}") for k, v in parts.items()}
        if "update" in pretrain:
            update = mapping(pretrain["update"], f"{where}.update")
            pretrain["update"] = {k: _quantity(k, v, f"{where}.update.{k}") for k, v in update.items()}
    return expanded


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting within a part of a sweep that is no mapping, by dotted path."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def mapping(value: Any, path: str) -> dict[str, Any]:
    """Return a copy of a mapping (nothing written counts as an empty one); raises UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{path}: expected a mapping, found {value!r}; write {path.split('.')[-1]}: {{key: value}}.")
    return dict(value)


def known(value: Any, path: str, valid: Iterable[str]) -> dict[str, Any]:
    """Return a copy of a mapping whose keys are all valid; raises UserError with the nearest valid key."""
    copy, valid = mapping(value, path), tuple(valid)
    for key in copy:
        if key not in valid:
            raise UserError(f"{path}.{key}: unknown key '{key}'; {nearest(str(key), valid)}")
    return copy


def _preset(value: Any, path: str) -> Any:
    """Expand the name of a preset; an interpolation stays, for what it points at."""
    if isinstance(value, str):
        return value if value.startswith("${") else {"preset": value}
    return mapping(value, path)


def _weighted(value: Any, path: str) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"weight": value}
    return value if value is None else _preset(value, path)


UNITS = {stream.table: stream.unit for stream in STREAMS.values()}
UNITS |= {"longest_speech": "s", "longest_text": "tokens", "longest_pair": "s"}
WORDS = {"s": "seconds"}


def _quantity(key: str, value: Any, path: str) -> Any:
    """Take the unit off "60 s" or "1500 tokens", checking that it is the right one; a bare number has it already."""
    if not isinstance(value, str) or value.startswith("${"):
        return value
    unit = UNITS.get(key, "")
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2] not in ("", unit):
        of = f" of {WORDS.get(unit, unit)}, as in 12 {unit}" if unit else ""
        raise UserError(f"{path}: found '{value}', expected a number{of}.")
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

    `rows: {name: null}` removes a row and its label; null within a row stays and is applied with the row. Data of
    another preset replace those below.
    """
    rows, added = dict(sweep.get("rows") or {}), patch.get("rows") or {}
    for name, row in added.items():
        if row is None and rows.pop(name, None) is None:
            raise UserError(f"rows.{name}: null removes a row, but there is none; {nearest(name, rows)}")
        if row is not None:
            rows[name] = compose(rows.get(name, {}), row)
    data = patch.get("data")
    if isinstance(data, Mapping) and data.get("preset", _preset_of(sweep)) != _preset_of(sweep):
        sweep = {**sweep, "data": {}}  # another kind of corpus has other fields
    gone = {name for name, row in added.items() if row is None}
    if gone and sweep.get("labels"):
        sweep = {**sweep, "labels": {name: label for name, label in sweep["labels"].items() if name not in gone}}
    result = merge({k: v for k, v in sweep.items() if k != "rows"}, {k: v for k, v in patch.items() if k != "rows"})
    return {**result, "rows": rows}


def _preset_of(sweep: Mapping[str, Any]) -> Any:
    data = sweep.get("data")
    return data.get("preset") if isinstance(data, Mapping) else None
