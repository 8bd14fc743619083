"""Where the kmeans stage stands in a plan: made once for all rows that need it, and for no others."""

import pytest

from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.stages.registry import KINDS
from ablate.store import identity

SWEEP = """
name: clusters
data: builtin
base:
  pretrain:
    objectives: {contrastive: 1.0, masked_speech: 1.0, masked_text: 1.0}
    steps: 100
    decay: 20
rows:
  joint: {}
  kmeans: {pretrain: {objectives: {masked_speech: {targets: kmeans}}}}
  kmeans_longer: {after: kmeans}
  kmeans_tlm: {after: kmeans, pretrain: {objectives: {masked_speech: null, tlm: {targets: kmeans}}}}
  kmeans_dropped: {after: kmeans, pretrain: {objectives: {masked_speech: null}}}
tasks: []
"""


@pytest.fixture
def plan(tmp_path):
    def make(*overrides, text=SWEEP):
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return plan_file(path, overrides)

    return make


def fits(made, row, part="leaf"):
    (line,) = made.lines(row)
    return [id for role, id in made.stages[line["stages"][part]].parents if role.startswith("kmeans/")]


def test_the_fit_is_shared_by_the_rows_that_need_it_and_absent_elsewhere(plan):
    made = plan()
    (fit,) = [stage for stage in made.stages.values() if stage.kind == "kmeans"]
    assert fit.parents == (("table/speech", made.lines("joint")[0]["stages"]["tables"]["speech.train"]),)
    assert fit.config == {
        "type": "kmeans_fit",
        "entries": 64,
        "positions": 50_000,
        "iterations": 50,
        "input": "stacked",
        "seed": 0,
        "encoder": None,
    }
    for row in ("kmeans", "kmeans_longer", "kmeans_tlm"):
        assert fits(made, row) == fits(made, row, "trunk") == [fit.id]
        assert made.lines(row)[0]["stages"]["kmeans/kmeans"] == fit.id
    assert not fits(made, "joint") and not fits(made, "kmeans_dropped")
    without = plan(*(f"~rows.{row}" for row in made.rows if row != "joint"))
    assert not any(stage.kind == "kmeans" for stage in without.stages.values())


def test_seeds_share_the_fit_and_worlds_do_not(plan):
    assert sum(stage.kind == "kmeans" for stage in plan("seeds=[0,1]").stages.values()) == 1
    assert not set(fits(plan(), "kmeans")) & set(fits(plan("data.seed=1"), "kmeans"))


def test_pretraining_depends_on_how_its_targets_were_fitted(plan):
    one, other = plan(), plan("base.pretrain.targets.kmeans={entries: 32, iterations: 9}")
    assert not set(fits(one, "kmeans")) & set(fits(other, "kmeans"))
    leaf = {row: [made.lines(row)[0]["stages"]["leaf"] for made in (one, other)] for row in one.rows}
    assert len(set(leaf["kmeans"])) == 2 and len(set(leaf["joint"])) == 1
    assert len(set(leaf["kmeans_dropped"])) == 2  # its trunk's parent is another


def test_differently_named_targets_have_fits_of_their_own(plan):
    made = plan(
        "rows.kmeans.pretrain.targets.coarse={preset: kmeans, entries: 8}",
        "rows.kmeans.pretrain.objectives.contrastive.targets=coarse",
    )
    assert len(set(fits(made, "kmeans"))) == 2


OF = "rows.kmeans.pretrain.targets.kmeans={of: %s, input: joint}"


def test_a_layer_of_a_row_is_of_its_leaf_at_the_same_seed(plan):
    made = plan(OF % "joint", "seeds=[0,1]")
    for line, joint in zip(made.lines("kmeans"), made.lines("joint")):
        fit = made.stages[line["stages"]["kmeans/kmeans"]]
        assert dict(fit.parents)["pretrain"] == joint["stages"]["leaf"] and fit.config["encoder"]["width"] == 64
    assert len({line["stages"]["kmeans/kmeans"] for line in made.lines("kmeans_longer")}) == 2
    assert {stage.title for stage in made.only(["kmeans"]).stages.values()} >= {"joint / leaf (seed 0)"}
    seen = set()
    for id, stage in made.stages.items():
        assert {parent for _, parent in stage.parents} <= seen
        seen.add(id)


def test_the_name_of_that_row_is_no_part_of_identity(plan):
    one, other = plan(OF % "joint"), plan(OF % "same", text=SWEEP.replace("  joint: {}", "  same: {}"))
    assert set(one.stages) == set(other.stages)
    for stage in one.stages.values():
        config = identity.restore(stage.config, KINDS[stage.kind].config, stage.how)
        assert identity.canonical(config) == stage.config


@pytest.mark.parametrize(
    "overrides, message",
    [
        ([OF % "jiont"], r"rows\.kmeans\.pretrain\.targets\.kmeans\.of: no row 'jiont'; did you mean 'joint'"),
        ([OF % "kmeans"], r"kmeans needs kmeans is a cycle"),
        ([OF % "kmeans_dropped"], r"kmeans needs kmeans_dropped needs kmeans is a cycle"),
        (
            [
                OF % "text",
                "rows.text={encoder: {reads: [text]}, "
                "pretrain: {objectives: {contrastive: null, masked_speech: null}}}",
            ],
            r"the encoder of row 'text' does not read speech",
        ),
        (["rows.kmeans.pretrain.targets.kmeans={of: joint}"], r"Log-mel is no layer of row 'joint'"),
        (["rows.kmeans.pretrain.targets.kmeans={input: joint}"], r"'joint' changes in training.*of: ROW"),
        (["rows.kmeans.pretrain.targets.kmeans={input: joimt, of: joint}"], r"did you mean 'joint'"),
    ],
)
def test_mistakes_are_named_before_anything_runs(plan, overrides, message):
    with pytest.raises(UserError, match=message):
        plan(*overrides)
