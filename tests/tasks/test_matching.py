"""The accuracy of STM's head on held-out pairs, for models that hear the words and for models that do not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from test_pairing import Listening, words_heard
from torch import nn

from ablate.tasks.measured.matching import Matching
from objectives import OBJECTIVES
from objectives.objective import Ports
from objectives.stm import STM


@pytest.fixture
def data(dataset):
    return dataset("retrieval", "test")


class Judge(STM):
    """STM whose head is a function of (ids of the text with its specials, its first vector): whether it looks true."""

    def __init__(self, data, encoder, judge, **config):
        super().__init__(STM.Config(**config), Ports(4, data.tokenizer.vocabulary, nn.Embedding(9, 4)))
        self.encoder, self.judge = (encoder,), judge  # in a tuple: no part of the objective

    def logits(self, encoding):
        ids_S, true, place = self.encoder[0].seen[-1][0], [], 0
        texts = encoding.layout.lengths[::2]
        for ids, positions in zip(ids_S.split(list(texts)), encoding.layout.lengths[1::2]):
            true.append(self.judge(ids, encoding.stages["joint"][place]))
            place += len(ids) + positions
        return torch.tensor([[0.0, 1.0 if one else -1.0] for one in true])


def measured(data, judge, **config):
    encoder = Listening(words_heard(data))
    ports = Ports(4, data.tokenizer.vocabulary, nn.Embedding(9, 4))
    objectives = {"masked_text": OBJECTIVES["masked_text"].build(ports), "stm": Judge(data, encoder, judge, **config)}
    leaf = SimpleNamespace(encoder=encoder, mixture=SimpleNamespace(objectives=objectives))
    task = Matching(Matching.Config(items=7))
    scores, items = task.score(data.table.rows, task.measure(leaf, data, data.tokenizer.vocabulary))
    return scores[0], items, encoder.seen


def test_a_head_that_hears_the_words_is_right(data):
    """The vector of an utterance is 4 at the pieces of the words that are heard in it, and 0 elsewhere."""
    heard, items, seen = measured(data, lambda ids, x_V: x_V[ids[1:-1]].min() > 2)
    assert heard.value > 90 and len(items) == 2 * len(data.table.rows)
    assert all(masked_I is None and speech_I is None for _, masked_I, speech_I in seen)
    for (own, *_), (other, *_) in zip(seen[::2], seen[1::2]):
        assert torch.equal(own, other)  # the same texts, beside their own speech and another's


@pytest.mark.parametrize("answer", [True, False])
def test_a_head_that_always_says_the_same_is_right_about_half(data, answer):
    always, items, _ = measured(data, lambda ids, x_V: answer)
    assert (always.metric, always.value, always.n) == ("accuracy", 50.0, len(data.table.rows))
    assert [item["correct"] for item in items] == [int(answer), int(not answer)] * len(data.table.rows)


def test_masked_as_in_training(data):
    _, _, seen = measured(data, lambda ids, x_V: True, masked=True)
    assert all(masked_I is not None and speech_I is not None for _, masked_I, speech_I in seen)


def test_segments_stand_in_the_order_of_training(data):
    for masked in (False, True):
        view = STM.Config(masked=masked, text_first=False).matching()
        assert not view.text_first and (view.masks is None or not view.masks.text_first)


def test_accuracy_by_hand_and_only_where_there_is_a_head():
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
    task = Matching(Matching.Config())
    (score,), items = task.score(rows, [(True, True), (True, False)])
    assert (score.value, score.unit, score.better) == (75.0, "%", "higher")
    assert items[3] == {"id": "b", "reference": "y", "pair": "false", "correct": 0}
    assert task.baselines([], rows)[0].value == 50.0
    assert Matching.fits(OBJECTIVES) and not Matching.fits({"tlm": OBJECTIVES["tlm"]})
