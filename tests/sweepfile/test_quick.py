"""`--quick`: what it makes of a sweep, what overrides keep, where it is refused; shipped sweeps plan with it."""

from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.planning.plan import origins, plan_file
from ablate.sweepfile.load import load
from ablate.sweepfile.quick import less

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
BUILTIN = [path for path in sorted(SWEEPS.glob("*.yaml")) if load(path).get("data", {}).get("preset") == "builtin"]
SWEEP = """
question: Does it?
seeds: [3, 4]
base:
  encoder: nano
  pretrain: {objectives: {masked_text: 1.0}, steps: 1000, decay: 200}
  tasks:
    sentiment: {steps: 300, evaluate_every: 75}
    sentence_pair: {tune: {steps: [100, 500, 40], items: [8]}}
rows:
  short: {pretrain: {optimizer: {warmup: 0}}, tasks: {sentiment: {fields: [text, text]}}}
  long: {pretrain: {steps: "${base.pretrain.decay}"}, tasks: {sentiment: {steps: 500}}}
  more: {after: short, pretrain: {steps: 400}}
axes:
  data.text: [3000, 70, 9000]
  named:
    one: {pretrain: {decay: 600}, encoder: nano}
    two: {encoder: nano_wide}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


def stages(plan, row, kind):
    """The configs of a row's stages of a kind, at the first point."""
    of = plan.lines(row)[0]["stages"]
    ids = {"trunk": [of["trunk"]], "leaf": [of["leaf"]], "finetune": list(of["finetune"].values())}[kind]
    return [plan.stages[id].config for id in ids]


@pytest.mark.parametrize(
    ("count", "divisor", "left"), [(1600, 20, 80), (150, 20, 10), (7, 20, 7), (0, 5, 0), (3000, 10, 300)]
)
def test_counts_become_smaller_but_not_too_small(count, divisor, left):
    assert less(count, divisor) == left


def test_updates_data_and_seeds_become_fewer(file):
    plan = plan_file(file, quick=True)
    assert plan.name == "small_quick" and plan.sweep["seeds"] == [3]
    assert plan.sweep["question"].startswith("Quick run: ") and plan.sweep["question"].endswith(" Does it?")
    assert "decides nothing" in plan.sweep["question"] and "one seed" in plan.sweep["question"]
    assert plan.sweep["axes"] == {"data.text": [300, 10, 900], "named": ["one", "two"]}
    (trunk,), (leaf,) = stages(plan, "short", "trunk"), stages(plan, "short", "leaf")
    assert (trunk["steps"], leaf["steps"], trunk["optimizer"]["warmup"]) == (50, 30, 0)  # decay of the point "one"
    assert plan.resolved["short"]["tasks"]["sentiment"]["fields"] == [
        "text",
        "text",
    ]  # a list that is no list of counts
    assert stages(plan, "long", "trunk")[0]["optimizer"]["warmup"] == 10  # 100 / 20, of the preset, is below 10
    assert stages(plan, "long", "trunk")[0]["steps"] == 10  # 200 / 20, by reference
    assert stages(plan, "more", "trunk")[0]["steps"] == 20
    tasks = plan.resolved["long"]["tasks"]
    assert (tasks["sentiment"]["steps"], tasks["sentiment"]["evaluate_every"]) == (100, 15)
    assert [one["steps"] for one in tasks["sentence_pair"]["tune"]] == [20, 100, 10]  # 40 / 5 is below 10
    data = plan.resolved["short"]["data"]
    assert (data["text"], data["sentiment"], data["text_test"], data["text_dev"]) == (300, 30, 100, 20)
    assert data["speech_voices"] == 24  # no number of rows


def test_a_named_point_without_counts_has_those_of_the_base(file):
    plan = plan_file(file, quick=True)
    (line,) = [one for one in plan.lines("short") if one["point"] == {"data.text": 300, "named": "two"}]
    assert plan.stages[line["stages"]["leaf"]].config["steps"] == 10  # 200 / 20


def test_what_overrides_set_stays(file):
    overrides = ["base.pretrain.steps=777", "data.sentiment=123", "seeds=[0,1]", "name=mine"]
    plan = plan_file(file, overrides, quick=True)
    assert plan.name == "mine" and plan.sweep["seeds"] == [0, 1]
    assert stages(plan, "short", "trunk")[0]["steps"] == 777 and stages(plan, "more", "trunk")[0]["steps"] == 20
    assert plan.resolved["short"]["data"]["sentiment"] == 123
    assert "one seed" not in plan.sweep["question"]
    swept = plan_file(file, ["data.text=800,900", "seeds=5,6"], quick=True)
    assert swept.sweep["axes"]["data.text"] == [800, 900] and swept.sweep["seeds"] == [5, 6]
    assert (
        plan_file(file, ["data={preset: builtin, text: 800}"], quick=True).resolved["long"]["data"]["sentiment"] == 30
    )


def test_show_says_what_quick_has_set(file):
    paths = [
        "pretrain.steps",
        "pretrain.decay",
        "data.sentiment",
        "data.seed",
        "tasks.sentiment.steps",
        "encoder.width",
    ]
    said = origins(file, ["rows.more.pretrain.steps=55"], "more", paths, quick=True)
    assert said["pretrain.decay"] == said["data.sentiment"] == said["tasks.sentiment.steps"] == "--quick"
    assert said["pretrain.steps"] == "rows.more.pretrain.steps=55" and said["data.seed"] == "preset builtin"
    assert origins(file, [], "more", ["pretrain.steps"], quick=False)["pretrain.steps"].endswith("small.yaml:13")


def test_the_root_has_another_name_unless_it_is_said(file):
    file.write_text(SWEEP + "root: there\n")
    assert plan_file(file, quick=True).root == "there-quick"
    assert plan_file(file, ["root=here"], quick=True).root == "here"


@pytest.mark.parametrize("data", ["{preset: real, root: DIR}", "{preset: stated}"])
def test_data_that_cannot_be_made_smaller_are_refused(file, data):
    file.write_text(SWEEP.replace("axes:\n  data.text: [3000, 70, 9000]", f"data: {data}\naxes:"))
    with pytest.raises(
        UserError, match=r"--quick leaves most rows .* which data of the kind '(real|stated)' cannot do"
    ):
        plan_file(file, quick=True)


def test_data_of_an_axis_are_refused_alike(file):
    file.write_text(SWEEP.replace("data.text: [3000, 70, 9000]", "data: [builtin, {preset: real, root: DIR}]"))
    with pytest.raises(UserError, match="data of the kind 'real' cannot do"):
        plan_file(file, quick=True)


@pytest.mark.parametrize("path", BUILTIN, ids=lambda path: path.name)
def test_shipped_sweeps_plan_with_it(path):
    whole, quick = plan_file(path), plan_file(path, quick=True)
    assert quick.name == f"{path.stem}_quick" and quick.rows == whole.rows
    assert quick.sweep["table"] == whole.sweep["table"] and quick.sweep["claims"] == whole.sweep["claims"]
    assert not {stage.id for stage in quick.stages.values() if stage.kind == "pretrain" and stage.steps} & {
        *whole.stages
    }
    updates = [sum(stage.steps for stage in plan.stages.values()) for plan in (quick, whole)]
    assert updates[0] < updates[1] / 5


def test_all_that_is_builtin_is_tried():
    assert {path.stem for path in BUILTIN} >= {"objectives", "capacity", "pairs", "calibration"} and len(BUILTIN) == 11
