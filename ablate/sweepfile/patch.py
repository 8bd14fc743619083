"""The sweep file as plain dictionaries: expands shorthand, checks keys and merges patches."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ablate.data.streams import STREAMS
from ablate.errors import UserError, as_written, nearest
from ablate.sweepfile.schema import Pretrain, RowPatch, Section, Sweep, Value, keys

T = TypeVar("T")
# collections of named parts, of which null removes one
COLLECTIONS = (("pretrain", "objectives"), ("pretrain", "targets"), ("tasks",), ("stages",))


def expand(sweep: Mapping[str, Value]) -> dict[str, Value]:
    """Expand shorthand and check keys: `nano` becomes {preset: nano}, and an objective's 0.5 becomes {weight: 0.5}.

    Raises UserError for an unknown key of the sweep, of `base`, of a row or of its `pretrain`.
    """
    sweep = dict(sweep)
    _named(sweep, "")
    for key in sweep:
        if key not in keys(Sweep):
            raise UserError(f"{key}: unknown key '{key}'; {_hint(key, keys(Sweep))}")
    if "data" in sweep:
        sweep["data"] = _preset(sweep["data"], "data")
    if sweep.get("base") is not None:
        sweep["base"] = section(sweep["base"], "base")
    if sweep.get("rows") is not None:
        rows = mapping(sweep["rows"], "rows")
        sweep["rows"] = {
            name: None if row is None else section(row, f"rows.{name}", RowPatch) for name, row in rows.items()
        }
    return sweep


def _named(value: Value, path: str, above: tuple[Value, ...] = ()) -> None:
    """Raise UserError if any key, at any depth, is not text, or has a space that YAML takes for a letter.

    `above` are the values that contain this one: a YAML alias may contain itself, and is then visited once.
    """
    if any(value is one for one in above):
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            _named(item, f"{path}[{number}]", (*above, value))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                word = "null" if key is None else str(key).lower()
                where = f"{path}.{word}".lstrip(".")
                raise UserError(f"{where}: expected text as a key, found {word}; write '{word}', in quotes.")
            if what := odd_space(key[:1]) or odd_space(key[-1:]):
                raise UserError(f"{f'{path}.{key}'.lstrip('.')}: found {what} beside '{key.strip()}'; write spaces.")
            _named(part, f"{path}.{key}".lstrip("."), (*above, value))


def odd_space(letter: str) -> str:
    """Name a space that is none in YAML, such as "a tab" or "a no-break space"; '' for any other character."""
    if not letter.isspace() or letter in " \r\n":
        return ""
    return "a tab" if letter == "\t" else f"a {unicodedata.name(letter, 'control character').lower()}"


def _hint(key: str, valid: Iterable[str]) -> str:
    """The nearest of the valid keys; before that, where the key stands further down."""
    valid = tuple(valid)
    deeper = {one: f"pretrain.{one}" for one in keys(Pretrain)} if "pretrain" in valid else {}
    if "base" in valid:
        deeper = {one: f"base.pretrain.{one}" for one in keys(Pretrain)} | {one: f"base.{one}" for one in keys(Section)}
    return f"did you mean '{deeper[key]}'?" if key in deeper else nearest(key, valid)


def section(value: object, path: str, of: type[Section] = Section) -> dict[str, Value]:
    """Expand and check `base`, or a row; `of` is the class whose keys are allowed. Raises UserError."""
    expanded = known(value, path, keys(of))
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
        pretrain = expanded["pretrain"] = known(expanded["pretrain"], where, keys(Pretrain))
        if "objectives" in pretrain:
            parts = mapping(pretrain["objectives"], f"{where}.objectives")
            pretrain["objectives"] = {k: _weighted(v, f"{where}.objectives.{k}") for k, v in parts.items()}
        if "targets" in pretrain:
            parts = mapping(pretrain["targets"], f"{where}.targets")
            pretrain["targets"] = {k: v if v is None else _preset(v, f"{where}.targets.{k}") for k, v in parts.items()}
        if not isinstance(written := pretrain.get("optimizer"), str) or not written.startswith("${"):
            pretrain |= {"optimizer": mapping(written, f"{where}.optimizer")} if "optimizer" in pretrain else {}
        if "update" in pretrain:
            update = mapping(pretrain["update"], f"{where}.update")
            pretrain["update"] = {k: _quantity(k, v, f"{where}.update.{k}") for k, v in update.items()}
    return expanded


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield every setting that is not a mapping itself, as (dotted path, value)."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def mapping(value: object, path: str) -> dict[str, Value]:
    """Return a copy of a mapping; None gives an empty one. Raises UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(
            f"{path}: expected a mapping, found {as_written(value)}; write {path.split('.')[-1]}: {{key: value}}."
        )
    return dict(value)


