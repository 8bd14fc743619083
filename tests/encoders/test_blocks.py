"""Blocks against plain PyTorch, dropout, checkpointing, per-modality parts, batch norm."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from encoders.batch import Layout
from encoders.blocks import (
    BLOCKS,
    PARTS,
    BatchNorm,
    Conformer,
    GroupNorm,
    LayerNorm,
    Packing,
    PerModality,
    Shape,
    Stack,
    Transformer,
)

SHAPE = Shape(width=8, heads=2, ffn=12, kernel=3, conv_norm="group", groups=2, positions="none", dropout=0.0)
PAIRS = Layout((2, 5, 3, 4), ("text", "speech", "text", "speech"), per_sequence=2)


def _shape(**fields) -> Shape:
    return Shape(**vars(SHAPE) | fields)


def _packing(layout: Layout = PAIRS, key: int = 0) -> Packing:
    return Packing(layout, head_width=4, key=key)


def _norm(x, module):
    return F.layer_norm(x, (8,), module.weight, module.bias)


def _ffn(x, norm, ffn):
    x = F.linear(_norm(x, norm), ffn.rise.weight, ffn.rise.bias)
    return F.linear(x * x.sigmoid(), ffn.fall.weight, ffn.fall.bias)


def _attention(x, norm, attention):
    """PyTorch's own multi-head attention with our weights."""
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    reference.in_proj_weight, reference.in_proj_bias = attention.qkv.weight, attention.qkv.bias
    reference.out_proj.weight, reference.out_proj.bias = attention.out.weight, attention.out.bias
    x = _norm(x, norm)[None]
    return reference(x, x, x)[0][0]


def _randomise(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)


def test_transformer_equals_plain_pytorch_on_each_sequence():
    block = Transformer(SHAPE, 0)
    _randomise(block)
    x = torch.randn(PAIRS.total, 8)
    mine = block(x, _packing())
    for own, result in zip(x.split(PAIRS.sequence_lengths), mine.split(PAIRS.sequence_lengths)):
        own = own + _attention(own, block.attention_norm, block.attention)
        own = own + _ffn(own, block.ffn_norm, block.ffn)
        torch.testing.assert_close(result, own, rtol=1e-4, atol=1e-5)


def test_conformer_equals_plain_pytorch_on_each_sequence():
    block = Conformer(SHAPE, 0)
    _randomise(block)
    x = torch.randn(PAIRS.total, 8)
    mine = block(x, _packing())
    group_norm = nn.GroupNorm(2, 8)
    group_norm.weight, group_norm.bias = block.conv.norm.weight, block.conv.norm.bias
    segments = iter(PAIRS.lengths)
    for own, result in zip(x.split(PAIRS.sequence_lengths), mine.split(PAIRS.sequence_lengths)):
        own = own + _ffn(own, block.first_norm, block.first) / 2
        own = own + _attention(own, block.attention_norm, block.attention)
        convolved = []
        for segment in own.split([next(segments), next(segments)]):  # no convolution across the modality border
            c = F.linear(_norm(segment, block.conv_norm), block.conv.rise.weight, block.conv.rise.bias)
            c = (c[:, :8] * c[:, 8:].sigmoid()).t()[None]
            c = F.conv1d(c, block.conv.weight_KD.t()[:, None], padding=1, groups=8)
            c = F.silu(group_norm(c))[0].t()
            convolved.append(F.linear(c, block.conv.fall.weight, block.conv.fall.bias))
        own = own + torch.cat(convolved)
        own = own + _ffn(own, block.second_norm, block.second) / 2
        torch.testing.assert_close(result, _norm(own, block.last_norm), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("conv_norm", ["group", "layer", "batch"])
def test_checkpointing_changes_nothing(name, conv_norm):
    shape = _shape(conv_norm=conv_norm, dropout=0.3)
    torch.manual_seed(0)
    plain = Stack(BLOCKS[name], shape, 2, 0)
    twin = Stack(BLOCKS[name], shape, 2, 0)
    twin.load_state_dict(plain.state_dict())
    twin.checkpointing = True
    x = torch.randn(PAIRS.total, 8)
    for stack in (plain, twin):
        stack(x, _packing(key=5)).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), twin.parameters()):
        assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.named_buffers(), twin.buffers()):
        assert torch.equal(a, b), name


