"""A kind of stage of one's own goes from the sweep file to the table."""

import dataclasses
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from fake_registry import registry
from test_plugins import SWEEP, run, run_to_the_end

from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.stages.kind import Kind, scored

HERE = Path(__file__).resolve().parent
BOTH = os.pathsep.join([str(HERE), str(HERE / "out_of_tree")])
NORMS = (
    SWEEP.replace("my_lab.ablations", "my_lab.ablations, stage")
    + """
table: {columns: [asr.wer, norm.norm, twice.tuned_norm]}
"""
)
NORMS = NORMS.replace(
    "rows: {loud: {}}",
    """  stages:
    twice: {kind: weight_norm, after: [norm, finetune.asr], scale: 2.0, tables: [asr.dev]}
    norm: {kind: weight_norm}
rows:
  loud: {}
  none: {after: loud, pretrain: {steps: 0}, stages: {twice: null, norm: {scale: 3.0}}}""",
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return run_to_the_end(tmp_path_factory.mktemp("norms"), "norms.yaml", NORMS, BOTH)


def both(folder, *arguments):
    """Run the command with the toy stage and the toy package on the path."""
    return run(folder, *arguments, path=BOTH)


@pytest.mark.slow
def test_the_table_has_its_columns_and_the_cells_their_values(swept):
    made = swept.glob("runs/weight_norm/??/*/result.json")
    results = {path.parent.name: json.loads(path.read_text()) for path in made}
    lines = {one["row"]: one for one in map(json.loads, (swept / "runs/sweeps/norms/manifest.jsonl").open())}
    loud, none = (lines[row]["stages"]["score"] for row in ("loud", "none"))
    of = {name: {s["metric"]: s["value"] for s in results[loud[name]["all"]]["scores"]} for name in ("norm", "twice")}
    assert math.isclose(of["twice"]["norm"], 2 * of["norm"]["norm"], rel_tol=1e-6)
    assert of["twice"]["tuned_norm"] != of["twice"]["norm"] and of["norm"]["tuned_norm"] == of["norm"]["norm"]
    table = pd.read_csv(swept / "runs/sweeps/norms/table.csv")
    assert "twice" not in none and lines["none"]["na"] == [] and {"norm", "twice"} <= {*table.task}
    shown = table[(table.task == "norm") & (table.row == "loud")]
    assert math.isclose(float(shown["mean"].iloc[0]), of["norm"]["norm"], rel_tol=1e-3), table.to_string()
    stage = json.loads(next(swept.glob(f"runs/weight_norm/??/{loud['twice']['all']}/identity.json")).read_text())
    roles = {"tokenizer", "pretrain", "norm", "finetune", "table/asr.dev", "tokens/asr.dev"}
    assert {role for role, _ in stage["parents"]} == roles


@pytest.mark.slow
def test_it_is_run_once_and_planned_like_others(swept):
    said = both(swept, "norms.yaml", "--dry-run").stdout
    assert re.search(r"^weight_norm +3 +3 +0", said, re.MULTILINE), said
    shown = both(swept, "norms.yaml", "--show", "loud").stdout
    assert re.search(r"kind: \W?weight_norm", shown) and "scale: 2.0" in shown
    again = both(swept, "norms.yaml", "rows.loud.stages.norm.scale=5.0", "--dry-run").stdout
    assert re.search(r"^weight_norm +3 +1 +2", again, re.MULTILINE), again
    said = both(swept, "norms.yaml", "rows.loud.stages.norm.tables=[asr.deev]", "--dry-run").stderr
    assert "rows.loud.stages.norm: reads 'asr.deev', which the data do not have; did you mean 'asr.dev'?" in said


@dataclass(frozen=True)
class Plain:
    """Settings."""

    tag: ClassVar[str] = "plain"

    size: int = 1
    """A size."""


@dataclass(frozen=True)
class Tagless:
    """Settings without a tag."""


def good(config: Plain, parents, run):
    """Measure nothing."""


def short(config: Plain):
    """Take too little."""


def untyped(config, parents, run):
    """Say nothing of the config."""


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Kind(1, short), "short takes 1 arguments, expected 3"),
        (lambda: Kind(0, good), "version is 0"),
        (lambda: Kind(1, good, settings=Plain, metrics=("a",)), "expected a dataclass with its default values"),
        (lambda: Kind(1, good, settings=Plain()), "metrics is empty"),
        (lambda: Kind(1, untyped, settings=Plain(), metrics=("a",)), "type hint None, expected the class of settings"),
        (lambda: Kind(1, good, settings=Tagless(), metrics=("a",)), r"Tagless \(.*, line \d+\) has no tag"),
    ],
)
def test_a_kind_that_lacks_something_is_refused_when_it_is_made(make, words):
    with pytest.raises(TypeError, match=words) as error:
        make()
    assert "test_added_stage.py, line" in str(error.value)


@pytest.mark.parametrize(
    "scores, words",
    [
        ([("a", 1.0)], ""),
        ([], "returns scores of none, and the metrics of its kind are a"),
        ([("b", 1.0)], "returns scores of b, and the metrics of its kind are a"),
        ([("a", math.nan)], "returns nan as the score of a, expected a number"),
    ],
)
def test_scores_that_are_not_those_of_the_kind_fail_the_stage(scores, words):
    kind, result = Kind(1, good, settings=Plain(), metrics=("a",)), {"scores": [scored(*one) for one in scores]}
    if not words:
        assert kind.checked(result) is result
        return
    with pytest.raises(UserError, match=words) as error:
        kind.checked(result)
    assert "test_added_stage.py, line" in str(error.value)


@pytest.mark.parametrize(
    "stages, words",
    [
        ("{norm: {kind: plan}}", "rows.one.stages.norm.kind: no kind 'plan'; did you mean 'plain'?"),
        ("{norm: {kind: plain, siz: 1}}", "unknown key 'siz'; did you mean 'size'?"),
        ("{norm: {kind: plain, after: finetune.ars}}", "no stage 'finetune.ars' here; did you mean 'finetune.asr'?"),
        ("{a: {kind: plain, after: b}, b: {kind: plain, after: a}}", "a after b after a is a cycle"),
        ("{norm: {kind: plain, tables: [asr]}}", "expected TABLE.SPLIT, as in asr.dev"),
        ("{asr: {kind: plain}}", "a task has this name"),
    ],
)
def test_mistakes_are_found_while_planning(tmp_path, stages, words):
    made = dataclasses.replace(registry(), stages={"plain": Kind(1, good, settings=Plain(), metrics=("a",))})
    (tmp_path / "norms.yaml").write_text(
        f"base: {{pretrain: {{objectives: {{masked_text: 1.0}}, steps: 4, decay: 1}}, stages: {stages}}}\n"
        "rows: {one: {}}\ntasks: [asr]\n"
    )
    with pytest.raises(UserError) as error:
        plan_file(tmp_path / "norms.yaml", registry=made)
    assert words in str(error.value)
