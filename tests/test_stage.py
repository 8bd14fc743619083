"""Executing planned stages: once, with their configs restored and their parents at hand."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from ablate import run as run_module
from ablate import stage
from ablate.errors import UserError
from ablate.run import Lost, RunFolder
from ablate.stage import KINDS, Kind, Plan, execute, make, materialise

CALLS = []


@dataclass(frozen=True, kw_only=True)
class Grain:
    how: ClassVar[tuple[str, ...]] = ("root",)
    root: str = ""
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Bread:
    grains: tuple[str, ...] = ("rye",)


def sow(config, parents, run):
    CALLS.append((config, dict(parents)))
    run.log(1, {"loss": 0.5})
    return {"size": config.size}


def bake(config, parents, run):
    CALLS.append((config, dict(parents)))
    if "dough" in config.grains:
        raise ArithmeticError("raw")
    return {"of": parents["corpus"].result()["size"]}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    CALLS.clear()
    monkeypatch.setitem(KINDS, "corpus", Kind(1, f"{__name__}:sow"))
    monkeypatch.setitem(KINDS, "tokenizer", Kind(1, f"{__name__}:bake"))

    def plan(grain=Grain(root="/here"), bread=Bread()):
        first = make("corpus", grain, [], "grain")
        second = make("tokenizer", bread, [("corpus", first.id)], "bread", steps=3, cost=1.5)
        sweep = {"rows": {}, "table": {"blocks": []}}
        materialise(Plan("x", sweep, [], {s.id: s for s in (first, second)}, {}), tmp_path)
        return first, second

    return plan


def test_stages_run_once_with_config_and_parents(planned, tmp_path):
    first, second = planned()
    for _ in range(2):
        for one in (first, second):
            execute(one.id, tmp_path)
    (config, parents), (bread, bread_parents) = CALLS
    assert config == Grain(root="/here") and parents == {}
    assert bread == Bread() and bread_parents["corpus"].path == RunFolder(tmp_path, "corpus", first.id).path
    result = RunFolder(tmp_path, "tokenizer", second.id).result()
    assert result["of"] == 1 and result["attempts"] == 1


def test_a_failing_stage_raises_and_leaves_no_result(planned, tmp_path):
    first, second = planned(bread=Bread(grains=("dough",)))
    execute(first.id, tmp_path)
    with pytest.raises(ArithmeticError):
        execute(second.id, tmp_path)
    run = RunFolder(tmp_path, "tokenizer", second.id)
    assert not run.done and run.holder() is None


def test_how_may_change_until_a_stage_is_done(planned, tmp_path):
    (first, _), (again, _) = planned(), planned(Grain(root="/there"))
    assert first.id == again.id
    execute(first.id, tmp_path)
    assert CALLS[0][0].root == "/there"
    assert RunFolder(tmp_path, "corpus", first.id).identity()["config"] == {"type": "Grain", "size": 1}


def test_unplanned_stages_missing_parents_and_other_versions_are_refused(planned, tmp_path, monkeypatch):
    _, second = planned()
    with pytest.raises(UserError, match="No stage 'abc' is planned"):
        execute("abc", tmp_path)
    with pytest.raises(UserError, match="starts from corpus .* not done yet"):
        execute(second.id, tmp_path)
    monkeypatch.setitem(KINDS, "tokenizer", Kind(2, f"{__name__}:bake"))
    with pytest.raises(UserError, match="planned as version 1 of 'tokenizer', this code is version 2"):
        execute(second.id, tmp_path)


def test_a_new_version_is_a_new_stage(monkeypatch):
    old = make("corpus", Grain(), [], "grain")
    monkeypatch.setitem(stage.KINDS, "corpus", Kind(stage.KINDS["corpus"].version + 1, f"{__name__}:sow"))
    assert make("corpus", Grain(), [], "grain").id != old.id


def test_a_stage_whose_folder_is_put_away_under_it_ends_as_lost(planned, tmp_path, monkeypatch):
    """Tables are written past the run folder's own methods."""
    first, _ = planned()

    def write(config, parents, run):
        monkeypatch.setattr(run_module, "alive", lambda claim: False)
        RunFolder(tmp_path, "corpus", first.id).claim()
        (run.files / "rows.jsonl").write_text("late")

    monkeypatch.setattr(f"{__name__}.sow", write)
    with pytest.raises(Lost, match="was taken over"):
        execute(first.id, tmp_path)