def test_dropout_is_a_function_of_the_key_and_absent_in_evaluation():
    block = Conformer(_shape(dropout=0.5), 0)
    x = torch.randn(PAIRS.total, 8)
    first, again, other = (block(x, _packing(key=key)) for key in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    block.eval()
    assert torch.equal(block(x, _packing(key=1)), block(x, _packing(key=2)))


def test_dropout_keeps_the_mean():
    block = Transformer(_shape(dropout=0.25), 0)
    dropped = block.drop(torch.ones(400, 100), _packing(), 0)
    assert dropped.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", BLOCKS)
def test_copies_of_every_part_equal_one_block_per_modality(name):
    """With all parts copied and sequences of one modality, each modality has a block of its own."""
    block_type = BLOCKS[name]
    copied = block_type(_shape(apart=PARTS, copies=("speech", "text")), 0)
    _randomise(copied)
    layout = Layout((3, 4, 2), ("speech", "text", "speech"))
    x = torch.randn(9, 8)
    mixed = copied(x, _packing(layout)).split((3, 4, 2))
    for index, modality in enumerate(layout.modalities):
        single = block_type(SHAPE, 0)
        weights = {
            key.replace(f"copies.{modality}.", ""): w
            for key, w in copied.state_dict().items()
            if f".{modality}." in key
        }
        single.load_state_dict(weights)
        own = Layout((len(mixed[index]),), (modality,))
        torch.testing.assert_close(mixed[index], single(x.split((3, 4, 2))[index], _packing(own)))


@pytest.mark.parametrize("part", PARTS)
def test_one_copied_part_with_equal_copies_is_the_shared_block(part):
    shared = Conformer(SHAPE, 0)
    copied = Conformer(_shape(apart=(part,), copies=("speech", "text")), 0)
    own = {key: key.replace("copies.speech.", "").replace("copies.text.", "") for key in copied.state_dict()}
    weights = {key: shared.state_dict()[name] for key, name in own.items()}
    copied.load_state_dict(weights)
    x = torch.randn(PAIRS.total, 8)
    torch.testing.assert_close(copied(x, _packing()), shared(x, _packing()))
    assert any(isinstance(module, PerModality) for module in copied.modules())


def test_batch_norm_normalises_over_the_shard_and_remembers():
    block = Conformer(_shape(conv_norm="batch"), 0)
    norm, x = block.conv.norm, torch.randn(50, 8) * 2 + 3
    reference = nn.BatchNorm1d(8)
    torch.testing.assert_close(norm(x, _packing()), reference(x))
    torch.testing.assert_close(norm.mean, reference.running_mean)
    torch.testing.assert_close(norm.variance, reference.running_var)
    norm.eval(), reference.eval()
    torch.testing.assert_close(norm(x[:2], _packing()), reference(x[:2]))


@pytest.mark.parametrize("norm", [LayerNorm, BatchNorm, lambda width: GroupNorm(width, 2)])
def test_norms_are_in_single_precision(norm):
    """Whatever precedes them: a convolution on CUDA under autocast gives bfloat16."""
    torch.manual_seed(0)
    layout = Layout((5, 4), ("speech", "speech"))
    x_ND = torch.randn(9, 8).bfloat16()
    made = norm(8)
    assert (y_ND := made(x_ND, Packing(layout, 4))).dtype == torch.float32
    torch.testing.assert_close(y_ND, norm(8)(x_ND.float(), Packing(layout, 4)), rtol=0, atol=0)
