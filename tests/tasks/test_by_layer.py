"""Measures over layers: what lies between the layers, and scores from representations made by hand."""

import numpy as np
import pytest
import torch
from tiny import ENCODER, World

from ablate.tasks.measured.alignment_by_layer import AlignmentByLayer, Sides
from ablate.tasks.measured.pairing import Losses
from ablate.tasks.measured.pairing_by_layer import PairingByLayer
from ablate.tasks.measured.probes_by_layer import TEST, TRAIN, Heard, ProbesByLayer
from encoders.batch import Text, View, Vocabulary
from encoders.layers import by_layer

WORDS = "red blue cat dog sun moon".split()


def values(scores):
    return {score.metric: score.value for score in scores}


def test_layers_are_what_enters_and_leaves_them():
    encoder = ENCODER.build(Vocabulary(20, (1,) * 20, (True,) * 20)).eval()
    view = View(Text(torch.tensor([4, 8, 9, 5]), (4,), (1,)))
    encoding, layers = by_layer(encoder, view)
    assert list(layers) == ["text_0", "shared_0", "shared_1", "shared_2"]
    assert torch.equal(layers["shared_2"], encoding.stages["joint"]) and torch.equal(
        layers["text_0"], layers["shared_0"]
    )
    assert not torch.equal(layers["shared_1"], layers["shared_0"]) and not layers["shared_1"].requires_grad
    hooks = [m for m in encoder.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == [] and encoder(view).stages["joint"].requires_grad


def test_alignment_of_equal_and_of_unrelated_sides():
    rng = torch.Generator().manual_seed(0)
    rows = [{"id": str(i), "text": f"text {i}", "seconds": 1.0 + i / 100} for i in range(40)]
    same, other = torch.randn(40, 6, generator=rng), torch.randn(40, 6, generator=rng)
    sides = [Sides({"shared_0": s, "shared_1": s}, {"shared_0": o, "shared_1": s}) for s, o in zip(same, other)]
    task = AlignmentByLayer(AlignmentByLayer.Config(candidates=10))
    scores, items = task.score(rows, sides)
    by_metric = values(scores)
    assert by_metric["cka"] == by_metric["cka/shared_1"] == pytest.approx(1) and by_metric["recall@1"] == 100
    assert abs(by_metric["cka/shared_0"]) < 0.2 and by_metric["recall@1/shared_0"] < 40
    assert items[3]["ranks/shared_1"] == [1, 1] and len(items) == 40
    assert [b.name for b in task.baselines(rows, rows)] == ["lengths only", "chance"]
    assert task.baselines(rows, rows)[1].value == pytest.approx(10)


def test_probes_find_what_is_there_and_nothing_else():
    """Phone and voice lie in the first layer, words in the second; the other way round there is noise."""
    rng = np.random.default_rng(0)
    rows, heard = [], []
    for i in range(120):
        words = [word for word in WORDS if rng.random() < 0.5] or ["red"]
        voice, phones = i % 3 if i % 2 else (i + 1) % 3, rng.integers(0, 4, 8)
        rows.append(
            {
                "id": str(i),
                "text": " ".join(words),
                "voice": f"v{voice}",
                "seconds": 1.0 + rng.random(),
                "frames": 30,
                "phones": [[4 * k, f"p{p}"] for k, p in enumerate(phones)],
            }
        )
        said = np.array([word in words for word in WORDS]) + rng.normal(0, 0.1, 6)
        spoken = np.eye(4)[phones] + rng.normal(0, 0.1, (8, 4))
        noise = rng.normal(size=(2, 8, 4))
        heard.append(
            Heard(
                {"speech_0": np.eye(3)[voice] + rng.normal(0, 0.1, 3), "shared_1": said},
                {"speech_0": spoken, "shared_1": noise[0]},
                np.arange(8),
                8,
            )
        )
    task = ProbesByLayer(ProbesByLayer.Config())
    scores, items = task.score(rows, heard)
    by_metric = values(scores)
    assert by_metric["phone/speech_0"] > 98 and by_metric["phone/shared_1"] < 45
    assert by_metric["voice/speech_0"] > 95 and by_metric["voice/shared_1"] < 60
    assert by_metric["word/shared_1"] > 99 and 35 < by_metric["word/speech_0"] < 65
    assert by_metric["phone"] == by_metric["phone/shared_1"] and len(items) == 60
    assert sum(item["phone"][0] for item in items) / 480 * 100 == pytest.approx(by_metric["phone"])
    phone, word = task.baselines([], rows)
    assert (phone.metric, word.metric) == ("phone", "word") and 40 < word.value < 60
    taught, asked = (np.concatenate([[p for _, p in row["phones"]] for row in rows[half]]) for half in (TRAIN, TEST))
    assert (
        phone.value == pytest.approx(100 * (asked == max(set(taught), key=list(taught).count)).mean())
        and phone.value < 40
    )
    silent, _ = task.score([{"id": row["id"], "text": row["text"], "seconds": 1.0} for row in rows], heard)
    assert {score.metric.split("/")[0] for score in silent} == {"word"}


def test_loss_drop_by_layer_by_hand():
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
    hypotheses = [
        {"shared_0": Losses(1, 3.0, 3.0), "shared_1": Losses(1, 2.0, 5.0)},
        {"shared_0": Losses(3, 9.0, 9.0), "shared_1": Losses(3, 6.0, 7.0)},
    ]
    scores, items = PairingByLayer(PairingByLayer.Config()).score(rows, hypotheses)
    assert values(scores) == {"loss_drop": 1.0, "loss_drop/shared_0": 0.0, "loss_drop/shared_1": 1.0}
    assert items[1]["loss_drop/shared_1"] == [1.0, 3]


def test_score_stages_write_every_layer(tmp_path):
    """On a real leaf; at the top layer they agree with the measures of the top alone."""
    from ablate.tasks.registry import TASKS

    world = World(tmp_path)
    leaf = world.pretrain("contrastive", "masked_text", "tlm", steps=2, phase="decay")
    world.run(leaf)
    names = ("alignment_by_layer", "probes_by_layer", "pairing_by_layer", "retrieval", "pairing")
    results = {name: values_of(world.run(world.score(TASKS[name], ("pretrain", leaf)))) for name in names}
    assert results["alignment_by_layer"]["recall@1"] == results["retrieval"]["recall@1"]
    assert results["pairing_by_layer"]["loss_drop/shared_2"] == pytest.approx(results["pairing"]["loss_drop"], abs=1e-5)
    assert abs(results["pairing_by_layer"]["loss_drop/shared_0"]) < 1e-6  # text has not met speech there
    layers = {name.split("/")[1] for name in results["probes_by_layer"] if "/" in name}
    assert layers == {"speech_0", "speech_1", "shared_0", "shared_1", "shared_2"}


def values_of(run):
    import json

    return {score["metric"]: score["value"] for score in json.loads((run.path / "result.json").read_text())["scores"]}
