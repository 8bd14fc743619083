"""Loads a sweep file and command-line overrides into one dictionary.

Only this module uses Hydra and OmegaConf. OmegaConf's YAML loader reads 1e-4 as a number and refuses duplicate keys,
and OmegaConf resolves interpolations. Hydra's grammar parses overrides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Sweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from ablate.errors import UserError, nearest
from ablate.sweepfile.patch import expand, leaves, overlay
from ablate.sweepfile.schema import Value

BOOL = "tag:yaml.org,2002:bool"
TIME = ("tag:yaml.org,2002:str", re.compile(r"\d+(:[0-5]?\d)+$"))


class Loader(get_yaml_loader()):  # type: ignore[misc]
    """OmegaConf's loader, except that only true and false are booleans, and that 2:00:00 is text rather than 7200.

    So `on:` can be a key of a claim, and `no` the code of Norwegian.
    """

    yaml_implicit_resolvers = {
        letter: [TIME, *((tag, regexp) for tag, regexp in resolvers if not (tag == BOOL and letter not in "tTfF"))]
        for letter, resolvers in get_yaml_loader().yaml_implicit_resolvers.items()
    }


def document(path: Path) -> dict[str, Value]:
    """Parse a YAML file. Raises UserError with file, line and column."""
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        if mark and (tab := _tab(text.splitlines(), mark.line, mark.column)):
            raise UserError(f"{path}, line {tab[0] + 1}, column {tab[1] + 1}: found a tab; write spaces.") from None
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise UserError(f"{where}: this is not valid YAML: {e.problem or e.context}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: this is not valid YAML: {str(e).splitlines()[0]}.") from None
    if not isinstance(document, dict):
        kind = "nothing" if document is None else f"a {type(document).__name__}"
        raise UserError(f"{path}: expected a mapping with 'base' and 'rows', found {kind}.")
    return document


def _tab(lines: list[str], line: int, column: int) -> tuple[int, int] | None:
    """Return line and column, counted from 0, of a tab that makes YAML unreadable, or None.

    It is at the place where reading stopped, or in the indentation of a line up to there.
    """
    for number, text in enumerate(lines[: line + 1]):
        if indentation := re.match(r" *(?=\t\s*\S)", text):
            return number, indentation.end()
    return (line, column) if line < len(lines) and lines[line][column : column + 1] == "\t" else None


def load(path: str | Path, seen: tuple[Path, ...] = ()) -> dict[str, Value]:
    """Read a sweep file, laid over the file that it extends, with shorthand expanded.

    The sweep's default name is the file's. Raises UserError with file and line for YAML that cannot be read, and for a
    file that extends itself.
    """
    path = Path(path)
    if path.resolve() in seen:
        raise UserError(f"{path}: extends itself, by way of {', '.join(p.name for p in seen)}; remove one 'extends'.")
    if not path.is_file():
        beside = [str(p) for p in sorted(path.parent.glob("*.yaml"))] if path.parent.is_dir() else []
        raise UserError(f"No sweep file '{path}'; {nearest(str(path), beside)}")
    sweep = expand(document(path))
    name, parent = sweep.get("name", path.stem), sweep.pop("extends", None)
    if parent is not None:
        sweep = overlay(load(path.parent / str(parent), (*seen, path.resolve())), sweep)
    return {**sweep, "name": name}  # never the name of the extended file: both would write to one folder


def override(sweep: Mapping[str, Value], overrides: Iterable[str]) -> dict[str, Value]:
    """Apply command-line overrides in Hydra's grammar, and return the new sweep.

    `a.b=1` sets a value and `~a.b` removes it. A choice, such as `base.encoder.width=32,64` or `range(1,4)`, becomes an
    axis. A new key needs no `+`, and `+` does not allow an unknown key. Raises UserError.
    """
    for text in overrides:
        parsed = parse(text)
        keys = parsed.key_or_group.split(".")
        if parsed.is_delete():
            sweep = _without(sweep, keys, text)
        elif parsed.is_sweep_override():
            sweep = overlay(sweep, _choice(parsed, text))
        else:
            sweep = overlay(sweep, expand(_nested(keys, _plain(parsed.value(), text))))
    return dict(sweep)


def parse(text: str) -> Override:
    """Parse one override in Hydra's grammar. Raises UserError."""
    try:
        parsed = OverridesParser.create().parse_override(text)
    except HydraException as e:
        raise UserError(f"Override '{text}': {str(e).splitlines()[0]}; write key=value, ~key or key=[1,2].") from e
    if parsed.package is not None:
        raise UserError(f"Override '{text}': there are no packages here; write key=value.")
    return parsed


