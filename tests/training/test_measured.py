"""An objective of weight 0 changes nothing but its own head: the encoder is the same to the bit with and without."""

from dataclasses import replace

import pytest
from tiny import ENCODER, World

from ablate.store.record import read_jsonl
from ablate.training import checkpoint
from objectives import OBJECTIVES

TRAINED = ("contrastive", "masked_text")
SHAKY = replace(ENCODER, dropout=0.2, conv_norm="batch")  # draws and statistics that another pass could move


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("runs"))


def trained(world, *measured):
    objectives = {name: OBJECTIVES[name] for name in TRAINED} | {
        name: replace(OBJECTIVES[name], weight=0.0) for name in measured
    }
    targets = ("contrastive", "masked_speech")[: 1 + bool(measured)]
    return world.run(world.pretrain(*targets, objectives=objectives, encoder=SHAKY, steps=30))


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - set(TRAINED)))
def test_a_measured_objective_is_inert(world, name):
    alone, beside = trained(world), trained(world, name)
    one, other = checkpoint.of(alone).weights, checkpoint.of(beside).weights
    assert all(one[key].equal(other[key]) for key in one)
    heads = {key.split(".")[2] for key in other.keys() - one.keys()}
    assert heads <= {name}
    norms = [line for line in read_jsonl(beside.files / "metrics.jsonl") if "gradient_norm" in line]
    assert norms and all(("gradient_norm/measured" in line) == bool(heads) for line in norms)


def test_measured_objectives_that_alone_need_targets_are_inert(world):
    """The targets are there for them only: they stand still, and are in no norm that clips the rest."""
    text, beside = (
        world.run(
            world.pretrain(
                "contrastive",
                objectives={"masked_text": OBJECTIVES["masked_text"]}
                | ({"contrastive": replace(OBJECTIVES["contrastive"], weight=0.0)} if measured else {}),
                encoder=SHAKY,
                steps=30,
            )
        )
        for measured in (False, True)
    )
    one, other = checkpoint.of(text).weights, checkpoint.of(beside).weights
    encoder = [key for key in one if key.startswith("encoder.")]
    assert encoder and all(one[key].equal(other[key]) for key in encoder)
    codes = [key for key in other if key.startswith("mixture.targets.")]
    assert codes and all(one[key].equal(other[key]) for key in codes if key in one)
