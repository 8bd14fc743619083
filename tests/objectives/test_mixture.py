"""Views shared, weights of zero, counts, and the one division."""

import weakref
from dataclasses import replace

import pytest
import torch
from pretraining import VOCABULARY, FakeEncoder, context, pair, ports, speech, text

from encoders import seeds
from encoders.batch import Batch
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.contrastive import Contrastive
from objectives.masked_text import MaskedText
from objectives.masking import TextRule
from objectives.mixture import Mixture, seeded
from objectives.objective import Ports
from objectives.stm import STM
from objectives.targets import TARGETS
from objectives.tlm import TLM
from objectives.views import TextMask

INPUTS = {
    "speech": speech(400, 300, 4),
    "text": text(20, 9, 30),
    "pair": pair((400, 9), (300, 12), (500, 9), (200, 30)),
}


def mixture(encoder, names=tuple(OBJECTIVES), targets=("learned",), **configs):
    built = ports(encoder, **{name: TARGETS[name] for name in targets})
    configs = {name: OBJECTIVES[name] for name in names if name not in configs} | configs
    parts, modules = {}, {}
    for name, config in configs.items():
        torch.manual_seed(1)
        parts[name] = config.build(built)
    for name in targets:
        torch.manual_seed(2)
        modules[name] = TARGETS[name].build(built)
    return Mixture(parts, {name: config.weight for name, config in configs.items()}, modules)


def prepare(mix, inputs=INPUTS, key=0):
    return mix.views({s: Batch(x) for s, x in inputs.items()}, {s: context(x, key) for s, x in inputs.items()})


def step(mix, encoder, prepared, denominators=None, progress=0.5):
    mix.zero_grad()
    encoder.zero_grad()
    loss, metrics = mix(encoder, prepared, denominators or prepared.counts, {"learned": progress})
    if loss.requires_grad:
        loss.backward()
    return loss.detach(), metrics


def grads(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None and p.grad.any()}


def same(one, other):
    assert set(one) == set(other)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_equal_views_are_encoded_once():
    encoder = FakeEncoder()
    mix = mixture(encoder)
    prepared = prepare(mix)
    step(mix, encoder, prepared)
    assert encoder.calls == 5  # contrastive and masked speech share one
    assert mix.streams == {"speech", "text", "pair"}
    other = mixture(encoder, ("contrastive",), masked_speech=replace(OBJECTIVES["masked_speech"], span=4))
    encoder.calls = 0
    step(other, encoder, prepare(other))
    assert encoder.calls == 2


def test_codes_are_made_once_per_view():
    encoder = FakeEncoder()
    mix = mixture(encoder, ("contrastive", "masked_speech"))
    calls = []
    mix.targets["learned"].register_forward_hook(lambda *_: calls.append(1))
    step(mix, encoder, prepare(mix))
    assert len(calls) == 1


