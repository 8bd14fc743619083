"""How mappings become dataclasses: every kind of field, patches of parts, and what is not guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import pytest

from ablate.errors import UserError
from ablate.sweepfile import schema
from ablate.sweepfile.typed import made, setting, typed
from encoders.ranges import Share


@dataclass(frozen=True, kw_only=True)
class Part:
    depth: int = 1
    share: Share = 0.5


@dataclass(frozen=True, kw_only=True)
class Deeper(Part):
    extra: str = "e"


@dataclass(frozen=True, kw_only=True)
class Whole:
    part: Part = Part()
    maybe: Optional[Part] = None
    parts: tuple[Part, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    by_name: dict[str, int] = field(default_factory=dict)
    either: int | str | None = None
    shares: tuple[Share, ...] = ()
    flag: bool = False
    needed: int


WHOLE = Whole(needed=1, by_name={"a": 1}, part=Deeper(depth=3))


@pytest.mark.parametrize(
    ("patch", "name", "value"),
    [
        ({"part": {"extra": "f"}}, "part", Deeper(depth=3, extra="f")),  # a part stays of its class
        ({"maybe": {"depth": 2}}, "maybe", Part(depth=2)),
        ({"maybe": None}, "maybe", None),
        ({"parts": [{"depth": 2}, {}]}, "parts", (Part(depth=2), Part())),
        ({"pair": [3, 4]}, "pair", (3, 4.0)),
        ({"by_name": {"b": 2}}, "by_name", {"a": 1, "b": 2}),
        ({"either": "text"}, "either", "text"),
        ({"either": 3}, "either", 3),
        ({"needed": "12"}, "needed", 12),  # from the environment
        ({"part": {"share": "1e-1"}}, "part", Deeper(depth=3, share=0.1)),
        ({"part": {"extra": 3}}, "part", Deeper(depth=3, extra="3")),
        ({"flag": True}, "flag", True),
    ],
)
def test_a_patch_is_read_as_the_hint_says(patch, name, value):
    found = getattr(typed(WHOLE, patch, "x"), name)
    assert found == value and type(found) is type(value)
    assert Whole(needed=1, by_name={"a": 1}, part=Deeper(depth=3)) == WHOLE, "what is patched is never changed"


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ({"part": {"depth": True}}, "x.part.depth: expected a whole number, found true."),
        ({"part": {"share": 10**400}}, f"x.part.share: expected a number from 0 to 1, found {10**400}."),
        ({"parts": [{}, {"share": 2}]}, "x.parts[1].share: expected a number from 0 to 1, found 2."),
        ({"parts": [3]}, "x.parts[0]: expected a mapping, found 3; write {key: value}."),
        ({"pair": [1, 2, 3]}, "x.pair: expected a list of 2, found [1, 2, 3]."),
        ({"by_name": {"b": "c"}}, "x.by_name.b: expected a whole number, found 'c'."),
        ({"either": [1]}, "x.either: expected a whole number or text, found [1]."),
        ({"shares": [0.5, "nan"]}, "x.shares[1]: expected a number from 0 to 1, found nan; it has to be finite."),
        ({"flag": "off"}, "x.flag: expected true or false, found 'off'; write false."),
        ({"flag": 0}, "x.flag: expected true or false, found 0."),
        ({"needed": 2.0}, "x.needed: expected a whole number, found 2.0; write 2."),
        ({"shares": 0.5}, "x.shares: expected a list, found 0.5; write [0.5]."),
    ],
)
def test_nothing_is_guessed(patch, sentence):
    with pytest.raises(UserError) as error:
        typed(WHOLE, patch, "x")
    assert str(error.value) == sentence


def test_what_has_no_default_has_to_be_there():
    assert made(Whole, {"needed": 3}, "x") == Whole(needed=3)
    with pytest.raises(UserError, match=r"^x: 'needed' is missing; expected a whole number\.$"):
        made(Whole, {"flag": True}, "x")
    assert made(schema.Table, None, "table") == schema.Table()


def test_one_setting_of_a_file_is_read_alone():
    assert setting(schema.Sweep, "workers", None) is None and setting(schema.Sweep, "workers", 2) == 2
    with pytest.raises(UserError, match=r"^rows\.a\.pretrain\.steps: expected a whole number from 0, found -1\.$"):
        setting(schema.Pretrain, "steps", -1, "rows.a.pretrain.steps")


@pytest.mark.parametrize("of", [schema.Sweep, schema.Pretrain, schema.Section, schema.Claim, schema.Table])
def test_every_key_of_the_file_is_in_its_page(of):
    page = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    spoken = {word for code in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"\w+", code)}
    assert {*schema.keys(of)} <= spoken
