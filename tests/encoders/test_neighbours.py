"""A sequence's output is the same alone, in any batch and in any order: every block, front end, norm and position type.

Batch norm is the one exception, and in training only: it is tested in evaluation, and named in `encoders/blocks.py`.
"""

import random

import pytest
import torch

from encoders.batch import Pair, Speech, View

FRAMES, LENGTHS = (9, 1, 30, 17, 4), (3, 6, 2, 5, 8)


def picked(inputs, order):
    """Some of the sequences, in an order."""
    if isinstance(inputs, Pair):
        return Pair(picked(inputs.speech, order), picked(inputs.text, order))
    packed = inputs.mel_FM if isinstance(inputs, Speech) else inputs.ids_S
    pieces = packed.split(inputs.lengths)
    return type(inputs)(
        torch.cat([pieces[i] for i in order]),
        tuple(inputs.lengths[i] for i in order),
        tuple(inputs.keys[i] for i in order),
    )


def outputs(encoder, inputs) -> list[torch.Tensor]:
    encoding = encoder(View(inputs=inputs))
    return list(encoding.stages["joint"].split(encoding.layout.sequence_lengths))


def assert_independent(encoder, inputs, seed: int) -> None:
    alone = [outputs(encoder, picked(inputs, [i]))[0] for i in range(len(FRAMES))]
    rng = random.Random(seed)
    for size in (5, 3, 2):
        order = rng.sample(range(len(FRAMES)), size)
        for i, x in zip(order, outputs(encoder, picked(inputs, order)), strict=True):
            torch.testing.assert_close(x, alone[i], rtol=1e-5, atol=1e-5)


@pytest.fixture
def inputs(speech, text):
    pair = Pair(speech(*FRAMES), text(*LENGTHS))
    return {"speech": pair.speech, "text": pair.text, "pair": pair}


@pytest.mark.parametrize("positions", ["none", "sinusoidal", "rotary", "relative"])
@pytest.mark.parametrize("frontend", ["stacked", "conv2d", "separable"])
@pytest.mark.parametrize("block", ["conformer", "transformer"])
@torch.no_grad()
def test_blocks_front_ends_and_positions(joint, inputs, block, frontend, positions):
    encoder = joint(block=block, frontend=frontend, positions=positions, text_layers=1)
    for seed, kind in enumerate(inputs):
        assert_independent(encoder, inputs[kind], seed)


@pytest.mark.parametrize("conv_norm", ["group", "layer", "batch"])
@pytest.mark.parametrize("kernel", [1, 5, 31])
@torch.no_grad()
def test_norms_and_kernels(joint, inputs, conv_norm, kernel):
    encoder = joint(conv_norm=conv_norm, kernel=kernel, per_modality=("ffn", "norms")).eval()
    for seed, kind in enumerate(inputs):
        assert_independent(encoder, inputs[kind], seed)


@torch.no_grad()
def test_batch_norm_in_training_is_the_exception(joint, inputs):
    encoder = joint(conv_norm="batch").train()
    alone, together = outputs(encoder, picked(inputs["speech"], [2]))[0], outputs(encoder, inputs["speech"])[2]
    assert not torch.allclose(alone, together, atol=1e-3)