def test_loss_is_the_weighted_sum_of_means():
    encoder = FakeEncoder()
    mix = mixture(
        encoder,
        ("masked_speech", "stm"),
        contrastive=Contrastive.Config(weight=0.5, diversity=0.2),
        tlm=TLM.Config(weight=3.0),
    )
    prepared = prepare(mix)
    loss, metrics = step(mix, encoder, prepared)
    mean = {name: float(total) / float(count) for name, (total, count) in metrics.items()}
    expected = (
        0.5 * (mean["contrastive/contrastive"] + 0.2 * mean["contrastive/diversity"])
        + mean["masked_speech/loss"]
        + mean["stm/loss"]
        + 3.0 * (mean["tlm/text"] + mean["tlm/speech"])
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert {"contrastive/accuracy", "contrastive/code_perplexity", "tlm/text_accuracy", "stm/accuracy"} <= set(metrics)


def test_masks_are_the_same_whatever_the_other_objectives():
    encoder = FakeEncoder()
    alone, together = prepare(mixture(encoder, ("masked_text",))), prepare(mixture(encoder))
    (one,) = [view for view, names in alone.views]
    (other,) = [view for view, names in together.views if "masked_text" in names]
    assert torch.equal(one.text_masked_I, other.text_masked_I) and torch.equal(one.inputs.ids_S, other.inputs.ids_S)


@pytest.mark.parametrize("name", ["contrastive", "masked_speech", "masked_text", "tlm", "stm"])
def test_weight_zero_changes_nothing_but_its_own_head(name):
    """Training beside a measured objective equals training without it, bit for bit."""
    encoder = FakeEncoder()
    zero = mixture(encoder, **{name: replace(OBJECTIVES[name], weight=0.0)})
    without = mixture(encoder, tuple(n for n in OBJECTIVES if n != name))
    loss, metrics = step(zero, encoder, prepare(zero))
    one, heads, codes = grads(encoder), grads(zero.objectives), grads(zero.targets)
    assert any(key.startswith(f"{name}.") for key in heads)
    assert f"{name}/{next(iter(zero.objectives[name].term_weights))}" in metrics
    step(without, encoder, prepare(without))
    same(one, grads(encoder))
    same(codes, grads(without.targets))
    same({k: v for k, v in heads.items() if not k.startswith(f"{name}.")}, grads(without.objectives))


def test_weight_zero_alone_leaves_the_encoder_without_gradient_and_its_head_learns_at_weight_one():
    encoder = FakeEncoder()
    zero = mixture(encoder, (), masked_text=MaskedText.Config(weight=0.0))
    full = mixture(encoder, ("masked_text",))
    loss, _ = step(zero, encoder, prepare(zero))
    assert loss > 0 and not grads(encoder)
    heads = grads(zero.objectives)
    step(full, encoder, prepare(full))
    assert grads(encoder)
    same(heads, grads(full.objectives))


def test_a_weight_zero_view_is_encoded_without_a_graph():
    encoder = FakeEncoder()
    mix = mixture(encoder, ("masked_text",), stm=STM.Config(weight=0.0))
    seen = {}

    def note(module, args, encoding):
        seen[type(args[0].inputs).__name__] = encoding.stages["joint"].requires_grad

    encoder.register_forward_hook(note)
    step(mix, encoder, prepare(mix))
    assert seen == {"Text": True, "Pair": False}


def test_shards_with_summed_denominators_equal_one_shard():
    encoder = FakeEncoder()
    mix = mixture(encoder, ("masked_text",))
    a, b = text(10, 30), text(5, 17, 40, seed=3)
    whole = replace(a, ids_S=torch.cat([a.ids_S, b.ids_S]), lengths=a.lengths + b.lengths, keys=a.keys + b.keys)
    shards = [prepare(mix, {"text": x}) for x in (a, b)]
    counts = {"masked_text/loss": sum(p.counts["masked_text/loss"] for p in shards)}
    mix.zero_grad()
    losses = []
    for p in shards:
        loss, _ = mix(encoder, p, counts, {"learned": 0.5})
        loss.backward()
        losses.append(loss.detach())
    accumulated = grads(encoder)
    loss, _ = step(mix, encoder, prepare(mix, {"text": whole}))
    torch.testing.assert_close(sum(losses), loss)
    for name, gradient in grads(encoder).items():
        torch.testing.assert_close(accumulated[name], gradient, rtol=1e-4, atol=1e-6)


def test_zero_counts_contribute_nothing():
    encoder = FakeEncoder()
    mix = mixture(encoder)
    lonely = {"speech": speech(4), "text": text(1), "pair": pair((4, 1))}  # no negatives, no mismatch
    prepared = prepare(mix, lonely)
    assert prepared.counts["contrastive/contrastive"] == 0 and prepared.counts["stm/loss"] == 0
    assert all("stm" not in names for _, names in prepared.views)
    loss, metrics = step(mix, encoder, prepared)
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for m in (mix, encoder) for p in m.parameters())
    others = {k: v + 5 for k, v in prepared.counts.items()}  # other shards of the update do count
    assert step(mix, encoder, prepared, others)[0].isfinite()


