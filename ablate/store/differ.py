"""Explains in words how two stages differ, following what they start from to the first difference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.errors import UserError, plural
from ablate.store.listing import format_of
from ablate.store.record import read_json

Identity = Mapping[str, Any]  # content of identity.json
Known = Callable[[str], Optional[Identity]]  # from the id of a stage to its identity; None if unknown

FIRST_TAGS = {"BuiltinConfig": "builtin", "RealConfig": "real", "StatedConfig": "stated"}  # class names of format 1
CALLED = {
    "builtin": "the built-in corpus",
    "real": "real corpora",
    "stated": "stated corpora",
}  # by tag, or by its first word
DATA = ("recordings", "table", "tokens")  # kinds of stages whose titles name data
NOT_REUSED = "records of format 1 are not reused"


def explain(first: str, second: str, root: Path) -> list[str]:
    """Return lines that say how two stages, given by id or folder, differ. Raises UserError if one does not exist."""
    (a, known_a, format_a), (b, known_b, format_b) = (_look(one, root) for one in (first, second))
    lines = [f"A is {a['kind']} {a['id']} ({a['title']})", f"B is {b['kind']} {b['id']} ({b['title']})"]
    if a["kind"] != b["kind"]:
        return [*lines, f"They are of different kinds: {a['kind']} and {b['kind']}."]
    if a["id"] == b["id"]:
        return [*lines, "They are the same: what made them does not differ."]
    if format_a != format_b:
        old, new = ((a, known_a), (b, known_b)) if format_a < format_b else ((b, known_b), (a, known_a))
        return [*lines, *Crossing(old[1], new[1]).between(old[0]["id"], new[0]["id"])]
    return [*lines, *Differences(known_a, known_b).between(a["id"], b["id"])]


def on_disk(root: Path) -> Known:
    """Return a look-up of the identities of stages under a root. Each is read once."""
    read: dict[str, Optional[Identity]] = {}

    def known(id: str) -> Optional[Identity]:
        if id not in read:
            path = next(Path(root).glob(f"*/{id[:2]}/{id}/identity.json"), None)
            read[id] = None if path is None else read_json(path)
        return read[id]

    return known


def _look(what: str, root: Path) -> tuple[Identity, Known, int]:
    """Return a stage's identity, the look-up of its root, and the format that it was written in."""
    folder = Path(what)
    if not (folder / "identity.json").is_file():
        known = what.isalnum()  # as ids are; a pattern would match any stage
        path = next(Path(root).glob(f"*/{what[:2]}/{what}/identity.json"), None) if known else None
        if path is None:
            raise UserError(f"No stage '{what}' under '{root}'; give an id and --root ROOT, or the folder of a stage.")
        folder = path.parent
    return read_json(folder / "identity.json"), on_disk(folder.resolve().parents[2]), format_of(folder)


class Differences:
    """Differences between stages of the same format. Each pair is compared once."""

    def __init__(self, first: Known, second: Known):
        self.first, self.second = first, second
        self.sentences: dict[tuple[str, str], list[str]] = {}

    def between(self, first: str, second: str, role: str = "") -> list[str]:
        """Return sentences, without full stops, that say how the second stage differs from the first; else []."""
        if first == second:
            return []
        if (first, second) not in self.sentences:
            a, b = self.first(first), self.second(second)
            if a is None or b is None:
                words = [f"{_shown(role)} is another, and what {first if a is None else second} was is not known"]
            else:
                words = list(dict.fromkeys(self._between(a, b, role)))
            self.sentences[first, second] = words
        return self.sentences[first, second]

    def _between(self, a: Identity, b: Identity, role: str) -> list[str]:
        sentences = []
        if a["version"] != b["version"]:
            sentences.append(_raised(f"version of {b['kind']}", a["version"], b["version"]))
        sentences += settings(a["config"], b["config"], _name(b, role))
        before, after = dict(a["parents"]), dict(b["parents"])
        where = "the tokenizer's texts" if b["kind"] == "tokenizer" else f"what {b['kind']} reads"
        sentences += [f"{_shown(role)} is new in {where}" for role in after if role not in before]
        sentences += [f"{_shown(role)} is gone from {where}" for role in before if role not in after]
        for role in after:
            if role in before:
                sentences += self.between(before[role], after[role], role)
        return sentences


