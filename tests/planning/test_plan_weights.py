"""Presets of weights, and what objectives on pairs ask of the encoder, as sweep files write them."""

import pytest

from ablate.errors import UserError
from ablate.planning.plan import plan_file

SWEEP = """
name: weighted
data: builtin
base:
  pretrain:
    objectives: {contrastive: 1.0, masked_speech: {}, masked_text: 0.5, tlm: 1.0, stm: 0, pair_ctc: 1.0}
    steps: 100
    decay: 20
rows:
  joint: {}
  mslam: {pretrain: {weights: mslam}}
  longer: {after: mslam}
  back: {after: mslam, pretrain: {weights: unit}}
tasks: []
"""


@pytest.fixture
def plan(tmp_path):
    def make(*overrides):
        (tmp_path / "sweep.yaml").write_text(SWEEP)
        return plan_file(tmp_path / "sweep.yaml", overrides)

    return make


def weights(made, row):
    (line,) = made.lines(row)
    return {name: part["weight"] for name, part in made.stages[line["stages"]["leaf"]].config["objectives"].items()}


def test_a_preset_multiplies_what_is_written_by_stream(plan):
    made = plan()
    own = {"contrastive": 1.0, "masked_speech": 1.0, "masked_text": 0.5, "tlm": 1.0, "stm": 0.0, "pair_ctc": 1.0}
    mslam = {"contrastive": 1.0, "masked_speech": 1.0, "masked_text": 0.15, "tlm": 0.03, "stm": 0.0, "pair_ctc": 0.03}
    assert weights(made, "joint") == weights(made, "back") == own
    assert weights(made, "mslam") == weights(made, "longer") == mslam  # a continuing row keeps the preset, taken once
    assert "weight: 0.03" in made.show("mslam")


def test_only_the_resulting_weights_are_identity(plan):
    ids = {row: plan().lines(row)[0]["stages"]["leaf"] for row in ("joint", "mslam")}
    assert plan("base.pretrain.weights=unit").lines("joint")[0]["stages"]["leaf"] == ids["joint"]
    written = plan("rows.same.pretrain.objectives={masked_text: 0.15, tlm: 0.03, pair_ctc: 0.03}")
    assert written.lines("same")[0]["stages"]["leaf"] == ids["mslam"] != ids["joint"]


def test_presets_are_an_axis_too(plan):
    made = plan("base.pretrain.weights=unit,mslam")
    assert [line["point"]["pretrain.weights"] for line in made.lines("joint")] == ["unit", "mslam"]
    assert len({line["stages"]["leaf"] for line in made.lines("joint")}) == 2


def test_an_unknown_preset_fails_with_the_nearest(plan):
    with pytest.raises(UserError, match=r"rows\.mslam\.pretrain\.weights: no preset 'mslm'; did you mean 'mslam'"):
        plan("rows.mslam.pretrain.weights=mslm")


def test_ctc_on_pairs_needs_an_encoder_of_speech_alone(plan):
    only = (
        "rows.ctc={encoder: {reads: [%s]}, pretrain: {objectives: "
        "{masked_text: null, tlm: null, stm: null, contrastive: null, masked_speech: null}}}"
    )
    assert weights(plan(only % "speech"), "ctc") == {"pair_ctc": 1.0}
    with pytest.raises(UserError, match="objective 'pair_ctc' reads speech, but the encoder reads text, pair"):
        plan(only % "text, pair")
