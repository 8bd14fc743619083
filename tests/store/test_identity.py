"""Identity: what is in it, what is not, and ids that must never change by accident."""

import json
import sys
import types
from dataclasses import dataclass, field, replace
from typing import ClassVar, Optional

import pytest

from ablate.errors import UserError
from ablate.store import identity
from ablate.sweepfile.row import people_see
from ablate.sweepfile.typed import typed


@dataclass(frozen=True, kw_only=True)
class Part:
    tag: ClassVar[str] = "part"
    size: int = 3
    rate: float = 0.5


class House:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        tag: ClassVar[str] = "house"
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
    assert identity.stage_id("corpus", 1, identity.canonical(Part()), []) == "6ff8aa942b1895f0"
    parents = [("corpus", "0123456789abcdef"), ("tokenizer", "fedcba9876543210")]
    assert identity.stage_id("pretrain", 3, identity.canonical(CONFIG), parents) == "5e3a6b9919307570"


def test_canonical_form():
    part = {"type": "part", "rate": 0.5, "size": 3}
    assert identity.canonical(CONFIG) == {
        "type": "house",
        "recipe": 2,
        "lr": 1e-4,
        "part": part,
        "reads": ["speech", "text"],
        "warm": None,
        "parts": {"a": {**part, "size": 4}, "b": part},
    }
    assert list(identity.canonical(CONFIG)["parts"]) == ["a", "b"]


def test_whole_numbers_in_float_fields_are_floats():
    one, same = House.Config(lr=1, warm=2), House.Config(lr=1.0, warm=2.0)
    assert repr(identity.canonical(one)) == repr(identity.canonical(same))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-4},
        {"warm": 0.0},
        {"reads": ("text",)},
        {"part": Part(size=5)},
        {"parts": {}},
    ],
)
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
        again = identity.restore(identity.canonical(config), House.Config, identity.how(config))
        assert again == config and isinstance(again.reads, tuple) and list(again.parts) == ["a", "b"]


@pytest.mark.parametrize("value, error", [(float("nan"), ValueError), (object(), TypeError)])
def test_what_json_cannot_say_is_refused(value, error):
    with pytest.raises(error):
        identity.canonical(replace(CONFIG, lr=value))


def test_forms_are_made_once_and_are_those_of_each_alone():
    """A form remembered for a part is the form of an equal part elsewhere; ids of whole and written-out forms agree."""
    forms, part = identity.Forms(), Part(size=7)
    one, two = (replace(CONFIG, part=part, lr=lr) for lr in (1e-3, 1e-2))
    made = [forms.of(config, House.Config) for config in (one, two, one)]
    assert made[0] is made[2] and made[0].plain["part"] is made[1].plain["part"]
    for config, form in zip((one, two), made):
        assert form.plain == identity.canonical(config) and json.loads(form.text) == form.plain
        assert identity.hashed("x", 1, form.text, [("a", "b")]) == identity.stage_id("x", 1, form.plain, [("a", "b")])


# Tags -----------------------------------------------------------------------------------------------------------

MODULE = """
from dataclasses import dataclass, field
from typing import ClassVar

@dataclass(frozen=True, kw_only=True)
class Shape:
    area: float = 1.0

@dataclass(frozen=True, kw_only=True)
class CIRCLE(Shape):
    tag: ClassVar[str] = "circle"
    FIELDS

@dataclass(frozen=True, kw_only=True)
class Square(Shape):
    tag: ClassVar[str] = "square"
    sides: tuple[float, ...] = (1.0,)

@dataclass(frozen=True, kw_only=True)
class Picture:
    tag: ClassVar[str] = "picture"
    main: Shape = CIRCLE()
    others: dict[str, Shape] = field(default_factory=dict)
"""


@pytest.fixture
def module(monkeypatch):
    """Makes a module of config classes, as code at some time or other would have them."""

    def make(name="shapes_then", circle="Circle", fields="radius: int = 3"):
        made = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made)
        exec(MODULE.replace("CIRCLE", circle).replace("FIELDS", fields), made.__dict__)
        return made

    return make


def id_of(config):
    return identity.stage_id("table", 1, identity.canonical(config), [])


def test_renamed_and_moved_classes_keep_ids_and_records(module):
    then, now = module(), module("shapes_now", circle="Disc")
    before = then.Picture(main=then.Circle(radius=5), others={"b": then.Square(sides=(1, 2)), "a": then.Circle()})
    after = now.Picture(main=now.Disc(radius=5), others={"b": now.Square(sides=(1, 2)), "a": now.Disc()})
    assert id_of(before) == id_of(after)
    text = json.dumps(identity.canonical(before))
    assert "Circle" not in text and "shapes" not in text
    assert identity.restore(json.loads(text), now.Picture) == after


def test_a_renamed_field_keeps_its_name_in_the_form(module):
    then = module()
    now = module(fields='r: int = field(default=3, metadata={"name": "radius"})')
    assert id_of(then.Circle(radius=5)) == id_of(now.Circle(r=5))
    assert identity.restore(identity.canonical(then.Circle(radius=5)), now.Shape) == now.Circle(r=5)
    assert people_see(now.Circle(r=5)) == {"area": 1.0, "r": 5}  # people see today's name


