"""Executing planned stages: once, with their configs restored and their parents at hand."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from ablate.clusters.schedule import BLOCKED, DONE, FAILED, Board, ancestors
from ablate.errors import UserError
from ablate.stages.execute import execute
from ablate.stages.kind import Kind, restored
from ablate.stages.registry import KINDS, make
from ablate.store import run as run_module
from ablate.store import stage
from ablate.store.record import run_path
from ablate.store.run import Lost, RunFolder
from ablate.store.stage import Plan, materialise, parents_of, places, uses_of
from encoders.attention import Unavailable

CALLS = []


@dataclass(frozen=True, kw_only=True)
class Grain:
    tag: ClassVar[str] = "grain"
    how: ClassVar[tuple[str, ...]] = ("root",)
    root: str = ""
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Bread:
    tag: ClassVar[str] = "bread"
    grains: tuple[str, ...] = ("rye",)


def sow(config: Grain, parents, run):
    CALLS.append((config, dict(parents)))
    run.log(1, {"loss": 0.5})
    return {"size": config.size}


def bake(config: Bread, parents, run):
    CALLS.append((config, dict(parents)))
    if "dough" in config.grains:
        raise ArithmeticError("raw")
    if "cuda" in config.grains:
        raise Unavailable("attention: varlen cannot run here.")
    return {"of": parents["table/x"].result()["size"]}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    CALLS.clear()
    monkeypatch.setitem(KINDS.data, "table", Kind(1, sow))
    monkeypatch.setitem(KINDS.data, "tokenizer", Kind(1, bake))

    def plan(grain=Grain(root="/here"), bread=Bread()):
        first = make("table", grain, [], "grain")
        second = make("tokenizer", bread, [("table/x", first.id)], "bread", steps=3, cost=1.5)
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
    assert bread == Bread() and bread_parents["table/x"].path == RunFolder(tmp_path, "table", first.id).path
    result = RunFolder(tmp_path, "tokenizer", second.id).result()
    assert result["of"] == 1 and result["attempts"] == 1


def test_attention_that_cannot_run_is_told_in_a_sentence(planned, tmp_path):
    first, second = planned(bread=Bread(grains=("cuda",)))
    execute(first.id, tmp_path)
    with pytest.raises(UserError, match="^attention: varlen cannot run here.$"):
        execute(second.id, tmp_path)


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
    assert RunFolder(tmp_path, "table", first.id).identity()["config"] == {"type": "grain", "size": 1}


def test_unplanned_stages_missing_parents_and_other_versions_are_refused(planned, tmp_path, monkeypatch):
    _, second = planned()
    with pytest.raises(UserError, match="No stage 'abc' is planned"):
        execute("abc", tmp_path)
    with pytest.raises(UserError, match="starts from table/x .* not done yet"):
        execute(second.id, tmp_path)
    monkeypatch.setitem(KINDS.data, "tokenizer", Kind(2, bake))
    with pytest.raises(UserError, match="planned as version 1 of 'tokenizer', this code is version 2"):
        execute(second.id, tmp_path)


def test_a_new_version_is_a_new_stage(monkeypatch):
    old = make("table", Grain(), [], "grain")
    monkeypatch.setitem(KINDS.data, "table", Kind(KINDS["table"].version + 1, sow))
    assert make("table", Grain(), [], "grain").id != old.id


def test_what_a_stage_uses_is_no_part_of_its_id_and_is_waited_for(tmp_path):
    """A longer trunk goes on from a shorter one where that is planned; it is the same trunk without."""
    short = make("pretrain", Bread(grains=("oat",)), [], "short", cost=5.0)
    alone = make("pretrain", Bread(), [], "long", cost=7.0)
    long = make("pretrain", Bread(), [], "long", cost=7.0, uses=[("continues", short.id)])
    assert alone.id == long.id and long.identity == alone.identity
    assert long.needs == (("continues", short.id),) and alone.needs == ()
    after = make("finetune", Bread(), [("pretrain", long.id)], "task", cost=1.0)
    stages = {one.id: one for one in (after, long, short)}
    board = Board(stages, tmp_path)
    assert list(board.stages) == [short.id, long.id, after.id] and board.ready() == [short.id]
    assert (board.children(short.id), ancestors(stages, [after.id])) == ([long.id], set(stages))
    assert board.ranks[short.id] == 13.0
    board.set(short.id, DONE)
    assert board.ready() == [long.id]
    board.set(long.id, FAILED)
    assert board.state[after.id] == BLOCKED


def test_what_is_used_but_not_planned_is_not_waited_for(tmp_path):
    long = make("pretrain", Bread(), [], "long", cost=7.0, uses=[("continues", "0123456789abcdef")])
    board = Board({long.id: long}, tmp_path)
    assert board.ready() == [long.id]
    line = {"row": "a", "stages": {"trunk": long.id}}
    plan = Plan("x", {"rows": {"a": {}}}, [line], {long.id: long}, {})
    assert list(plan.only(["a"]).stages) == [long.id]


def test_rows_alone_take_along_what_their_stages_use():
    short = make("pretrain", Bread(grains=("oat",)), [], "short")
    long = make("pretrain", Bread(), [], "long", uses=[("continues", short.id)])
    other = make("pretrain", Bread(grains=()), [], "other")
    lines = [{"row": "a", "stages": {"trunk": long.id}}, {"row": "b", "stages": {"trunk": other.id}}]
    plan = Plan("x", {"rows": {"a": {}, "b": {}}}, lines, {one.id: one for one in (short, long, other)}, {})
    assert set(plan.only(["a"]).stages) == {short.id, long.id}


def test_folders_of_parents_and_of_what_is_used(tmp_path):
    of = [("table/text.train", "aa"), ("targets", "bb"), ("targets-tokens/asr.test", "cc"), ("kmeans/hubert", "dd")]
    grain = make("table", Grain(), of, "grain", uses=[("recordings/speech", "ee"), ("continues", "ff")])
    materialise(Plan("x", {}, [], {grain.id: grain}, {}), tmp_path)
    run = RunFolder(tmp_path, "table", grain.id)
    expected = {
        "table/text.train": ("table", "aa"),
        "targets": ("tokenizer", "bb"),
        "targets-tokens/asr.test": ("tokens", "cc"),
        "kmeans/hubert": ("kmeans", "dd"),
        "recordings/speech": ("recordings", "ee"),
        "continues": ("pretrain", "ff"),
    }
    for kind, id in expected.values():
        for name in (kind, f"a copy of {kind}"):  # which says of itself that it is none
            path = run_path(tmp_path, name, id)
            path.mkdir(parents=True)
            (path / "identity.json").write_text(json.dumps({"kind": kind}))
    assert {role: (one.kind, one.id) for role, one in {**parents_of(run), **uses_of(run)}.items()} == expected


def test_a_stage_that_is_gone_is_not_done(tmp_path):
    grain = make("table", Grain(), [("targets", "bb")], "grain", uses=[("continues", "ff")])
    materialise(Plan("x", {}, [], {grain.id: grain}, {}), tmp_path)
    run = RunFolder(tmp_path, "table", grain.id)
    assert not parents_of(run)["targets"].done and not uses_of(run)["continues"].done
    with pytest.raises(UserError, match="starts from targets bb, not done yet"):
        execute(grain.id, tmp_path)


def test_of_a_finished_stage_only_where_its_data_lie_is_brought_up_to_date(planned, tmp_path):
    first, _ = planned()
    execute(first.id, tmp_path)
    run = RunFolder(tmp_path, "table", first.id)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    planned(Grain(root="/there"))
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after[path]} == {
        "how.json"
    } and before.keys() == after.keys()
    assert json.loads((run.path / "how.json").read_text()) == {
        "ways": [{"how": {"root": "/there"}, "uses": []}, {"how": {"root": "/here"}, "uses": []}]
    }
    assert restored(run, Grain) == Grain(root="/there")


def test_places_in_a_manifest_line():
    score = {"asr": {"test": "c", "dev": "d"}, "st": {}}
    stages = {"trunk": "b", "trunks": ["a", "b"], "score": score, "finetune": {"asr": "e"}}
    assert list(places(stages).items()) == [
        ("trunk", "b"),
        ("trunks/0", "a"),
        ("trunks/1", "b"),
        ("score/asr/test", "c"),
        ("score/asr/dev", "d"),
        ("finetune/asr", "e"),
    ]
    assert stage.stage_ids({"stages": stages}) == ["b", "a", "c", "d", "e"]


def test_a_stage_whose_folder_is_put_away_under_it_ends_as_lost(planned, tmp_path, monkeypatch):
    """Tables are written past the run folder's own methods."""
    first, _ = planned()

    def write(config: Grain, parents, run):
        monkeypatch.setattr(run_module, "alive", lambda lock: False)
        RunFolder(tmp_path, "table", first.id).lock()
        (run.files / "rows.jsonl").write_text("late")

    monkeypatch.setitem(KINDS.data, "table", Kind(1, write))
    with pytest.raises(Lost, match="was taken over"):
        execute(first.id, tmp_path)
