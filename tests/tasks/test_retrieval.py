"""Retrieval on planted and random embeddings, and the candidates it chooses from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ablate.tasks.measured.retrieval import Retrieval, both_ways, cosines, nearest_in_duration, ranks
from ablate.tasks.registry import TASKS
from encoders.batch import Layout, Speech
from encoders.encoding import Encoding


def rows(n: int = 200) -> list[dict]:
    rng = np.random.default_rng(0)
    return [{"id": str(i), "text": f"text {i}", "seconds": float(s)} for i, s in enumerate(rng.uniform(1, 5, n))]


def recalls(task: Retrieval, speech: torch.Tensor, text: torch.Tensor, items: list[dict]) -> tuple[float, float]:
    scores, _ = task.score(items, ranks(cosines(speech, text).numpy(), task.candidates(items)))
    values = {score.metric: score.value for score in scores}
    assert values["recall@1"] <= values["recall@5"] <= values["recall@10"]
    return values["recall@1"], values["recall@10"]


def test_aligned_embeddings_are_found_whatever_the_gap_between_modalities():
    x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    assert recalls(Retrieval(Retrieval.Config()), x, 3 * x + 50, rows()) == (100, 100)


def test_random_embeddings_are_at_chance():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 400, 16, generator=generator)
    at_1, at_10 = recalls(Retrieval(Retrieval.Config()), x, y, rows(400))
    assert at_1 == pytest.approx(2, abs=2) and at_10 == pytest.approx(20, abs=5)


def test_collapsed_embeddings_find_nothing():
    same, broken = torch.ones(60, 4), torch.full((60, 4), torch.nan)
    assert recalls(Retrieval(Retrieval.Config()), same, same, rows(60)) == (0, 0)
    assert recalls(Retrieval(Retrieval.Config()), broken, broken, rows(60)) == (0, 0)


def test_candidates_are_nearest_in_duration_and_hold_the_truth():
    items = rows(120)
    allowed = nearest_in_duration([r["seconds"] for r in items], [r["text"] for r in items], 10)
    seconds = np.array([r["seconds"] for r in items])
    assert allowed.diagonal().all() and (allowed.sum(1) == 10).all()
    for i in range(120):
        distance = np.abs(seconds - seconds[i])
        assert distance[allowed[i]].max() <= distance[~allowed[i]].min()


def test_equal_transcripts_are_no_candidates():
    allowed = nearest_in_duration([1.0, 1.1, 1.2, 9.0], ["a", "a", "b", "c"], 3)
    assert allowed.tolist() == [
        [True, False, True, True],
        [False, True, True, True],
        [True, True, True, False],
        [False, True, True, True],
    ]
    few = nearest_in_duration([1.0, 1.1, 1.2], ["a", "a", "b"], 3)
    assert few.sum(1).tolist() == [2, 2, 3]


def test_ranks_by_hand():
    similarity = np.array([[0.9, 0.1, 0.95], [0.3, 0.8, 0.2], [0.1, 0.5, 0.5]])
    everything = np.ones((3, 3), bool)
    assert ranks(similarity, everything) == [(2, 1), (1, 1), (2, 2)]
    assert ranks(similarity, np.eye(3, dtype=bool)) == [(1, 1)] * 3


def test_expected_recall_breaks_ties_evenly():
    everything = np.ones((4, 4), bool)
    assert both_ways(np.zeros((4, 4)), everything, 1) == 0.25
    assert both_ways(np.zeros((4, 4)), everything, 10) == 1
    assert both_ways(np.eye(4), everything, 1) == 1


def test_baselines_see_duration_only():
    task = TASKS["retrieval"].build()
    lengths = np.random.default_rng(1).permutation(np.arange(10, 130))
    items = [{"id": str(n), "text": "x" * n, "seconds": 0.1 * n + 1} for n in lengths]
    values = {(b.name, b.metric): b.value for b in task.baselines(items, items)}
    assert values["duration only", "recall@1"] == 100  # duration is an exact line of length here
    assert values["chance", "recall@1"] == pytest.approx(2) and values["chance", "recall@10"] == pytest.approx(20)
    silent = [{**item, "seconds": 2.0} for item in items]
    values = {(b.name, b.metric): b.value for b in task.baselines(silent, silent)}
    assert values["duration only", "recall@1"] == pytest.approx(2)


class Words(nn.Module):
    """An encoder that knows the toy corpus: each word's sound and its token have one vector."""

    def __init__(self, dataset) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        words = {w for row in dataset.table.rows for w in row["text"].split()}
        draws = torch.randn(len(words), 24, generator=torch.Generator().manual_seed(0))
        self.code = dict(zip(sorted(words), draws))
        self.tokenizer = dataset.tokenizer
        self.sounds: dict[str, torch.Tensor] = {}
        for i, row in enumerate(dataset.table.rows):
            for k, w in enumerate(row["text"].split()):
                self.sounds[w] = torch.from_numpy(dataset.table.mel(i)[12 * k : 12 * k + 12].astype(np.float32)).mean(0)

    def subsampled(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(n // 12 for n in frames)

    def forward(self, view) -> Encoding:
        if isinstance(view.inputs, Speech):
            heard = view.inputs.mel_FM.view(-1, 12, 80).mean(1)
            names = list(self.sounds)
            nearest = torch.cdist(heard, torch.stack([self.sounds[w] for w in names])).argmin(1)
            x = torch.stack([self.code[names[i]] for i in nearest.tolist()])
            return Encoding({"joint": x + 7}, Layout(view.speech_lengths, ("speech",) * len(view.speech_lengths)))
        texts = view.inputs.ids_S.split(list(view.inputs.lengths))
        packs = [self.tokenizer.decode(ids.tolist()).split() for ids in texts]
        x = torch.cat([torch.stack([self.code[w] for w in pack]) for pack in packs])
        lengths = tuple(map(len, packs))
        return Encoding({"joint": x - 3}, Layout(lengths, ("text",) * len(lengths)))


def test_rank_over_a_table(dataset):
    data = dataset("retrieval", "test")
    task = Retrieval(Retrieval.Config(candidates=10, items=6))
    hypotheses = task.rank(Words(data), data, data.tokenizer.vocabulary)
    scores, items = task.score(data.table.rows, hypotheses)
    assert scores[0].value > 80 and scores[1].value == 100  # texts of the same words in another order look alike
    assert len(items) == 2 * len(data) and {i["direction"] for i in items} == {"text from speech", "speech from text"}
    assert "10 candidates" in scores[0].signature and scores[0].n == len(data)
