"""Counted operations against torch's flop counter, counted parameters against the encoder's own."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from encoders import blocks
from encoders.batch import Pair, View
from encoders.blocks import PARTS
from encoders.count import parts
from encoders.encoder import Work

FRAMES, LENGTHS = (9, 1, 30), (3, 6, 2)  # positions 3, 1, 8


@pytest.fixture
def counted_by_torch(monkeypatch):
    """Run an encoder under torch's counter, in operators that it knows: our depthwise convolution is not one."""

    def convolution(x_ND, weight_KD, segment_N, segments):
        weight_D1K, lengths = weight_KD.t()[:, None], segment_N.bincount().tolist()
        half, groups = len(weight_KD) // 2, len(weight_D1K)
        alone = [torch.conv1d(x.t()[None], weight_D1K, padding=half, groups=groups) for x in x_ND.split(lengths)]
        return torch.cat([x[0].t() for x in alone])

    def count(encoder, inputs, apart=False) -> int:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            encoder(View(inputs=inputs, apart=apart))
        return counter.get_total_flops()

    monkeypatch.setattr(blocks, "depthwise", convolution)
    return count


def ours(encoder, **work) -> int:
    return sum(count.flops for count in parts(encoder, Work(**work)).values())


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "relative"])
@pytest.mark.parametrize("block", ["conformer", "transformer"])
def test_operations_of_blocks(joint, speech, text, counted_by_torch, block, positions):
    encoder = joint(block=block, positions=positions, text_layers=1)
    pair = Pair(speech(*FRAMES), text(*LENGTHS))
    assert ours(encoder, speech=(3, 1, 8)) == counted_by_torch(encoder, pair.speech)
    assert ours(encoder, text=LENGTHS) == counted_by_torch(encoder, pair.text)
    assert ours(encoder, speech=(3, 1, 8), text=LENGTHS, together=True) == counted_by_torch(encoder, pair)
    assert ours(encoder, speech=(3, 1, 8), text=LENGTHS) == counted_by_torch(encoder, pair, apart=True)


@pytest.mark.parametrize("frontend", ["stacked", "conv2d", "separable"])
@pytest.mark.parametrize("per_modality", [(), ("ffn",), PARTS])
def test_operations_of_front_ends_and_copies(joint, speech, text, counted_by_torch, frontend, per_modality):
    encoder = joint(frontend=frontend, per_modality=per_modality, segment_embedding=True)
    assert ours(encoder, speech=(3, 1, 8)) == counted_by_torch(encoder, speech(*FRAMES))
    assert ours(encoder, text=LENGTHS) == counted_by_torch(encoder, text(*LENGTHS))


@pytest.mark.parametrize("block", ["conformer", "transformer"])
@pytest.mark.parametrize("per_modality", [(), ("ffn", "norms")])
def test_every_parameter_is_in_one_place_and_has_one_owner(joint, block, per_modality):
    encoder = joint(block=block, per_modality=per_modality, text_layers=1, segment_embedding=True, positions="relative")
    by_part, counts = parts(encoder, Work(speech=(2,))), encoder.parameters_by_modality()
    owned = {owner: sum(c.parameters[owner] for c in by_part.values()) for owner in ("speech", "text", "shared")}
    assert owned == {
        "speech": counts["speech_only"],
        "text": counts["text_only"] + counts["embedding"],
        "shared": counts["shared"],
    }
    attention = by_part[("shared", "attention")].parameters["shared"]
    assert attention == sum(p.numel() for b in encoder.shared.blocks for p in b.attention.parameters())
    assert ("speech", "layers", "norms") in by_part and ("text", "norm") in by_part


def test_an_unknown_module_is_not_passed_over(joint):
    encoder = joint()
    encoder.shared.blocks[0].extra = torch.nn.Bilinear(2, 2, 2)
    with pytest.raises(NotImplementedError, match="Bilinear .shared.blocks.0.extra"):
        parts(encoder, Work(speech=(2,)))
