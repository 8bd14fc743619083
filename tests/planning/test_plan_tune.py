"""Grids in a plan: ordinary fine-tunings of the first seed, one choice that all seeds share, mistakes named
beforehand.
"""

from __future__ import annotations

import pytest
from fake_registry import registry

from ablate.errors import UserError
from ablate.planning.plan import plan_file

SWEEP = """
name: tuned
base:
  encoder: nano
  pretrain: {objectives: {masked_text: 1.0}, steps: 10, decay: 5}
  tasks: {asr: {tune: {lr: [1.0e-3, 2.0e-3], items: [4, 8]}}}
rows:
  scratch: {pretrain: {steps: 0, decay: 0}}
  text: {}
tasks: [asr, sentiment]
seeds: [3, 4]
"""


@pytest.fixture
def plan(tmp_path):
    def make(*overrides):
        (tmp_path / "sweep.yaml").write_text(SWEEP)
        return plan_file(tmp_path / "sweep.yaml", overrides, registry=registry())

    return make


def test_a_grid_becomes_fine_tunings_and_a_choice_for_all_seeds(plan):
    made = plan()
    for row in ("scratch", "text"):
        lines = made.lines(row)
        finals = [made.stages[line["stages"]["finetune"]["asr"]] for line in lines]
        assert [dict(stage.parents)["pretrain"] for stage in finals] == [line["stages"]["leaf"] for line in lines]
        (choice,) = {dict(stage.parents)["tune"] for stage in finals}
        scores = [made.stages[line["stages"]["score"]["asr"]["test"]] for line in lines]
        assert {dict(stage.parents)["tune"] for stage in scores} == {choice}
        tried = [made.stages[id] for _, id in made.stages[choice].parents]
        assert [(stage.config["task"]["lr"], stage.config["task"]["items"]) for stage in tried] == [
            (1e-3, 4),
            (1e-3, 8),
            (2e-3, 4),
            (2e-3, 8),
        ]
        assert {stage.config["seed"] for stage in tried} == {3}
        assert {dict(stage.parents)["pretrain"] for stage in tried} == {lines[0]["stages"]["leaf"]}
        assert "tune" not in dict(made.stages[lines[0]["stages"]["finetune"]["sentiment"]].parents)


def test_equal_points_are_the_untuned_stage(plan):
    tuned, plain = plan(), plan("~base.tasks.asr.tune", "base.tasks.asr.lr=2e-3", "base.tasks.asr.items=8")
    assert plain.lines("text")[0]["stages"]["finetune"]["asr"] in tuned.stages


def test_a_row_may_take_another_grid_or_none(plan):
    made = plan("rows.text.tasks.asr.tune=null")
    assert "tune" not in dict(made.stages[made.lines("text")[0]["stages"]["finetune"]["asr"]].parents)
    assert "tune" in dict(made.stages[made.lines("scratch")[0]["stages"]["finetune"]["asr"]].parents)
    assert "tune" in made.show("scratch")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base.tasks.asr.tune.lr=0.1", r"tasks\.asr\.tune\.lr: expected a list of values to try, found 0\.1"),
        ("base.tasks.asr.tune.lrr=[1,2]", r"tasks\.asr\.tune\.lrr: unknown key 'lrr'; did you mean 'lr'"),
        ("base.tasks.asr.tune.table=[a,b]", r"tune\.table: cannot be tuned"),
    ],
)
def test_mistakes_are_named_before_anything_runs(plan, override, message):
    with pytest.raises(UserError, match=message):
        plan(override)
