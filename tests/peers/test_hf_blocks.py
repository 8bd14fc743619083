"""Blocks with copied weights against Hugging Face transformers' layers.

Conformer: the whole layer of Wav2Vec2-Conformer (its convolution has batch norm, and no biases in its pointwise maps).
Transformer: the whole pre-norm layer of wav2vec 2.0 (`do_stable_layer_norm`). BERT normalises after adding, ours
before, so of BERT the attention, the feed-forward (with its activation set to ours) and the norms are compared, and our
layer is put together from them. Rotary positions: HF turns the input of the projections of q and k, we turn q and k
themselves (as RoFormer does), so the rotation itself is compared.
"""

import pytest
import torch
from torch import nn

from encoders.batch import Layout
from encoders.blocks import BLOCKS, Packing, Shape
from encoders.positions import rotary_table, rotate

pytest.importorskip("transformers")
from transformers import BertConfig, Wav2Vec2Config, Wav2Vec2ConformerConfig
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2EncoderLayerStableLayerNorm
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as conformer

WIDTH, HEADS, FFN, KERNEL = 16, 2, 24, 5
LAYOUT = Layout((7, 1, 4), ("speech",) * 3)
SIZES = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": FFN, "attn_implementation": "eager"}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def block(kind: str, positions: str = "none"):
    shape = Shape(
        width=WIDTH, heads=HEADS, ffn=FFN, kernel=KERNEL, conv_norm="batch", groups=2, positions=positions, dropout=0.0
    )
    return BLOCKS[kind](shape, 0).eval()


def randomised(layer: nn.Module) -> nn.Module:
    """Nothing at 0 or 1, where a mistake would not show."""
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.6) if tensor.dim() < 2 else nn.init.normal_(tensor, std=0.2)
    return layer.eval()


@torch.no_grad()
def copy(ours, theirs) -> None:
    """Copy a linear map or norm; a map without bias has bias 0."""
    ours.weight.copy_(theirs.weight.squeeze(-1) if theirs.weight.dim() == 3 else theirs.weight)
    ours.bias.zero_() if theirs.bias is None else ours.bias.copy_(theirs.bias)


@torch.no_grad()
def copy_attention(ours, q, k, v, out) -> None:
    ours.qkv.weight.copy_(torch.cat([q.weight, k.weight, v.weight]))
    ours.qkv.bias.copy_(torch.cat([q.bias, k.bias, v.bias]))
    copy(ours.out, out)


def assert_equal(ours, theirs) -> None:
    """On a pack of three sequences; `theirs` sees one at a time, 1 x L x D."""
    x_ND = torch.randn(LAYOUT.total, WIDTH)
    expected = torch.cat([theirs(x[None])[0] for x in x_ND.split(LAYOUT.lengths)])
    torch.testing.assert_close(ours(x_ND, Packing(LAYOUT, WIDTH // HEADS)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", ["none", "relative"])
def test_conformer_layer_is_that_of_wav2vec2_conformer(positions):
    config = Wav2Vec2ConformerConfig(
        **SIZES,
        hidden_act="swish",
        conv_depthwise_kernel_size=KERNEL,
        max_source_positions=20,
        position_embeddings_type=positions if positions == "relative" else None,
    )
    theirs = randomised(conformer.Wav2Vec2ConformerEncoderLayer(config))
    ours = block("conformer", positions)
    for mine, name in (("first", "ffn1"), ("second", "ffn2")):
        copy(getattr(ours, mine).rise, getattr(theirs, name).intermediate_dense)
        copy(getattr(ours, mine).fall, getattr(theirs, name).output_dense)
        copy(getattr(ours, f"{mine}_norm"), getattr(theirs, f"{name}_layer_norm"))
    attention, conv = theirs.self_attn, theirs.conv_module
    copy_attention(ours.attention, attention.linear_q, attention.linear_k, attention.linear_v, attention.linear_out)
    copy(ours.attention_norm, theirs.self_attn_layer_norm)
    copy(ours.conv_norm, conv.layer_norm)
    copy(ours.conv.rise, conv.pointwise_conv1)
    copy(ours.conv.fall, conv.pointwise_conv2)
    copy(ours.conv.norm, conv.batch_norm)
    copy(ours.last_norm, theirs.final_layer_norm)
    embed = conformer.Wav2Vec2ConformerRelPositionalEmbedding(config)
    with torch.no_grad():
        ours.conv.weight_KD.copy_(conv.depthwise_conv.weight.squeeze(1).t())
        ours.conv.norm.mean.copy_(conv.batch_norm.running_mean)
        ours.conv.norm.variance.copy_(conv.batch_norm.running_var)
        if positions == "relative":  # their sinusoids lie sine, cosine, sine, ...; ours all sines, then all cosines
            weight = attention.linear_pos.weight
            ours.attention.relative.projection.weight.copy_(torch.cat([weight[:, 0::2], weight[:, 1::2]], 1))
            ours.attention.relative.u_HE.copy_(attention.pos_bias_u)
            ours.attention.relative.v_HE.copy_(attention.pos_bias_v)
    where = (lambda x: {"relative_position_embeddings": embed(x)}) if positions == "relative" else lambda x: {}
    assert_equal(ours, lambda x: theirs(x, **where(x)))


def test_rotation_is_that_of_wav2vec2_conformer():
    config = Wav2Vec2ConformerConfig(**SIZES, position_embeddings_type="rotary")
    theirs, embed = (
        make(config)
        for make in (conformer.Wav2Vec2ConformerSelfAttention, conformer.Wav2Vec2ConformerRotaryPositionalEmbedding)
    )
    x = torch.randn(1, 9, WIDTH)
    expected = theirs._apply_rotary_embedding(x, embed(x))[0].view(9, HEADS, -1)
    torch.testing.assert_close(rotate(x[0].view(9, HEADS, -1), rotary_table(torch.arange(9), WIDTH // HEADS)), expected)


def test_transformer_layer_is_wav2vec2s_pre_norm_layer():
    theirs = randomised(Wav2Vec2EncoderLayerStableLayerNorm(Wav2Vec2Config(**SIZES, hidden_act="swish")))
    ours = block("transformer")
    attention = theirs.attention
    copy_attention(ours.attention, attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    copy(ours.attention_norm, theirs.layer_norm)
    copy(ours.ffn_norm, theirs.final_layer_norm)
    copy(ours.ffn.rise, theirs.feed_forward.intermediate_dense)
    copy(ours.ffn.fall, theirs.feed_forward.output_dense)
    assert_equal(ours, theirs)


def test_transformer_layer_is_made_of_berts_parts():
    theirs = randomised(BertLayer(BertConfig(**SIZES, hidden_act="silu", layer_norm_eps=1e-5)))
    ours = block("transformer")
    inner, after, out = theirs.attention.self, theirs.attention.output, theirs.output
    copy_attention(ours.attention, inner.query, inner.key, inner.value, after.dense)
    copy(ours.attention_norm, after.LayerNorm)
    copy(ours.ffn_norm, out.LayerNorm)
    copy(ours.ffn.rise, theirs.intermediate.dense)
    copy(ours.ffn.fall, out.dense)
    assert_equal(ours.attention, lambda x: after.dense(inner(x)[0]))
    assert_equal(ours.ffn, lambda x: out.dense(theirs.intermediate(x)))
    assert_equal(ours.attention_norm, after.LayerNorm)

    def pre_norm(x):
        x = x + after.dense(inner(after.LayerNorm(x))[0])
        return x + out.dense(theirs.intermediate(out.LayerNorm(x)))

    assert_equal(ours, pre_norm)
