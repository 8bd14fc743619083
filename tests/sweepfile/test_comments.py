"""No shipped YAML file has a setting inside a comment, where it would be lost without a word."""

import re
from pathlib import Path

import pytest
import yaml

from ablate.planning.plan import plan_file
from ablate.sweepfile import schema

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
FILES = sorted(SWEEPS.rglob("*.yaml"))
VALUE = re.compile(r"\b([a-z]\w*): *(?:[-+.\d\[{]|true\b|false\b|null\b|[a-z_]\w*[,}\]])")


def keys(value):
    """All keys of a nested mapping."""
    if isinstance(value, dict):
        return {str(key) for key in value}.union(*(keys(part) for part in value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def known():
    """Every key that a sweep file may say."""
    plan = plan_file(SWEEPS / "objectives.yaml")
    own = (key for of in (schema.Sweep, schema.Section, schema.Pretrain) for key in schema.keys(of))
    return {*own}.union(*(keys(row) for row in plan.resolved.values()))


def commented(text, settings):
    """(line, setting) of all that reads as a setting in a comment; words in brackets or code marks speak about one."""
    for number, line in enumerate(text.splitlines(), 1):
        _, mark, comment = line.partition("#")
        spoken = re.sub(r"\([^)]*\)|`[^`]*`", "", comment)
        if mark:
            yield from ((number, found[1]) for found in VALUE.finditer(spoken) if found[1] in settings)


@pytest.fixture(scope="module")
def settings():
    return known()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SWEEPS).as_posix())
def test_no_setting_stands_in_a_comment(file, settings):
    assert list(commented(file.read_text(encoding="utf-8"), settings)) == []
    assert yaml.safe_load(file.read_text(encoding="utf-8").replace("on:", "'on':"))


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        (
            "asr: {steps: 10, # smaller batches lr: 3.0e-4, head_lr: 1.0e-3, head: transducer,",
            ["lr", "head_lr", "head"],
        ),
        ("weights: unit  # unknown; others have .3 (weights: mslam)", []),
        ("# ours: pieces of an update", []),
        ("steps: 5  # decay: 20", ["decay"]),
        ("# `seeds: [0, 1]` on the command line", []),
    ],
)
def test_settings_in_comments_are_seen(line, lost, settings):
    assert [name for _, name in commented(line, settings)] == lost
