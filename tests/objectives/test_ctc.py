"""CTC against enumeration of all paths, one by one against packed, and at its borders."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from supervision import encoding, part, ports, text, view, vocabulary

from encoders.batch import Batch, Speech
from objectives.ctc import CTC, ctc_loss, required
from objectives.objective import ViewContext
from objectives.supervised_views import SpecAugment
from objectives.views import Clean


def enumerated(log_p_TV: torch.Tensor, ids: list[int], blank: int) -> float:
    """-log of the sum over all paths that collapse to `ids`."""
    total = []
    for path in itertools.product(range(log_p_TV.shape[1]), repeat=len(log_p_TV)):
        merged = [v for v, _ in itertools.groupby(path)]
        if [v for v in merged if v != blank] == ids:
            total.append(sum(float(log_p_TV[t, v]) for t, v in enumerate(path)))
    return -math.log(sum(map(math.exp, total)))


def layer(width: int, classes: int) -> torch.nn.Linear:
    torch.manual_seed(4)
    return torch.nn.Linear(width, classes).double()


@pytest.mark.parametrize("ids", [[0], [1, 2], [2, 2], []])
def test_loss_is_the_sum_over_all_paths(ids):
    output, x_TD = layer(6, 4), torch.randn(5, 6, generator=torch.Generator().manual_seed(1)).double()
    loss = ctc_loss(x_TD, output, (5,), text(ids))
    assert loss.item() == pytest.approx(enumerated(output(x_TD).log_softmax(1).detach(), ids, 3), rel=1e-6)


def test_loss_and_gradients_are_those_of_torch_over_the_whole_vocabulary():
    lengths, lines = (7, 4, 2, 5), [[1, 2, 2, 8], [0, 1], [3, 3], []]  # the third is infeasible
    output, x_TD = layer(6, 10), torch.randn(18, 6, generator=torch.Generator().manual_seed(2)).double()
    x_TD.requires_grad_()
    ours = torch.autograd.grad(ctc_loss(x_TD, output, lengths, text(*lines)) * 2, (x_TD, *output.parameters()))
    padded = torch.nn.utils.rnn.pad_sequence(output(x_TD).log_softmax(1).split(lengths))
    plain = torch.nn.functional.ctc_loss(
        padded, text(*lines).ids_S, lengths, [4, 2, 2, 0], blank=9, reduction="sum", zero_infinity=True
    )
    for a, b in zip(ours, torch.autograd.grad(plain * 2, (x_TD, *output.parameters()))):
        assert torch.allclose(a, b, atol=1e-9)


def test_packed_equals_one_by_one():
    torch.manual_seed(0)
    objective = CTC.Config().build(ports()).eval()
    whole, lines = encoding((7, 3, 9)), [[7, 8, 9], [10], [11, 11, 7]]
    loss = objective(view({"transcript": text(*lines)}, (7, 3, 9)), whole, {})["ctc"].total
    apart = [
        objective(view({"transcript": text(ids)}, (n,)), part(whole, b), {})["ctc"].total
        for b, (ids, n) in enumerate(zip(lines, (7, 3, 9)))
    ]
    assert loss.item() == pytest.approx(sum(apart).item(), rel=1e-5)


def test_infeasible_utterances_give_no_loss_no_gradient_no_count():
    objective = CTC.Config(dropout=0).build(ports())
    seen = view({"transcript": text([7, 7], [8])}, (2, 2))  # 7 7 needs three positions
    whole = encoding((2, 2))
    whole.stages["joint"].requires_grad_()
    term = objective(seen, whole, {})["ctc"]
    term.total.backward()
    assert objective.counts(seen) == {"ctc": 1.0}
    assert term.metrics["infeasible"] == (1.0, 2.0)
    assert torch.isfinite(term.total)
    assert whole.stages["joint"].grad[:2].abs().sum() == 0 and whole.stages["joint"].grad[2:].abs().sum() > 0


def test_required_counts_repeats():
    assert [required(ids) for ids in ([], [7], [7, 8], [7, 7, 7])] == [0, 1, 2, 5]


def test_empty_transcript_counts_one():
    objective = CTC.Config().build(ports())
    assert objective.counts(view({"transcript": text([])}, (3,))) == {"ctc": 1.0}


def test_decoding_merges_repeats_within_an_utterance_only():
    objective = CTC.Config().build(ports(width=13)).eval()
    with torch.no_grad():
        objective.output.weight.copy_(torch.eye(13))
        objective.output.bias.zero_()
    path = [7, 7, 12, 7, 8] + [8, 12, 2, 9]  # 12 is the blank, 2 a special
    whole = encoding((5, 4), width=13)
    whole.stages["joint"].copy_(torch.eye(13)[path])
    assert objective.decode(whole) == [[7, 7, 8], [8, 9]]


def test_own_target_vocabulary():
    assert CTC.Config().build(ports(), vocabulary(30)).output.out_features == 31


def test_view_is_augmented_in_training_only():
    objective = CTC.Config().build(ports())
    assert objective.view == SpecAugment()
    assert objective.eval().view == Clean()


def spec_batch() -> tuple[Batch, ViewContext]:
    speech = Speech(torch.ones(80 + 60, 80), (80, 60), (11, 12))
    return Batch(speech, {"transcript": "kept"}), ViewContext((20, 15), vocabulary(), 5)


def test_spec_augment_masks_within_budget_and_keeps_the_batch():
    batch, context = spec_batch()
    seen = SpecAugment(time=0.5, span=5, bands=1, band=10).build(batch, context)
    hidden = seen.speech_masked_I
    assert hidden is not None and (hidden.diff() > 0).all() and hidden.max() < 35
    assert (hidden < 20).sum() <= 3 * 5 and (hidden >= 20).sum() <= 2 * 5
    assert seen.references == batch.references and seen.speech_lengths == (20, 15)
    assert batch.inputs.mel_FM.min() == 1, "the batch itself was changed"
    for frames in seen.inputs.mel_FM.split([80, 60]):
        assert (frames == frames[0]).all() and (frames[0] == 0).sum() <= 10


def test_spec_augment_depends_on_the_own_key_alone():
    batch, context = spec_batch()
    rule = SpecAugment(time=0.5, span=3)
    whole = rule.build(batch, context)
    alone = rule.build(Batch(Speech(batch.inputs.mel_FM[80:], (60,), (12,))), ViewContext((15,), vocabulary(), 99))
    assert torch.equal(whole.speech_masked_I[whole.speech_masked_I >= 20] - 20, alone.speech_masked_I)
    assert torch.equal(whole.inputs.mel_FM[80:], alone.inputs.mel_FM)


def test_spec_augment_of_nothing_is_clean():
    batch, context = spec_batch()
    seen = SpecAugment(time=0, bands=0).build(batch, context)
    assert seen.speech_masked_I is None and torch.equal(seen.inputs.mel_FM, batch.inputs.mel_FM)
