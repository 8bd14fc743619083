"""Lists every key that a sweep file may have, from the classes that read it.

`--reference` prints the list, and docs/reference/sweep-file.md has it as a page. `ablate.planning.jsonschema` writes
that page, and sweeps/schema.json for editors.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ablate.clusters.resources import RESOURCES
from ablate.errors import UserError
from ablate.sweepfile import schema
from ablate.sweepfile.registry import Registry
from encoders.ranges import OneOf

NOT_GIVEN = object()
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
PLURALS = {"a whole number": "whole numbers", "a number": "numbers", "a mapping": "mappings", "text": "text"}


@dataclass(frozen=True)
class Key:
    """A key of a part of the sweep file."""

    name: str
    hint: Any
    default: Any
    doc: str

    @property
    def kind(self) -> str:
        """The type of its values, in words."""
        return kind(self.hint)

    @property
    def shown(self) -> str:
        """Its default as it is written in a file; empty if it has none."""
        if self.default is NOT_GIVEN or dataclasses.is_dataclass(self.default):
            return ""
        value = list(self.default) if isinstance(self.default, (tuple, set, frozenset)) else self.default
        return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Part:
    """The keys at one place of a sweep file."""

    path: str
    """The place, as in base.tasks.asr; empty for the file itself."""
    about: str
    """A description of one or two sentences."""
    keys: tuple[Key, ...]
    presets: tuple[str, ...] = ()
    """Names of presets that may stand there."""

    @property
    def name(self) -> str:
        """The place, as text names it."""
        return self.path or "the sweep file"


PRESET = Key("preset", str, NOT_GIVEN, "The preset that the settings change; by default the one with the part's name.")
TUNE = Key(
    "tune",
    Mapping[str, list],
    NOT_GIVEN,
    "Lists of values by a setting's dotted name, as in {lr: [1e-3, 2e-3]}: every combination is fine-tuned with the "
    "first seed, and the best on dev is used.",
)


def kind(hint: Any) -> str:
    """Return a type hint in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        choices = [str(one) for one in inner[1:] if type(one) is OneOf]
        return " ".join(choices or [kind(inner[0]), *map(str, inner[1:])])
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if one is type(None) else kind(one) for one in inner)
    if isinstance(hint, str):
        return hint
    if hint in WORDS:
        return WORDS[hint]
    if isinstance(hint, type) and issubclass(hint, Mapping):
        return "a mapping"
    if origin in (tuple, list):
        of = [one for one in inner if one is not Ellipsis]
        return _listed(kind(of[0])) if len({*map(kind, of)}) == 1 else "a list"
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    if origin in (dict, Mapping) or hint is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "a mapping"
    return "a mapping" if dataclasses.is_dataclass(hint) else "anything"


def _listed(item: str) -> str:
    """Return a list of items of a kind in words."""
    for one, many in PLURALS.items():
        if item.startswith(one):
            return f"a list of {many}{item.removeprefix(one)}"
    return f"a list, each {item}"


@cache
def sentences(cls: type) -> dict[str, str]:
    """Return the text below each field of a class, those of its base classes included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(inspect.cleandoc("\n" + inspect.getsource(base))).body[0].body
        for one, after in zip(body, body[1:]):
            if isinstance(one, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[one.target.id] = " ".join(str(after.value.value).split())
    return found


def keys(config: Any) -> tuple[Key, ...]:
    """Return the keys of a config, or of a class of configs, in the order of the class, with default values."""
    cls = config if isinstance(config, type) else type(config)
    hints, said = typing.get_type_hints(cls, include_extras=True), sentences(cls)
    made = []
    for one in dataclasses.fields(cls):
        default = _default(one) if config is cls else getattr(config, one.name)
        made.append(Key(one.name, hints[one.name], default, said.get(one.name, "")))
    return tuple(made)


def _default(one: dataclasses.Field) -> Any:
    if one.default is not dataclasses.MISSING:
        return one.default
    return one.default_factory() if one.default_factory is not dataclasses.MISSING else NOT_GIVEN


def about(cls: type) -> str:
    """Return the first paragraph of a class's docstring; for a config, of the class that it is nested in."""
    owner = vars(cls).get("owner") or next((vars(one)["owner"] for one in cls.__mro__ if "owner" in vars(one)), cls)
    return " ".join(inspect.cleandoc(owner.__doc__ or "").split("\n\n")[0].split())


