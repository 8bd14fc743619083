"""What a sweep is that it was not when it last ran: added, dropped and changed, in words, before anything runs."""

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ablate.planning import since as module
from ablate.planning.again import again
from ablate.planning.plan import plan_file
from ablate.planning.since import apart, since
from ablate.stages.registry import KINDS
from ablate.store.record import run_path
from ablate.store.stage import materialise
from objectives import OBJECTIVES

SWEEP = {
    "name": "small",
    "data": {"preset": "builtin", "speech": 30, "text": 60, "pairs": 20, "dev": 10, "test": 10, "retrieval": 10},
    "base": {
        "encoder": {"width": 32, "heads": 2, "ffn": 64, "groups": 4},
        "tokenizer": {"size": 100},
        "pretrain": {"objectives": {"masked_text": 1.0}, "steps": 2, "decay": 1, "update": {"text": "60 tokens"}},
        "tasks": {"retrieval": {}, "sentiment": {"steps": 4}},
    },
    "rows": {"a": {}, "b": {"pretrain": {"objectives": {"masked_text": 0.5}}}, "c": {"pretrain": {"steps": 3}}},
    "tasks": ["retrieval", "sentiment"],
    "claims": {"longer": {"effect": "c - a", "on": "retrieval.recall@1", "above": 0, "unmatched": True}},
}
WEIGHT = "pretrain: objectives.masked_text.weight 0.5 -> 0.3"


def planned(tmp_path, **changes):
    """Plan the sweep with changes by dotted path (`__` for dots); None takes away."""
    sweep = deepcopy(SWEEP)
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = sweep
        for key in parents:
            part = part.setdefault(key, {})
        part[last] = value
        if value is None:
            del part[last]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    return plan_file(tmp_path / "small.yaml", root=tmp_path / "runs")


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A root in which the sweep was planned, and nothing ran."""
    folder = tmp_path_factory.mktemp("before")
    materialise(planned(folder), folder / "runs")
    return folder / "runs"


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, []),
        ({"resources": {"mem_gb": 9}, "workers": 3, "attention": "sdpa", "cluster": "debug"}, []),
        ({"question": "Why?", "labels": {"a": "the first"}}, []),
        ({"rows__d": {"encoder": {"width": 16}}, "rows__b": None}, ["rows added: d; rows dropped: b"]),
        ({"seeds": [0, 2, 3]}, ["seeds added: 2, 3"]),
        ({"seeds": [1]}, ["seeds added: 1; seeds dropped: 0"]),
        ({"tasks": ["retrieval", "asr"]}, ["tasks added: asr; tasks dropped: sentiment"]),
        ({"axes": {"encoder.width": [16, 32]}}, ["axes added: encoder.width"]),
        ({"claims__longer__above": 1}, ["claims changed: longer"]),
        ({"claims": None}, ["claims dropped: longer"]),
        ({"table": {"columns": ["retrieval.recall@1"]}}, ["other columns or blocks of the table"]),
        ({"rows__b__pretrain__objectives__masked_text": 0.3}, [f"b changed ({WEIGHT})"]),
        ({"rows__c__tasks": {"sentiment": {"steps": 9}}}, ["c changed (finetune: task.steps 4 -> 9)"]),
        ({"base__tasks__sentiment__steps": 9}, ["all rows changed (finetune: task.steps 4 -> 9)"]),
        (
            {"rows__b__pretrain__objectives__masked_text": 0.3, "seeds": [7]},
            ["seeds added: 7; seeds dropped: 0", "b changed (objectives.masked_text.weight 0.5 -> 0.3)"],
        ),
        ({"data__text": 70, "seeds": [0, 1]}, ["seeds added: 1; data: text 60 -> 70"]),
        (
            {"data__text": 70, "base__encoder__width": 16},
            ["data: text 60 -> 70", "all rows changed (pretrain: encoder.width 32 -> 16)"],
        ),
    ],
)
def test_it_says_what_was_added_dropped_and_changed(before, tmp_path, changes, said):
    lines = since(planned(tmp_path, **changes), before)
    assert lines == [f"since the last run: {line}" for line in said]


def test_values_of_an_axis_are_named(tmp_path):
    root = tmp_path / "runs"
    materialise(planned(tmp_path, axes={"encoder.width": [16, 32]}), root)
    assert since(planned(tmp_path, axes={"encoder.width": [32, 64]}), root) == [
        "since the last run: values of encoder.width added: 64; values of encoder.width dropped: 16"
    ]


def test_nothing_is_said_of_a_first_run(tmp_path):
    plan = planned(tmp_path)
    assert since(plan, tmp_path / "runs") == [] and apart(plan, tmp_path / "runs") == "other rows or settings"


def test_what_is_made_again_is_not_said_twice(before, tmp_path):
    """Of a finished row whose setting changed, the plan says that it is made again, and why; here, that it is it."""
    root = tmp_path / "runs"
    shutil.copytree(before, root)
    old = planned(tmp_path)
    for stage in old.stages.values():
        (run_path(root, stage.kind, stage.id) / "result.json").write_text('{"format": 2}')
    plan = planned(tmp_path, rows__b__pretrain__objectives__masked_text=0.3)
    anew = again(plan, root)
    assert len(anew) == 1 and anew[0].endswith(f" to make again: {WEIGHT}")
    assert since(plan, root, anew) == ["since the last run: b changed"]
    whole = planned(tmp_path, base__tasks__sentiment__steps=9)
    assert since(whole, root, again(whole, root)) == []  # that it is all rows is said by their number


def test_only_code_is_no_change_of_the_sweep(before, tmp_path, monkeypatch):
    plan = planned(tmp_path)
    monkeypatch.setitem(KINDS, "pretrain", replace(KINDS["pretrain"], version=KINDS["pretrain"].version + 1))
    raised = planned(tmp_path)
    assert raised.digest != plan.digest and since(raised, before) == []
    assert apart(raised, before) == "other stages"


def test_a_raised_recipe_is_no_change_of_a_row_whose_stages_cannot_be_compared(before, tmp_path, monkeypatch):
    """Another seed, and the loss's code."""
    monkeypatch.setattr(type(OBJECTIVES["masked_text"]), "recipe", 99, raising=False)
    raised = planned(tmp_path, seeds=[7])
    assert raised.sweep["rows"]["a"]["objectives"]["masked_text"]["recipe"] == 99
    assert since(raised, before) == ["since the last run: seeds added: 7; seeds dropped: 0"]


def test_a_long_list_is_cut(before, tmp_path):
    rows = {f"row_{number}": {"encoder": {"width": 16 + 4 * number}} for number in range(12)}
    plan = planned(tmp_path, **{f"rows__{name}": row for name, row in rows.items()})
    first = ", ".join(list(rows)[: module.MOST_NAMES])
    assert since(plan, before) == [f"since the last run: rows added: {first} and 4 more"]


def test_a_few_words_say_how_two_plans_differ(before, tmp_path):
    assert apart(planned(tmp_path, question="Why?"), before) == "other question"
    plan = planned(tmp_path, rows__b=None, seeds=[0, 1], claims=None, tasks=["retrieval"])
    assert apart(plan, before) == "rows dropped: b; seeds added: 1; tasks dropped: sentiment; and 1 more"


def test_a_root_of_format_1_says_its_own(tmp_path):
    shutil.copytree(Path(__file__).resolve().parents[1] / "data" / "root-e7f69db", tmp_path / "runs")
    assert since(planned(tmp_path, name="old"), tmp_path / "runs") == []