def known(value: object, path: str, valid: Iterable[str]) -> dict[str, Value]:
    """Return a copy of a mapping after checking its keys. Raises UserError with the nearest valid key."""
    copy, valid = mapping(value, path), tuple(valid)
    for key in copy:
        if key not in valid:
            raise UserError(f"{path}.{key}: unknown key '{key}'; {_hint(str(key), valid)}")
    return copy


def listed(value: object, path: str) -> list[Value]:
    """Return a list unchanged. Raises UserError if it is not a list, or has an item twice."""
    if not isinstance(value, list):
        raise UserError(f"{path}: expected a list, found {as_written(value)}; write [a, b].")
    return once(value, path)


def once(value: Sequence[T], path: str) -> Sequence[T]:
    """Return a sequence unchanged. Raises UserError if it has an item twice."""
    twice = next((item for i, item in enumerate(value) if item in value[:i]), None)
    if twice is not None:
        raise UserError(f"{path}: '{twice}' is there twice; remove one.")
    return value


def _preset(value: object, path: str) -> object:
    """Expand a preset's name to {preset: NAME}; an interpolation stays, as it may point to a mapping."""
    if isinstance(value, str):
        return value if value.startswith("${") else {"preset": value}
    return mapping(value, path)


def _weighted(value: object, path: str) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"weight": value}
    if isinstance(value, str) and re.match(r"[-+.]?\d", value):  # no preset, but a number gone wrong
        return {"weight": value}
    return value if value is None else _preset(value, path)


UNITS = {stream.table: stream.unit for stream in STREAMS.values()}
UNITS |= {"longest_speech": "s", "longest_text": "tokens", "longest_pair": "s"}
WORDS = {"s": "seconds"}


def _quantity(key: str, value: object, path: str) -> object:
    """Remove the unit of "60 s" or "1500 tokens", after checking it; a bare number is taken to be in that unit."""
    if not isinstance(value, str) or value.startswith("${") or key not in UNITS:
        return value
    unit = UNITS[key]
    match = re.fullmatch(r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2] not in ("", unit):
        of = f" of {WORDS.get(unit, unit)}, as in 12 {unit}" if unit else ""
        raise UserError(f"{path}: found '{value}', expected a number{of}.")
    return float(match[1]) if "." in match[1] or "e" in match[1] else int(match[1])


def merge(base: Mapping[str, Value], patch: Mapping[str, Value], path: str = "") -> dict[str, Value]:
    """Merge as JSON Merge Patch (RFC 7396) does: mappings merge, scalars and lists replace, null removes.

    In contrast to the RFC, null for a missing key raises UserError.
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


def compose(first: Mapping[str, Value], second: Mapping[str, Value]) -> dict[str, Value]:
    """Combine two patches into one with the effect of `first` and then `second`. Null stays, to be applied later."""
    result = dict(first)
    for key, value in second.items():
        old = result.get(key)
        result[key] = compose(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def patched(row: Mapping[str, Value], patch: Mapping[str, Value], path: str) -> dict[str, Value]:
    """Apply a row's patch. Null removes an objective, a target, a task or a stage; elsewhere null is a value.

    Raises UserError if null names something that does not exist.
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


def overlay(sweep: Mapping[str, Value], patch: Mapping[str, Value]) -> dict[str, Value]:
    """Lay one expanded sweep over another: a merge in which rows are patches.

    `rows: {name: null}` removes a row and its label. Null within a row stays, and is applied with that row. If `patch`
    names another preset of data, its data replace the old ones. Raises UserError.
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


def _preset_of(sweep: Mapping[str, Value]) -> object:
    data = sweep.get("data")
    return data.get("preset") if isinstance(data, Mapping) else None
