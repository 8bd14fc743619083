"""What anneals does so over the first trunk that has it, whenever that is; what is inherited does not heat up again."""

import pytest

from ablate.planning.plan import plan_file
from ablate.stages.kind import restored
from ablate.stages.pretrain import PretrainStage, annealed
from ablate.store.run import RunFolder
from ablate.store.stage import materialise

SWEEP = """
data: {preset: builtin, speech: 30, text: 60, pairs: 20, dev: 10}
base:
  encoder: nano_narrow
  tokenizer: {size: 150, bytes: false}
  pretrain: {objectives: {masked_text: 1.0}, steps: 1000, decay: 100}
rows:
  text: {}
  speech: {after: text, pretrain: {steps: 400, objectives: {contrastive: 1.0}}}
  more: {after: speech, pretrain: {steps: 600}}
  without: {after: speech, pretrain: {steps: 200, objectives: {contrastive: null}}}
  again: {after: without, pretrain: {steps: 300, objectives: {contrastive: 1.0}}}
  both: {pretrain: {objectives: {contrastive: 1.0}}}
"""


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The typed configs of every row's last trunk and its leaf."""
    root = tmp_path_factory.mktemp("runs")
    (root / "anneal.yaml").write_text(SWEEP)
    plan = plan_file(root / "anneal.yaml", root=root)
    materialise(plan, root)
    return {
        line["row"]: [
            restored(RunFolder(root, "pretrain", line["stages"][name]), PretrainStage) for name in ("trunk", "leaf")
        ]
        for line in plan.manifest
    }


@pytest.mark.parametrize(
    ("row", "joined"),
    [
        ("text", {}),
        ("both", {}),  # from the first update on: over the horizon
        ("speech", {"learned": (1000, 400)}),
        ("more", {"learned": (1000, 400)}),  # inherited
        ("without", {}),
        ("again", {"learned": (1600, 300)}),  # its parent had dropped them: these are new
    ],
)
def test_since_when_targets_are_there(stages, row, joined):
    assert [config.joined for config in stages[row]] == [joined, joined]


@pytest.mark.parametrize(
    ("row", "step", "share"),
    [
        ("both", 0, 0.0),
        ("both", 500, 0.5),
        ("speech", 1000, 0.0),  # hot, though the chain has 1,000 updates behind it
        ("speech", 1100, 0.25),
        ("speech", 1399, 0.9975),
        ("more", 1400, 1.0),  # it does not heat up again
        ("more", 1999, 1.0),
        ("again", 1750, 0.5),
    ],
)
def test_how_far_they_are_annealed(stages, row, step, share):
    assert [annealed(config, "learned", step) for config in stages[row]] == pytest.approx([share, share])
