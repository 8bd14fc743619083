"""An objective of one's own is tried while planning; mistakes get a sentence with file and line."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from ablate.errors import UserError
from ablate.planning import trial
from ablate.store import plugins
from objectives import OBJECTIVES
from objectives.objective import Term

sys.path.insert(0, str(Path(__file__).resolve().parent / "out_of_tree"))


@pytest.fixture
def loudness(monkeypatch):
    """The toy's class, as a plugin; its name is free again afterwards."""
    monkeypatch.setattr(plugins, "named", lambda said=(): ("my_lab.ablations",))
    before = dict(OBJECTIVES)
    from my_lab.ablations import Loudness

    yield Loudness
    for name in OBJECTIVES.keys() - before.keys():
        del OBJECTIVES[name]


def test_the_toy_is_what_the_contract_asks(loudness):
    trial.score([(loudness.Config(), {})])


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("view", None, "has no view"),
        ("term_weights", None, "has no term_weights"),
        ("reads", "audio", "reads 'audio', expected one of speech, text, pair"),
        ("term_weights", {"energy": 1.0}, "counts loss, and its term_weights are of energy"),
        ("forward", lambda self, *_: {"energy": Term(torch.zeros(()))}, "scores energy, and its term_weights"),
        ("forward", lambda self, *_: {"loss": torch.zeros(())}, "scores loss as shape"),
        ("forward", lambda self, *_: {"loss": Term(torch.zeros(3))}, "as shape \\(3,\\), expected a Term"),
        ("forward", lambda self, *_: {"loss": Term(1.0)}, "scores loss as float"),
        ("forward", lambda self, *_: 1 / 0, "raises ZeroDivisionError: division by zero, with made-up sequences"),
    ],
)
def test_a_mistake_is_found_before_a_stage_runs(loudness, monkeypatch, name, value, words):
    if value is None:
        monkeypatch.delattr(loudness, name)
    else:
        monkeypatch.setattr(loudness, name, value)
    with pytest.raises(UserError, match=words) as error:
        trial.score([(loudness.Config(), {})])
    assert "ablations.py, line" in str(error.value)


def test_two_objectives_with_one_tag_are_refused(loudness):
    @dataclass(frozen=True, kw_only=True)
    class Twin(loudness.Config):
        """The same again."""

        tag: ClassVar[str] = "my_lab.loudness"

    try:
        with pytest.raises(UserError, match="have one tag, 'my_lab.loudness'"):
            trial.score([(loudness.Config(), {})])
    finally:
        Twin.tag = "gone"


def test_a_name_that_is_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "named", lambda said=(): ("thief",))
    monkeypatch.syspath_prepend(tmp_path)
    before = OBJECTIVES["stm"]
    (tmp_path / "thief.py").write_text(
        "from objectives import OBJECTIVES\nOBJECTIVES['stm'] = type(OBJECTIVES['stm'])(weight=2.0)\n"
    )
    try:
        with pytest.raises(UserError, match="'thief' takes the name 'stm' of objective, which is there already"):
            trial.load()
    finally:
        OBJECTIVES["stm"] = before


def test_a_class_in_place_of_its_config_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "named", lambda said=(): ("classy",))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "classy.py").write_text("from objectives import OBJECTIVES\nOBJECTIVES['classy'] = type\n")
    try:
        with pytest.raises(UserError, match="registers <class 'type'> as objective 'classy', expected a config"):
            trial.load()
    finally:
        del OBJECTIVES["classy"]
