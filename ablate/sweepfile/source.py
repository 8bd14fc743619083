"""Finds where each setting of a sweep was written: file, line and column, or a command-line override.

The files are read again for this, but only to locate a mistake or to explain a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ablate.errors import UserError
from ablate.sweepfile.load import Loader, parse

POINTER = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*\}")  # a reference to another setting of the sweep


NAMED = re.compile(r"\b[a-z]\w*(?:\.\w+)+")  # a setting in a sentence
OVERRIDE = "override "  # how the place of a setting begins that was not written in a file


@dataclass(frozen=True)
class Written:
    """A setting as it was written, and where."""

    where: str
    """"FILE, line 3, column 5", or "override 'TEXT'"."""
    text: str
    """Its value if that is a scalar, else empty."""
    short: str
    """"FILE:3", or the text of the override."""


class Source:
    """All settings written for a sweep, by dotted path, in layers of which the first that has a setting counts.

    The layers are overrides, settings made by options such as --quick (`made`, by option), the file, and the files that
    it extends.
    """

    def __init__(
        self, path: str | Path, overrides: Iterable[str] = (), made: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        options = [
            {key: Written(option, str(value), option) for key, value in settings.items()}
            for option, settings in (made or {}).items()
        ]
        below = [*options, *_files(Path(path), set())]
        self.layers: list[dict[str, Written]] = []
        removed: list[str] = []  # paths that overrides such as ~rows.one remove
        for layer, without in [*_overridden(list(overrides)), *((one, "") for one in below)]:
            self.layers.append({at: one for at, one in layer.items() if not any(_within(at, r) for r in removed)})
            removed += [without] if without else []

    def find(self, path: str, plain: bool = False) -> tuple[int, Written] | None:
        """Return how many steps of `path` are written, and where the last of them is; None if no step is.

        The longest written part counts, and of equally long ones that of the uppermost layer. With `plain`, only
        settings with a scalar value count.
        """
        ends = [*(match.start() for match in re.finditer(r"[.\[]", path)), len(path)]
        for steps, end in reversed([*enumerate(ends, 1)]):
            for layer in self.layers:
                if path[:end] in layer and (layer[path[:end]].text or not plain):
                    return steps, layer[path[:end]]
        return None

    def settles(self, path: str, plain: bool = False, first: bool = False) -> tuple[int, Written] | None:
        """Return what `find` does, for the place that determines the setting at `path`.

        A setting of a row may be written in the row, in the rows that it continues, in the axes or in `base`. With
        `first`, only the first point of an axis counts. Returns None if nothing sets it.
        """
        top, *rest = path.split(".")
        if top != "rows" or not rest:
            return self.find(path, plain)
        own = self.find(path, plain)
        best = (max(own[0] - 2, 0), own[1]) if own else None
        axes = self._axes(".".join(rest[1:]), first)
        for above in [*(f"rows.{row}" for row in self._before(rest[0])), *axes, "base"]:
            found, skipped = self.find(".".join([above, *rest[1:]]), plain), above.count(".") + 1
            if found and found[0] - skipped > (best[0] if best else 0):
                best = found[0] - skipped, found[1]
        return best

    def origins(self, row: str, paths: Iterable[str]) -> dict[str, str]:
        """Return where the values of a row's settings come from, at the first point of the axes.

        Each origin is "FILE:LINE", the text of an override, the name of an option, "preset NAME", "computed" or
        "default".
        """
        return {path: self._origin(path if path.startswith("data.") else f"rows.{row}.{path}") for path in paths}

    def _origin(self, path: str) -> str:
        if path.endswith((".pretrain.start", ".pretrain.horizon")):
            return "computed"  # of the rows that it comes after
        found, steps = self.settles(path, first=True), path.count(".") + (1 if path.startswith("data.") else -1)
        if found and (found[0] == steps or self._refers(found[1].text, path.split(".")[found[0] - steps :])):
            return found[1].short
        bare = found and found[1].text and not found[1].text.startswith("${")
        if bare and path.endswith(".weight") and found[0] == steps - 1:
            return found[1].short  # a bare weight, as in tlm: 0.5
        name = self._preset(path)
        return f"preset {name}" if name else "default"

    def _preset(self, path: str) -> str:
        """Return the preset that a setting belongs to: the one that is written, else the one with the part's name."""
        parts = path.split(".")[0 if path.startswith("data.") else 2 :]
        deep = {"data": 1, "encoder": 1, "tasks": 2, "pretrain": 3}.get(parts[0], 0)
        if deep == 3 and parts[1] not in ("objectives", "targets") or len(parts) <= deep:
            return ""
        holder = path.rsplit(".", len(parts) - deep)[0]
        for place, steps in ((f"{holder}.preset", deep + 1), (holder, deep)):
            found = self.settles(place, plain=True, first=True)
            if found and found[0] == steps and re.fullmatch(r"[A-Za-z_]\w*", name := self._followed(found[1].text)):
                return name
        return parts[deep - 1] if deep > 1 else ""

    def _refers(self, text: str, below: list[str]) -> bool:
        """Whether a value is a reference to something that sets the setting with the path `below` within it."""
        if not (match := POINTER.fullmatch(text)):
            return text.startswith("${")  # of another kind, or within text
        path = ".".join([match[1], *below])
        steps, written = self.find(path) or (0, None)
        left = path.count(".") + 1 - steps
        if written and left and written.text.startswith("${"):
            return self._refers(written.text, below[-left:])
        return not left or bool(written and below[-left:] == ["weight"] and written.text)

    def _followed(self, text: str) -> str:
        """Return the preset that a value names; that of a reference is named where it points to."""
        while match := POINTER.fullmatch(text):
            for path in (f"{match[1]}.preset", match[1]):
                steps, written = self.find(path) or (0, None)
                text = written.text if written and steps == path.count(".") + 1 else ""
                if text:
                    break
        return text

    def _axes(self, setting: str, first: bool) -> Iterator[str]:
        """Yield the paths below which axes set a setting: "axes" for `axes.SETTING`, "axes.AXIS.NAME" for a patch.

        With `first`, only the first patch of each axis counts.
        """
        keys = [key for layer in self.layers for key in layer if key.startswith("axes.")]
        firsts: dict[str, str] = {}  # by axis; entries of an extended file come first
        for key in (key for layer in reversed(self.layers) for key in layer):
            if match := re.fullmatch(r"(axes\.[^.]+)\.[^.]+", key):
                firsts.setdefault(match[1], key)
        if f"axes.{setting}" in keys:
            yield "axes"
        for key in keys:
            match = re.fullmatch(r"(axes\.[^.]+\.[^.]+)\..*", key)
            if match and key == f"{match[1]}.{setting}" and (not first or match[1] in firsts.values()):
                yield match[1]

    def _before(self, row: str) -> list[str]:
        """Return the rows that a row continues, the nearest first."""
        chain: list[str] = []
        while row not in chain:
            chain.append(row)
            after = next((layer[key] for layer in self.layers if (key := f"rows.{row}.after") in layer), None)
            row = after.text if after else row
        return chain[1:]

    def located(self, error: UserError) -> UserError:
        """Put file, line and column before the error's message, if it begins with a setting that was written; or an
        override of another setting that it names, as that is what is new.
        """
        message = str(error)
        word = message.partition(" ")[0]
        first = (message.partition(": ")[0], word if "." in word else "")  # "data.root is no folder", too
        found = next((found[1] for path in first if path and (found := self.settles(path))), None)
        if found and not found.where.startswith(OVERRIDE):
            named = (self.find(path) for path in NAMED.findall(message))
            found = next((one[1] for one in named if one and one[1].where.startswith(OVERRIDE) and one[1].text), found)
        return type(error)(f"{found.where}: {message}") if found else error


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith((f"{other}.", f"{other}["))


