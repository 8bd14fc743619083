"""What a plan makes again although its sweep had it finished, and why: in words, before anything is run."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from ablate import drive, sweep
from ablate.clusters.schedule import Board
from ablate.planning.again import again
from ablate.stages.registry import KINDS, make
from ablate.store.record import run_path
from ablate.store.stage import Plan, Stage, materialise

OLD = Path(__file__).resolve().parents[1] / "data" / "root-e7f69db"


@dataclass(frozen=True, kw_only=True)
class Source:
    tag: ClassVar[str] = "builtin"
    recipe: ClassVar[int] = 3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Split:
    tag: ClassVar[str] = "again_split"
    rows: int = 10
    digest: str = "a"
    of: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Text:
    tag: ClassVar[str] = "again_text"
    size: int = 400


@dataclass(frozen=True, kw_only=True)
class Training:
    tag: ClassVar[str] = "again_training"
    lr: float = 1e-3
    seed: int = 0


def planned(tables, read=("text.train",), lr=1e-3, rows=("a", "b"), seeds=(0,), name="old"):
    """A plan of rows that differ in nothing: tables, a tokenizer, a trunk and a leaf; and a score on the test split."""
    stages, manifest = {}, []

    def add(kind, config, parents, title):
        stage = make(kind, config, parents, title)
        return stages.setdefault(stage.id, stage).id

    ids = {name: add("table", config, [], name) for name, config in tables.items()}
    tokenizer = add("tokenizer", Text(), [(f"table/{name}", ids[name]) for name in read], "tokenizer")
    for row in rows:
        for seed in seeds:
            of = [("table/text.train", ids["text.train"]), ("tokenizer", tokenizer)]
            trunk = add("pretrain", Training(lr=lr, seed=seed), of, f"{row} / trunk")
            tuned = Training(lr=1e-4, seed=seed)
            leaf = add("finetune", tuned, [("pretrain", trunk), ("tokenizer", tokenizer)], f"{row} / asr")
            score = add(
                "score", Text(size=1), [("finetune", leaf), ("table/asr.test", ids["asr.test"])], f"{row} / asr score"
            )
            manifest.append(
                {
                    "row": row,
                    "point": {},
                    "seed": seed,
                    "stages": {
                        "tokenizer": tokenizer,
                        "trunk": trunk,
                        "trunks": [trunk],
                        "leaf": trunk,
                        "finetune": {"asr": leaf},
                        "score": {"asr": {"test": score}},
                        "tables": ids,
                    },
                }
            )
    return Plan(name, {"rows": {row: {} for row in rows}}, manifest, stages, {})


TABLES = {"text.train": Split(rows=19175), "asr.test": Split(rows=20), "glue.cola": Split(rows=5)}


def finish(plan, root, leave_out=()):
    """Write a plan, and results of its stages but those of some kinds."""
    materialise(plan, root)
    for stage in plan.stages.values():
        if stage.kind not in leave_out:
            (run_path(root, stage.kind, stage.id) / "result.json").write_text('{"format": 2}')


def test_nothing_is_said_of_a_first_plan_an_equal_one_and_one_with_new_rows(tmp_path):
    before = planned(TABLES)
    assert again(before, tmp_path) == []
    finish(before, tmp_path)
    assert again(before, tmp_path) == []
    assert again(planned(TABLES, rows=("a", "b", "c"), seeds=(0, 1)), tmp_path) == []  # new work is not made again


@pytest.mark.parametrize(
    "change, said",
    [
        ({"read": ("text.train", "glue.cola")}, ["4 to make again: table glue.cola is new in the tokenizer's texts"]),
        (
            {"tables": {**TABLES, "text.train": Split(rows=19163, digest="b")}},
            ["5 to make again: text.train has 19,163 rows, had 19,175"],
        ),
        (
            {"tables": {**TABLES, "asr.test": Split(rows=20, digest="b")}},
            ["2 to make again: asr.test holds other rows than it did"],
        ),
        ({"lr": 2e-3}, ["3 to make again: pretrain: lr 0.001 -> 0.002"]),
        (
            {"lr": 2e-3, "tables": {**TABLES, "asr.test": Split(rows=21, digest="b")}},
            ["3 to make again: pretrain: lr 0.001 -> 0.002", "2 to make again: asr.test has 21 rows, had 20"],
        ),
    ],
)
def test_it_says_how_many_and_why(tmp_path, change, said):
    """Two rows that are one model: tables, 1 tokenizer, 1 trunk, 1 fine-tuning, 1 score."""
    finish(planned(TABLES), tmp_path)
    assert again(planned(**{"tables": TABLES, **change}), tmp_path) == said


def test_a_raised_recipe_is_named_once_whatever_reads_it(tmp_path, monkeypatch):
    tables = {name: replace(split, of=Source()) for name, split in TABLES.items()}
    finish(planned(tables), tmp_path)
    monkeypatch.setattr(Source, "recipe", 4)
    assert again(planned(tables), tmp_path) == ["7 to make again: recipe of the built-in corpus was raised 3 -> 4"]


def test_what_was_never_finished_or_is_there_already_is_not_again(tmp_path):
    finish(planned(TABLES), tmp_path, leave_out=("finetune", "score"))
    assert again(planned(TABLES, lr=2e-3), tmp_path) == ["1 to make again: pretrain: lr 0.001 -> 0.002"]
    finish(planned(TABLES, lr=2e-3, name="other"), tmp_path, leave_out=("score",))
    assert again(planned(TABLES, lr=2e-3), tmp_path) == []


def test_a_long_list_is_cut(tmp_path):
    names = [f"t{number:02}.test" for number in range(14)]
    finish(planned({**TABLES, **{name: Split(rows=1) for name in names}}), tmp_path)
    lines = again(planned({**TABLES, **{name: Split(rows=2, digest=name) for name in names}}), tmp_path)
    assert lines[0] == "1 to make again: t00.test has 2 rows, had 1"
    assert (len(lines), lines[-1]) == (10, "and 5 other changes; see python -m ablate.store explain")


def test_over_a_root_of_format_1_it_says_which_recipe_was_raised(tmp_path):
    shutil.copytree(OLD, tmp_path / "root")
    tables = {name: replace(split, of=Source()) for name, split in TABLES.items()}
    plan = planned(tables, rows=("joint", "scratch"), seeds=(0, 1))
    assert len(plan.stages) == 10
    assert again(plan, tmp_path / "root") == [
        "10 to make again: records of format 1 are not reused; recipe of the built-in corpus was raised 2 -> 3",
        "7 to make again: version of tokenizer was raised 2 -> 3",
        f"6 to make again: version of pretrain was raised 2 -> {KINDS['pretrain'].version}",
        f"4 to make again: version of finetune was raised 3 -> {KINDS['finetune'].version}",
        f"2 to make again: version of score was raised 3 -> {KINDS['score'].version}",
    ]


def test_a_dry_run_over_a_root_of_format_1_says_so(tmp_path, capsys):
    shutil.copytree(OLD, tmp_path / "root")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert sweep.main([str(OLD / "old.yaml"), f"root={tmp_path / 'root'}", "--dry-run"]) == 0
    assert "to make again: records of format 1 are not reused" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


CHAIN = {"co": (), "trunk": ("co",), "leaf": ("trunk",), "score": ("leaf",), "other": ("leaf",)}


@pytest.mark.parametrize(
    ("missing", "planned"),
    [
        ("trunk", "co leaf score other"),  # nothing that is missing needs it
        ("co trunk leaf", "score other"),
        ("trunk score", "co leaf score other"),
        ("leaf score", "co trunk leaf score other"),
        ("trunk leaf score", "co trunk leaf score other"),
        ("co trunk leaf score other", "co trunk leaf score other"),
    ],
)
def test_what_was_removed_is_made_again_only_if_something_needs_it(tmp_path, missing, planned):
    stages = {
        id: Stage("score", {}, tuple((f"p{i}", one) for i, one in enumerate(parents)), id, title=id)
        for id, parents in CHAIN.items()
    }
    line = {"row": "a", "seed": 0, "point": {}, "stages": {id: id for id in CHAIN}}
    whole = Plan("x", {"rows": {"a": {}}, "table": {"blocks": []}}, [line], stages, {})
    plan = whole.without_idle(whole.stages.keys() - set(missing.split()))
    assert list(plan.stages) == planned.split()
    gone = [id for id in CHAIN if id not in plan.stages]
    assert [str(len(gone)) in note for note in drive.removed(whole, plan)] == ([True] if gone else [])
    assert Board(plan.stages, tmp_path).state.keys() == plan.stages.keys()