def test_a_shard_without_a_stream_or_with_nothing_gives_a_plain_zero():
    encoder = FakeEncoder()
    mix = mixture(encoder, ("stm", "masked_text"))
    prepared = prepare(mix, {"pair": pair((400, 9))})
    loss, metrics = step(mix, encoder, prepared)
    assert loss == 0 and not loss.requires_grad and metrics == {} and encoder.calls == 0


def test_same_update_twice_is_the_same_and_progress_anneals():
    encoder = FakeEncoder()
    mix = mixture(encoder, ("contrastive",))
    prepared = prepare(mix)
    assert step(mix, encoder, prepared)[0] == step(mix, encoder, prepared)[0]
    first = grads(mix.targets)
    step(mix, encoder, prepared, progress=0.9)
    assert (first["learned.logits.weight"] != grads(mix.targets)["learned.logits.weight"]).any()


def test_names_load_from_stage_to_stage():
    encoder = FakeEncoder()
    first, second = mixture(encoder, ("contrastive", "masked_speech")), mixture(encoder)
    shared = set(first.state_dict())
    assert shared <= set(second.state_dict())
    assert any(k.startswith("objectives.masked_speech.") for k in shared)
    assert any(k.startswith("targets.learned.") for k in shared)


def test_terms_can_be_had_one_by_one():
    encoder = FakeEncoder()
    mix = mixture(encoder)
    assert [name for name, _ in mix.terms(encoder, prepare(mix), {"learned": 0.5})] == list(OBJECTIVES)


def test_prepared_moves():
    mix = mixture(FakeEncoder())
    moved = prepare(mix).to("meta")
    for view, _ in moved.views:
        for value in (view.speech_masked_I, view.text_masked_I, view.matched_B):
            assert value is None or value.device.type == "meta"
    assert {v.inputs.speech.mel_FM.device.type for v, _ in moved.views if v.inputs.speech} == {"meta"}


class Augmented(MaskedText):
    """Masked in training, otherwise masked by another rule: as supervised objectives are augmented or clean."""

    @property
    def view(self):
        return TextMask(rule=TextRule(share=0.5 if self.training else 0.1))

    @view.setter
    def view(self, spec):
        pass


def test_views_are_asked_for_when_they_are_built():
    encoder = FakeEncoder()
    mix = Mixture({"text": Augmented(MaskedText.Config(), ports(encoder))}, {"text": 1.0}, {})
    many = prepare(mix).counts["text/loss"]
    assert prepare(mix.eval()).counts["text/loss"] < many / 2


def test_faults():
    encoder = FakeEncoder()
    with pytest.raises(ValueError, match="expected 0"):
        mixture(encoder, (), masked_text=MaskedText.Config(weight=-1.0))
    objective = OBJECTIVES["contrastive"].build(ports(encoder))
    with pytest.raises(ValueError, match="needs speech targets 'learned'; found: none"):
        Mixture({"contrastive": objective}, {"contrastive": 1.0}, {})


def joint(**changed):
    """The nano encoder, `changed`, with every objective."""
    torch.manual_seed(0)
    encoder = replace(PRESETS["nano"], **changed).build(VOCABULARY)
    build = Ports(encoder.width, VOCABULARY, encoder.embedding, targets={"learned": TARGETS["learned"]})
    mix = Mixture(
        {name: config.build(build) for name, config in OBJECTIVES.items()},
        dict.fromkeys(OBJECTIVES, 1.0),
        {"learned": TARGETS["learned"].build(build)},
    )
    return encoder, mix


def test_losses_in_bf16_are_those_in_fp32():
    """Every term within half a percent, the summed gradient within 5 % of its length."""
    measured = []
    for precision in ("fp32", "bf16"):
        encoder, mix = joint(precision=precision)
        prepared = prepare(mix, {**INPUTS, "speech": speech(120, 200)})
        _, metrics = step(mix, encoder, prepared)
        terms = {name: float(metrics[name][0]) for name in prepared.counts}
        measured.append((terms, torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])))
    (exact, full), (rounded, low) = measured
    for name in exact:
        assert rounded[name] == pytest.approx(exact[name], rel=0.005), name
    assert (low - full).norm() < 0.05 * full.norm()


