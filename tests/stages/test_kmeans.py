"""The kmeans stage: planted clusters are found, equal arguments give equal centroids, pre-training predicts
its codes.
"""

import json
from dataclasses import replace

import pytest
import torch
from tiny import ENCODER, World

from ablate.data.packing import streams
from ablate.data.tokenizer import Tokenizer
from ablate.errors import UserError
from ablate.stages.kmeans import KMeansStage, fit, load, stacked, vectors
from ablate.stages.pretrain import PretrainStage, build, load_encoder
from ablate.stages.registry import make
from ablate.training import checkpoint
from encoders.batch import View, Vocabulary
from objectives import OBJECTIVES
from objectives.kmeans import KMeans, nearest
from objectives.objective import ViewContext
from objectives.views import PairMask

VOCABULARY = Vocabulary(8, (1,) * 8, (False,) * 8)
TARGETS = KMeans.Config(entries=8, positions=200, iterations=30)
SPEECH = {name: replace(OBJECTIVES[name], targets="kmeans") for name in ("contrastive", "masked_speech")}


def planted(clusters=7, each=40, width=12, spread=0.1):
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(clusters, width, generator=rng) * 3
    x = centres.repeat_interleave(each, 0) + spread * torch.randn(clusters * each, width, generator=rng)
    return x[torch.randperm(len(x), generator=rng)], centres


@pytest.mark.parametrize("key", range(5))
def test_planted_clusters_are_found(key):
    x, centres = planted()
    centroids = fit(x, 7, 50, key)
    assert sorted(nearest(centroids, centres)[0].tolist()) == list(range(7))
    assert nearest(centroids, centres)[1].max() < 0.1


def test_the_end_is_a_fixed_point_each_centroid_the_mean_of_its_own():
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(1))
    centroids = fit(x, 6, 200, 0)
    ids, _ = nearest(x, centroids)
    means = torch.stack([x[ids == v].mean(0) for v in range(6)])
    torch.testing.assert_close(centroids, means, rtol=1e-4, atol=1e-5)


def test_rounds_never_lose_ground_and_stop_when_nothing_moves():
    seen = []
    fit(planted(spread=1.0)[0], 9, 100, 3, lambda done, distance: seen.append((done, distance)))
    assert [done for done, _ in seen] == list(range(len(seen))) and 2 < len(seen) < 100
    assert all(b <= a + 1e-5 for (_, a), (_, b) in zip(seen, seen[1:]))


def test_equal_arguments_give_equal_centroids():
    x, _ = planted(spread=1.0)
    assert torch.equal(fit(x, 9, 20, 5), fit(x, 9, 20, 5)) and not torch.equal(fit(x, 9, 20, 5), fit(x, 9, 20, 6))


def test_a_centroid_without_rows_moves_to_the_row_farthest_off(monkeypatch):
    x = torch.tensor([[0.0], [0.2], [10.0], [10.2], [50.0]])
    monkeypatch.setattr("ablate.stages.kmeans._start", lambda *_: torch.tensor([[0.0], [30.0], [100.0]]))
    assert sorted(round(float(v), 3) for v in fit(x, 3, 20, 0)) == [0.1, 10.1, 50.0]


