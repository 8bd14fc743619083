"""Stages that train, on a corpus of a few sentences: chains run, resume is exact, continuing loads by name."""

import dataclasses
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import ENCODER, World

from ablate.data.packing import streams
from ablate.data.table import Table
from ablate.errors import UserError
from ablate.stages import finetune, heldout
from ablate.stages.finetune import FinetuneStage
from ablate.stages.registry import make
from ablate.store import continuing, run
from ablate.tasks.registry import TASKS
from ablate.training import checkpoint, loop
from ablate.training.optim import FlatAdamW
from ablate.training.update import Update
from objectives import OBJECTIVES
from objectives.masked_text import MaskedText
from objectives.targets import TARGETS

JOINT = ("contrastive", "masked_speech", "masked_text")
FIXED = {"learned": TARGETS["random_projection"]}  # codes in which nothing anneals


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def trunk(world):
    id = world.pretrain(*JOINT, steps=20)
    world.run(id)
    return id


@pytest.fixture(scope="module")
def leaf(world, trunk):
    id = world.pretrain(*JOINT, parent=trunk, start=20, steps=10, phase="decay")
    world.run(id)
    return id


def saved(world, id):
    return checkpoint.of(world.run(id), moments=True)


def test_a_trunk_keeps_moments_a_leaf_keeps_weights_only_and_its_losses_are_measured_on_dev(world, trunk, leaf):
    of_trunk, run = saved(world, trunk), world.run(trunk)
    assert {k.partition("/")[0] for k in of_trunk.moments} == {"exp_avg", "exp_avg_sq"}
    assert of_trunk.weights and of_trunk.step == of_trunk.state["updates"] == 20
    assert run.result()["exposure"]["speech"]["items"] == of_trunk.state["cursors"]["speech"] > 20
    files = {"checkpoint.json", "metrics.jsonl", "model.safetensors"}
    assert set(run.result()["files"]) == files | {"moments.safetensors"}
    of_leaf = saved(world, leaf)
    assert of_leaf.weights and not of_leaf.moments and set(world.run(leaf).result()["files"]) == files
    final = world.run(world.heldout(leaf)).result()["final"]
    assert math.isfinite(final["masked_text/loss"]) and "masked_speech/accuracy" in final


