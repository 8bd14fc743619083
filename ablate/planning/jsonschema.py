"""Describes sweep files by a JSON Schema (sweeps/schema.json), with which editors complete keys and mark mistakes.

The schema covers structure, names, types and ranges. Only planning checks that rows, tasks and settings fit each other.

    python -m ablate.planning.jsonschema       # writes sweeps/schema.json and docs/reference/sweep-file.md
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.clusters.resources import COLLECT, RESOURCES
from ablate.planning.reference import NOT_GIVEN, about, keys, page
from ablate.stages.registry import KINDS
from ablate.store import identity
from ablate.sweepfile import schema
from ablate.sweepfile.registry import Registry
from encoders.ranges import Within

Schema = dict[str, Any]

TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
POINTER: Schema = {"type": "string", "pattern": r"^(\$\{.*\}|\?\?\?)$"}  # an interpolation, or a missing value
QUANTITY: Schema = {"type": "string", "pattern": r"^\s*[0-9.]+(e[+-]?[0-9]+)?\s*[A-Za-z]*\s*$"}  # 20 s
NAME = "^[A-Za-z_][A-Za-z0-9_]*$"


def schema_of(registry: Registry) -> Schema:
    """Return the schema of sweep files that name parts of the registry."""
    made = _Maker(registry)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A sweep file of ablate",
        **made.mapping(schema.Sweep),
        "definitions": made.definitions,
    }


def in_lines(made: Schema) -> str:
    """Return a schema as text with one property or definition per line."""

    def inner(parts: Schema) -> str:
        return ",\n".join(f" {json.dumps(name)}: {json.dumps(one)}" for name, one in parts.items())

    deep = {name: f"{{\n{inner(made[name])}\n}}" for name in ("properties", "definitions")}
    return (
        "{\n"
        + ",\n".join(f"{json.dumps(name)}: {deep.get(name) or json.dumps(one)}" for name, one in made.items())
        + "\n}\n"
    )


class _Maker:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.definitions: dict[str, Schema] = {"pointer": POINTER}
        number = {"type": "number", "minimum": 0}
        pretrain = {
            "objectives": self._by_name("objective", registry.objectives, short=[number]),
            "targets": self._by_name("targets", registry.targets),
            "weights": {"enum": sorted(registry.weights)},
            "update": self.mapping(registry.update, quantities=True),
            "optimizer": self.mapping(registry.optimizer),
        }
        self.definitions["pretrain"] = self.mapping(schema.Pretrain, **pretrain)
        section = {
            "encoder": {"anyOf": self._preset("encoder", registry.encoder)},
            "tokenizer": self.mapping(registry.tokenizer),
            "pretrain": _ref("pretrain"),
            "tasks": self._by_name("task", registry.tasks, tune=_named({"type": "array"})),
            "stages": _named(_or_null({**self.mapping(schema.AddedStage), "additionalProperties": True})),
        }
        self.definitions["section"] = self.mapping(schema.Section, **section)
        self.definitions["row"] = self.mapping(schema.RowPatch, **section)
        self.sweep = {
            "base": _ref("section"),
            "rows": {**_named(_or_null(_ref("row"))), "propertyNames": {"pattern": NAME}},
            "data": {"anyOf": self._preset("data", registry.data)},
            "axes": _named({"anyOf": [{"type": "array"}, _named(_ref("section"))]}),
            "claims": _named(_or_null(self.mapping(schema.Claim))),
            "labels": _named({"type": ["string", "number"]}),
            "resources": self._resources(),
        }

    def mapping(self, config: Any, quantities: bool = False, **given: Schema) -> Schema:
        """Return the schema of a mapping with the keys of a class. `given` are schemas to use for some of the keys."""
        if config is schema.Sweep:
            given = self.sweep
        properties = {}
        for key in keys(config):
            one = given.get(key.name) or _pointed(self.value(key.hint))
            if quantities:
                one = {"anyOf": [one, QUANTITY]}
            described = {"description": key.doc} if key.doc else {}
            default = {} if key.default is NOT_GIVEN or not key.shown else {"default": _plain(key.default)}
            properties[key.name] = {**described, **default, **one}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    def value(self, hint: Any) -> Schema:
        """Return the schema of a field with this type hint."""
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return {**self.value(inner[0]), **_bounds(inner[1:])}
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.value(one) for one in inner]}
        if hint is type(None):
            return {"type": "null"}
        if hint in TYPES:
            return {"type": TYPES[hint]}
        if origin in (tuple, list):
            return {"type": "array", "items": self.value(inner[0])} if inner else {"type": "array"}
        if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.value(inner[1])}
        if dataclasses.is_dataclass(hint):
            name = f"part_{vars(hint).get('tag', hint.__name__.lower())}"
            if name not in self.definitions:
                self.definitions[name] = self.mapping(hint)
            return _ref(name)
        return {}

    def _preset(self, what: str, presets: Mapping[str, Any], **more: Schema) -> list[Schema]:
        """Return the schemas of a preset's name, and of a patch of a preset, which may also have the keys of `more`."""
        names = {"enum": list(presets)}
        return [names, _ref("pointer"), *self._patches(what, presets, names, **more).values()]

    def _patches(self, what: str, presets: Mapping[str, Any], names: Schema, **more: Schema) -> dict[type, Schema]:
        """Define the schema of a patch of each class of presets, and return references to them by class."""
        found: dict[type, Schema] = {}
        for config in presets.values():
            cls, name = type(config), f"{what}_{identity.tag_of(type(config))}"
            if cls not in found:
                made = self.mapping(config)
                self.definitions[name] = {**made, "properties": {"preset": names, **more, **made["properties"]}}
                found[cls] = _ref(name)
        return found

    def _by_name(self, what: str, presets: Mapping[str, Any], short: Sequence[Schema] = (), **more: Schema) -> Schema:
        """Return the schema of parts by name. A part whose name is not that of a preset must name its preset."""
        names = {"enum": list(presets)}
        spare, patches = [*short, names, {"type": "null"}, _ref("pointer")], self._patches(what, presets, names, **more)
        made = {
            name: {"description": about(type(one)), "anyOf": [patches[type(one)], *spare]}
            for name, one in presets.items()
        }
        other = [{"allOf": [one, {"required": ["preset"]}]} for one in patches.values()]
        return {"type": "object", "properties": made, "additionalProperties": {"anyOf": [*other, *spare]}}

    def _resources(self) -> Schema:
        own = {name: {"description": f"{one.expected}."} for name, one in RESOURCES.items()}
        kinds = {"type": "object", "properties": own, "additionalProperties": False}
        known = (*KINDS, COLLECT)
        return {**kinds, "properties": {**own, **dict.fromkeys(known, kinds)}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _named(one: Schema) -> Schema:
    """Return the schema of a mapping whose keys are any names."""
    return {"type": "object", "additionalProperties": one}


def _or_null(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "null"}]}


def _pointed(one: Schema) -> Schema:
    """Return the schema of a value or an interpolation."""
    return one if one.get("type") == "string" or not one else {"anyOf": [one, _ref("pointer")]}


def _bounds(ranges: tuple[Within, ...]) -> Schema:
    found: Schema = {}
    for one in ranges:
        if math.isfinite(one.low):
            found["exclusiveMinimum" if one.above else "minimum"] = one.low
        if math.isfinite(one.high):
            found["exclusiveMaximum" if one.below else "maximum"] = one.high
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def main() -> None:
    """Write sweeps/schema.json and docs/reference/sweep-file.md."""
    from ablate.planning.plan import named_kinds

    root, registry = Path(__file__).resolve().parents[2], Registry.default(named_kinds())
    (root / "sweeps" / "schema.json").write_text(in_lines(schema_of(registry)), encoding="utf-8")
    (root / "docs" / "reference").mkdir(exist_ok=True)
    (root / "docs" / "reference" / "sweep-file.md").write_text(page(registry), encoding="utf-8")


if __name__ == "__main__":
    main()
