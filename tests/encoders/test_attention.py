"""Block-diagonal attention against a dense masked reference."""

import pytest
import torch

from encoders.attention import attention, block_diagonal_mask
from encoders.batch import Layout

LAYOUT = Layout((3, 1, 7, 2), ("text", "speech", "text", "speech"), per_sequence=2)


def _qkv(total: int = LAYOUT.total) -> list[torch.Tensor]:
    return [torch.randn(total, 2, 6, requires_grad=True) for _ in range(3)]


def _dense(q, k, v, layout, bias_HNN=0.0):
    scores = torch.einsum("nhe,mhe->hnm", q, k) / q.shape[2] ** 0.5 + bias_HNN
    foreign = layout.sequence_N[:, None] != layout.sequence_N
    return torch.einsum("hnm,mhe->nhe", scores.masked_fill(foreign, -torch.inf).softmax(-1), v)


def test_equals_dense_masked_attention_with_gradients():
    qkv = _qkv()
    mine, reference = attention(*qkv, LAYOUT), _dense(*qkv, LAYOUT)
    torch.testing.assert_close(mine, reference)
    weight = torch.randn_like(mine)
    for a, b in zip(torch.autograd.grad(mine, qkv, weight), torch.autograd.grad(reference, qkv, weight)):
        torch.testing.assert_close(a, b)


def test_bias_is_added_to_scaled_scores():
    qkv, bias = _qkv(), torch.randn(2, LAYOUT.total, LAYOUT.total)
    own = [bias[:, :4, :4], bias[:, 4:, 4:]]
    torch.testing.assert_close(attention(*qkv, LAYOUT, own), _dense(*qkv, LAYOUT, bias))


def test_neighbours_do_not_change_a_single_bit():
    qkv = _qkv()
    alone = attention(*(x[4:] for x in qkv), Layout((7, 2), ("text", "speech"), 2))
    assert torch.equal(attention(*qkv, LAYOUT)[4:], alone)


def test_xformers_mask_is_the_same_block_diagonal():
    pytest.importorskip("xformers")
    mask = block_diagonal_mask(LAYOUT.sequence_lengths, torch.device("cpu")).materialize((13, 13))
    same = LAYOUT.sequence_N[:, None] == LAYOUT.sequence_N
    assert torch.equal(mask == 0, same) and bool((mask[~same] == -torch.inf).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the xformers path cannot run")
def test_cuda_equals_cpu():
    qkv = _qkv()
    layout = Layout(LAYOUT.lengths, LAYOUT.modalities, 2, torch.device("cuda"))
    mine = attention(*(x.cuda() for x in qkv), layout)
    torch.testing.assert_close(mine.cpu(), attention(*qkv, LAYOUT), rtol=1e-3, atol=1e-3)
