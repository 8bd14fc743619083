"""GLUE's metrics against SciPy, scikit-learn's published example and by hand; and that items' counts reproduce them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from ablate.errors import UserError
from ablate.sweepfile.typed import typed
from ablate.tasks.registry import GROUPS, TASKS
from ablate.tasks.scoring.agreement import f1, matthews, pearson, spearman
from analysis.records import items


def test_by_hand():
    wanted, predicted = list("yyynn"), list("yynyn")  # 2 hits, 1 false alarm, 1 miss, 1 right rejection
    assert f1(predicted, wanted, "y") == pytest.approx(100 * 2 * 2 / (4 + 1 + 1))
    assert matthews(predicted, wanted, "y") == pytest.approx(100 * (2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))
    assert matthews([1, -1, 1, 1], [1, 1, 1, -1], 1) == pytest.approx(-100 / 3)  # the example in scikit-learn's manual


def test_constants_are_worth_nothing():
    assert matthews(list("yyy"), list("yny"), "y") == f1(list("nnn"), list("nnn"), "y") == 0
    assert pearson([2, 2, 2], [1, 2, 3]) == spearman([2, 2, 2], [1, 2, 3]) == 0


def test_correlations_are_scipys():
    x, y = np.random.default_rng(0).integers(0, 6, (2, 50)).astype(float)
    y = y + x
    assert pearson(x, y) == pytest.approx(100 * scipy.stats.pearsonr(x, y)[0])
    assert spearman(x, y) == pytest.approx(100 * scipy.stats.spearmanr(x, y)[0])


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb", "rte"])
def test_scores_of_a_split_follow_from_its_items(name):
    rng, task = np.random.default_rng(1), TASKS[name].build()
    positive = task.config.positive
    labels = list(rng.uniform(0, 5, 80)) if task.numbers else list(rng.choice([positive or "yes", "no"], 80))
    guesses = [label if rng.random() < 0.6 else labels[i - 1] for i, label in enumerate(labels)]
    rows = [{"id": i, "label": label, "text": "a b", "text_b": "a c"} for i, label in enumerate(labels)]
    scores, lines = task.score(rows, guesses)
    assert [score.metric for score in scores] == list(task.config.metrics)
    for score in scores:
        counts = items.read_counts(lines, score.metric)
        if score.metric == "spearman":
            assert counts is None  # ranks are no sums
        else:
            assert counts.value(np.ones((1, 80)))[0] == pytest.approx(score.value)
    assert {b.metric for b in task.baselines(rows, rows)} == set(task.config.metrics)


def test_perfect_and_constant_predictions():
    task, rows = (
        TASKS["cola"].build(),
        [{"id": i, "label": label} for i, label in enumerate(["acceptable", "unacceptable"] * 5)],
    )
    assert task.score(rows, [row["label"] for row in rows])[0][0].value == 100
    assert task.score(rows, ["acceptable"] * 10)[0][0].value == 0


def test_the_papers_four_are_a_group():
    assert GROUPS["glue"] == ("mnli", "qnli", "qqp", "sst2") and set(GROUPS["glue"]) < set(TASKS)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"metrics": ["acuracy"]}, "did you mean 'accuracy'"),
        ({"metrics": ["accuracy", "pearson"]}, "labels are classes or numbers"),
        ({"metrics": ["f1"]}, "positive is empty"),
    ],
)
def test_mistakes_are_named(patch, message):
    with pytest.raises(UserError, match=message):
        typed(TASKS["sentiment"], patch, "tasks.sentiment")
