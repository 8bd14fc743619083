"""Shallow rules, each on data where its value is known."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.tasks import TASKS, baselines


def found(name: str, train: list[dict], test: list[dict]) -> dict[tuple[str, str], float]:
    return {(b.name, b.metric): b.value for b in TASKS[name].build().baselines(train, test)}


def test_majority():
    assert baselines.majority(["a", "b", "b"], ["a", "b", "a", "a"]) == 25
    assert baselines.majority([1, 0], [0, 0, 1, 1]) == 50


def test_overlap():
    assert baselines.overlap("a b c", "B c d") == 0.5
    assert baselines.overlap("", "") == 0


def test_overlap_rule_learns_threshold_and_direction():
    alike, unlike = ("a b c", "a b c"), ("a b c", "x y z")
    train = [alike, unlike, ("a b", "a c"), ("a b", "a b d")]
    assert baselines.overlap_rule(train, ["no", "yes", "yes", "no"], [alike, unlike], ["no", "yes"]) == 100
    assert baselines.overlap_rule(train, ["no", "yes", "yes", "no"], [alike, unlike], ["yes", "yes"]) == 50


def test_overlap_rule_without_signal_is_the_majority():
    train = [("a", "a")] * 5
    assert baselines.overlap_rule(train, [1, 1, 1, 0, 0], [("a", "b"), ("a", "a")], [1, 0]) == 50


def test_overlap_rule_never_gains_from_test_labels():
    rng = np.random.default_rng(0)
    pairs = [("a b c d", " ".join(rng.choice(list("abcdefgh"), 4))) for _ in range(400)]
    labels = list(rng.integers(2, size=400))
    assert baselines.overlap_rule(pairs[:200], labels[:200], pairs[200:], labels[200:]) == pytest.approx(50, abs=8)


def test_best_constant():
    train = ["c d e", "a b", "a b", "a"]
    wrong = lambda references, hypotheses: sum(r != h for r, h in zip(references, hypotheses))
    assert baselines.best_constant(train, wrong) == "a b"


def test_line():
    assert baselines.line([1, 2, 3], [5, 7, 9]) == pytest.approx((2, 3))
    assert baselines.line([4, 4], [1, 3]) == (0, 2)


def test_recognition():
    train = [{"text": "the dog"}] * 2 + [{"text": "a"}]
    test = [{"text": "the cat"}, {"text": "the dog"}]
    assert found("asr", train, test) == {("empty output", "wer"): 100, ("best constant", "wer"): 25}


def test_normalization_copies():
    test = [{"id": "1", "written": "May 5", "spoken": "may fifth"}, {"id": "2", "written": "Go on", "spoken": "go on"}]
    lower, cased = [{"written": "Hi", "spoken": "hi"}], [{"written": "Hi", "spoken": "Hi"}]
    assert found("normalization", lower, test) == {("copy", "ser"): 50, ("copy", "wer"): 25}
    assert found("normalization", cased, test) == {("copy", "ser"): 100, ("copy", "wer"): 25}


def test_translation():
    train = [{"translation": "das ist ein Haus"}] * 3 + [{"translation": "ja"}]
    test = [{"text": "that is a house", "translation": "das ist ein Haus"}]
    values = found("translation", train, test)
    assert values["best constant", "bleu"] == pytest.approx(100)
    assert values["copy of the transcript", "bleu"] == 0


def test_pairs_have_the_overlap_rule_and_sentences_do_not():
    row = {"text": "a b", "text_b": "a b", "label": "yes"}
    assert set(found("sentence_pair", [row], [row])) == {("majority", "accuracy"), ("word overlap", "accuracy")}
    assert set(found("sentiment", [row], [row])) == {("majority", "accuracy")}
