"""The joint encoder: neighbours, pairs, masks, `reads`, gradients, config errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders import seeds
from encoders.batch import Pair, Speech, View

FRAMES, LENGTHS = (9, 1, 30, 17), (3, 6, 2, 5)


def _one(inputs, i):
    """The i-th utterance, text or pair alone."""
    if isinstance(inputs, Pair):
        return Pair(_one(inputs.speech, i), _one(inputs.text, i))
    packed = inputs.mel_FM if isinstance(inputs, Speech) else inputs.ids_S
    return type(inputs)(packed.split(inputs.lengths)[i], inputs.lengths[i : i + 1], inputs.keys[i : i + 1])


@pytest.fixture
def inputs(speech, text):
    pair = Pair(speech(*FRAMES), text(*LENGTHS))
    return {"speech": pair.speech, "text": pair.text, "pair": pair}


@pytest.mark.parametrize("frontend", ["stacked", "conv2d", "separable"])
@pytest.mark.parametrize("conv_norm", ["group", "layer"])
def test_neighbours_do_not_matter_to_front_ends_and_norms(joint, inputs, frontend, conv_norm):
    encoder = joint(frontend=frontend, conv_norm=conv_norm)
    packed = encoder(View(inputs=inputs["speech"]))
    assert packed.layout.lengths == encoder.subsampled(FRAMES) == (3, 1, 8, 5)
    for stage in ("stacked", "features", "speech_tower", "joint"):
        for i, x in enumerate(packed.stages[stage].split(packed.layout.lengths)):
            alone = encoder(View(inputs=_one(inputs["speech"], i)))
            torch.testing.assert_close(x, alone.stages[stage], rtol=1e-5, atol=1e-5)


def test_no_gradient_reaches_another_sequence(joint, inputs):
    mel = inputs["speech"].mel_FM.requires_grad_()
    encoding = joint(frontend="conv2d")(View(inputs=inputs["speech"]))
    third = encoding.stages["joint"].split(encoding.layout.lengths)[2]
    gradient = torch.autograd.grad((third * torch.randn_like(third)).sum(), mel)[0]
    reached = [bool(g.abs().sum() > 0) for g in gradient.split(FRAMES)]
    assert reached == [False, False, True, False]


def test_apart_equals_encoding_each_modality_alone(joint, inputs):
    encoder = joint()
    apart = encoder(View(inputs=inputs["pair"], apart=True))
    together = encoder(View(inputs=inputs["pair"]))
    assert apart.layout.per_sequence == 1 and apart.layout.lengths == together.layout.lengths
    for kind in ("speech", "text"):
        torch.testing.assert_close(apart.of(kind), encoder(View(inputs=inputs[kind])).of(kind), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(together.of(kind), apart.of(kind), atol=1e-3)


def test_order_of_segments(joint, inputs):
    encoder = joint()
    first, last = (encoder(View(inputs=inputs["pair"], text_first=order)) for order in (True, False))
    assert first.layout.lengths == (3, 3, 6, 1, 2, 8, 5, 5) and first.layout.modalities[:2] == ("text", "speech")
    assert last.layout.lengths == (3, 3, 1, 6, 8, 2, 5, 5) and last.layout.modalities[:2] == ("speech", "text")
    for kind in ("speech", "text"):  # nothing but positions tells order, and they restart in each segment
        torch.testing.assert_close(first.of(kind), last.of(kind), rtol=1e-5, atol=1e-5)
    assert first.speech_layout.lengths == (3, 1, 8, 5)
    assert joint(segment_embedding=True)(View(inputs=inputs["pair"])).stages["joint"].shape == (33, 16)


def test_masks_are_applied_after_the_front_end(joint, inputs):
    encoder = joint(speech_layers=0, positions="none")
    masked_I = torch.tensor([1, 4, 11])
    speech = inputs["speech"]
    clean = encoder(View(inputs=speech))
    masked, again, other = (
        encoder(View(inputs=replace(speech, keys=keys), speech_masked_I=masked_I, speech_masked_B=(1, 0, 1, 1)))
        for keys in (speech.keys, speech.keys, (4, 5, 6, 7))
    )
    assert torch.equal(clean.stages["features"], masked.stages["features"])
    assert torch.equal(clean.stages["stacked"], masked.stages["stacked"])
    changed = (clean.stages["speech_tower"] != masked.stages["speech_tower"]).any(1).nonzero().flatten()
    assert changed.tolist() == masked_I.tolist()
    assert torch.equal(masked.stages["joint"], again.stages["joint"])
    assert not torch.equal(masked.stages["joint"], other.stages["joint"])


def test_frames_are_hidden_before_the_front_end(joint, inputs):
    """As BEST-RQ masks: noise in the log-mel under masked positions, of which stacked frames know nothing."""
    encoder, speech = joint(speech_layers=0, positions="none"), inputs["speech"]  # frames 9, 1, 30, 17
    masks = {"speech_masked_I": torch.tensor([1, 2, 4, 15]), "speech_masked_B": (2, 0, 1, 1), "hides": "frames"}
    clean, masked = encoder(View(inputs=speech)), encoder(View(inputs=speech, **masks))
    assert torch.equal(clean.stages["stacked"], masked.stages["stacked"])
    changed = (clean.stages["features"] != masked.stages["features"]).any(1).nonzero().flatten()
    assert changed.tolist() == [1, 2, 4, 15]
    hidden = speech.mel_FM.clone()
    frames = [
        4,
        5,
        6,
        7,
        8,
        10,
        11,
        12,
        13,
        52,
        53,
        54,
        55,
    ]  # utterances begin at 0, 9, 10, 40; the first ends in position 2
    noise = [seeds.normal([key], "mask_noise", [80 * n]).reshape(n, 80) for key, n in ((0, 5), (2, 4), (3, 4))]
    hidden[frames] = 0.1 * torch.from_numpy(np.concatenate(noise)).float()
    again = encoder(View(inputs=replace(speech, mel_FM=hidden)))
    torch.testing.assert_close(again.stages["joint"], masked.stages["joint"])


def test_mask_noise_has_the_stated_deviation(joint, speech):
    encoder = joint(speech_layers=0, positions="none", mask_noise=0.1)
    view = View(inputs=speech(4000), speech_masked_I=torch.arange(1000), speech_masked_B=(1000,))
    noise = encoder(view).stages["speech_tower"]
    assert noise.std().item() == pytest.approx(0.1, rel=0.03) and abs(noise.mean().item()) < 0.003


def test_neighbours_do_not_matter_where_speech_is_masked(joint, inputs):
    encoder, speech = joint(), inputs["speech"]  # positions: 3, 1, 8, 5
    packed = encoder(View(inputs=speech, speech_masked_I=torch.tensor([0, 2, 5, 6, 13]), speech_masked_B=(2, 0, 2, 1)))
    for i, masked in enumerate(([0, 2], None, [1, 2], [1])):
        view = View(inputs=_one(speech, i))
        if masked:
            view = replace(view, speech_masked_I=torch.tensor(masked), speech_masked_B=(len(masked),))
        x = packed.stages["joint"].split(packed.layout.lengths)[i]
        torch.testing.assert_close(x, encoder(view).stages["joint"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frontend", ["stacked", "conv2d", "separable"])
def test_features_keep_a_variance_of_one_whatever_the_front_end_learns(joint, inputs, frontend):
    encoder = joint(frontend=frontend)
    with torch.no_grad():
        encoder.speech.front_end.linear.weight.mul_(50)
    features_TD = encoder(View(inputs=inputs["speech"])).stages["features"]
    torch.testing.assert_close(features_TD.var(1, correction=0), torch.ones(17), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reads", [("speech",), ("text",), ("speech", "text"), ("pair",), ("speech", "text", "pair")])
@pytest.mark.parametrize("block", ["conformer", "transformer"])
def test_every_parameter_is_used(joint, inputs, reads, block):
    copied = ("attention", "ffn", "norms") + (("conv",) if block == "conformer" else ())
    encoder = joint(reads=reads, block=block, per_modality=copied, segment_embedding=True, text_layers=1)
    for kind in reads:
        encoding = encoder(View(inputs=inputs[kind]))
        (encoding.stages["joint"] * torch.randn_like(encoding.stages["joint"])).sum().backward()
    unused = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unused
    assert (encoder.embedding is None) == (reads == ("speech",))


@pytest.mark.parametrize("positions", ["rotary", "relative"])
@pytest.mark.parametrize("frontend", ["conv2d", "separable"])
def test_gradient_flows_to_every_parameter(joint, inputs, positions, frontend):
    encoder = joint(positions=positions, frontend=frontend)
    encoding = encoder(View(inputs=inputs["pair"]))
    (encoding.stages["joint"] * torch.randn_like(encoding.stages["joint"])).sum().backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_checkpointing_is_a_switch_of_the_whole_encoder(joint, inputs):
    encoder = joint(dropout=0.2)
    gradients = []
    for checkpointing in (False, True):
        encoder.zero_grad()
        encoder.recompute(checkpointing)
        assert encoder.speech.layers.checkpointing is checkpointing
        encoder(View(inputs=inputs["pair"], noise_key=3)).stages["joint"].square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_half_precision_mel_is_read_as_it_is_stored(joint, inputs):
    speech = inputs["speech"]
    half = Speech(speech.mel_FM.half(), speech.lengths, speech.keys)
    encoder = joint()
    mine, full = (encoder(View(inputs=x)).stages["joint"] for x in (half, speech))
    assert mine.dtype == torch.float32 and torch.allclose(mine, full, atol=1e-2)


def test_autocast_to_bfloat16_stays_near(joint, inputs):
    encoder = joint(frontend="conv2d", positions="rotary", per_modality=("ffn",))
    full = encoder(View(inputs=inputs["pair"])).stages["joint"]
    masked = View(inputs=inputs["pair"], speech_masked_I=torch.tensor([0]), speech_masked_B=(1, 0, 0, 0))
    with torch.autocast("cpu", torch.bfloat16):
        low = encoder(masked).stages["joint"]
        near = encoder(View(inputs=inputs["pair"])).stages["joint"]
    torch.testing.assert_close(near.float(), full, rtol=0.1, atol=0.1)
    low.float().square().sum().backward()


@pytest.mark.parametrize("kind", ["speech", "text", "pair"])
def test_bf16_rounds_products_and_keeps_what_is_added_up(joint, inputs, kind):
    """Two layers differ from single precision by less than 2 %, and the output and every gradient stay fp32."""
    encoders = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(1)
        encoders.append(joint(precision=precision, shared_layers=2))
    full, low = (encoder(View(inputs=inputs[kind])).stages for encoder in encoders)
    for stage in set(full) - {"stacked"}:
        assert low[stage].dtype == torch.float32 and not torch.equal(low[stage], full[stage])
        assert (low[stage] - full[stage]).norm() < 0.02 * full[stage].norm(), stage
    weight = torch.randn_like(full["joint"])
    for stages in (full, low):
        (stages["joint"] * weight).sum().backward()
    for (name, exact), rounded in zip(encoders[0].named_parameters(), encoders[1].parameters()):
        if exact.grad is not None:
            assert rounded.grad.dtype == torch.float32
            assert (rounded.grad - exact.grad).norm() < 0.1 * exact.grad.norm() + 1e-3, name


def test_weights_are_a_function_of_the_seed(joint):
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(joint(positions="relative", frontend="conv2d", segment_embedding=True).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_parameters_by_modality(joint):
    encoder = joint(per_modality=("ffn",), shared_layers=2)
    counts = encoder.parameters_by_modality()
    assert counts["total"] == sum(p.numel() for p in encoder.parameters()) == sum(counts.values()) - counts["total"]
    assert counts["embedding"] == 40 * 16
    ffn = 2 * (2 * 16 * 24 + 16 + 24)  # two halves per layer
    assert counts["text_only"] == 2 * 16 + 2 * ffn
    assert counts["speech_only"] == sum(p.numel() for p in encoder.speech.parameters()) + 2 * ffn
    assert joint(reads=("text",), per_modality=("ffn",)).parameters_by_modality()["speech_only"] == 0


def test_inputs_the_encoder_does_not_read_are_refused(joint, inputs):
    with pytest.raises(ValueError, match="does not read pair: it reads text"):
        joint(reads=("text",))(View(inputs=inputs["pair"]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 30, "heads": 4}, "width 30 is not divisible by heads 4"),
        ({"groups": 3}, "width 16 is not divisible by groups 3"),
        ({"kernel": 4}, "kernel 4 is even"),
        ({"block": "confomer"}, "block is 'confomer': did you mean 'conformer'"),
        ({"frontend": "conv"}, "frontend is 'conv'"),
        ({"positions": "rotatory"}, "did you mean 'rotary'"),
        ({"conv_norm": "instance"}, "valid: group, layer, batch"),
        ({"reads": ("speach",)}, "did you mean 'speech'"),
        ({"reads": ()}, "reads nothing"),
        ({"per_modality": ("norm",)}, "did you mean 'norms'"),
        ({"per_modality": ("conv",), "block": "transformer"}, "part of a transformer 'conv'"),
        ({"positions": "rotary", "width": 6, "heads": 2}, "even width per head, found 3"),
    ],
)
def test_config_errors_name_what_was_expected(joint, fields, message):
    with pytest.raises(ValueError, match=message):
        joint(**fields)
