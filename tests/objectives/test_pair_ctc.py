"""CTC on pairs: torch's value, nothing of the text seen, borders of its count."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pretraining import SIZE, VOCABULARY, FakeEncoder, context, pair, ports, view

from encoders.batch import Batch, Pair, Speech, Text
from encoders.presets import PRESETS
from objectives.masking import permuted
from objectives.mixture import Mixture
from objectives.objective import Ports
from objectives.pair_ctc import PairCTC, SpokenPair

SIZES = ((400, 9), (300, 12), (120, 7), (64, 16))  # the last has as many positions as labels


def made(encoder, **fields):
    torch.manual_seed(1)
    return PairCTC.Config(**fields).build(ports(encoder))


def lines(inputs: Pair) -> list[list[int]]:
    return [ids[1:-1].tolist() for ids in inputs.text.ids_S.split(list(inputs.text.lengths))]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("prob", [0.0, 0.2])
def test_value_and_gradients_are_torchs_over_the_whole_vocabulary(tied, prob):
    encoder, inputs = FakeEncoder(), pair(*SIZES)
    objective = made(encoder, tied=tied, prob=prob)
    seen = view(objective.view, inputs)
    x_TD = encoder(replace(seen, inputs=inputs.speech)).stages["joint"]
    weight_VD = torch.cat([encoder.embedding.weight, objective.weight_VD]) if tied else objective.weight_VD
    log_p_TV = F.linear(x_TD, weight_VD, objective.bias_V).log_softmax(1)
    labels = lines(inputs)
    plain = F.ctc_loss(
        torch.nn.utils.rnn.pad_sequence(log_p_TV.split(seen.speech_lengths)),
        torch.tensor(sum(labels, [])),
        seen.speech_lengths,
        list(map(len, labels)),
        blank=SIZE,
        reduction="sum",
        zero_infinity=True,
    )
    term = objective(seen, encoder(seen), {})["ctc"]
    torch.testing.assert_close(term.total, plain, rtol=1e-4, atol=1e-3)
    trained = [*objective.parameters(), encoder.front.weight, *([encoder.embedding.weight] if tied else [])]
    for a, b in zip(torch.autograd.grad(term.total, trained), torch.autograd.grad(plain, trained), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_the_encoder_is_shown_the_speech_alone():
    """Whatever the texts are, and whatever their embeddings, the encoding of the speech is the same."""
    torch.manual_seed(0)
    encoder = replace(PRESETS["nano"], width=16, heads=2, ffn=32, groups=2).build(VOCABULARY).eval()
    inputs, spec = pair(*SIZES), SpokenPair()
    seen = view(spec, inputs)
    assert isinstance(seen.inputs, Speech) and seen.text_masked_I is None
    before = encoder(seen)
    assert set(before.layout.modalities) == {"speech"}
    other = view(spec, replace(inputs, text=permuted(inputs.text, [2, 3, 0, 1])))
    with torch.no_grad():
        encoder.embedding.weight.normal_()
    assert torch.equal(encoder(other).stages["joint"], before.stages["joint"])
    alone = view(spec, Pair(Speech(inputs.speech.mel_FM[:400], (400,), inputs.speech.keys[:1]), inputs.text))
    torch.testing.assert_close(encoder(alone).stages["joint"], before.stages["joint"][:100], rtol=1e-4, atol=1e-5)


def test_labels_are_the_pieces_without_specials():
    inputs = pair(*SIZES)
    seen = view(SpokenPair(), inputs)
    transcript = seen.references["transcript"]
    assert [ids.tolist() for ids in transcript.ids_S.split(list(transcript.lengths))] == lines(inputs)


def test_infeasible_pairs_count_and_give_nothing_and_an_empty_text_counts_its_end():
    """As in supervised CTC: with nothing to say, all positions must be blank."""
    encoder = FakeEncoder()
    objective = made(encoder)
    sound = Speech(torch.randn(32, 80), (8, 24), (1, 2))
    labels = Text(torch.tensor([4, 7, 8, 9, 5, 4, 10, 5]), (5, 3), (3, 4))
    seen = view(objective.view, Pair(sound, labels))
    assert seen.speech_lengths == (2, 6) and objective.counts(seen) == {"ctc": 1.0}
    encoding = encoder(seen)
    term = objective(seen, encoding, {})["ctc"]
    grad_TD = torch.autograd.grad(term.total, encoding.stages["joint"])[0]
    assert term.metrics["infeasible"] == (1.0, 2.0)
    assert not grad_TD[:2].any() and grad_TD[2:].any()
    seen = view(objective.view, Pair(sound, Text(torch.tensor([4, 7, 8, 9, 5, 4, 5]), (5, 2), (3, 4))))
    assert objective.counts(seen) == {"ctc": 1.0}
    blanks = F.linear(encoding.stages["joint"][2:], objective.weight_VD, objective.bias_V).log_softmax(1)[:, SIZE]
    torch.testing.assert_close(objective(seen, encoding, {})["ctc"].total, -blanks.sum(), rtol=1e-4, atol=1e-4)
    none = view(objective.view, Pair(Speech(torch.randn(8, 80), (8,), (1,)), Text(labels.ids_S[:5], (5,), (3,))))
    assert objective.counts(none) == {"ctc": 0.0}


@pytest.mark.parametrize("tied", [False, True])
def test_measuring_trains_its_own_layer_only(tied):
    encoder = FakeEncoder()
    objective = made(encoder, tied=tied)
    mix = Mixture({"pair_ctc": objective}, {"pair_ctc": 0.0}, {})
    inputs = pair(*SIZES)
    prepared = mix.views({"pair": Batch(inputs)}, {"pair": context(inputs)})
    mix(encoder, prepared, prepared.counts, {"learned": 0.5})[0].backward()
    assert objective.weight_VD.grad.any() and all(p.grad is None for p in encoder.parameters())


def test_masks_are_those_of_its_rate():
    seen = view(made(FakeEncoder(), prob=0.1, span=4).view, pair(*SIZES))
    assert 0 < len(seen.speech_masked_I) < sum(seen.speech_lengths)
    assert view(made(FakeEncoder()).view, pair(*SIZES)).speech_masked_I is None


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="more than 0 and at most 1"):
        PairCTC.Config(prob=1.5)
    with pytest.raises(ValueError, match="expected at least 1"):
        PairCTC.Config(prob=0.1, span=0)
    with pytest.raises(ValueError, match="no token embedding"):
        PairCTC.Config(tied=True).build(Ports(16, VOCABULARY, None))
