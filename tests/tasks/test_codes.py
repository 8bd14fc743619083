"""Information of codes about phones, voices and noise: by hand, planted, and absent; agreement of noisy draws."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ablate.tasks.measured.codes import Coded, SpeechCodes, measured, phones_at, terciles
from ablate.tasks.measured.information import adjusted, explained, perplexity
from encoders.batch import Layout
from encoders.encoding import Encoding
from objectives import OBJECTIVES
from objectives.objective import Ports
from objectives.targets import TARGETS

TASK = SpeechCodes(SpeechCodes.Config())


def test_explained_entropy_by_hand():
    codes, labels = np.array([0, 0, 0, 1, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1, 0, 0])
    joint = {(0, 0): 2, (0, 1): 1, (1, 0): 2, (1, 1): 3}
    information = sum(n / 8 * math.log(n / 8 / ({0: 3, 1: 5}[c] / 8 * 4 / 8)) for (c, _), n in joint.items())
    assert explained(codes, labels) == pytest.approx(information / math.log(2))
    assert explained(labels, labels) == pytest.approx(1) and explained(0 * codes, labels) == pytest.approx(0)


def test_perplexity_by_hand():
    assert perplexity(np.array([3, 3, 3])) == 1 and perplexity(np.arange(10)) == pytest.approx(10)
    assert perplexity(np.array([0, 0, 0, 5])) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def test_chance_is_taken_off():
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 30, 300), rng.integers(0, 20, 300)
    shuffled = [rng.permutation(labels) for _ in range(20)]
    assert explained(codes, labels) > 0.3 and abs(adjusted(codes, labels, shuffled)) < 0.05
    assert adjusted(labels, labels, shuffled) == pytest.approx(1)
    assert adjusted(np.arange(300), labels, shuffled) == 0  # codes that name the position explain any labels


def test_phones_at_the_centres_of_positions():
    # Positions of four frames have their centres at 2, 6, 10 …
    assert phones_at([(3, "a"), (6, "b"), (11, "c")], 4) == ["_", "b", "b", "c"]
    assert phones_at([(0, "_"), (2, "a")], 2) == ["a", "a"] and phones_at([], 2) == ["_", "_"]


def test_terciles_are_thirds():
    assert terciles([5.0, 1.0, 9.0, 3.0, 7.0, 11.0]).tolist() == [1, 0, 2, 0, 1, 2]


def world(n: int = 60, positions: int = 40):
    """Rows with phones of two positions each, five voices and a noise level; and all labels per position."""
    rng = np.random.default_rng(0)
    phones = rng.integers(0, 12, (n, positions // 2))
    rows = [
        {
            "id": str(i),
            "voice": f"v{i % 5}",
            "snr": float(rng.uniform(0, 30)),
            "phones": [[8 * k, f"p{p:02}"] for k, p in enumerate(phones[i])],
        }
        for i in range(n)
    ]
    return rows, np.repeat(phones, 2, axis=1)


def values(rows, codes_GBT) -> dict[str, float]:
    coded = [Coded(codes_GT.T, codes_GT.size) for codes_GT in np.asarray(codes_GBT).swapaxes(0, 1)]
    return {score.metric: score.value for score in TASK.score(rows, coded)[0]}


def test_codes_that_are_phones_or_voices_or_noise_or_nothing():
    rows, phones = world()
    nothing = np.random.default_rng(1).integers(0, 12, phones.shape)
    voices = np.repeat([[int(row["voice"][1:])] for row in rows], phones.shape[1], axis=1)
    levels = np.repeat(terciles([row["snr"] for row in rows])[:, None], phones.shape[1], axis=1)
    results = {
        name: values(rows, [codes])
        for name, codes in {"phone": phones, "voice": voices, "noise": levels, "nothing": nothing}.items()
    }
    for of, scores in results.items():
        for about in ("phone", "voice", "noise"):
            wanted = 100 if of == about else 0
            assert scores[f"{about}_nmi"] == pytest.approx(wanted, abs=1e-6 if wanted else 6), (of, about)
    assert abs(results["nothing"]["phone_nmi"]) < 1 and abs(results["nothing"]["voice_nmi"]) < 1
    assert results["voice"]["perplexity"] == pytest.approx(5) and results["phone"]["agreement"] == 100


def test_groups_are_averaged():
    rows, phones = world()
    both = values(rows, [phones, 0 * phones])
    alone = values(rows, [phones])
    assert both["phone_nmi"] == pytest.approx(50) and both["perplexity"] == pytest.approx((alone["perplexity"] + 1) / 2)


def test_what_rows_do_not_tell_is_left_out():
    rows, phones = world()
    assert set(values([{"id": row["id"]} for row in rows], [phones])) == {"perplexity", "agreement"}
    one_voice = [{**row, "voice": "v0", "snr": None} for row in rows]
    assert set(values(one_voice, [phones])) == {"perplexity", "agreement", "phone_nmi"}
    own_voice = [{**row, "voice": row["id"]} for row in rows]
    assert "voice_nmi" not in values(own_voice, [phones])


def test_the_targets_of_masked_speech_come_first():
    contrastive, masked = OBJECTIVES["contrastive"], OBJECTIVES["masked_speech"]
    fixed = type(masked)(targets="random_projection")
    assert measured({"contrastive": contrastive, "masked_speech": fixed}) == "random_projection"
    assert measured({"tlm": OBJECTIVES["tlm"], "contrastive": type(contrastive)(targets="other")}) == "other"
    assert measured({"masked_text": OBJECTIVES["masked_text"]}) is None


class Stacked(nn.Module):
    """An encoder that only stacks frames."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def subsampled(self, frames):
        return tuple(n // 4 for n in frames)

    def forward(self, view):
        x_TC = view.inputs.mel_FM.float().view(-1, 320)
        layout = Layout(view.speech_lengths, ("speech",) * len(view.speech_lengths))
        return Encoding({"stacked": x_TC, "features": x_TC}, layout, layout)


@pytest.mark.parametrize("name", list(TARGETS))
def test_codes_of_a_table_do_not_depend_on_packing_and_fixed_ones_agree(name, dataset):
    data = dataset("retrieval", "test")
    groups = 1 if name == "kmeans" else 2
    config = type(TARGETS[name])(groups=groups)
    torch.manual_seed(0)
    targets = config.build(Ports(width=320, vocabulary=data.tokenizer.vocabulary, embedding=None)).eval()
    if config.fitted:
        targets.use(torch.randn(config.entries, 320))
    objectives = {"contrastive": SimpleNamespace(needs=(name,))}
    model = SimpleNamespace(encoder=Stacked(), mixture=SimpleNamespace(objectives=objectives, targets={name: targets}))
    vocabulary = data.tokenizer.vocabulary
    few, many = (SpeechCodes(SpeechCodes.Config(items=n)).measure(model, data, vocabulary) for n in (3, 50))
    assert [c.best_TG.shape for c in few] == [(row["frames"] // 4, groups) for row in data.table.rows]
    assert all((a.best_TG == b.best_TG).all() for a, b in zip(few, many))
    agreement = TASK.score(data.table.rows, few)[0][1]
    assert agreement.metric == "agreement" and not targets.training
    assert agreement.value == 100 if not config.learned else 50 < agreement.value < 100
