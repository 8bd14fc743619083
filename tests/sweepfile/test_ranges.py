"""Every setting's range: which fields have one, that what lies outside is refused by name, and that ids know nothing
of them.
"""

import dataclasses
import math
import typing

import pytest

from ablate.errors import UserError
from ablate.planning.plan import named_kinds
from ablate.sweepfile import schema
from ablate.sweepfile.registry import Registry
from ablate.sweepfile.typed import hints, made, settable, typed
from encoders.ranges import Within

REGISTRY = Registry.default(named_kinds())


def parts(config):
    """A config and those in it."""
    yield config
    for one in dataclasses.fields(config):
        if dataclasses.is_dataclass(value := getattr(config, one.name)):
            yield from parts(value)


def configs():
    """One config of every class that a sweep file sets."""
    held = ("encoder", "objectives", "targets", "tasks", "data")
    tops = [config for kind in held for config in getattr(REGISTRY, kind).values()]
    tops += [REGISTRY.tokenizer, REGISTRY.update, REGISTRY.optimizer]
    return {type(part): part for top in tops for part in parts(top)}.values()


CONFIGS = list(configs())
NUMBERS = [
    (config, name, hint)
    for config in CONFIGS
    for name, hint in hints(type(config)).items()
    if set(hint.kinds) & {int, float}
]
FREE = {"snr_high"}  # a bound that another setting has
named = [f"{type(config).__qualname__}.{name}" for config, name, _ in NUMBERS]


@pytest.mark.parametrize(("config", "name", "hint"), NUMBERS, ids=named)
def test_a_number_outside_its_range_is_refused_by_name(config, name, hint):
    assert hint.ranges or name in FREE
    for within in hint.ranges:
        step = 1 if int in hint.kinds else 1e-3
        outside = [
            within.low if within.above else within.low - step,
            within.high if within.below else within.high + step,
        ]
        for value in [one for one in outside if math.isfinite(one)]:
            value = int(value) if int in hint.kinds else value
            with pytest.raises(UserError) as error:
                typed(config, {name: value}, "x")
            kind = "whole number" if int in hint.kinds else "number"
            assert str(error.value) == f"x.{name}: expected a {kind} {within}, found {value!r}."


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, ".inf", "nan", "1e999"])
def test_no_number_is_infinite(value):
    for config, name, _ in NUMBERS:
        with pytest.raises(UserError, match=rf"^x\.{name}: expected a (whole )?number"):
            typed(config, {name: value}, "x")
    with pytest.raises(UserError, match=r"^x\.above: expected a number, found (-?inf|nan|'.inf'|1e999)"):
        made(schema.Claim, {"effect": "a - b", "on": "asr", "above": value}, "x")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__qualname__)
def test_every_preset_is_in_range(config):
    settable(config)


def test_hints_without_extras_are_plain():
    for config in CONFIGS:
        for hint in typing.get_type_hints(type(config)).values():
            assert "Annotated" not in str(hint)


@pytest.mark.parametrize(
    ("within", "inside", "outside", "words"),
    [
        (Within(0, 1), (0, 0.5, 1), (-1e-9, 1.5, math.nan), "from 0 to 1"),
        (Within(0, 1, above=True, below=True), (1e-9, 0.999), (0, 1), "above 0 and below 1"),
        (Within(0, 1, above=True), (1,), (0, 1.1), "above 0 and up to 1"),
        (Within(2), (2, 1e30), (1,), "from 2"),
        (Within(high=3), (-1e30, 3), (3.1,), "up to 3"),
        (Within(high=3, below=True), (2.9,), (3,), "below 3"),
        (Within(), (0, -5), (math.nan,), ""),
    ],
)
def test_intervals(within, inside, outside, words):
    assert all(map(within.holds, inside)) and not any(map(within.holds, outside))
    assert str(within) == words
