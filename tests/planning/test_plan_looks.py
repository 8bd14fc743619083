"""Looks, a budget and families in a sweep file: what is refused, that they are in no id, and rows with more seeds."""

from collections import Counter

import pytest
from test_plan import SWEEP, plan  # noqa: F401  a fixture

from ablate.errors import UserError
from ablate.planning.plan import Rows, plan_file
from ablate.planning.values import budget, first_seeds

CLAIMS = """
looks: [3, 5]
budget: 1 h
seeds: [0, 1]
claims:
  helps: {effect: joint_tlm - joint_longer, on: asr, above: 0, family: intrinsic}
"""
SWEEP = SWEEP.replace("seeds: [0]\n", "")


def test_what_is_declared_is_in_no_id_and_in_sweep_json_only_where_it_is(plan):  # noqa: F811
    bare = plan(text=SWEEP, extra="seeds: [0, 1]\n")
    whole = plan(text=SWEEP, extra=CLAIMS)
    assert whole.stages.keys() == bare.stages.keys() and "looks" not in bare.sweep
    assert whole.sweep["looks"] == [3, 5] and whole.sweep["claims"]["helps"]["family"] == "intrinsic"
    assert whole.budget == 3600 and "budget" not in whole.sweep
    told = "Verdicts are taken at 3 and 5 seeds, and seeds has {}; --until-decided runs what is undecided further."
    assert told.format("2, which is enough for none") in whole.notes
    three = plan("seeds=[0,1,2]", text=SWEEP, extra=CLAIMS)
    assert told.format("3, which is enough for the first 1") in three.notes
    assert whole.sweep["look_seeds"] == three.sweep["look_seeds"] == [0, 1, 2, 3, 4] and "look_seeds" not in bare.sweep


def test_digests_of_settings_know_what_changes_results_and_nothing_else(plan):  # noqa: F811
    """A row's, and those of rows that continue it; a task's own, whatever other tasks there are."""
    before = plan(text=SWEEP).sweep["settings"]

    def changed(*overrides):
        now = plan(*overrides, text=SWEEP).sweep["settings"]
        return {(row, part) for row in before for part in before[row] if before[row][part] != now[row].get(part)}

    assert changed("labels={scratch: other}") == changed("seeds=[3]") == set()
    assert changed("+rows.joint_longer.tasks={asr:{steps:26}}") == {("joint_longer", "asr")}
    assert changed("+finetune_seeds={asr:2}") == {(row, "asr") for row in before if "asr" in before[row]}
    assert ("joint_longer", "") in changed("+rows.joint.pretrain.objectives.masked_text=2")
    assert changed("tasks=[asr,retrieval]") == {
        (row, task) for row in before for task in ("translation", "sentiment") if task in before[row]
    }
    other = changed("data.seed=7")  # all but tasks that the row cannot have, and so reads no data of
    assert {(row, part) for row in ("joint", "joint_tlm") for part in before["joint"]} <= other
    assert {(row, "") for row in before} <= other and ("text_only", "asr") not in other


def test_rows_have_as_many_seeds_as_they_are_asked_for(plan, tmp_path):  # noqa: F811
    plan(text=SWEEP, extra=CLAIMS)
    made = plan_file(tmp_path / "sweep.yaml", rows=Rows(counts={"joint_tlm": 5}))
    assert made.sweep["seeds"] == [0, 1, 2, 3, 4]
    seeds = Counter(line["row"] for line in made.manifest)
    assert seeds.pop("joint_tlm") == 5 and set(seeds.values()) == {3}
    trunks = {id for line in made.lines("joint_tlm") for id in line["stages"]["trunks"]}
    assert trunks <= made.stages.keys() and len(trunks) == 10  # what it starts from goes on with it


def test_looks_are_needed(plan, tmp_path):  # noqa: F811
    plan(text=SWEEP)
    with pytest.raises(UserError, match=r"looks: --until-decided needs to know .*; write looks: \[5, 8\]\."):
        plan_file(tmp_path / "sweep.yaml", rows=Rows(counts={}))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("looks=[2,5]", "looks[0]: found 2, expected at least 3 seeds"),
        ("looks=[5,5]", "looks[1]: found 5 after 5, expected numbers that grow"),
        ("budget=soon", "budget: expected a duration, as in 3 h, 90 min or 2:00:00, found 'soon'."),
        (
            "claims.helps.family=main",
            "claims.helps.family: expected one of primary, intrinsic, exploratory, found 'main'",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(plan, override, told):  # noqa: F811
    with pytest.raises(UserError) as error:
        plan(override, text=SWEEP, extra=CLAIMS)
    assert told in str(error.value)


def test_durations_and_seeds_to_come():
    written = {"3 h": 10800, "90 min": 5400, "1.5 h": 5400, "2 h 05 min": 7500, "2:00:00": 7200, "20 s": 20}
    assert {text: budget(text) for text in written} == written and budget(None) is None
    assert first_seeds([0, 1, 2, 4], 6) == [0, 1, 2, 4, 5, 6] and first_seeds([3, 0, 9], 2) == [3, 0]