def parts(registry: Registry) -> list[Part]:
    """Return all places of a sweep file, in reading order."""
    found = [
        _part("", schema.Sweep),
        _part("base", schema.Section),
        _part("rows.NAME", schema.RowPatch),
        _part("base.pretrain", schema.Pretrain),
        _part("base.stages.NAME", schema.AddedStage),
        _part("claims.NAME", schema.Claim),
        _part("table", schema.Table),
        _part("table.blocks[]", schema.Block),
        _part("table.interference", schema.Interference),
        _part("table.interference.MODALITY", schema.Roles),
        _part("table.frontier", schema.Frontier),
        *_of("base.encoder", registry.encoder, whole=True),
        _part("base.tokenizer", registry.tokenizer),
        _part("base.pretrain.update", registry.update),
        _part("base.pretrain.optimizer", registry.optimizer),
        Part("base.pretrain.objectives.NAME", "A loss: settings of its preset, see below, and this one.", (PRESET,)),
        *_of("base.pretrain.objectives", registry.objectives),
        Part(
            "base.pretrain.targets.NAME",
            "Speech targets: settings of their preset, see below, and this one.",
            (PRESET,),
        ),
        *_of("base.pretrain.targets", registry.targets),
        Part("base.tasks.NAME", "A task: settings of its preset, see below, and these.", (PRESET, TUNE)),
        *_of("base.tasks", registry.tasks),
        *_of("data", registry.data, whole=True),
        Part("resources", "What jobs request: for all kinds of stages, or under the name of one kind.", _resources()),
    ]
    nested: dict[type, tuple[str, Any]] = {}
    for part in found:
        for key in part.keys:
            for cls in _configs(key.hint):
                if not cls.__module__.startswith(schema.__name__):
                    config = key.default if dataclasses.is_dataclass(key.default) else cls
                    nested.setdefault(cls, (f"{part.path}.{key.name}", config))
    return [*found, *(_part(path, config) for path, config in nested.values())]


def _part(path: str, config: Any, presets: Iterable[str] = ()) -> Part:
    cls = config if isinstance(config, type) else type(config)
    return Part(path, about(cls), keys(config), tuple(presets))


def _of(path: str, presets: Mapping[str, Any], whole: bool = False) -> Iterator[Part]:
    """Yield a part for each class of presets, with the values of one of its presets.

    With `whole`, the path itself is the part, as for the encoder; else a name follows it, as for tasks.
    """
    by_class: dict[type, list[str]] = {}
    for name, config in presets.items():
        by_class.setdefault(type(config), []).append(name)
    for names in by_class.values():
        alone = whole and len(by_class) == 1
        place = path if alone else f"{path} (preset: {names[0]})" if whole else f"{path}.{names[0]}"
        first = "nano" if "nano" in names else names[0]
        yield _part(place, presets[first], names)


def _resources() -> tuple[Key, ...]:
    given = {name: NOT_GIVEN if one.default is None else one.default for name, one in RESOURCES.items()}
    return tuple(Key(name, RESOURCES[name].expected, default, "") for name, default in given.items())