def _overridden(overrides: list[str]) -> Iterator[tuple[dict[str, Written], str]]:
    """Yield what each override sets and the path that it removes, the last override first."""
    for text in reversed(overrides):
        try:
            parsed = parse(text)
        except UserError:
            continue  # the error to be located is about this override
        written, key = Written(f"{OVERRIDE}'{text}'", text.partition("=")[2], text), parsed.key_or_group
        if parsed.is_delete():
            yield {}, key
            continue
        above = {key[: part.end()]: Written(written.where, "", text) for part in re.finditer(r"[^.]+(?=\.)", key)}
        within = {path: Written(written.where, value, text) for path, value in _inside(parsed.value(), key)}
        axis = {f"axes.{key.removeprefix('base.')}": written} if parsed.is_sweep_override() else {}
        yield {**above, key: written, **within, **axis}, ""


def _inside(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield everything within the value of an override as (dotted path, its text if it is a scalar)."""
    items = [(f"{path}[{n}]", one) for n, one in enumerate(value)] if isinstance(value, list) else []
    items += [(f"{path}.{key}", one) for key, one in value.items()] if isinstance(value, dict) else []
    for at, one in items:
        yield at, "" if isinstance(one, (list, dict)) else str(one)
        yield from _inside(one, at)


def _files(path: Path, seen: set[Path]) -> Iterator[dict[str, Written]]:
    """Yield what a file sets, then what the files that it extends set."""
    if path.resolve() in seen or not path.is_file():
        return
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=Loader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return  # the error to be located is about this file
    written = dict(_below(root, "", str(path)))
    yield written
    if "extends" in written:
        yield from _files(path.parent / written["extends"].text, {*seen, path.resolve()})


def _below(
    node: yaml.Node | None, path: str, file: str, above: tuple[yaml.Node | None, ...] = ()
) -> Iterator[tuple[str, Written]]:
    """Yield everything below a node as (dotted path, Written).

    Keys merged by `<<` come first, as keys next to it override them. `above` are the nodes that contain this one: where
    a YAML alias contains itself, it is left out.
    """
    if any(node is one for one in above):
        return
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _one(item, item, f"{path}[{number}]", file, above)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "<<":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from _below(merged, path, file, above)
        for key, value in node.value:
            if key.value != "<<":
                yield from _one(key, value, f"{path}.{key.value}" if path else str(key.value), file, above)


def _one(
    key: yaml.Node, value: yaml.Node, path: str, file: str, above: tuple[yaml.Node | None, ...]
) -> Iterator[tuple[str, Written]]:
    mark, text = key.start_mark, value.value if isinstance(value, yaml.ScalarNode) else ""
    yield path, Written(f"{file}, line {mark.line + 1}, column {mark.column + 1}", text, f"{file}:{mark.line + 1}")
    yield from _below(value, path, file, above)