def test_too_few_distinct_rows_are_refused():
    with pytest.raises(UserError, match="needs 4 entries.* has 2 distinct positions"):
        fit(torch.tensor([[0.0], [1.0]]).repeat(10, 1), 4, 5, 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def fitted(world):
    return world.add(
        make(
            "kmeans",
            KMeansStage.of(TARGETS),
            [("table/speech", world.supply.table(world.data, "speech", "train"))],
            "k-means",
        )
    )


def test_the_stage_fits_stacked_log_mel_of_unlabelled_speech(world, fitted):
    run = world.run(fitted)
    result, (centroids, layer) = run.result(), load(run, VOCABULARY)
    assert layer is None and centroids.shape == (8, 320) and result["positions"] == 200
    assert 0 < result["explained"] < 1 < result["perplexity"] <= 8
    x = vectors(world.opened("speech", "train"), KMeansStage.of(TARGETS), stacked)
    assert float(torch.cdist(x, centroids).min(1).values.square().mean()) == pytest.approx(result["distance"], rel=1e-3)
    lines = [json.loads(line) for line in (run.files / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["distance"] > result["distance"]


def test_all_positions_are_taken_where_there_are_fewer(world):
    table = world.opened("speech", "train")
    x = vectors(table, KMeansStage.of(replace(TARGETS, positions=10**6)), stacked)
    assert len(x) == sum(-(-n // 4) for n in table.frames.tolist())


def test_rows_pretrain_on_its_codes_and_continue(world, fitted):
    world.run(fitted)
    also = {"objectives": SPEECH, "targets": {"kmeans": TARGETS}, "parents": [("kmeans/kmeans", fitted)]}
    trunk = world.pretrain(steps=30, **also)
    world.run(trunk)
    also["objectives"] = SPEECH | {"tlm": replace(OBJECTIVES["tlm"], targets="kmeans")}
    leaf = world.pretrain(parent=trunk, start=30, steps=10, phase="decay", **also)
    final = world.run(world.heldout(leaf)).result()["final"]
    assert 0 < final["masked_speech/loss"] < torch.tensor(8.0).log() + 0.5
    assert final["tlm/speech"] > 0 and final["contrastive/contrastive"] > 0 and "contrastive/diversity" not in final
    assert not any("centroids" in name for name in checkpoint.of(world.run(leaf)).weights)


def test_a_stage_uses_its_own_parents_centroids(world, fitted):
    config = replace(TARGETS, seed=1)
    other = world.add(
        make(
            "kmeans",
            KMeansStage.of(config),
            [("table/speech", world.supply.table(world.data, "speech", "train"))],
            "k-means",
        )
    )
    stage = PretrainStage(encoder=ENCODER, objectives=SPEECH, targets={"kmeans": config})
    tokenizer = Tokenizer(world.run(world.tokenizer).files)
    model = build(stage, tokenizer, {"kmeans/kmeans": world.run(other)})
    centroids = model.mixture.targets["kmeans"].centroids_VC
    assert torch.equal(centroids, load(world.run(other), VOCABULARY)[0])
    assert not torch.equal(centroids, load(world.run(fitted), VOCABULARY)[0])


@pytest.mark.parametrize("layer", ["features", "speech_tower", "joint"])
def test_a_layer_of_a_finished_row_is_clustered_and_predicted(world, layer):
    """The fit's codes in training are those of the frozen leaf on unmasked speech, whatever the view masks."""
    leaf = world.pretrain("masked_speech", "contrastive", "masked_text", steps=5, phase="decay")
    world.run(leaf)
    config = KMeans.Config(entries=6, positions=200, iterations=20, of="a row", input=layer)
    parents = [*world.read("speech"), ("pretrain", leaf)]
    fitted = world.add(make("kmeans", KMeansStage.of(config, ENCODER), parents, "k-means"))
    run = world.run(fitted)
    assert run.result()["explained"] > 0.05
    tokenizer = Tokenizer(world.run(world.tokenizer).files)
    stage = PretrainStage(encoder=ENCODER, objectives=SPEECH, targets={"kmeans": config}, seed=7)
    model = build(stage, tokenizer, {"kmeans/kmeans": run})
    ids = world.run(world.supply.tokens(world.data, world.tokenizer, "pairs", "train")).files
    (batch,), _ = streams({"pair": world.opened("pairs", "train")}, {"pair": ids}, 0)["pair"].next_update(0, 3)
    lengths = model.encoder.subsampled(batch.inputs.speech.lengths)
    view = PairMask().build(batch, ViewContext(lengths, tokenizer.vocabulary, 0))
    codes = model.mixture.targets["kmeans"](view, model.encoder(view), 0.5)

    teacher = load_encoder(ENCODER, tokenizer.vocabulary, world.run(leaf)).eval()
    x = teacher(View(inputs=batch.inputs.speech)).stages[layer][view.speech_masked_I]
    ids = torch.cdist(x, load(run, tokenizer.vocabulary)[0]).argmin(1)
    assert torch.equal(codes.ids_IG[:, 0], ids) and len(ids.unique()) > 1
    assert not codes.vectors_ID.requires_grad

    trained = world.pretrain(
        objectives=SPEECH, targets={"kmeans": config}, parents=[("kmeans/kmeans", fitted)], steps=10, phase="decay"
    )
    assert world.run(world.heldout(trained)).result()["final"]["masked_speech/loss"] > 0
    names = checkpoint.of(world.run(trained)).weights
    assert not any(name.startswith("mixture.targets") for name in names)  # the teacher stays in its own stage
