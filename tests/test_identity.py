"""Identity: what is in it, what is not, and ids that must never change by accident."""

import json
from dataclasses import dataclass, field, replace
from typing import ClassVar, Optional

import pytest

from ablate import identity


@dataclass(frozen=True, kw_only=True)
class Part:
    size: int = 3
    rate: float = 0.5


class House:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        recipe: ClassVar[int] = 2
        how: ClassVar[tuple[str, ...]] = ("root",)

        root: str = "/here"
        lr: float = 1e-4
        warm: Optional[float] = None
        reads: tuple[str, ...] = ("speech", "text")
        part: Part = Part()
        parts: dict[str, Part] = field(default_factory=dict)


CONFIG = House.Config(parts={"b": Part(), "a": Part(size=4)})


def test_golden_ids():
    """If this fails, every run of every user is made again: change it only with the definition of identity."""
    assert identity.stage_id("corpus", 1, identity.canonical(Part()), []) == "7d0490c4f85e3ae8"
    parents = [("corpus", "0123456789abcdef"), ("tokenizer", "fedcba9876543210")]
    assert identity.stage_id("pretrain", 3, identity.canonical(CONFIG), parents) == "f44ec28bf38ba8fb"


def test_canonical_form():
    part = {"type": "Part", "rate": 0.5, "size": 3}
    assert identity.canonical(CONFIG) == {
        "type": "House.Config", "recipe": 2, "lr": 1e-4, "part": part, "reads": ["speech", "text"], "warm": None,
        "parts": {"a": {**part, "size": 4}, "b": part},
    }  # fmt: skip
    assert list(identity.canonical(CONFIG)["parts"]) == ["a", "b"]


def test_whole_numbers_in_float_fields_are_floats():
    one, same = House.Config(lr=1, warm=2), House.Config(lr=1.0, warm=2.0)
    assert repr(identity.canonical(one)) == repr(identity.canonical(same))


@pytest.mark.parametrize("change", [
    {"lr": 2e-4}, {"warm": 0.0}, {"reads": ("text",)}, {"part": Part(size=5)}, {"parts": {}},
])  # fmt: skip
def test_every_what_field_changes_the_id(change):
    ids = {identity.stage_id("corpus", 1, identity.canonical(c), []) for c in (CONFIG, replace(CONFIG, **change))}
    assert len(ids) == 2


def test_kind_version_and_parents_change_the_id_and_their_order_does_not():
    form = identity.canonical(Part())
    parents = [("corpus", "a"), ("tokenizer", "b")]
    ids = [
        identity.stage_id(kind, version, form, start)
        for kind, version, start in [("x", 1, parents), ("y", 1, parents), ("x", 2, parents), ("x", 1, parents[:1])]
    ]
    assert len(set(ids)) == 4
    assert identity.stage_id("x", 1, form, parents[::-1]) == ids[0]


def test_how_is_left_out_of_identity_and_restored():
    elsewhere = replace(CONFIG, root="/there")
    assert identity.canonical(elsewhere) == identity.canonical(CONFIG)
    assert identity.how({"data": elsewhere}) == {"data.root": "/there"}
    for config in (CONFIG, elsewhere):
        again = identity.restore(identity.canonical(config), identity.modules(config), identity.how(config))
        assert again == config and isinstance(again.reads, tuple) and list(again.parts) == ["a", "b"]


@pytest.mark.parametrize("value, error", [(float("nan"), ValueError), (object(), TypeError)])
def test_what_json_cannot_say_is_refused(value, error):
    with pytest.raises(error):
        identity.canonical(replace(CONFIG, lr=value))


def test_explain_names_the_differences():
    def what(config, parent):
        return {"kind": "pretrain", "version": 1, "config": identity.canonical(config), "parents": [["corpus", parent]]}

    lines = identity.explain(what(CONFIG, "a"), what(replace(CONFIG, lr=1e-3, parts={"a": Part(size=4)}), "b"))
    assert lines == [
        "lr: 0.0001 → 0.001", 'parents.corpus: "a" → "b"', "parts.b.rate: 0.5 only in the first",
        "parts.b.size: 3 only in the first", 'parts.b.type: "Part" only in the first',
    ]  # fmt: skip
    assert identity.explain(what(CONFIG, "a"), what(CONFIG, "a")) == []


def test_forms_are_made_once_and_are_those_of_each_alone():
    """A form remembered for a part is the form of an equal part elsewhere; ids of whole and written-out forms agree."""
    forms, part = identity.Forms(), Part(size=7)
    one, two = (replace(CONFIG, part=part, lr=lr) for lr in (1e-3, 1e-2))
    found = [forms.of(config, House.Config) for config in (one, two, one)]
    assert found[0] is found[2] and found[0].plain["part"] is found[1].plain["part"]
    for config, form in zip((one, two), found):
        assert form.plain == identity.canonical(config) and json.loads(form.text) == form.plain
        assert identity.hashed("x", 1, form.text, [("a", "b")]) == identity.stage_id("x", 1, form.plain, [("a", "b")])
