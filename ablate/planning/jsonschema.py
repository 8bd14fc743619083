"""Describes sweep files by a JSON Schema (sweeps/schema.json), with which editors complete keys and mark mistakes.

The schema covers structure, names, types and ranges. Only planning checks that rows, tasks and settings fit each other.
It marks nothing that planning accepts: of a file that extends another it asks for nothing that the other may have, and
of one that names plugins it knows the keys of the file only.

    python -m ablate.planning.jsonschema       # writes sweeps/schema.json and docs/reference/sweep-file.md
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ablate.clusters.registry import CLUSTERS
from ablate.clusters.resources import COLLECT, RESOURCES
from ablate.planning.reference import NOT_GIVEN, about, keys, page
from ablate.stages.registry import KINDS
from ablate.store import identity
from ablate.sweepfile import schema
from ablate.sweepfile.patch import UNITS
from ablate.sweepfile.registry import Registry
from encoders.ranges import OneOf, Within

Schema = dict[str, Any]

NUMERAL = r"^\s*[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?\s*"
REFERENCE = r"\$\{|^\?\?\?$"  # an interpolation, or a missing value
POINTER: Schema = {"type": "string", "pattern": REFERENCE}
NUMBER: Schema = {"type": "string", "pattern": f"{NUMERAL}$|{REFERENCE}"}  # a number in quotes, or one by reference
QUANTITY = r"^\s*([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*"  # followed by its unit
NULL: Schema = {"type": "null"}
TYPES: dict[type, Schema] = {bool: {"type": "boolean"}, str: {"type": ["string", "number"]}}
NUMBERS = {int: "integer", float: "number"}
NAME = "^[A-Za-z_][A-Za-z0-9_]*$"
FOLDER = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"


def schema_of(registry: Registry) -> Schema:
    """Return the schema of sweep files that name parts of the registry."""
    return _Maker(registry).file()


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
        self.definitions: dict[str, Schema] = {"pointer": POINTER, "number": NUMBER}
        for what, of, whole in (("base", schema.Section, True), ("row", schema.RowPatch, False)):
            self.definitions[what] = self._section(of, whole)
        self.definitions["section"] = self._section(schema.Section, False)

    def file(self) -> Schema:
        """Return the schema of a file."""
        presets = {"enum": [*self.registry.tasks]}
        tasks = {"enum": [*self.registry.tasks, *self.registry.groups]}
        self.definitions["alone"] = {  # what is asked of a file that extends no other
            "required": ["rows"],
            "properties": {
                "base": _ref("base"),
                "claims": {"additionalProperties": {"required": ["effect", "on"]}},
                "table": {"properties": {"frontier": {"required": ["x", "y"]}}},
            },
            "if": {"properties": {"base": {"properties": {"tasks": {"propertyNames": presets}}}}},
            "then": {"properties": {"tasks": {"items": _or(tasks, _ref("pointer"))}}},
        }
        self.definitions["file"] = {
            **self.mapping(schema.Sweep, **self._keys()),
            "if": {"not": {"required": ["extends"]}},
            "then": _ref("alone"),
        }
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "A sweep file of ablate",
            "type": "object",
            "properties": {key.name: {"description": key.doc} for key in keys(schema.Sweep)},
            "additionalProperties": False,
            "if": {"not": {"required": ["plugins"]}},
            "then": _ref("file"),
            "definitions": self.definitions,
        }

    def _keys(self) -> dict[str, Schema]:
        """Return the schemas of the file's keys that are not read as their type hints say."""
        clusters = _or({"enum": ["", *CLUSTERS]}, NULL, _ref("pointer"))
        return {
            "name": _or({"type": "string", "pattern": f"{FOLDER}|{REFERENCE}"}, {"type": "number"}, NULL),
            "cluster": clusters,
            "base": _ref("section"),
            "rows": _also({**_named(_ref("row")), "propertyNames": {"pattern": NAME}}),
            "data": _or(*self._preset("data", self.registry.data)),
            "axes": _also(_named(_or({"type": "array"}, _named(_ref("section")), _ref("pointer")))),
            "claims": _also(_named(_also(self.mapping(schema.Claim), POINTER)), POINTER),
            "labels": _also(_named(TYPES[str]), POINTER),
            "table": _also(self.mapping(schema.Table), POINTER),
            "resources": _also(self._resources(), POINTER),
        }

    def _section(self, of: type, whole: bool) -> Schema:
        """Return the schema of `base`, or of a patch of it. Only in a `whole` one must each part say its preset."""
        registry = self.registry
        number = {"type": "number", "minimum": 0}
        pretrain = {
            "objectives": self._by_name("objective", registry.objectives, whole, short=[number, _ref("number")]),
            "targets": self._by_name("targets", registry.targets, whole),
            "weights": _or({"enum": [*registry.weights]}, NULL, _ref("pointer")),
            "update": _also(self._update()),
            "optimizer": _also(self.mapping(registry.optimizer), POINTER),
        }
        tune = _also(_named(_also({"type": "array"}, POINTER)), POINTER)
        added = {**self.mapping(schema.AddedStage), "additionalProperties": True}
        given = {
            "encoder": _or(*self._preset("encoder", registry.encoder)),
            "tokenizer": _also(self.mapping(registry.tokenizer)),
            "pretrain": _also(self.mapping(schema.Pretrain, **pretrain)),
            "tasks": self._by_name("task", registry.tasks, whole, tune=tune),
            "stages": _also(_named(_also(added))),
        }
        return _also(self.mapping(of, **given))

    def _update(self) -> Schema:
        """Return the schema of the data of an update, whose numbers may have units."""
        made = self.mapping(self.registry.update)
        for name, unit in UNITS.items():
            quantity = {"type": "string", "pattern": rf"{QUANTITY}({unit})?\s*$"}
            made["properties"][name]["anyOf"].append(quantity)
        return made

    def mapping(self, config: Any, **given: Schema) -> Schema:
        """Return the schema of a mapping with the keys of a class. `given` are schemas to use for some of the keys."""
        properties = {}
        for key in keys(config):
            described = {"description": key.doc} if key.doc else {}
            default = {} if key.default is NOT_GIVEN or not key.shown else {"default": _plain(key.default)}
            properties[key.name] = {**described, **default, **(given.get(key.name) or self.value(key.hint))}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    def value(self, hint: Any) -> Schema:
        """Return the schema of a field with this type hint, which may also be given by reference."""
        plain = self._plain(hint)
        return _or(*plain, _ref("number" if any(one.get("type") in NUMBERS.values() for one in plain) else "pointer"))

    def _plain(self, hint: Any) -> list[Schema]:
        """Return the schemas of which one describes a field with this type hint."""
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return [{**one, **_bounds(inner[1:])} for one in self._plain(inner[0])]
        if origin in (typing.Union, types.UnionType):
            return [one for each in inner for one in self._plain(each)]
        if hint is type(None):
            return [NULL]
        if hint in NUMBERS:
            return [{"type": NUMBERS[hint]}]
        if hint in TYPES:
            return [TYPES[hint]]
        if origin is tuple and inner and inner[-1] is not Ellipsis:
            return [{"type": "array", "items": [self.value(one) for one in inner]}]
        if origin in (tuple, list):
            return [{"type": "array", **({"items": self.value(inner[0])} if inner else {})}]
        if origin is not None and issubclass(origin, Mapping):
            return [_named(self.value(inner[1]))]
        return [self._optional(hint)] if dataclasses.is_dataclass(hint) else [{}]

    def _optional(self, config: type) -> Schema:
        """Define the schema of a class that stands in the file as it is, and return a reference to it."""
        name = f"part_{vars(config).get('tag', config.__name__.lower())}"
        if name not in self.definitions:
            self.definitions[name] = self.mapping(config)
        return _ref(name)

    def _preset(self, what: str, presets: Mapping[str, Any]) -> list[Schema]:
        """Return the schemas of a preset's name, and of a patch of a preset."""
        patches = self._patches(what, presets)
        return [{"enum": [*presets]}, _ref("pointer"), *patches.values(), NULL]

    def _patches(self, what: str, presets: Mapping[str, Any], **more: Schema) -> dict[type, Schema]:
        """Define the schema of a patch of each class of presets, and return references to them by class.

        A patch may also have the keys of `more`.
        """
        names: dict[type, list[str]] = {}
        for preset, config in presets.items():
            names.setdefault(type(config), []).append(preset)
        for cls, own in names.items():
            made = self.mapping(presets[own[0]])
            preset = _or({"enum": own}, _ref("pointer"))
            properties = {"preset": preset, **more, **made["properties"]}
            self.definitions.setdefault(f"{what}_{identity.tag_of(cls)}", {**made, "properties": properties})
        return {cls: _ref(f"{what}_{identity.tag_of(cls)}") for cls in names}

    def _by_name(
        self, what: str, presets: Mapping[str, Any], whole: bool, short: Iterable[Schema] = (), **more: Schema
    ) -> Schema:
        """Return the schema of parts by name. In a `whole` section, a part that has not its name's preset says which.

        A patch may be one of any preset, as the part may be written elsewhere.
        """
        patches = self._patches(what, presets, **more)
        spare = [*short, {"enum": [*presets]}, NULL, _ref("pointer")]
        said = [{"allOf": [one, {"required": ["preset"]}]} if whole else one for one in patches.values()]
        made = {
            name: {"description": about(type(one)), **_or(patches[type(one)], *said, *spare)}
            for name, one in presets.items()
        }
        return _also({"type": "object", "properties": made, "additionalProperties": _or(*said, *spare)})

    def _resources(self) -> Schema:
        own = {name: {"description": f"{one.expected}."} for name, one in RESOURCES.items()}
        kinds = {"type": "object", "properties": own, "additionalProperties": False}
        of = {name: _also(kinds, POINTER) for name in (*KINDS, COLLECT)}
        return {**kinds, "properties": {**own, **of}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _or(*some: Schema) -> Schema:
    """Return the schema of what any of these describe."""
    return {"anyOf": [*some]}


def _also(one: Schema, *others: Schema) -> Schema:
    """Return the schema of what one, or another, of another type, describes, or null. Mistakes stay marked within."""
    found = {**one, "type": [one["type"], "null"]}
    for other in others:
        found |= {**other, "type": [*found["type"], other["type"]]}
    return found


def _named(one: Schema) -> Schema:
    """Return the schema of a mapping whose keys are any names."""
    return {"type": "object", "additionalProperties": one}


def _bounds(limits: tuple[Within | OneOf, ...]) -> Schema:
    found: Schema = {}
    for one in limits:
        if type(one) is OneOf:
            found["enum"] = [*one.names]
        if type(one) is Within and math.isfinite(one.low):
            found["exclusiveMinimum" if one.above else "minimum"] = one.low
        if type(one) is Within and math.isfinite(one.high):
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
