"""Quantizer, contrastive loss and diversity against Hugging Face transformers' wav2vec 2.0, built from a config.

Theirs draws distractors with replacement and gathers a vector for each; so that both see the same ones, here every
other masked frame of the utterance is a distractor, once.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from encoders.batch import Vocabulary
from objectives.contrastive import info_nce
from objectives.diversity import diversity
from objectives.objective import Ports
from objectives.quantizer import Learned

pytest.importorskip("transformers")
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

WIDTH, ENTRIES, DIM = 12, 6, 8
PORTS = Ports(width=WIDTH, vocabulary=Vocabulary(10, (0,) * 10, (True,) * 10), embedding=None)


def config(groups: int) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(WIDTH,),
        conv_stride=(8,),
        conv_kernel=(8,),
        num_feat_extract_layers=1,
        feat_extract_norm="layer",
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        codevector_dim=DIM,
        proj_codevector_dim=10,
        num_codevectors_per_group=ENTRIES,
        num_codevector_groups=groups,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        feat_proj_dropout=0.0,
        feat_quantizer_dropout=0.0,
        attn_implementation="eager",
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_quantizer_codes_gradients_and_diversity(groups):
    """Sampled codes too: the same Gumbel noise comes of the same seed, as both draw it in one call."""
    torch.manual_seed(0)
    theirs, ours = (
        Wav2Vec2GumbelVectorQuantizer(config(groups)),
        Learned.Config(entries=ENTRIES, groups=groups, dim=DIM),
    )
    ours, progress = ours.build(PORTS), 0.3
    with torch.no_grad():
        torch.nn.init.normal_(theirs.codevectors)
        theirs.weight_proj.weight.copy_(ours.logits.weight.mul_(0.5))
        theirs.weight_proj.bias.copy_(ours.logits.bias.uniform_(-1, 1))
        ours.codebook_GVE.copy_(theirs.codevectors.view(groups, ENTRIES, -1))
    theirs.temperature = ours.temperature(progress)
    x_ID = torch.randn(50, WIDTH)
    normal_ID = F.layer_norm(x_ID, (WIDTH,))  # ours does this itself; in their model the feature projection did
    weight_ID = torch.randn(50, DIM)
    for training in (True, False):
        theirs.train(training), ours.train(training)
        torch.manual_seed(11)
        expected, perplexity = theirs(normal_ID[None], torch.ones(1, 50, dtype=torch.bool))
        codes = ours.codes(x_ID, 11, progress)
        torch.testing.assert_close(codes.vectors_ID, expected[0])
        if training:  # theirs counts hard codes in evaluation
            total = groups * ENTRIES
            torch.testing.assert_close(diversity(codes.mean_GV), (total - perplexity) / total)
            (codes.vectors_ID * weight_ID).sum().backward()
            (expected[0] * weight_ID).sum().backward()
            torch.testing.assert_close(ours.logits.weight.grad, theirs.weight_proj.weight.grad)
            torch.testing.assert_close(ours.codebook_GVE.grad, theirs.codevectors.grad.view_as(ours.codebook_GVE))


def others(masked_BT: np.ndarray) -> np.ndarray:
    """For each masked frame, the flat indices of all other masked frames of its utterance; every utterance has
    as many.
    """
    B, T = masked_BT.shape
    indices = np.zeros((B, T, masked_BT[0].sum() - 1), dtype=np.int64)
    for b, masked_T in enumerate(masked_BT):
        places = masked_T.nonzero()[0]
        for t in places:
            indices[b, t] = b * T + places[places != t]
    return indices


@pytest.mark.parametrize("groups", [1, 2])
def test_contrastive_and_diversity_loss_of_the_whole_model(groups):
    torch.manual_seed(1)
    model = Wav2Vec2ForPreTraining(config(groups)).train()
    with torch.no_grad():
        torch.nn.init.normal_(model.quantizer.codevectors)
    wave = torch.randn(3, 8 * 20)
    masked_BT = np.zeros((3, 20), dtype=bool)
    for b in range(3):
        masked_BT[b, b + 2 : b + 9] = True
    masked = torch.from_numpy(masked_BT)
    out = model(wave, mask_time_indices=masked, sampled_negative_indices=torch.from_numpy(others(masked_BT)))
    q_ID = out.projected_quantized_states[masked]
    ids_I1 = torch.unique(q_ID.detach(), dim=0, return_inverse=True)[1][:, None]
    assert 1 < len(ids_I1.unique()) < len(ids_I1), "some codes recur, and are no distractors"
    c_ID = F.normalize(out.projected_states[masked], dim=1)
    kappa = model.config.contrastive_logits_temperature
    total, metrics = info_nce(c_ID, F.normalize(q_ID, dim=1), ids_I1, (7, 7, 7), (1, 2, 3), 100, kappa)
    torch.testing.assert_close(total, out.contrastive_loss, rtol=1e-5, atol=1e-4)
    assert float(metrics["distractors"][0]) < 3 * 7 * 6
    weights = [model.project_hid.weight, model.project_q.weight]
    for one, two in zip(
        torch.autograd.grad(total, weights, retain_graph=True),
        torch.autograd.grad(out.contrastive_loss, weights, retain_graph=True),
    ):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    mean_GV = model.quantizer.weight_proj(model.wav2vec2(wave).extract_features)[masked]
    mean_GV = mean_GV.view(21, groups, ENTRIES).softmax(2).mean(0)
    torch.testing.assert_close(21 * diversity(mean_GV), out.diversity_loss)
