"""What a plan says that stages leave on the disk, beside what they do leave there."""

from dataclasses import replace

import pytest
from tiny import ENCODER, World

from ablate.planning import size
from ablate.planning.plan import plan_file
from encoders.presets import PRESETS

SWEEP = """
name: disk
data: {preset: builtin}
base:
  encoder: nano
  tokenizer: {size: 300, bytes: false}
  pretrain: {objectives: {masked_text: 1.0}, steps: 10, decay: 5}
rows: {one: {encoder: {reads: [text]}}, scratch: {encoder: {reads: [text]}, pretrain: {steps: 0, decay: 0}}}
tasks: [sentiment]
"""


def test_models_are_counted_with_moments_where_training_goes_on(tmp_path):
    (tmp_path / "disk.yaml").write_text(SWEEP)
    plan = plan_file(tmp_path / "disk.yaml")
    leaves = {stage.title: stage.disk for stage in plan.stages.values()}
    weights = 4 * size.parameters(replace(PRESETS["nano"], reads=("text",)), 300)
    assert leaves["one / trunk"] == 3 * weights and leaves["one / leaf"] == leaves["one / sentiment"] == weights
    assert leaves["scratch / trunk"] == leaves["scratch / leaf"] == weights  # nothing is trained, so no moments
    others = {stage.kind for stage in plan.stages.values() if not stage.disk}
    assert others == {"recordings", "table", "tokenizer", "tokens", "score", "heldout"}


@pytest.mark.parametrize("phase", ["trunk", "decay"])
def test_it_is_what_lies_there_at_the_end(tmp_path, phase):
    world = World(tmp_path)
    run = world.run(world.pretrain("masked_text", steps=2, phase=phase))
    there = sum(path.stat().st_size for path in run.files.glob("*.safetensors"))
    expected = 4 * size.parameters(ENCODER, 300) * (3 if phase == "trunk" else 1)
    assert 0.5 * expected < there < 2 * expected  # heads and what is written beside are not counted, unread parts are


def test_a_large_encoder_is_counted_without_being_made():
    assert size.parameters(PRESETS["slam"], 1000) > 5e8