@pytest.mark.parametrize("task", ["asr", "translation", "sentiment", "sentence_pair", "normalization"])
def test_every_task_fine_tunes_and_scores(world, leaf, task):
    tuned, scored = world.finetune(task, leaf, steps=4, evaluate_every=2)
    result = world.run(tuned).result()
    assert result["best_step"] in (2, 4) and result["steps_run"] == 4
    result = world.run(scored).result()
    assert {"test"} == {s["split"] for s in result["scores"]} == {b["split"] for b in result["baselines"]}
    lines = [json.loads(line) for line in (world.run(scored).files / "items.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert all(line["cluster"] == {"voice": f"v{int(line['id'].rpartition('-')[2]) % 3}"} for line in lines)


def test_retrieval_is_scored_from_the_leaf(world, leaf):
    scored = world.score(TASKS["retrieval"], ("pretrain", leaf))
    values = {s["metric"]: s["value"] for s in world.run(scored).result()["scores"]}
    assert 0 <= values["recall@1"] <= values["recall@10"] <= 100


def items(world, scored):
    return [json.loads(line) for line in (world.run(scored).files / "items.jsonl").read_text().splitlines()]


def test_codes_of_a_leaf_are_scored_by_all_that_the_rows_tell(world, leaf):
    scored = world.score(TASKS["codes"], ("pretrain", leaf))
    scores = {s["metric"]: s for s in world.run(scored).result()["scores"]}
    assert list(scores) == [metric.name for metric in TASKS["codes"].build().metrics]
    assert 1 <= scores["perplexity"]["value"] <= 64 and 0 < scores["agreement"]["value"] <= 100
    assert scores["phone_nmi"]["value"] > scores["voice_nmi"]["value"]  # letters sound differently, voices do not
    assert {s["split"] for s in scores.values()} == {"dev"}
    agreed, codes = (sum(item[field] for item in items(world, scored)) for field in ("agreed", "codes"))
    assert scores["agreement"]["value"] == pytest.approx(100 * agreed / codes)


@pytest.mark.parametrize("objectives", [JOINT, (*JOINT, "tlm")])
def test_pairing_is_scored_from_the_heads_of_the_leaf(world, objectives):
    leaf = world.pretrain(*objectives, steps=2, phase="decay")
    world.run(leaf)
    scored = world.score(TASKS["pairing"], ("pretrain", leaf))
    values = {s["metric"]: s["value"] for s in world.run(scored).result()["scores"]}
    lines = items(world, scored)
    true, drop = (np.sum([line[field] for line in lines], axis=0) for field in ("loss", "loss_drop"))
    assert values == pytest.approx({"loss_drop": drop[0] / drop[1], "loss": true[0] / true[1]})
    assert len(lines) == 12 and values["loss"] > 0 and any(line["loss_drop"][0] for line in lines)


def test_scratch_is_a_stage_of_zero_steps(world):
    id = world.pretrain(*JOINT, steps=0, phase="decay")
    assert world.run(id).result()["steps"] == 0
    assert saved(world, id).weights


class Interrupt:
    """Pretend to be told to stop at the n-th look."""

    def __init__(self, monkeypatch, looks: int):
        self.left = looks
        monkeypatch.setattr(run.RunFolder, "stopping", property(lambda _: self.look()))

    def look(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_scratch_needs_no_data_of_the_objectives_that_it_does_not_train(tmp_path):
    world = World(tmp_path)
    trunk = world.pretrain(*JOINT, steps=0, unread=True)
    leaf = world.pretrain(*JOINT, parent=trunk, steps=0, phase="decay", unread=True)
    assert world.run(trunk).done and world.run(leaf).result()["exposure"] == {}


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_longer_trunk_goes_on_from_a_shorter_one_bit_for_bit(tmp_path, monkeypatch, meanwhile):
    """Also after the parent of both, when it is stopped on its way, and never from one of another training."""
    whole, world = World(tmp_path / "whole"), World(tmp_path / "continued")
    ids = {}
    for w in (whole, world):
        start = w.pretrain("masked_text", steps=10)
        ids = {
            steps: w.pretrain("masked_text", "tlm", parent=start, start=10, steps=steps, targets=FIXED)
            for steps in (10, 20, 40)
        }
        w.run(w.pretrain("masked_text", "tlm", parent=start, start=10, steps=30, targets=FIXED, seed=1))
    world.run(ids[10]), world.run(ids[20])
    if meanwhile:
        with monkeypatch.context() as patch:
            Interrupt(patch, looks=0)
            with pytest.raises(run.Stopped, match="update 40"):
                world.run(ids[40])
    note = continuing.notes([world.stages[ids[40]]], world.root)
    assert note == [f"note: pretrain goes on from a finished trunk, {ids[20]}, and will take less time."]
    assert not continuing.notes([whole.stages[ids[40]]], whole.root)
    one, other = whole.run(ids[40]), world.run(ids[40])
    assert "continued" not in one.result()
    assert other.result()["continued"] == {"id": ids[20], "steps": 20}
    a, b = (r.result()["files"] for r in (one, other))
    assert a.keys() == b.keys() and all(a[k] == b[k] for k in a if k != checkpoint.CHECKPOINT)
    assert (
        whole.run(ids[10]).result()["files"][checkpoint.MODEL] == world.run(ids[10]).result()["files"][checkpoint.MODEL]
    )


def test_a_damaged_shorter_trunk_is_passed_over(tmp_path, capsys):
    """The next shorter one serves; and of one that ends between two lines of the log nothing goes on."""
    world = World(tmp_path)
    ids = {steps: world.pretrain("masked_text", steps=steps) for steps in (5, 10, 20, 30)}
    for steps in (5, 10, 20):
        world.run(ids[steps])
    assert "continued" not in world.run(ids[10]).result()
    assert world.run(ids[20]).result()["continued"]["id"] == ids[10]
    moments = world.run(ids[20]).files / checkpoint.MOMENTS
    moments.write_bytes(moments.read_bytes()[:-1] + b"!")
    assert world.run(ids[30]).result()["continued"] == {"id": ids[10], "steps": 10}
    assert f"does not continue from {ids[20]}: {moments} has other bytes" in capsys.readouterr().out


def test_a_trunk_in_which_something_anneals_goes_on_from_none(world):
    for steps in (10, 20):
        run = world.run(world.pretrain("contrastive", steps=steps, horizon=100))
    assert "continued" not in run.result()


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_resumed_equals_uninterrupted_bit_for_bit(world, leaf, tmp_path, monkeypatch, kind):
    other = World(tmp_path)
    made = [world, other]
    if kind == "pretrain":
        names = (*JOINT, "tlm", "stm")
        objectives = {name: OBJECTIVES[name] for name in names}
        objectives["contrastive"] = replace(OBJECTIVES["contrastive"], diversity_over="average")  # it has a memory
        ids = [w.pretrain(*names, objectives=objectives, steps=40, seed=3) for w in made]
    else:
        leaves = [w.pretrain(*JOINT, steps=0, phase="decay") for w in made]
        for w, id in zip(made, leaves):
            w.run(id)
        ids = [w.finetune("asr", id, steps=40, evaluate_every=7, average=0.9)[0] for w, id in zip(made, leaves)]
    assert ids[0] == ids[1]
    with monkeypatch.context() as patch:
        Interrupt(patch, looks=2)
        with pytest.raises(run.Stopped):
            other.run(ids[1])
    assert not run.RunFolder(tmp_path, kind, ids[1]).done
    one, two = (w.run(id) for w, id in zip(made, ids))
    a, b = (r.result()["files"] for r in (one, two))
    assert a.keys() == b.keys() and all(a[k] == b[k] for k in a if k != checkpoint.CHECKPOINT) and checkpoint.MODEL in a
    assert (one.files / "metrics.jsonl").read_text() == (two.files / "metrics.jsonl").read_text()
    assert len(json.loads((two.path / "attempts.jsonl").read_text().splitlines()[0])) > 0


def test_a_checkpoint_of_another_precision_is_refused(tmp_path, monkeypatch):
    """As in a folder that was edited, or taken from another run; one that says none is of older code."""
    world = World(tmp_path)
    id = world.pretrain("masked_text", steps=20)
    with monkeypatch.context() as patch:
        Interrupt(patch, looks=0)
        with pytest.raises(run.Stopped):
            world.run(id)

    def says(**precision):
        about = run.RunFolder(tmp_path, "pretrain", id).files / checkpoint.CHECKPOINT
        kept = json.loads(about.read_text())
        kept["state"] = {k: v for k, v in kept["state"].items() if k != "precision"} | precision
        about.write_text(json.dumps(kept))

    says(precision="bf16")
    with pytest.raises(UserError, match="of update 10 was trained in bf16, and this stage trains in fp32: set encoder"):
        world.run(id)
    says()
    assert world.run(id).done and saved(world, id).state["precision"] == "fp32"
    leaf = world.pretrain("masked_text", parent=id, start=20, steps=5, phase="decay")
    monkeypatch.setattr(checkpoint, "of", lambda *_, of=checkpoint.of, **how: altered(of(*_, **how)))
    with pytest.raises(UserError, match="of update 20 was trained in bf16, and this stage trains in fp32"):
        world.run(leaf)


def altered(kept):
    return dataclasses.replace(kept, state=kept.state | {"precision": "bf16"})


def test_continuing_loads_by_name_starts_new_parts_fresh_and_forgets_dropped(world, trunk):
    id = world.pretrain("masked_text", "stm", parent=trunk, start=20, steps=0)
    old, new = saved(world, trunk), saved(world, id)
    encoder = [k for k in new.weights if k.startswith("encoder.")]
    assert encoder and all(torch.equal(new.weights[k], old.weights[k]) for k in encoder)
    kept = [k for k in new.moments if k.startswith("exp_avg/") and "stm" not in k]
    assert kept and all(torch.equal(new.moments[k], old.moments[k]) for k in kept)
    fresh = [k for k in new.moments if k.startswith("exp_avg") and "stm" in k]
    assert fresh and all(not new.moments[k].any() for k in fresh)
    assert not any("contrastive" in k for k in [*new.weights, *new.moments])
    assert new.state["updates"] == old.state["updates"] == 20
    assert new.state["cursors"]["text"] == old.state["cursors"]["text"]


def test_held_out_pairs_are_limited_alike_whatever_the_row_was_trained_on(world, leaf, monkeypatch):
    asked = []
    monkeypatch.setattr(heldout, "streams", lambda *_, **limits: asked.append(limits) or streams(*_, **limits))
    other = world.pretrain(*JOINT, steps=0, phase="decay", update=Update(speech=3.0, text=60, longest_pair=36.0))
    for id in (leaf, other):
        world.run(id)
        world.run(world.heldout(id))
    assert asked and all(limits == {"max_pair_frames": 6000} for limits in asked)


def test_what_no_loss_reaches_stands_still_and_enters_anew(world, trunk):
    """Text in a stage of speech alone: weight decay would wear it away. It keeps no moments, and later has new ones."""
    third = world.pretrain("contrastive", "masked_speech", parent=trunk, start=20, steps=30)
    old, new = saved(world, trunk), saved(world, third)
    stood = {key for key in old.weights if key in new.weights and torch.equal(old.weights[key], new.weights[key])}
    assert "encoder.embedding.weight" in stood and not any("speech" in key or "shared" in key for key in stood)
    assert not any("embedding" in key for key in new.moments) and any("shared" in key for key in new.moments)
    fourth = world.pretrain("masked_text", parent=third, start=50, steps=10)
    assert saved(world, fourth).state["entered"]["encoder.embedding.weight"] == 50
    assert not any("speech" in key for key in saved(world, fourth).moments)


def test_learned_codes_that_no_loss_trains_stay_as_initialised(world):
    names = ("masked_speech", "masked_text")
    first, last = (saved(world, world.pretrain(*names, steps=steps, seed=6)).weights for steps in (0, 15))
    codes = [key for key in first if key.startswith("mixture.targets.")]
    assert codes and all(torch.equal(first[key], last[key]) for key in codes)


def test_a_frozen_encoder_stands_still_batch_norm_and_all(world):
    """Dev is best at update 10, before the thaw at 18: what is kept then has the encoder of the leaf."""
    encoder = dataclasses.replace(ENCODER, conv_norm="batch", dropout=0.2)
    leaf = world.pretrain(*JOINT, steps=4, phase="decay", encoder=encoder)
    weights = saved(world, leaf).weights
    config = dataclasses.replace(TASKS["sentiment"], tokenizer=None, steps=20, frozen=0.9, evaluate_every=10)
    parents = [*world.task(config.table, "train", "dev"), ("pretrain", leaf)]
    tuned = FinetuneStage(encoder=encoder, task=config.for_training(), search=config.search())
    id = world.add(make("finetune", tuned, parents, "frozen"))
    seen = []
    real = finetune.dev_score

    def score(model, *more):
        seen.append({key: x.clone() for key, x in model.encoder.state_dict().items()})
        return real(model, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "dev_score", score)
        world.run(id)
    assert any(key.endswith(".variance") for key in seen[0]), "batch norm keeps statistics"
    assert all(torch.equal(weights[f"encoder.{key}"], x) for key, x in seen[0].items())
    assert any(not torch.equal(weights[f"encoder.{key}"], x) for key, x in seen[1].items())


def test_equal_seed_rows_start_from_equal_weights(world):
    joint, text = (world.pretrain(*names, steps=0, seed=5) for names in (JOINT, ("masked_text",)))
    a, b = saved(world, joint).weights, saved(world, text).weights
    assert b and all(torch.equal(a[k], b[k]) for k in b)


def test_shards_change_results_only_where_statistics_are_over_a_shard(world):
    one, two = (world.pretrain("masked_text", steps=10, update=Update(text=120, shards=n), seed=2) for n in (1, 2))
    a, b = saved(world, one).state, saved(world, two).state
    assert a["updates"] == b["updates"] and abs(a["cursors"]["text"] - b["cursors"]["text"]) <= 20


def steps_made(monkeypatch) -> list[float]:
    """The optimizer's steps, as they are made."""
    made, real = [], FlatAdamW.step
    monkeypatch.setattr(FlatAdamW, "step", lambda self, factor, *more: made.append(factor) or real(self, factor, *more))
    return made


def fault(world, id, monkeypatch) -> tuple[str, dict]:
    """Run a stage that must not finish; returns the message and what was written."""
    made = steps_made(monkeypatch)
    with pytest.raises(loop.NotFinite) as error:
        world.run(id)
    folder = run.RunFolder(world.root, world.stages[id].kind, id)
    written = json.loads((folder.files / "not_finite.json").read_text())
    assert len(made) == written["step"] and not folder.done, "no step was made with what is not finite"
    assert f"update {written['step']} is not finite" in str(error.value)
    return str(error.value), written


def spoil(monkeypatch, table: str, row: int) -> None:
    """One frame of a row becomes NaN."""
    real = Table.mel

    def mel(self, index):
        frames = real(self, index)
        if (self.name, index) == (f"{table}.train", row):
            frames = frames.copy()
            frames[3, 7] = np.nan
        return frames

    monkeypatch.setattr(Table, "mel", mel)


def test_broken_input_is_named_with_objective_step_and_items(world, monkeypatch):
    id = world.pretrain(*JOINT, steps=20, seed=9)
    spoil(monkeypatch, "speech", 5)
    message, written = fault(world, id, monkeypatch)
    assert {f["objective"] for f in written["faults"]} == {"contrastive", "masked_speech"}
    for entry in written["faults"]:
        assert (
            entry["broken_input"] == ["speech-train-5"] and "speech-train-5" in entry["ids"] and len(entry["ids"]) > 1
        )
    assert "loss of contrastive (contrastive)" in message and "broken in speech-train-5" in message
    assert all(i in message for i in written["faults"][0]["ids"]) and "masked_text" not in message


def test_broken_input_of_fine_tuning_is_named(world, monkeypatch, leaf):
    tuned, _ = world.finetune("asr", leaf, steps=6, evaluate_every=6)
    spoil(monkeypatch, "asr", 2)
    message, written = fault(world, tuned, monkeypatch)
    assert "loss of task (ctc) on speech items" in message and written["faults"][0]["broken_input"] == ["asr-train-2"]


def test_a_gradient_that_is_not_finite_is_named_though_the_loss_is(world, monkeypatch):
    id = world.pretrain("masked_text", "contrastive", steps=10, seed=9)
    real = MaskedText.forward

    def steep(self, view, encoding, targets):
        terms = dict(real(self, view, encoding, targets))
        x_ND = encoding.stages["joint"]
        zero = (x_ND - x_ND.detach()).abs().sum().sqrt()  # of infinite slope
        return {name: dataclasses.replace(term, total=term.total + zero) for name, term in terms.items()}

    monkeypatch.setattr(MaskedText, "forward", steep)
    message, written = fault(world, id, monkeypatch)
    assert "gradient of masked_text (loss) on text items text-train-" in message and "contrastive" not in message
    assert written["step"] == 0 and not written["faults"][0]["broken_input"]


def test_long_lists_of_items_are_cut_in_the_message_only():
    ids = [f"u{i}" for i in range(20)]
    one = {
        "objective": "stm",
        "term": "loss",
        "what": "loss",
        "shard": 0,
        "stream": "pair",
        "ids": ids,
        "broken_input": [],
    }
    message = str(loop.NotFinite(7, [one]))
    assert "loss of stm (loss) on pair items u0, u1, u2, u3, u4, u5, u6, u7 and 12 more. Look" in message