def set_by(overrides: Iterable[str]) -> set[str]:
    """Return the dotted paths of the settings that overrides set, as they are named in the sweep."""
    paths: set[str] = set()
    for text in overrides:
        parsed = parse(text)
        if parsed.is_sweep_override():
            choice = _choice(parsed, text)
            paths |= {f"axes.{axis}" for axis in choice["axes"]} if "axes" in choice else {*choice}
        elif not parsed.is_delete():
            paths |= {path for path, _ in leaves(expand(_nested(parsed.key_or_group.split("."), parsed.value())))}
    return paths


def _plain(value: object, text: str) -> object:
    """Return an override's value unchanged. Raises UserError if it contains one of Hydra's functions."""
    if isinstance(value, (Glob, Sweep)):
        raise UserError(f"Override '{text}': a list or mapping cannot hold a choice; write a value.")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _plain(part, text)
    return value


def _nested(keys: list[str], value: object) -> dict[str, Value]:
    for key in reversed(keys):
        value = {key: value}
    return value


def _choice(parsed: Override, text: str) -> dict[str, Value]:
    if not parsed.is_discrete_sweep() or isinstance(parsed.value(), Glob):
        raise UserError(f"Override '{text}': a sweep needs values one by one; write key=1,2 or key=range(1,4).")
    values, key = _plain(list(parsed.sweep_iterator()), text), parsed.key_or_group
    if key == "seeds":
        return {"seeds": values}
    if not key.startswith(("base.", "data.")) and key != "data":
        raise UserError(f"Override '{text}': only 'base' and 'data' have axes; write key=[1,2] for a list.")
    return {"axes": {key.removeprefix("base."): values}}


def _without(sweep: Mapping[str, Value], keys: list[str], text: str) -> dict[str, Value]:
    key, *rest = keys
    if not isinstance(sweep, Mapping) or key not in sweep:
        here = sweep if isinstance(sweep, Mapping) else ()
        raise UserError(f"Override '{text}': there is no '{key}' to remove; {nearest(key, here)}")
    if rest:
        return {**sweep, key: _without(sweep[key], rest, text)}
    return {k: v for k, v in sweep.items() if k != key}


def interpolated(sweep: Mapping[str, Value]) -> dict[str, Value]:
    """Resolve OmegaConf interpolations such as `${base.pretrain.steps}` or `${oc.env:HOME}`. Raises UserError."""
    try:
        return OmegaConf.to_container(OmegaConf.create(dict(sweep)), resolve=True)
    except OmegaConfBaseException as e:
        raise UserError(f"{e.full_key or 'sweep'}: {_sentence(e)}") from None


class _Dumper(yaml.SafeDumper):
    """Writes YAML that `Loader` reads back as the same values: text that looks like a number is quoted."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: object) -> bool:
        return True


def dumped(sweep: Mapping[str, Value]) -> str:
    """Return a sweep, with its interpolations resolved, as the text of a file that is read back as the same sweep."""
    return yaml.dump(_escaped(sweep), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _escaped(value: object) -> object:
    """Escape `${` in text, so that it is not read as an interpolation."""
    if isinstance(value, Mapping):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") + "."
