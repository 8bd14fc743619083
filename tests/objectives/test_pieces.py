"""A view in pieces is the same sequences with the same masks and pairings, and summed losses add up."""

import pytest
import torch
from pretraining import FakeEncoder, pair, ports, speech, text, view

from encoders.batch import View
from objectives import OBJECTIVES
from objectives.pieces import pieces
from objectives.views import Clean, Matching, PairMask, SpeechMask

SPEECH, TEXT = speech(400, 300, 4, 520), text(20, 9, 30, 3)
PAIR = pair((400, 9), (300, 12), (500, 9), (200, 30), (350, 11))


def test_cuts_are_where_the_next_would_exceed_the_most():
    whole = view(Clean(), TEXT)
    assert [part.inputs.lengths for part in pieces(whole, TEXT.lengths, 34)] == [(22, 11), (32,), (5,)]
    assert [part.inputs.lengths for part in pieces(whole, TEXT.lengths, 1)] == [(22,), (11,), (32,), (5,)]
    assert pieces(whole, TEXT.lengths, 70) == (whole,)


def test_masked_positions_lie_where_they_lay():
    whole = view(SpeechMask(prob=0.2, span=3), SPEECH)
    own = [b for b, n in enumerate(whole.speech_masked_B) for _ in range(n)]
    starts = [sum(whole.speech_lengths[:b]) for b in range(4)]
    parts = pieces(whole, [1] * 4, 1)
    for b, part in enumerate(parts):
        expected = [int(i) - starts[b] for i, at in zip(whole.speech_masked_I, own) if at == b]
        assert part.speech_masked_I.tolist() == expected and part.speech_lengths == whole.speech_lengths[b : b + 1]
    assert torch.equal(torch.cat([part.inputs.mel_FM for part in parts]), SPEECH.mel_FM)


def test_false_pairs_and_masked_texts_are_those_of_the_whole():
    whole = view(Matching(negatives=0.5, masks=PairMask()), PAIR, key=3)
    parts = pieces(whole, [1] * 5, 2)
    assert [len(part.matched_B) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.matched_B for part in parts]), whole.matched_B) and not whole.matched_B.all()
    assert torch.equal(torch.cat([part.inputs.text.ids_S for part in parts]), whole.inputs.text.ids_S)
    for part, at in zip(parts, (0, sum(whole.inputs.text.lengths[:2]), sum(whole.inputs.text.lengths[:4]))):
        hidden = whole.text_masked_I.tolist()
        assert set((part.text_masked_I + at).tolist()) <= set(hidden)
        assert part.text_targets_I.tolist() == [
            int(whole.text_targets_I[hidden.index(i)]) for i in (part.text_masked_I + at).tolist()
        ]
    assert sum(len(part.text_masked_I) for part in parts) == len(whole.text_masked_I)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_totals_add_up(name):
    """In pieces of one sequence and of two; the diversity of codes is no sum, and over a piece."""
    encoder = FakeEncoder().eval()
    built = ports(encoder)
    torch.manual_seed(1)
    objective = OBJECTIVES[name].build(built).eval()
    targets = {need: built.targets[need].build(built).eval() for need in objective.needs}
    whole = view(objective.view, {"speech": SPEECH, "text": TEXT, "pair": PAIR}[objective.reads], key=3)

    def totals(seen: View) -> dict[str, float]:
        encoding = encoder(seen)
        codes = {need: made(seen, encoding, 1.0) for need, made in targets.items()}
        return {t: float(one.total.detach()) for t, one in objective(seen, encoding, codes).items() if t != "diversity"}

    expected, n = totals(whole), len((whole.inputs.speech or whole.inputs.text).lengths)
    for most in (1, 2):
        summed = dict.fromkeys(expected, 0.0)
        for part in pieces(whole, [1] * n, most):
            summed = {t: summed[t] + x for t, x in totals(part).items()}
        assert summed == pytest.approx(expected, rel=1e-5)
    assert expected and all(expected.values())


def test_what_cannot_be_cut_stays_whole():
    class Other(View):
        pass

    for whole in (Other(TEXT), View(TEXT, references={"label": (0, 1, 0, 1)})):
        assert pieces(whole, TEXT.lengths, 1) == (whole,)
