"""What training cannot learn from is counted by hand, recorded, and refused where it is more than half."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ablate.data.packing import NO_TEXT, PairStream
from ablate.errors import UserError
from ablate.stages import lost
from ablate.tasks.reach import out_of_reach
from ablate.tasks.registry import TASKS
from encoders.batch import Vocabulary
from encoders.frontend import stack
from objectives.ctc import CTC, least, required
from objectives.objective import AbstractObjective, Ports
from objectives.pair_ctc import PairCTC
from objectives.targets import TARGETS

WORDS = Vocabulary(20, (0,) * 7 + (1,) * 13, (True,) * 20)


class Encoder:
    """A position for every four frames."""

    def subsampled(self, frames):
        return tuple(-(-n // 4) for n in frames)


class Texts(list):
    """Texts as ids, as `Tokens` has them."""

    @property
    def lengths(self):
        return np.array([len(text) for text in self])

    @property
    def offsets(self):
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @property
    def ids(self):
        return np.array([i for text in self for i in text], np.int32)


@pytest.mark.parametrize("seed", range(20))
def test_the_fewest_positions_are_those_of_one_text_after_the_other(seed):
    rng = np.random.default_rng(seed)
    texts = Texts(rng.integers(7, 9, rng.integers(0, 6)).tolist() for _ in range(rng.integers(1, 9)))
    assert least(texts.ids, texts.lengths).tolist() == [required(text) for text in texts]


def test_pairs_are_counted_without_special_tokens():
    texts = Texts([[8, 8], [8, Vocabulary.unk, 8], [Vocabulary.unk], [9, 8]])
    objective = PairCTC(PairCTC.Config(), Ports(width=4, vocabulary=WORDS, embedding=None, stacked=8))
    assert objective.least(texts.ids, texts.lengths).tolist() == [3, 3, 0, 2]


def test_repeats_count_at_the_encoders_positions(monkeypatch):
    monkeypatch.setattr("ablate.tasks.reach.AT_ONCE", 2)
    texts, frames = Texts([[8, 9], [8, 8], [8, 8], [], [9] * 5]), np.array([8, 8, 9, 1, 100])
    ctc = CTC(CTC.Config(), Ports(width=4, vocabulary=WORDS, embedding=None, stacked=8), WORDS)
    assert out_of_reach(ctc, Encoder(), texts, frames).tolist() == [False, True, False, False, False]
    assert AbstractObjective.least(ctc, texts.ids, texts.lengths) is None  # what is not CTC can score any
    dataset = SimpleNamespace(table=SimpleNamespace(frames=frames), target_tokens=lambda field: texts)
    model = SimpleNamespace(encoder=Encoder(), mixture=SimpleNamespace(objectives={"task": ctc}))
    assert list(TASKS["asr"].build().lost(dataset, model).values()) == [1]


def test_texts_that_a_task_cuts_are_counted():
    task = TASKS["sentiment"].build()
    most = task.config.max_tokens
    dataset = SimpleNamespace(tokens=lambda field: Texts([[8] * (most - 2), [8] * (most - 1), []]))
    assert task.lost(dataset, None) == {f"cut to max_tokens ({most})": 1}


def test_half_is_told_and_more_is_refused(capsys):
    assert lost.told("asr.train", "too long", 0, 4, "cut them") == []
    (one,) = lost.told("asr.train", "too long", 2, 4, "cut them")
    assert one == {"where": "asr.train", "reason": "too long", "items": 2, "of": 4}
    assert capsys.readouterr().out == "asr.train: 2 of 4 too long\n"
    with pytest.raises(UserError, match="asr.train: 3 of 4 too long, more than half; cut them."):
        lost.told("asr.train", "too long", 3, 4, "cut them")
    assert lost.told("codes", "unused", 3, 4)  # a finding, and no fault


class Spoken:
    """A table of utterances of equal length, each of one value: as many codes as there are values."""

    name = "speech.train"

    def __init__(self, values: int, rows: int = 40, frames: int = 400) -> None:
        self.rows, self.values = [{"id": str(n)} for n in range(rows)], values
        self.frames = np.full(rows, frames)

    def __len__(self) -> int:
        return len(self.rows)

    def mel(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index % self.values)
        return np.repeat(rng.normal(size=(1, 80)), self.frames[index], 0).astype(np.float16)


class Stacked(torch.nn.Module):
    """An encoder of which only the input is read."""

    def subsampled(self, frames):
        return Encoder().subsampled(frames)

    def forward(self, view):
        return SimpleNamespace(stages={"stacked": stack(view.inputs.mel_FM, view.inputs.lengths)})


@pytest.mark.parametrize(("values", "refused"), [(1, True), (40, False)])
def test_codes_that_are_never_used(values, refused, capsys):
    config = TARGETS["random_projection"]
    assert config.fixed and not TARGETS["learned"].fixed and TARGETS["kmeans"].fixed
    targets = replace(config, entries=4).build(Ports(width=4, vocabulary=WORDS, embedding=None, stacked=320))
    targets.read = lambda view, encoding: encoding.stages["stacked"]
    model = torch.nn.Module()
    model.encoder, model.mixture = Stacked(), torch.nn.Module()
    model.mixture.targets = torch.nn.ModuleDict({"random_projection": targets})
    feeds = {"speech": SimpleNamespace(table=Spoken(values))}
    model.train()
    if refused:
        with pytest.raises(UserError, match=r"3 of 4 entries of the codebook that no position of 1,600 of speech"):
            lost.of_codes(model, feeds, WORDS, fixed=True)
    else:
        assert lost.of_codes(model, feeds, WORDS, fixed=True) == [] and capsys.readouterr().out == ""
    assert lost.of_codes(model, feeds, WORDS, fixed=False) == [] == lost.of_codes(model, {}, WORDS, fixed=True)
    assert model.training or refused
    few = {"speech": SimpleNamespace(table=Spoken(1, rows=1, frames=40))}  # 10 positions prove nothing
    (one,) = lost.of_codes(model, few, WORDS, fixed=True)
    assert (one["items"], one["of"]) == (3, 4)


def test_more_than_half_of_the_pairs_over_a_limit_is_refused():
    texts, table = Texts([[8]] * 4 + [[]]), Spoken(1, rows=5, frames=200)
    table.frames[:2] = 100
    assert PairStream(table, texts, 0, 150, 10).left_out.keys() == {NO_TEXT, "over longest_pair (1.5 s)"}
    table.frames[1] = 200
    said = r"More than half of speech.train would be left out of pre-training \(3 over longest_pair \(1.5 s\), of 5\)"
    with pytest.raises(UserError, match=said):
        PairStream(table, texts, 0, 150, 10)