def test_every_loss_falls_on_the_joint_encoder():
    encoder, mix = joint()
    optimizer = torch.optim.Adam([*encoder.parameters(), *mix.parameters()], lr=1e-2)
    prepared, history = prepare(mix, {**INPUTS, "speech": speech(120, 200)}), []
    for _ in range(30):
        loss, metrics = mix(encoder, prepared, prepared.counts, {"learned": 0.5})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: float(total) / float(count) for name, (total, count) in metrics.items() if float(count)})
    for name in prepared.counts:
        if name != "contrastive/diversity":
            assert history[-1][name] < 0.9 * history[0][name], name


@pytest.mark.parametrize("changed", [{}, {"conv_norm": "batch"}, {"speech_layers": 0, "shared_layers": 0}])
@pytest.mark.parametrize("zero", ["", "masked_speech", "tlm"])
def test_backward_by_view_equals_backward_of_the_sum_bit_for_bit(changed, zero):
    """Gradients with a tied embedding in three views, running means, the loss, and metrics in their order."""
    seen = []
    for by_view in (False, True):
        encoder, mix = joint(**changed)
        mix.weights |= {zero: 0.0} if zero else {}
        prepared = prepare(mix, {**INPUTS, "speech": speech(120, 200)})
        if by_view:
            loss, metrics = mix.backward(encoder, prepared, prepared.counts, {"learned": 0.5}, 7)
            assert not loss.requires_grad
        else:
            loss, metrics = mix(encoder, prepared, prepared.counts, {"learned": 0.5}, 7)
            loss.backward()
        plain = [(name, float(total), float(count)) for name, (total, count) in metrics.items()]
        buffers = dict(encoder.named_buffers())
        assert bool(buffers) == ("conv_norm" in changed)
        seen.append((float(loss.detach()), plain, {**grads(encoder), **grads(mix)}, buffers))
    assert seen[0][:2] == seen[1][:2]
    same(seen[0][2], seen[1][2])
    same(seen[0][3], seen[1][3])


@pytest.mark.parametrize("way", ["backward", "terms"])
def test_the_activations_of_one_view_live_at_a_time(way):
    encoder, mix = joint()
    prepared, alive, most = prepare(mix), [], []

    def look(module, args):
        most.append(sum(one() is not None for one in alive))

    encoder.register_forward_pre_hook(look)
    encoder.register_forward_hook(lambda module, args, encoding: alive.append(weakref.ref(encoding.stages["joint"])))
    if way == "backward":
        mix.backward(encoder, prepared, prepared.counts, {"learned": 0.5})
    else:
        for _, terms in mix.terms(encoder, prepared, {"learned": 0.5}):
            del terms
    assert most == [0] * len(prepared.views) and len(alive) > 3


def test_backward_adds_to_gradients_that_are_there():
    encoder, mix = joint()
    prepared = prepare(mix)
    for _ in range(2):
        mix.backward(encoder, prepared, prepared.counts, {"learned": 0.5}, 7)
    twice = grads(encoder)
    encoder.zero_grad()
    mix.backward(encoder, prepared, prepared.counts, {"learned": 0.5}, 7)
    for name, gradient in grads(encoder).items():
        torch.testing.assert_close(twice[name], 2 * gradient, rtol=1e-4, atol=1e-6)


def test_seeding_is_that_of_torch():
    for key in (0, 1 << 40):
        seeded(key, "view/one")
        own = torch.rand(3), torch.initial_seed()
        torch.manual_seed(seeds.key(key, "view/one"))
        assert own[1] == torch.initial_seed()
        assert torch.equal(own[0], torch.rand(3))
    state = torch.get_rng_state()
    seeded(None, "view/one")
    assert torch.equal(torch.get_rng_state(), state)
