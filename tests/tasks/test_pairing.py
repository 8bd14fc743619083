"""The drop in masked-text loss with the true speech, for models that hear it and for models that do not."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ablate.errors import UserError
from ablate.tasks.measured.pairing import Losses, Pairing, guesser, length_matched
from encoders.batch import Layout
from encoders.encoding import Encoding
from objectives import OBJECTIVES
from objectives.masked_text import MaskedText
from objectives.objective import Ports, Term
from objectives.targets import TARGETS


class Listening(nn.Module):
    """Gives every text position the sum of what `hears` makes of its own utterance: one number per piece."""

    def __init__(self, hears) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.hears = hears
        self.seen = []

    def subsampled(self, frames):
        return tuple(n // 12 for n in frames)

    def forward(self, view):
        self.seen.append((view.inputs.text.ids_S, view.text_masked_I, view.speech_masked_I))
        spoken = view.inputs.speech.mel_FM.float().split(list(view.inputs.speech.lengths))
        parts, lengths = [], []
        for mel_FM, tokens, positions in zip(spoken, view.inputs.text.lengths, view.speech_lengths):
            x_V = self.hears(mel_FM)
            parts += [x_V.expand(tokens, -1), torch.zeros(positions, len(x_V))]
            lengths += [tokens, positions]
        layout = Layout(tuple(lengths), ("text", "speech") * len(view.speech_lengths), 2)
        return Encoding({"joint": torch.cat(parts)}, layout)


class Softmax(nn.Module):
    """Takes encodings for logits."""

    def forward(self, x_ID, ids_I):
        return Term(F.cross_entropy(x_ID, ids_I, reduction="sum"))


@pytest.fixture
def data(dataset):
    return dataset("retrieval", "test")


def model(data, hears):
    objective = MaskedText(OBJECTIVES["masked_text"], Ports(4, data.tokenizer.vocabulary, nn.Embedding(9, 4)))
    objective.head = Softmax()
    return SimpleNamespace(encoder=Listening(hears), mixture=SimpleNamespace(objectives={"masked_text": objective}))


def measured(data, hears):
    task, leaf = Pairing(Pairing.Config(items=7)), model(data, hears)
    scores, items = task.score(data.table.rows, task.measure(leaf, data, data.tokenizer.vocabulary))
    return {score.metric: score.value for score in scores}, items, leaf.encoder.seen


def words_heard(data):
    """Logits that prefer the pieces of the words whose sound is in the utterance."""
    size, tokens, sounds = data.tokenizer.vocabulary.size, data.tokens("text"), {}
    for i, row in enumerate(data.table.rows):
        for k, word in enumerate(row["text"].split()):
            sounds[word] = torch.tensor(data.table.mel(i)[12 * k : 12 * k + 12]).float().mean(0)
    pieces = {}
    for i, row in enumerate(data.table.rows):
        pieces[row["text"]] = torch.from_numpy(tokens[i].astype("int64"))
    names = list(sounds)

    def hears(mel_FM):
        nearest = torch.cdist(mel_FM.view(-1, 12, 80).mean(1), torch.stack([sounds[w] for w in names])).argmin(1)
        x_V = torch.zeros(size)
        x_V[pieces[" ".join(names[i] for i in nearest.tolist())]] = 4.0
        return x_V

    return hears


def test_a_model_that_hears_the_words_loses_less_with_the_true_speech(data):
    values, items, seen = measured(data, words_heard(data))
    assert values["loss_drop"] > 0.3
    assert [item["id"] for item in items] == [row["id"] for row in data.table.rows]
    assert all(item["loss"][1] >= 1 for item in items)
    assert sum(item["loss_drop"][0] >= 0 for item in items) > 0.8 * len(items)
    for (ids_true, masked_true, speech_masked), (ids_other, masked_other, _) in zip(seen[::2], seen[1::2]):
        assert torch.equal(ids_true, ids_other) and torch.equal(masked_true, masked_other) and speech_masked is None


def test_a_model_that_ignores_speech_drops_by_exactly_nothing(data):
    size = data.tokenizer.vocabulary.size
    values, _, _ = measured(data, lambda mel_FM: torch.zeros(size))
    assert values["loss_drop"] == 0 and values["loss"] == pytest.approx(math.log(size))


def test_scores_are_per_hidden_piece_by_hand():
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
    task = Pairing(Pairing.Config())
    (drop, loss), items = task.score(rows, [Losses(1, 2.0, 5.0), Losses(3, 6.0, 7.0)])
    assert (drop.metric, drop.value, drop.better, drop.unit) == ("loss_drop", 1.0, "higher", "nats")
    assert (loss.value, loss.better) == (2.0, "lower")
    assert items[1] == {"id": "b", "reference": "y", "loss": [6.0, 3], "loss_drop": [1.0, 3]}
    assert task.baselines([], rows)[0].value == 0


def test_the_other_sentence_is_nearest_in_duration_and_never_the_same():
    rows = [{"text": t, "seconds": s} for t, s in [("a", 1.0), ("a", 1.1), ("b", 1.3), ("c", 4.0)]]
    assert length_matched(rows) == [2, 2, 1, 2]
    with pytest.raises(UserError, match="same text"):
        length_matched(rows[:2])


def test_the_head_of_tlm_comes_first(data):
    ports = Ports(4, data.tokenizer.vocabulary, nn.Embedding(9, 4), targets=TARGETS)
    built = {name: OBJECTIVES[name].build(ports) for name in ("masked_text", "tlm")}
    assert guesser(built) is built["tlm"] and guesser(built).text_head is built["tlm"].text
    assert guesser({"masked_text": built["masked_text"]}) is built["masked_text"]
    assert Pairing.fits({"a": OBJECTIVES["tlm"]}) and not Pairing.fits({"stm": OBJECTIVES["stm"]})


def test_objectives_have_what_their_configs_say(data):
    ports = Ports(8, data.tokenizer.vocabulary, nn.Embedding(9, 8), targets=TARGETS)
    for name, config in OBJECTIVES.items():
        built = config.build(ports)
        assert (built.text_head is not None) == config.guesses_text, name
        assert (built.whole_pairs is not None) == config.judges_pairs, name
