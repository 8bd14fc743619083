"""An update sums views and shards as autograd sums them when it is given all views of a shard at once."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import ENCODER

from ablate.stages.pretrain import PretrainStage, build
from ablate.training import conflict, not_finite
from ablate.training.conflict import Probe
from ablate.training.loop import Loop, prepare
from ablate.training.optim import FlatAdamW
from encoders import seeds
from encoders.batch import Batch, Pair, Speech, Text, Vocabulary
from objectives import OBJECTIVES
from objectives.targets import TARGETS

VOCABULARY = Vocabulary(40, (1,) * 40, (True,) * 40)
PRETRAINING = ("contrastive", "masked_speech", "masked_text", "tlm", "stm", "pair_ctc")


def speech(generator: torch.Generator, n: int) -> Speech:
    frames = tuple(torch.randint(40, 160, (n,), generator=generator).tolist())
    keys = tuple(torch.randint(1 << 40, (n,), generator=generator).tolist())
    return Speech(torch.randn(sum(frames), 80, generator=generator), frames, keys)


def text(generator: torch.Generator, n: int) -> Text:
    lengths = torch.randint(5, 15, (n,), generator=generator).tolist()
    bodies = [torch.randint(7, 40, (length,), generator=generator) for length in lengths]
    ids = [piece for body in bodies for piece in (torch.tensor([4]), body, torch.tensor([5]))]
    keys = tuple(torch.randint(1 << 40, (n,), generator=generator).tolist())
    return Text(torch.cat(ids), tuple(length + 2 for length in lengths), keys)


def shard(seed: int, n: int = 4) -> dict[str, Batch]:
    generator = torch.Generator().manual_seed(seed)
    pair = Pair(speech(generator, n), text(generator, n))
    inputs = {"speech": speech(generator, n), "text": text(generator, n), "pair": pair}
    return {name: Batch(x, ids=tuple(f"{name}-{i}" for i in range(n))) for name, x in inputs.items()}


def training(names=PRETRAINING, shards: int = 1, **changed) -> Loop:
    """A loop whose updates are random; objectives may be `changed` by name."""
    config = PretrainStage(
        encoder=replace(ENCODER, dropout=0.1),
        objectives={name: OBJECTIVES[name] for name in names} | changed,
        targets={"learned": TARGETS["learned"]},
    )
    model = build(config, SimpleNamespace(vocabulary=VOCABULARY), {}).train()
    return Loop(
        model=model,
        optimizer=FlatAdamW({"all": (model.named_parameters(), 1e-3)}, config.optimizer),
        run=None,
        vocabulary=VOCABULARY,
        seed=0,
        first=0,
        last=0,
        update=lambda step, cursors: ([shard(10 * step + i) for i in range(shards)], cursors),
        factor=lambda step: 1.0,
        fraction=lambda step: {"learned": 0.5},
    )


@pytest.mark.parametrize("shards", [1, 3])
def test_gradients_are_those_of_all_views_at_once_bit_for_bit(shards, monkeypatch):
    loop = training(shards=shards)
    model, step = loop.model, 2
    prepared = [
        prepare(model, one, VOCABULARY, lambda name, i=i: seeds.key(0, f"shard/{name}", step, i))
        for i, one in enumerate(loop.update(step, {})[0])
    ]
    counts = {name: sum(p.counts[name] for p in prepared) for name in prepared[0].counts}
    for i, p in enumerate(prepared):
        model.mixture(model.encoder, p, counts, {"learned": 0.5}, seeds.key(0, "dropout", step, i))[0].backward()
    expected, seen = loop.optimizer.gradient.clone(), []
    monkeypatch.setattr(loop.optimizer, "step", lambda *_: seen.append(loop.optimizer.gradient.clone()) or {})
    loop.one_update(step)
    assert torch.equal(seen[0], expected) and expected.any()


def test_the_search_for_what_is_not_finite_trains_one_term_at_a_time(monkeypatch):
    """It names the one of two terms of a view, and the shard, of which the gradient is infinite."""
    loop = training(("tlm", "masked_text"), shards=2)
    head = loop.model.mixture.objectives["tlm"].speech
    passes = []

    def infinite(module, args, scored):
        zero = (args[0] - args[0].detach()).abs().sum().sqrt()
        return replace(scored, total=scored.total + zero) if len(args[0]) == wrong else scored

    made = [prepare(loop.model, one, VOCABULARY, lambda name: 0) for one in loop.update(0, {})[0]]
    wrong = sum(made[1].views[0][0].speech_masked_B)
    assert wrong != sum(made[0].views[0][0].speech_masked_B)
    head.register_forward_hook(infinite)
    loop.model.encoder.register_forward_hook(lambda *_: passes.append(1))
    found = list(not_finite.faults(loop.model, loop.update(0, {})[0], made, made[0].counts, {}, lambda number: 0))
    assert [(f["objective"], f["term"], f["what"], f["shard"]) for f in found] == [("tlm", "speech", "gradient", 1)]
    assert len(passes) == 2 * 3 and found[0]["ids"] == [f"pair-{i}" for i in range(4)]


class Feed:
    """One batch after another, as large as it comes."""

    def __init__(self, name: str):
        self.name, self.sizes = name, torch.full((2,), 1e9)

    def next_update(self, cursor: int, budget: float):
        return [shard(cursor, n=9)[self.name]], cursor + 1


@pytest.mark.parametrize("at", ["speech_tower", "joint"])
def test_a_probe_in_pieces_is_the_probe_of_the_whole(monkeypatch, at):
    """Also of false pairs, with a last piece of one pair; nothing is encoded in larger pieces, and nothing is left."""
    loop = training(contrastive=replace(OBJECTIVES["contrastive"], at=at))
    for step in range(3):
        loop.one_update(step)
    budgets, most = dict.fromkeys(("speech", "text", "pair"), 1e9), {"speech": 300, "text": 40, "pair": 4}
    weights, measured, largest = loop.optimizer.flat.clone(), [], []

    def encoded(module, args, encoding):
        largest.append(len((args[0].inputs.speech or args[0].inputs.text).lengths))

    loop.model.encoder.register_forward_hook(encoded)
    for small in (1e9, 0):
        monkeypatch.setattr(conflict, "SMALL", small)
        largest.clear()
        probe = Probe(loop.model, {name: Feed(name) for name in budgets}, budgets, most, VOCABULARY)
        measured.append(probe.measure({"learned": 0.5}, loop.optimizer))
        assert max(largest) == (9 if small else 4)
    whole, pieces = measured
    assert pieces.keys() == whole.keys() and pieces == pytest.approx(whole, abs=1e-4)
    assert any("stm" in name and "cosine" in name for name in whole) and loop.model.training
    assert any("contrastive" in name for name in whole) == (at == "joint")
    assert torch.equal(loop.optimizer.flat, weights) and not loop.optimizer.gradient.any()


def test_second_moments_by_name_are_those_of_the_state():
    loop = training(("masked_text",))
    assert loop.optimizer.second_moment("encoder.embedding.weight") is None
    loop.one_update(0)
    for name, moment in loop.optimizer.state().items():
        kind, _, parameter = name.partition("/")
        if kind == "exp_avg_sq":
            assert torch.equal(loop.optimizer.second_moment(parameter), moment.reshape(-1))