def test_a_removed_field_stays_in_the_form_at_its_last_value(module):
    then = module(fields="radius: int = 3; fill: bool = False")
    now = module(fields="removed: ClassVar[dict[str, str]] = {'fill': 'false'}; radius: int = 3")
    assert id_of(then.Circle(radius=5)) == id_of(now.Circle(radius=5))
    assert identity.restore(identity.canonical(then.Circle(radius=5)), now.Shape) == now.Circle(radius=5)
    with pytest.raises(
        UserError, match="has true for 'fill' of 'circle'; that setting was removed and is always false now"
    ):
        identity.restore(identity.canonical(then.Circle(fill=True)), now.Shape)


def test_a_new_field_changes_no_id_until_it_is_used_and_its_default_may_move(module):
    then = module()
    gain = 'radius: int = 3; gain: float = field(default=%s, metadata={"absent": "1.0"})'
    now, later = module(fields=gain % "1.0"), module(fields=gain % "2.0")
    assert id_of(then.Circle()) == id_of(now.Circle()) == id_of(later.Circle(gain=1))
    assert id_of(now.Circle(gain=2)) == id_of(later.Circle()) != id_of(now.Circle())
    for new in (now, later):  # the stated value is restored, not the default of the day
        assert identity.restore(identity.canonical(then.Circle()), new.Shape).gain == 1.0


def test_absent_may_be_a_list_or_a_config_and_is_checked(module):
    metadata = {"absent": '{"area":2.0,"sides":[1.0],"type":"square"}'}
    made = module(fields=f"radius: int = 3; inner: Shape = field(default=Shape(), metadata={metadata})")
    form = {"type": "circle", "area": 1.0, "radius": 3}
    assert identity.restore(form, made.Shape).inner == made.Square(area=2.0)
    for text in ("1", '{"b":1, "a":2}'):
        bad = module(fields=f"radius: int = 3; gain: float = field(default=1.0, metadata={{'absent': {text!r}}})")
        with pytest.raises(TypeError, match=r"Circle \(shapes_then\): absent of gain is '.*', in canonical text '.*'"):
            identity.canonical(bad.Circle())


def test_patches_reach_fields_with_metadata(module):
    now = module(fields='r: int = field(default=3, metadata={"name": "radius", "absent": "3"})')
    assert typed(now.Circle(), {"r": 7}, "base") == now.Circle(r=7)


def test_a_class_without_a_tag_of_its_own_is_refused(module):
    made = module(fields="radius: int = 3")
    with pytest.raises(TypeError, match=r"^Shape \(shapes_then\) has no tag: say what it is called in ids"):
        identity.canonical(made.Shape())
    heir = dataclass(frozen=True, kw_only=True)(types.new_class("Heir", (made.Circle,)))
    with pytest.raises(TypeError, match=r"^Heir \(.*\) has no tag"):
        identity.canonical(made.Picture(main=heir()))


def test_two_classes_with_one_tag_under_one_base_are_refused(module):
    made = module(fields="radius: int = 3")
    other = dataclass(frozen=True, kw_only=True)(
        types.new_class("Ball", (made.Shape,), {}, lambda body: body.update(tag="circle", __module__="elsewhere"))
    )
    message = r"Ball \(elsewhere\) and Circle \(shapes_then\) have one tag, 'circle'"
    for main in (made.Circle(), other()):
        with pytest.raises(TypeError, match=message):
            identity.canonical(made.Picture(main=main))
    with pytest.raises(TypeError, match=message):
        identity.restore({"type": "circle"}, made.Shape)


def test_what_newer_code_wrote_is_refused_in_a_sentence(module):
    made = module()
    with pytest.raises(
        UserError, match="A record is of a 'cirle', which this code does not know; did you mean 'circle'"
    ):
        identity.restore({"type": "cirle"}, made.Shape)
    with pytest.raises(
        UserError, match="has a setting 'colour' of 'circle' that this code does not know; update ablate"
    ):
        identity.restore({**identity.canonical(made.Circle()), "colour": 1}, made.Shape)
    with pytest.raises(
        UserError, match="A record lacks the setting 'radius' of 'circle', which was added later and has no 'absent'"
    ):
        identity.restore({"type": "circle", "area": 1.0}, made.Shape)  # today's default does not stand in for it


def test_how_within_a_list_is_refused_and_metadata_and_removed_are_read_strictly(module):
    made = module(fields="how: ClassVar[tuple[str, ...]] = ('radius',); radius: int = 3")
    assert identity.how(made.Circle(radius=4)) == {"radius": 4}
    with pytest.raises(TypeError, match="configs with 'how' in a list"):
        identity.Forms().of((made.Circle(),), tuple[made.Shape, ...])
    for fields, message in (
        (
            "radius: int = field(default=3, metadata={'absnet': '3'})",
            r"Circle \(shapes_then\): metadata of radius has 'absnet', expected name or",
        ),
        (
            "radius: int = field(default=3, metadata={'absent': 3})",
            r"Circle \(shapes_then\): absent of radius is 3, expected the JSON text",
        ),
        (
            "removed: ClassVar[dict[str, str]] = {'fill': ' false'}; radius: int = 3",
            "removed 'fill' is ' false', in canonical text 'false'",
        ),
        (
            "removed: ClassVar[dict[str, str]] = {'fill': 'False'}; radius: int = 3",
            "removed 'fill' is 'False', expected the JSON text",
        ),
    ):
        with pytest.raises(TypeError, match=message):
            identity.canonical(module(fields=fields).Circle())


def test_names_in_the_form_are_each_of_one_thing(module):
    made = module(fields='radius: int = 3; other: int = field(default=1, metadata={"name": "radius"})')
    with pytest.raises(TypeError, match=r"Circle \(shapes_then\): several things in its form are called radius"):
        identity.canonical(made.Circle())
