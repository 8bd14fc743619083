"""What is true of all kinds of extension when they are registered: tags are given once, settings can be set."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Any, ClassVar

import pytest

from ablate.data.real.layouts.common_voice import CommonVoice, Digits
from ablate.data.real.layouts.registry import LAYOUTS, TABLES
from ablate.data.registry import DATA
from ablate.errors import UserError
from ablate.planning import trial
from ablate.stages.kind import Kind
from ablate.stages.registry import KINDS
from ablate.store import plugins
from ablate.tasks.registry import TASKS
from encoders.owner import Incomplete
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.targets import TARGETS

REGISTRIES = {"asr": TASKS, "nano": PRESETS, "tlm": OBJECTIVES, "kmeans": TARGETS, "real": DATA}


@pytest.mark.parametrize("name", REGISTRIES)
def test_another_class_with_a_tag_that_is_there_is_refused_with_both_files(name: str) -> None:
    registry, first = REGISTRIES[name], type(REGISTRIES[name][name])
    owner = getattr(first, "owner", None)
    body = {"tag": first.tag, "__module__": __name__, "__annotations__": {}}
    twin = dataclass(frozen=True, kw_only=True)(type("Twin", (first,), body))
    if owner is not None:
        twin.owner = type("Twins", (owner,), {"Config": twin})
    try:
        with pytest.raises((Incomplete, UserError), match=rf"has the tag '{first.tag}', and so has .*\.py, line \d+\)"):
            registry["twin"] = twin(**({"width": 32} if name == "nano" else {}))
        assert "twin" not in registry
        registry["again"] = registry[name]  # another preset of the class
    finally:
        registry.pop("again", None)
        twin.tag = f"gone {name}"  # classes live on: let no other test find two


class Other(CommonVoice):
    """Another layout."""


class Labels(Digits):
    """Another table."""


TAKEN = {
    "stm": (LAYOUTS, Other),
    "digits": (TABLES, Labels),
    "nano": (PRESETS, OBJECTIVES["tlm"]),
    "asr": (TASKS, TASKS["rte"]),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_of_another_class_is_refused_with_both_files(name: str) -> None:
    registry, thing = TAKEN[name]
    before = registry[name]
    with pytest.raises(Incomplete, match=rf"\(.*\.py, line \d+\) takes the name '{name}' of .*\.py, line \d+\)"):
        registry[name] = thing
    assert registry[name] is before
    registry[name] = before


def test_the_name_of_a_kind_of_stage_that_is_there_is_refused_with_both_files() -> None:
    with pytest.raises(
        Incomplete, match=r"First \(.*, line \d+\) takes the name 'score' of stage \(.*score.py, line \d+\)"
    ):
        KINDS["score"] = Kind(1, first, settings=First(), metrics=("a",))


@dataclass(frozen=True)
class First:
    """Settings."""

    tag: ClassVar[str] = "once"


@dataclass(frozen=True)
class Second:
    """Other settings."""

    tag: ClassVar[str] = "once"


def first(config: First, parents, run):
    """Measure nothing."""


def second(config: Second, parents, run):
    """Measure nothing, either."""


def test_two_kinds_of_stages_with_one_tag_are_refused_with_both_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "first", Kind(1, first, settings=First(), metrics=("a",)))
    with pytest.raises(Incomplete) as error:
        KINDS["second"] = Kind(1, second, settings=Second(), metrics=("a",))
    where = r"\(.*test_registering\.py, line \d+\)"
    error.match(rf"^Second {where} has the tag 'once', and so has First {where}; give one another")
    assert "second" not in KINDS


class Thing:
    """Of no type that a sweep file knows."""


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (int, float("nan"), "setting: nan has no canonical form"),
        (Any, Thing(), r"setting: a Thing \(.*\) has no canonical form; use plain values"),
        (set[int], field(default_factory=lambda: {1}), r"setting: a set \(\{1\}\) has no canonical form"),
        (set[int], (), r"setting: no sweep file can set a set\[int\]; use bool, int, float"),
        (int, field(default=1, metadata={"absnt": "1"}), "metadata of setting has 'absnt', expected name or absent"),
        (float, field(default=1.0, metadata={"absent": "1"}), "absent of setting is '1', in canonical text '1.0'"),
        (dict[str, float], field(default_factory=dict), ""),
        (tuple[str, ...], (), ""),
    ],
)
def test_settings_that_no_file_can_set_are_refused_when_a_plugin_registers_them(
    monkeypatch: pytest.MonkeyPatch, hint: Any, value: Any, words: str
) -> None:
    made = make_dataclass("Settings", [("setting", hint, value)], frozen=True, namespace={"tag": "settings"})
    made.__module__ = __name__
    monkeypatch.setattr(plugins, "named", lambda said=(): ("lab",))
    kind = Kind(1, first, settings=First(), metrics=("a",))
    object.__setattr__(kind, "settings", made())
    monkeypatch.setattr(plugins, "load", lambda names: monkeypatch.setitem(KINDS, "lab", kind))
    if words:
        with pytest.raises(UserError, match=rf"^Settings \({__name__}\):? ?{words}|^Settings \(.*\): {words}"):
            trial.load()
    else:
        trial.load()
