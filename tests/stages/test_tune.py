"""Tuning: grids become fine-tunings and a choice, all seeds take the winner's settings; and an encoder that waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import ENCODER, World

from ablate.errors import UserError
from ablate.stages import tune
from ablate.stages.finetune import FinetuneStage, encoder_factor
from ablate.stages.registry import make
from ablate.stages.score import ScoreStage
from ablate.stages.tuned import settled
from ablate.sweepfile import grid as grid_of
from ablate.sweepfile.typed import typed
from ablate.tasks.registry import TASKS
from ablate.training import checkpoint

SENTIMENT = replace(TASKS["sentiment"], tokenizer=None, steps=20, evaluate_every=10)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("runs"))
    world.leaf = world.pretrain("masked_text", steps=0, phase="decay")
    world.base = [*world.task("sentiment", "train", "dev"), ("pretrain", world.leaf)]
    return world


@pytest.fixture(scope="module")
def chosen(world):
    """A grid over pooling, and the choice: 0 is mean, 1 is first."""
    points = [{"head.pool": "mean"}, {"head.pool": "first"}]
    tried = grid_of.choices({}, {"head.pool": ["mean", "first"]}, "tasks.sentiment", made)
    assert [point for point, _ in tried] == points
    parents = world.base
    tuned = [
        world.add(make("finetune", FinetuneStage(encoder=ENCODER, task=task), parents, "tried")) for _, task in tried
    ]
    for id in tuned:
        world.run(id)
    of = tune.TuneStage(settings=tuple(points))
    return world.add(make("tune", of, [(f"finetune/{n}", id) for n, id in enumerate(tuned)], "tuned")), tuned


def made(patch, path):
    head = replace(SENTIMENT.head, pool=patch.get("head", {}).get("pool", "mean"))
    return replace(SENTIMENT, head=head, lr=patch.get("lr", SENTIMENT.lr))


def test_the_best_dev_score_wins_and_all_are_on_record(world, chosen):
    id, tuned = chosen
    result = world.run(id).result()
    values = [world.run(one).result()["dev"]["value"] for one in tuned]
    assert [one["dev"] for one in result["tried"]] == values and [one["id"] for one in result["tried"]] == tuned
    assert result["winner"] == tuned[values.index(max(values))] and result["dev"]["value"] == max(values)
    assert result["chosen"] == {"head.pool": "mean" if values[0] >= values[1] else "first"}


def test_every_seed_takes_the_winners_settings_and_the_tuned_seed_its_run(world, chosen):
    id, _ = chosen
    world.run(id)
    winner = world.run(world.run(id).result()["winner"])
    parents = [*world.base, ("tune", id)]
    for seed in (0, 1):
        stage = world.add(make("finetune", FinetuneStage(encoder=ENCODER, task=SENTIMENT, seed=seed), parents, "seed"))
        run = world.run(stage)
        assert run.result().get("adopted") == (winner.id if seed == 0 else None)
        mine, best = (checkpoint.of(folder).weights for folder in (run, winner))
        assert all(torch.equal(mine[k], best[k]) for k in best) == (seed == 0)
    again = FinetuneStage(encoder=ENCODER, task=SENTIMENT, draw=1)  # another one of the leaf that was tuned
    other = world.run(world.add(make("finetune", again, parents, "draw")))
    assert "adopted" not in other.result()
    assert not all(torch.equal(checkpoint.of(other).weights[k], best[k]) for k in best)
    config = settled(FinetuneStage(encoder=ENCODER, task=SENTIMENT), {"tune": world.run(id)})
    assert config.task.head.pool == world.run(id).result()["chosen"]["head.pool"]
    tested = world.task("sentiment", "train", "test")
    scored = world.add(
        make(
            "score",
            ScoreStage(encoder=ENCODER, task=SENTIMENT, seed=1),
            [*tested, ("tune", id), ("finetune", stage)],
            "s",
        )
    )
    assert world.run(scored).result()["scores"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"lr": 1e-3}, "tasks.x.tune.lr: expected a list of values to try, found 0.001"),
        ({"lr": []}, "expected a list"),
        ({"tokenizer.size": [100, 200]}, "cannot be tuned"),
        ("lr", "tasks.x.tune: expected a mapping"),
    ],
)
def test_mistakes_in_a_grid_are_named(grid, message):
    with pytest.raises(UserError, match=message):
        grid_of.choices({}, grid, "tasks.x", made)


def test_a_task_without_training_cannot_be_tuned():
    with pytest.raises(UserError, match="trains nothing"):
        grid_of.choices({}, {"candidates": [10, 20]}, "tasks.retrieval", lambda patch, path: TASKS["retrieval"])


def test_dotted_names_are_nested():
    assert grid_of.nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


def test_a_frozen_encoder_stays_then_warms_up():
    how = replace(SENTIMENT, steps=100, frozen=0.2, warmup=0.1)
    factors = [encoder_factor(step, how) for step in range(100)]
    assert set(factors[:20]) == {0.0} and factors[20] == pytest.approx(1 / 8) and factors[27] == 1
    assert factors[99] < 0.05


def test_frozen_weights_do_not_move_while_the_head_learns(world):
    frozen = replace(SENTIMENT, steps=10, frozen=0.9, evaluate_every=9, patience=0)
    parents = world.base
    run = world.run(world.add(make("finetune", FinetuneStage(encoder=ENCODER, task=frozen), parents, "frozen")))
    assert run.result()["best_step"] == 9, "the first of equal scores is kept, and it is from before the thaw"
    mine, before = (checkpoint.of(folder).weights for folder in (run, world.run(world.leaf)))
    encoder = [k for k in mine if k.startswith("encoder.")]
    assert encoder and all(torch.equal(mine[k], before[k]) for k in encoder)
    with pytest.raises(UserError, match="frozen: expected a number from 0 to below 1, found 1.5"):
        typed(SENTIMENT, {"frozen": 1.5}, "tasks.sentiment")
