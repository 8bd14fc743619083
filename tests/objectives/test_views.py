"""Masks and pairings: rates, borders, independence of neighbours, placebos, derangements."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pretraining import SIZE, VOCABULARY, pair, speech, text, view

from encoders.batch import Text
from objectives.masking import TextRule, mismatch, speech_spans, text_spans
from objectives.views import Clean, Matching, PairMask, SpeechMask, TextMask


def hidden(spec, inputs, key=0):
    return view(spec, inputs, key).speech_masked_I.numpy()


# Speech


@pytest.mark.parametrize("prob, rate", [(0.065, 0.489), (0.129, 0.749)])
def test_speech_mask_covers_what_the_paper_says(prob, rate):
    masked, per_utterance = speech_spans(tuple(range(600)), (2000,) * 600, prob, 10)
    assert len(masked) == sum(per_utterance)
    assert len(masked) / 1_200_000 == pytest.approx(rate, abs=0.004)


def test_every_utterance_has_a_span_even_when_shorter_than_one():
    lengths = (1, 3, 9, 10, 11, 40, 2)
    for key in range(50):
        masked, per_utterance = speech_spans(tuple(key * 10 + i for i in range(7)), lengths, 1e-9, 10)
        assert per_utterance == (1, 3, 9, 10, 10, 10, 2)  # exactly one span, whole where there is room
        assert (np.diff(masked) > 0).all()


def test_speech_spans_are_unions_of_spans_from_starts_and_stop_at_borders():
    lengths, keys = (37, 5, 80, 23), (11, 12, 13, 14)
    masked, per_utterance = speech_spans(keys, lengths, 0.05, 6)
    alone = [speech_spans((k,), (n,), 0.05, 6)[0] for k, n in zip(keys, lengths)]
    offsets = np.cumsum((0, *lengths[:-1]))
    np.testing.assert_array_equal(masked, np.concatenate([o + a for o, a in zip(offsets, alone)]))
    assert per_utterance == tuple(map(len, alone))
    for a, n in zip(alone, lengths):  # every run is at least one span long unless the utterance ends it
        runs = np.split(a, np.flatnonzero(np.diff(a) > 1) + 1)
        assert all(len(run) >= 6 or run[-1] == n - 1 for run in runs)


def test_speech_mask_is_the_same_for_the_same_item_wherever_it_lies():
    a, b = speech(400, 300, 200), speech(500, 300, seed=9)
    b = replace(b, keys=(b.keys[0], a.keys[1]))
    first = hidden(SpeechMask(), a, key=1)
    second = hidden(SpeechMask(), b, key=2)
    np.testing.assert_array_equal(first[(first >= 100) & (first < 175)] - 100, second[second >= 125] - 125)


def test_speech_view_counts_masked_positions_per_utterance_and_has_noise_of_the_shard():
    inputs = speech(400, 120)
    one, other = view(SpeechMask(), inputs, 1), view(SpeechMask(), inputs, 2)
    assert sum(one.speech_masked_B) == len(one.speech_masked_I) and one.speech_lengths == (100, 30)
    assert (one.speech_masked_I < 100).sum() == one.speech_masked_B[0]
    assert one.noise_key != other.noise_key


# Text


def rate(rule, pieces, texts=400):
    masked = [view(TextMask(rule=rule), text(*[pieces] * 40, seed=s)).text_masked_I for s in range(texts // 40)]
    return sum(map(len, masked)) / (texts * pieces)


@pytest.mark.parametrize("pieces", [10, 33, 100])
@pytest.mark.parametrize("rule", [TextRule(), TextRule(span=1), TextRule(geometric=True), TextRule(whole_words=True)])
def test_text_mask_spends_its_share_and_no_more(rule, pieces):
    if rule.whole_words and pieces == 10:
        pieces = 25  # of three words, the one that is always hidden is more than the share
    assert rate(rule, pieces) == pytest.approx(0.15, abs=0.012)


def test_pair_text_mask_hides_half():
    assert rate(TextRule(share=0.5), 11) == pytest.approx(0.5, abs=0.01)


def test_every_text_is_masked_specials_never_are():
    inputs = text(1, 2, 3, 10, 10, 10, 50)
    for key in range(20):
        inputs = replace(inputs, keys=tuple(key * 7 + i for i in range(7)))
        for whole_words in (False, True):
            seen = view(TextMask(rule=TextRule(whole_words=whole_words)), inputs)
            texts = np.searchsorted(np.cumsum(inputs.lengths), seen.text_masked_I.numpy(), side="right")
            assert set(texts) == set(range(7))
            assert (inputs.ids_S[seen.text_masked_I] >= VOCABULARY.specials).all()


def test_specials_inside_a_text_stay_and_a_text_of_specials_has_nothing_to_hide():
    ids = torch.tensor([4, 8, 5, 9, 1, 10, 5, 4, 5])  # CLS a SEP b UNK c SEP | CLS SEP
    inputs = Text(ids, (7, 2), (1, 2))
    seen = view(TextMask(rule=TextRule(share=1.0)), inputs)
    assert seen.text_masked_I.tolist() == [1, 3, 5]
    assert (seen.inputs.ids_S[[0, 2, 4, 6, 7, 8]] == ids[[0, 2, 4, 6, 7, 8]]).all()


def test_text_spans_are_whole_except_the_one_that_meets_the_budget():
    span_U, text_L = text_spans(tuple(range(30)), np.full(30, 100), 0.17, 5, False)
    for b in range(30):
        spans = span_U[b * 100 : (b + 1) * 100]
        sizes = sorted(int((spans == j).sum()) for j in np.flatnonzero(text_L == b))
        assert sizes == [2, 5, 5, 5]
        for j in np.flatnonzero(text_L == b):  # each is one run
            assert np.ptp(np.flatnonzero(spans == j)) + 1 == (spans == j).sum()


@pytest.mark.parametrize("rule", [TextRule(), TextRule(share=0.5), TextRule(span=1), TextRule(share=0.3, span=3)])
@pytest.mark.parametrize("pieces", [4, 12, 25, 100])
def test_mean_length_of_spans_is_as_foretold_and_told(rule, pieces):
    inputs = text(*[pieces] * 2000)
    units, spans = view(TextMask(rule=rule), inputs).text_spans
    assert units / spans == pytest.approx(rule.reached(pieces), rel=0.03)
    assert units == len(view(TextMask(rule=rule), inputs).text_masked_I)


def test_what_spans_of_five_come_to_by_hand():
    assert TextRule(share=0.15).reached(100) == 5.0  # 15 pieces in three spans
    assert TextRule(share=0.5).reached(12) == 3.0  # 5 and 1
    assert TextRule(share=0.15).reached(25) == pytest.approx(3.75)  # 3 pieces or, three times as often, 4; one span
    assert TextRule(share=0.5).reached(25) == pytest.approx((0.5 * 12 + 0.5 * 13) / 3)
    assert TextRule(share=0.15).reached(3) == 1.0
    said = "spans of 5 are 1.8, 3.75, 3.75 and 5 pieces long on average in texts of 12, 25, 50 and 100"
    assert TextRule().note().startswith(said)
    assert "words long" in TextRule(whole_words=True).note()
    assert TextRule(span=1).note() == "" and "shorter than drawn" in TextRule(geometric=True).note()


def test_text_spans_lie_anywhere_alike():
    span_U, _ = text_spans(tuple(range(6000)), np.full(6000, 20), 0.25, 5, False)
    per_place = (span_U.reshape(6000, 20) >= 0).mean(0)
    starts = np.argmax(span_U.reshape(6000, 20) >= 0, axis=1)
    assert per_place[4:16] == pytest.approx(np.full(12, 5 / 16), abs=0.03)
    assert np.bincount(starts, minlength=16) / 6000 == pytest.approx(np.full(16, 1 / 16), abs=0.015)


def test_geometric_spans_have_spanberts_lengths():
    _, text_L = text_spans(tuple(range(400)), np.full(400, 400), 0.5, 5, True)
    lengths = 0.2 * 0.8 ** np.arange(10)
    mean = (lengths * np.arange(1, 11)).sum() / lengths.sum()  # 3.8: the paper's own figure
    assert mean == pytest.approx(3.80, abs=0.005)
    assert 200 * 400 / len(text_L) == pytest.approx(mean, rel=0.03)


def test_whole_words_are_hidden_whole():
    inputs = text(*[40] * 30)
    seen = view(TextMask(rule=TextRule(whole_words=True)), inputs)
    masked = np.zeros(len(inputs.ids_S), bool)
    masked[seen.text_masked_I] = True
    starts = VOCABULARY.word_starts_V[inputs.ids_S.numpy()]
    for s in range(1, len(masked)):
        inner = inputs.ids_S[s] >= 7 and not starts[s] and inputs.ids_S[s - 1] >= 7
        assert not inner or masked[s] == masked[s - 1]


def test_eighty_ten_ten_per_span():
    inputs = text(*[200] * 60)
    seen = view(TextMask(), inputs)
    index, ids, true = seen.text_masked_I.numpy(), seen.inputs.ids_S.numpy(), inputs.ids_S.numpy()
    np.testing.assert_array_equal(seen.text_targets_I.numpy(), true[index])
    untouched = np.setdiff1d(np.arange(len(ids)), index)
    np.testing.assert_array_equal(ids[untouched], true[untouched])
    masked, kept = (ids[index] == VOCABULARY.mask), (ids[index] == true[index])
    assert masked.mean() == pytest.approx(0.8, abs=0.05)
    assert kept.mean() == pytest.approx(0.1, abs=0.04)
    drawn = ids[index][~masked & ~kept]
    assert drawn.min() >= 7 and len(set(drawn)) > 25  # any piece, never a special
    span_U, _ = text_spans(inputs.keys, np.full(60, 200), 0.15, 5, False)
    for j in range(span_U.max() + 1):  # positions among pieces are those of the pack without CLS and SEP
        inside = np.flatnonzero(span_U == j)
        where = inside + 2 * (inside // 200) + 1
        assert len({int(i) for i in (ids[where] == VOCABULARY.mask)}) == 1


# Placebos


@pytest.mark.parametrize("placebo", ["drawn", "renamed"])
def test_placebos_keep_masks_lengths_and_specials(placebo):
    inputs = text(30, 5, 60)
    true = view(TextMask(), inputs)
    other = view(TextMask(rule=TextRule(text=placebo)), inputs)
    assert torch.equal(true.text_masked_I, other.text_masked_I)
    assert torch.equal(inputs.ids_S < 7, (other.inputs.ids_S < 7) & (other.inputs.ids_S != VOCABULARY.mask))
    mask = VOCABULARY.mask
    assert torch.equal(true.inputs.ids_S == mask, other.inputs.ids_S == mask)


def test_renamed_is_one_fixed_permutation():
    seen = {}
    for seed in range(4):
        inputs = text(*[200] * 10, seed=seed)
        other = view(TextMask(rule=TextRule(text="renamed")), inputs)
        for old, new in zip(inputs.ids_S[other.text_masked_I].tolist(), other.text_targets_I.tolist()):
            assert seen.setdefault(old, new) == new
    assert len(set(seen.values())) == len(seen) == SIZE - 7
    assert any(old != new for old, new in seen.items())


def test_drawn_matches_the_corpus_unigram():
    inputs = text(*[500] * 40)
    ids = view(TextMask(rule=TextRule(text="drawn", share=0.01)), inputs).text_targets_I
    everything = TextMask(rule=TextRule(text="drawn", share=1.0))
    packs = [replace(inputs, keys=tuple(range(s, s + 40))) for s in (100, 200)]
    many = torch.cat([view(everything, pack).text_targets_I for pack in packs])
    share = torch.bincount(many, minlength=SIZE) / len(many)
    counts = torch.tensor(VOCABULARY.counts_V, dtype=torch.float)
    assert ids.min() >= 7
    assert share.numpy() == pytest.approx((counts / counts.sum()).numpy(), abs=0.004)
    assert torch.corrcoef(torch.stack([many[:-1].float(), many[1:].float()]))[0, 1].abs() < 0.03


# Pairs

SIZES = ((400, 9), (300, 12), (500, 9), (200, 30), (240, 7))


def test_apart_and_together_show_the_same_items_with_the_same_masks():
    inputs = pair(*SIZES)
    together, apart = view(PairMask(), inputs), view(PairMask(pairs="apart"), inputs)
    assert apart.apart and not together.apart
    for name in ("speech_masked_I", "text_masked_I", "text_targets_I"):
        assert torch.equal(getattr(together, name), getattr(apart, name))
    assert torch.equal(together.inputs.text.ids_S, apart.inputs.text.ids_S)


def test_shuffled_pairs_have_the_same_texts_with_the_same_masks_and_no_true_partner():
    inputs = pair(*SIZES)
    together, shuffled = view(PairMask(), inputs), view(PairMask(pairs="shuffled"), inputs)
    assert torch.equal(together.speech_masked_I, shuffled.speech_masked_I)
    split = lambda v: [tuple(x.tolist()) for x in v.inputs.text.ids_S.split(v.inputs.text.lengths)]  # noqa: E731
    assert sorted(split(together)) == sorted(split(shuffled))
    assert all(a != b for a, b in zip(inputs.text.keys, shuffled.inputs.text.keys))


def test_masks_of_a_pair_do_not_depend_on_other_objectives_or_shards():
    inputs = pair(*SIZES)
    assert torch.equal(view(PairMask(), inputs, 1).text_masked_I, view(PairMask(), inputs, 2).text_masked_I)


@pytest.mark.parametrize("n", range(2, 14))
def test_mismatch_deranges_those_it_touches(n):
    texts = text(*np.random.default_rng(n).integers(5, 9, n))
    frames = tuple(range(100, 100 + n))
    full = mismatch(texts, frames, 1.0, n)
    assert sorted(full) == list(range(n)) and (full != np.arange(n)).all()
    false = [int((mismatch(texts, frames, 0.5, key) != np.arange(n)).sum()) for key in range(400)]
    assert np.mean(false) / n == pytest.approx(0.5, abs=0.09)
    for key in range(20):
        shown = mismatch(texts, frames, 0.5, key)
        assert sorted(shown) == list(range(n))


def test_mismatch_is_not_given_away_by_length():
    rng = np.random.default_rng(0)
    pieces = rng.integers(5, 40, 24)
    texts, frames = text(*pieces), tuple(int(20 * p + rng.integers(40)) for p in pieces)
    shown = mismatch(texts, frames, 1.0, 0)
    assert np.abs(pieces[shown] - pieces).mean() < 2
    assert np.abs(rng.permutation(pieces) - pieces).mean() > 8


def test_identical_transcripts_are_never_negatives():
    body = [4, 9, 9, 5]
    texts = Text(torch.tensor(body * 4 + [4, 8, 9, 5]), (4,) * 5, tuple(range(5)))
    for key in range(30):
        shown = mismatch(texts, (10, 20, 30, 40, 50), 0.5, key)
        for i, j in enumerate(shown):
            assert i == j or (i == 4) != (j == 4)
    same = Text(torch.tensor(body * 4), (4,) * 4, tuple(range(4)))
    assert mismatch(same, (1, 2, 3, 4), 1.0, 0).tolist() == [0, 1, 2, 3]


def test_matching_labels_say_whose_text_is_shown():
    inputs = pair(*SIZES, (260, 8), (640, 30))
    for key in range(10):
        seen = view(Matching(), inputs, key)
        own = [a == b for a, b in zip(seen.inputs.text.keys, inputs.text.keys)]
        assert seen.matched_B.tolist() == [int(o) for o in own]
        assert seen.text_masked_I is None and seen.speech_masked_I is None
    assert view(Matching(masks=PairMask()), inputs).text_masked_I is not None
    assert view(Matching(), pair((100, 5))).matched_B.tolist() == [1]


# Specs


def test_specs_are_values():
    assert SpeechMask() == SpeechMask(prob=0.065) and hash(PairMask()) == hash(PairMask())
    assert len({Clean(), Clean(), TextMask(), TextMask(rule=TextRule(span=1)), SpeechMask()}) == 4


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SpeechMask(prob=0), "more than 0"),
        (lambda: SpeechMask(span=0), "at least 1"),
        (lambda: TextRule(share=1.5), "at most 1"),
        (lambda: TextRule(text="draw"), "did you mean 'drawn'"),
        (lambda: TextRule(span=0), "at least 1"),
        (lambda: PairMask(pairs="shuffle"), "did you mean 'shuffled'"),
        (lambda: Matching(negatives=0), "more than 0"),
    ],
)
def test_impossible_specs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
