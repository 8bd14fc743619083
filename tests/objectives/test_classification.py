"""Pooling, cross-entropy and regression by hand."""

from __future__ import annotations

import math

import pytest
import torch
from supervision import ports, text, view, vocabulary

from encoders.batch import Batch, Layout, Text
from encoders.encoding import Encoding
from objectives.classification import Classification, pooled
from objectives.objective import ViewContext


def planted() -> Encoding:
    x_ND = torch.tensor([[1.0, 0], [3, 2], [5, 5], [0, 1], [0, 3]])
    return Encoding({"joint": x_ND}, Layout((3, 2), ("text", "text")))


def test_pooling():
    assert torch.equal(pooled(planted(), "mean"), torch.tensor([[3, 7 / 3], [0, 2]]))
    assert torch.equal(pooled(planted(), "first"), torch.tensor([[1.0, 0], [0, 1]]))
    with pytest.raises(ValueError, match="pool is 'max'"):
        Classification.Config(pool="max")


def test_cross_entropy_accuracy_and_labels():
    objective = Classification.Config(pool="first").build(ports(2), ("bad", "good")).eval().requires_grad_(False)
    with torch.no_grad():
        objective.output.weight.copy_(torch.eye(2))
        objective.output.bias.zero_()
    seen = view({"label": ("bad", "bad")}, ())
    term = objective(seen, planted(), {})["classification"]
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert float(term.total) == pytest.approx(right + wrong)
    assert term.metrics["accuracy"] == (1, 2.0)
    assert objective.counts(seen) == {"classification": 2.0}
    assert objective.decode(planted()) == ["bad", "good"]


def test_a_label_of_dev_that_training_has_not_is_wrong_and_counts_nothing_in_the_loss():
    objective = Classification.Config(pool="first").build(ports(2), ("bad", "good")).eval().requires_grad_(False)
    seen = view({"label": ("bad", "strange")}, ())
    term = objective(seen, planted(), {})["classification"]
    alone = objective(view({"label": ("bad", "bad")}, ()), planted(), {})["classification"]
    assert objective.counts(seen) == {"classification": 1.0} and 0 < float(term.total) < float(alone.total)
    assert term.metrics["accuracy"][1] == 2.0 and int(term.metrics["accuracy"][0]) <= 1
    none = view({"label": ("strange", "odd")}, ())
    assert objective.counts(none) == {"classification": 0.0}
    assert float(objective(none, planted(), {})["classification"].total) == 0.0


def test_regression_is_half_the_squared_error():
    objective = Classification.Config().build(ports(2)).eval().requires_grad_(False)
    with torch.no_grad():
        objective.output.weight.copy_(torch.tensor([[1.0, 0]]))
        objective.output.bias.zero_()
    term = objective(view({"label": (1.0, 4.0)}, ()), planted(), {})["classification"]
    assert float(term.total) == pytest.approx((2**2 + 4**2) / 2)
    assert objective.decode(planted()) == [3.0, 0.0]


def test_hidden_tokens_are_tokens_and_only_in_training():
    objective = Classification.Config(hidden=0.5).build(ports(), ("bad", "good"))
    ids = [4, *range(7, 12), *range(7, 12), 5]
    lines = text(*[ids] * 40)
    batch = Batch(Text(lines.ids_S, lines.lengths, tuple(range(40))))
    context = ViewContext((), vocabulary(), 0)
    shown = objective.view.build(batch, context).inputs.ids_S.view(40, -1)
    assert (shown[:, 0] == 4).all() and (shown[:, -1] == 5).all()
    assert 0.4 < (shown[:, 1:-1] == vocabulary().mask).float().mean() < 0.6
    assert len({tuple(row.tolist()) for row in shown}) > 20, "each text has draws of its own"
    assert torch.equal(objective.eval().view.build(batch, context).inputs.ids_S, lines.ids_S)