class Crossing:
    """Differences between stages of format 1 and current ones, of which only versions can be compared."""

    def __init__(self, first: Known, second: Known):
        self.known, self.made = (first, second), {}

    def between(self, first: str, second: str) -> list[str]:
        """Return sentences, without full stops: nothing is reused, and these recipes and versions were raised."""
        before, after = self._raises(0, first), self._raises(1, second)
        both = sorted(before.keys() & after.keys())
        return [NOT_REUSED, *(_raised(what, before[what], after[what]) for what in both if before[what] != after[what])]

    def _raises(self, side: int, id: str) -> dict[str, int]:
        """Return the recipes and versions of a stage and of all that it starts from, by what they belong to."""
        if (side, id) not in self.made:
            what, versions = self.known[side](id), {}
            if what is not None:
                versions = {f"version of {what['kind']}": what["version"], **_recipes(what["config"])}
                for _, parent in what["parents"]:
                    versions = {**self._raises(side, parent), **versions}
            self.made[side, id] = versions
        return self.made[side, id]


def _recipes(config: Any) -> dict[str, int]:
    if not isinstance(config, Mapping):
        return {}
    own = {f"recipe of {_called(config)}": config["recipe"]} if "recipe" in config and "type" in config else {}
    for part in config.values():
        own |= _recipes(part)
    return own


def settings(a: Any, b: Any, name: str, path: str = "") -> list[str]:
    """Return sentences that say how two canonical forms differ, in `path` of what is called `name`."""
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)) or a.get("type") != b.get("type"):
        return [f"{name}: {path} {_value(a)} -> {_value(b)}"]
    sentences = []
    for key in dict.fromkeys([*a, *b]):
        here = f"{path}.{key}" if path else key
        if path == "texts" and a.get(key) != b.get(key):  # a tokenizer's texts, by table and field
            table, both = key.partition(".")[0], key in a and key in b
            sentences.append(
                f"{table}.train has other texts than it had"
                if both
                else f"table {table} is {'new in' if key in b else 'gone from'} the tokenizer's texts"
            )
            continue
        if key not in b:
            sentences.append(f"{name}: {here} is gone, was {_value(a[key])}")
        elif key not in a:
            sentences.append(f"{name}: {here} is new, {_value(b[key])}")
        elif a[key] == b[key] and type(a[key]) is type(b[key]):
            continue
        elif key == "recipe":
            sentences.append(_raised(f"recipe of {_called(b)}", a[key], b[key]))
        elif key == "rows" and isinstance(b[key], int):
            sentences.append(f"{name} has {plural(b[key], 'row')}, had {a[key]:,}")
        elif key == "digest":
            sentences += [f"{name} holds other rows than it did"] if a.get("rows") == b.get("rows") else []
        else:
            sentences += settings(a[key], b[key], name, here)
    return sentences


def _name(what: Identity, role: str) -> str:
    """Return how a stage is called: data by their names, all else by its kind."""
    name = what["title"] if what["kind"] in DATA else role.partition("/")[2]
    return name if what["kind"] == "table" and name else f"{what['kind']} {name}".rstrip()


def _called(config: Mapping[str, Any]) -> str:
    tag = FIRST_TAGS.get(config["type"], config["type"])
    return CALLED.get(tag.partition("_")[0], tag)


def _raised(what: str, before: int, after: int) -> str:
    return f"{what} was raised {before} -> {after}" if after > before else f"{what} is {after}, was {before}"


def _shown(role: str) -> str:
    kind, _, name = role.partition("/")
    return f"{kind} {name}" if name else kind


def _value(value: Any) -> str:
    """Return a value for display; a config is shown by its tag."""
    if isinstance(value, Mapping) and "type" in value:
        return str(value["type"])
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