def _configs(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from _configs(inner)


# As text --------------------------------------------------------------------------------------------------------


def text(registry: Registry, section: str = "") -> str:
    """Return the reference for a terminal: all of it, or what has the name `section`.

    That is a section (a path, the end of one, or a preset's name) or a key (its name, or a path that ends with it).
    Raises UserError with the nearest names if there is neither.
    """
    found = parts(registry)
    if not section:
        return "\n\n".join(map(_block, found))
    top, *deeper = section.split(".")
    asked = section
    if top == "rows" and deeper:
        asked = ".".join(["base", *deeper[1:]]) if deeper[1:] else "rows"  # a row has the keys of base
    named = [one for one in found if _is(one, asked)]
    groups = tuple(f"{_bare(one)}." for one in named if one.path.endswith(".NAME"))
    named += [one for one in found if one not in named and groups and one.path.startswith(groups)]
    alone: dict[str, list[str]] = {}  # keys as text -> names of the parts that have them
    for part in found:
        for key in part.keys if groups or not named else ():
            if asked in _paths(part, key):
                alone.setdefault("\n".join(_entry(key)), []).append(part.name)
    if not named and not alone:
        raise UserError(f"--reference: there is no section or key '{section}'; {_near(section, asked, found)}")
    keys_of = ["\n".join([*_wrapped(", ".join(holders), 0), entry]) for entry, holders in alone.items()]
    return "\n\n".join([*keys_of, *map(_block, named)])


def _bare(part: Part) -> str:
    """Return a part's path without placeholders."""
    return part.path.partition(" ")[0].replace(".NAME", "").replace("[]", "").replace(".MODALITY", "")


def _is(part: Part, section: str) -> bool:
    return section in (part.path, _bare(part), *part.presets) or _bare(part).endswith(f".{section}")


def _paths(part: Part, key: Key) -> set[str]:
    """Return all paths by which a key may be asked for: its own, the ends of that, and those below a preset's name."""
    *above, last = _bare(part).split(".")
    found = set()
    for name in (last, *part.presets):
        steps = [*above, name, key.name]
        found |= {".".join(steps[start:]).lstrip(".") for start in range(len(steps))}
    return found


def _near(section: str, asked: str, found: list[Part]) -> str:
    """Return which names are spelt like one that there is not; if none is, the sections of the file."""
    names = {name for one in found for name in (_bare(one), _bare(one).rpartition(".")[2], *one.presets) if name}
    names |= {path for one in found for key in one.keys for path in _paths(one, key) if "." in path or "." not in asked}
    if near := difflib.get_close_matches(asked, sorted(names), n=3, cutoff=0.7):
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"sections are {', '.join(SECTIONS)}."


def _block(part: Part) -> str:
    presets = [f"presets: {', '.join(part.presets)}"] if len(part.presets) > 1 else []
    lines = [part.name, *_wrapped(" ".join([part.about, *presets]), 2)]
    return "\n".join([*lines, *(line for key in part.keys for line in _entry(key))])


def _entry(key: Key) -> list[str]:
    default = f" = {key.shown}" if key.shown else ""
    return [f"    {key.name:<22}{key.kind}{default}", *_wrapped(key.doc, 8)]


def _wrapped(said: str, indent: int) -> list[str]:
    return textwrap.wrap(said, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)


def page(registry: Registry) -> str:
    """Return the reference as a page of Markdown."""
    lines = [PAGE]
    for one in parts(registry):
        lines += [f"## {f'`{one.path}`' if one.path else 'The file'}", "", one.about, ""]
        if len(one.presets) > 1:
            lines += [f"Presets: {', '.join(f'`{name}`' for name in one.presets)}. Values below are of the first.", ""]
        lines += ["| key | what | default | meaning |", "|---|---|---|---|"]
        for key in one.keys:
            cells = (f"`{key.name}`", key.kind, f"`{key.shown}`" if key.shown else "", key.doc)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


PAGE = """\
# Every key of a sweep file

For anyone who writes a sweep file and wants to know what a key means.

This page is generated from the code. `python -m ablate.sweep --reference claims` prints one section, with what plugins
add. `base` and rows are patches: a setting that a row does not give has the value of `base`, or else the default below.
A number may be written with its unit: `20 s`, `700 tokens`. How to write a sweep file: [sweeps.md](../sweeps.md).
"""
WIDTH = 100
SECTIONS = ("base", "encoder", "pretrain", "objectives", "tasks", "rows", "data", "claims", "table", "resources")
