"""Loads a sweep file and command-line overrides into one dictionary.

Only this module uses Hydra and OmegaConf. OmegaConf's YAML loader reads 1e-4 as a number and refuses duplicate keys,
and OmegaConf resolves interpolations. Hydra's grammar parses overrides.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Sweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from ablate.errors import UserError, as_written, nearest
from ablate.sweepfile import schema
from ablate.sweepfile.patch import expand, leaves, odd_space, overlay
from ablate.sweepfile.schema import Value
from ablate.sweepfile.typed import setting

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
        text = _read(path)
        document = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        if mark and (at := _odd(lines := text.splitlines(), mark.line, mark.column)):
            what = odd_space(lines[at[0]][at[1]])
            raise UserError(f"{path}, line {at[0] + 1}, column {at[1] + 1}: found {what}; write spaces.") from None
        raise UserError(_invalid(e, path)) from None
    except yaml.YAMLError as e:
        raise UserError(f"{path}: this is not valid YAML: {str(e).splitlines()[0]}.") from None
    if not isinstance(document, dict):
        kind = "nothing" if document is None else "a list" if isinstance(document, list) else as_written(document)
        raise UserError(f"{path}: expected a mapping with 'base' and 'rows', found {kind}.")
    return document


def _read(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise UserError(f"{path}, line {line}: found a byte that is no UTF-8; save the file in UTF-8.") from None


PROBLEMS = (  # what YAML's reader says, and what that means here
    (r"found duplicate key (?P<key>.*)", "found duplicate key {key}; remove one of the two."),
    (r"could not find expected ':'", "expected 'key: value', with a space after the colon."),
    (
        r"mapping values are not allowed here",
        "found a colon within a value, or an indentation that fits no line above; put text with a colon in quotes.",
    ),
    (r"expected <block end>.*", "the indentation fits no line above; begin all keys of a mapping in one column."),
    (
        r"expected ',' or '(?P<end>.)'.*",
        "expected ',' or '{end}': what opens in line {line} is not closed before this.",
    ),
    (r"expected the node content, but found '\?'", "found ???, which needs quotes between brackets: '???'."),
    (r"but found another document", "found a second document; a sweep file has one."),
    (
        r"could not determine a constructor for the tag '(?P<tag>.*)'",
        "found the tag '{tag}', which means nothing here; remove it.",
    ),
)


def _invalid(error: yaml.MarkedYAMLError, path: Path) -> str:
    """What is wrong with YAML that cannot be read, and where."""
    said, mark = error.problem or error.context, error.problem_mark or error.context_mark
    start = error.context_mark or mark
    for pattern, meant in PROBLEMS:
        if match := re.fullmatch(pattern, said):
            mark = start if "with a space" in meant else mark
            said = meant.format(**match.groupdict(), line=start.line + 1) if "{" in meant else meant
            break
    where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
    return f"{where}: this is not valid YAML: {said.rstrip('.')}."


def _odd(lines: list[str], line: int, column: int) -> tuple[int, int] | None:
    """Return line and column, counted from 0, of a tab or another odd space that makes YAML unreadable, or None.

    It is at the place where reading stopped, or in the indentation of a line up to there.
    """
    for number, text in enumerate(lines[: line + 1]):
        if indentation := re.match(r" *(?=[^\S ]\s*\S)", text):
            return number, indentation.end()
    return (line, column) if line < len(lines) and odd_space(lines[line][column : column + 1]) else None


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
    name, parent = sweep.get("name"), setting(schema.Sweep, "extends", sweep.pop("extends", None))
    if parent is not None:
        if not (path.parent / parent).is_file():
            beside = [one.name for one in sorted(path.parent.glob("*.yaml")) if one != path]
            raise UserError(f"extends: there is no file '{path.parent / parent}'; {nearest(parent, beside)}")
        sweep = overlay(load(path.parent / parent, (*seen, path.resolve())), sweep)
    own = path.stem if name is None else name  # never the name of the extended file: both would write to one folder
    return {**sweep, "name": own}


def override(sweep: Mapping[str, Value], overrides: Iterable[str]) -> dict[str, Value]:
    """Apply command-line overrides in Hydra's grammar, and return the new sweep.

    `a.b=1` sets a value and `~a.b` removes it. A choice, such as `base.encoder.width=32,64` or `range(1,4)`, becomes an
    axis. A new key needs no `+`, and `+` does not allow an unknown key. Raises UserError.
    """
    for text in overrides:
        parsed = parse(text)
        keys = parsed.key_or_group.split(".")
        if keys == ["extends"]:
            raise UserError(f"Override '{text}': what a file extends is read with it; write extends in the file.")
        if keys[0] == "axes" and not parsed.is_delete():
            _no_axis(sweep, keys[1:], text)
        if parsed.is_delete():
            sweep = _without(sweep, keys, text)
        elif parsed.is_sweep_override():
            sweep = overlay(sweep, _choice(parsed, text))
        else:
            sweep = overlay(sweep, expand(_nested(keys, _plain(parsed.value(), text))))
    return dict(sweep)


def parse(text: str) -> Override:
    """Parse one override in Hydra's grammar, in which a value may have letters and signs that it does not know, as long
    as none of them has a meaning there. Raises UserError.
    """
    key, _, value = text.partition("=")
    try:
        parsed = _parsed(text)
    except HydraException as e:
        if value and value == value.strip() and not set(value) & set("=,[](){}\"'\\$"):
            with contextlib.suppress(HydraException):
                return _parsed(f"{key}='{value}'")
        hint = f"; no spaces around =, and text with signs in quotes, as in {key}={_quoted(value)}" if value else ""
        raise UserError(f"Override '{text}': cannot be read; write key=value, ~key or key=[1,2]{hint}.") from e
    if parsed.is_sweep_override() and key in ("root", "data.root"):
        raise UserError(
            f"Override '{text}': is one folder; with a comma in its name, write {key}={_quoted(value)}"
            + ("; to compare several, write axes: {data.root: [...]} in the file." if key == "data.root" else ".")
        )
    if not parsed.key_or_group:
        raise UserError(f"Override '{text}': there is no key; write key=value.")
    if parsed.package is not None:
        raise UserError(f"Override '{text}': there are no packages here; write key=value.")
    return parsed


def _parsed(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


def _quoted(value: str) -> str:
    """A value in the quotes that the grammar needs, and around them those of the shell."""
    inner = '"' if "'" in value else "'"
    outer = "'" if inner == '"' else '"'
    return f"{outer}{inner}{value}{inner}{outer}" if outer not in value else shlex.quote(f"{inner}{value}{inner}")


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


def _no_axis(sweep: Mapping[str, Value], keys: list[str], text: str) -> None:
    """Raise UserError for an override of `axes` by the dotted path of a setting, and say how an axis is written."""
    axis, *deeper = keys or [""]
    there = (sweep.get("axes") or {}).get(axis) if isinstance(sweep.get("axes"), Mapping) else None
    if not deeper or isinstance(there, Mapping) or axis not in ("data", *schema.keys(schema.Section)):
        return
    setting = ".".join(keys) if axis == "data" else f"base.{'.'.join(keys)}"
    values = text.partition("=")[2].strip("[]")
    raise UserError(f"Override '{text}': an axis is written as the setting and its values; write {setting}={values}.")


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
        resolved = OmegaConf.to_container(OmegaConf.create(dict(sweep)), resolve=True)
    except OmegaConfBaseException as e:
        raise UserError(f"{e.full_key or 'sweep'}: {_unresolved(e, sweep)}") from None
    return expand(resolved)  # a reference may bring shorthand


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


def _unresolved(error: OmegaConfBaseException, sweep: Mapping[str, Value]) -> str:
    """Why an interpolation has no value, in a sentence."""
    said = str(error).splitlines()[0].rstrip(".")
    if isinstance(error, InterpolationKeyError) and (key := re.search("'(.*)'", said)):
        near = nearest(key[1], [path for path, _ in leaves(sweep)])
        example = "write the dotted path of what stands in the file, as in ${base.pretrain.steps}."
        return f"'${{{key[1]}}}' refers to nothing that is written; {near if near.startswith('did') else example}"
    if isinstance(error, GrammarParseError):
        return "this reference cannot be read; write ${base.pretrain.steps}, or \\${ where text has these signs."
    if isinstance(error, InterpolationToMissingValueError):
        return f"it refers to '{said.rpartition(': ')[2]}', which must be given and is '???'."
    if isinstance(error, UnsupportedInterpolationType):
        kind = said.rpartition(" ")[2]
        return (
            f"there is no '${{{kind}:...}}'; write ${{oc.env:NAME}} or the path of a setting, ${{base.pretrain.steps}}."
        )
    if variable := re.search("Environment variable '(.*)' not found", said):
        return f"the environment variable {variable[1]} is not set; set it, or write ${{oc.env:{variable[1]},DEFAULT}}."
    if said.startswith(("Recursive interpolation", "Interpolation to parent")):
        return "this reference leads back to itself; write the value."
    return f"{said}."
