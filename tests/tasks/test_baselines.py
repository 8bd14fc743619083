"""Shallow rules, each on data where its value is known."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.tasks.registry import TASKS
from ablate.tasks.scoring import baselines
from ablate.tasks.scoring.agreement import accuracy


def baseline_values(name: str, train: list[dict], test: list[dict]) -> dict[tuple[str, str], float]:
    return {(b.name, b.metric): b.value for b in TASKS[name].build().baselines(train, test)}


def test_majority():
    assert baselines.majority(["a", "b", "b"]) == "b"
    assert baselines.majority([1, 0]) == 1


def test_overlap():
    assert baselines.overlap("a b c", "B c d") == 0.5
    assert baselines.overlap("", "") == 0


def test_overlap_rule_learns_threshold_and_direction():
    alike, unlike = ("a b c", "a b c"), ("a b c", "x y z")
    train = [alike, unlike, ("a b", "a c"), ("a b", "a b d")]
    assert baselines.overlap_rule(train, ["no", "yes", "yes", "no"], [alike, unlike]) == ["no", "yes"]


def test_overlap_rule_without_signal_is_the_majority():
    train = [("a", "a")] * 5
    assert baselines.overlap_rule(train, [1, 1, 1, 0, 0], [("a", "b"), ("a", "a")]) == [1, 1]


def test_overlap_rule_never_gains_from_test_labels():
    rng = np.random.default_rng(0)
    pairs = [("a b c d", " ".join(rng.choice(list("abcdefgh"), 4))) for _ in range(400)]
    labels = list(rng.integers(2, size=400))
    guesses = baselines.overlap_rule(pairs[:200], labels[:200], pairs[200:])
    assert accuracy(guesses, labels[200:]) == pytest.approx(50, abs=8)


def test_best_constant():
    train = ["c d e", "a b", "a b", "a"]

    def wrong(references: list[str], hypotheses: list[str]) -> int:
        return sum(r != h for r, h in zip(references, hypotheses))

    assert baselines.best_constant(train, wrong) == "a b"


def test_line():
    assert baselines.line([1, 2, 3], [5, 7, 9]) == pytest.approx((2, 3))
    assert baselines.line([4, 4], [1, 3]) == (0, 2)


def test_recognition():
    train = [{"text": "the dog"}] * 2 + [{"text": "a"}]
    test = [{"text": "the cat"}, {"text": "the dog"}]
    assert baseline_values("asr", train, test) == {
        ("empty output", "wer"): 100,
        ("empty output", "cer"): 100,
        ("best constant", "wer"): 25,
        ("best constant", "cer"): pytest.approx(100 * 3 / 14),
    }


def test_normalization_copies():
    test = [{"id": "1", "written": "May 5", "spoken": "may fifth"}, {"id": "2", "written": "Go on", "spoken": "go on"}]
    lower, cased = [{"written": "Hi", "spoken": "hi"}], [{"written": "Hi", "spoken": "Hi"}]
    for train, wrong in ((lower, 50), (cased, 100)):
        values = baseline_values("normalization", train, test)
        assert (values["copy", "ser"], values["copy", "wer"]) == (wrong, 25)
    ended = [{"id": "1", "written": "Go on.", "spoken": "go on"}]
    assert baseline_values("normalization", ended, ended)["copy", "ser"] == 0


def test_normalization_reads_no_more_of_train_than_it_learns_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "LEARNT", 1)
    rows = [
        {"id": "1", "written": "Go on", "spoken": "go on"},
        {},  # of millions of sentences, read from disk one by one
    ]
    assert baseline_values("normalization", rows, rows[:1])["copy", "ser"] == 0


def test_normalization_looks_up_what_train_says():
    rows = [
        ("Anna met Paul on May 5.", "anna met paul on may fifth"),
        ("Anna paid $21.", "anna paid twenty one dollars"),
    ]
    train, test = (
        [{"id": "", "written": written, "spoken": spoken} for written, spoken in part]
        for part in (
            rows,
            [
                ("Paul paid $21 on May 5.", "paul paid twenty one dollars on may fifth"),
                ("Paul paid $3.", "paul paid three dollars"),
            ],
        )
    )
    values = baseline_values("normalization", train, test)
    assert values["copy", "ser"] == 100 and values["dictionary", "ser"] == 50


def test_a_dictionary_has_words_and_runs():
    table = baselines.dictionary(
        ["on may 5", "the 960 m wall", "the 12 m", "etc and so", "a b"],
        ["on may fifth", "the nine hundred sixty meters wall", "the twelve meters", "and so", "c"],
    )
    assert table["5",] == "fifth" and table["960",] == "nine hundred sixty" and table["m",] == "meters"
    assert table["the",] == "the" and table["etc",] == "" and table["a", "b"] == "c"
    assert baselines.looked_up("the a b etc x 5", table) == "the c x fifth"
    assert baselines.looked_up("a", {}) == "a" and baselines.looked_up("", table) == ""


def test_features_of_texts():
    assert baselines.words("The dog the") == {"the", "dog"}
    assert baselines.bigrams("not bad") == {"not", "bad", "< not", "not bad", "bad >"}
    assert baselines.changed("in paris now", "in france now") == {"-paris", "+france"}
    assert baselines.exchanged("in paris on may", "in france") == {"paris/france", "on/france", "may/france"}


def test_naive_bayes_by_hand():
    train, labels = [{"a", "b"}, {"a"}, {"b", "c"}], ["x", "x", "y"]
    # of a: x 2/3 * 3/6, y 1/3 * 1/5; of c: x 2/3 * 1/6, y 1/3 * 2/5; of nothing known: the more frequent label
    assert baselines.naive_bayes(train, labels, [{"a"}, {"c"}, {"new"}]) == ["x", "y", "x"]
    assert baselines.naive_bayes(train, labels, [{"b"}, set()]) == ["x", "x"]  # of b: x 2/3 * 2/6, y 1/3 * 2/5


def test_naive_bayes_never_gains_from_test_labels():
    rng = np.random.default_rng(0)
    items = [set(rng.choice(list("abcdefghijklmn"), 4)) for _ in range(800)]
    labels = list(rng.integers(2, size=800))
    guesses = baselines.naive_bayes(items[:400], labels[:400], items[400:])
    assert accuracy(guesses, labels[400:]) == pytest.approx(50, abs=6)


def test_translation():
    train = [{"translation": "das ist ein Haus"}] * 3 + [{"translation": "ja"}]
    test = [{"text": "that is a house", "translation": "das ist ein Haus"}]
    values = baseline_values("translation", train, test)
    assert [values["best constant", metric] for metric in ("bleu", "chrf")] == pytest.approx([100, 100])
    assert values["copy of the transcript", "bleu"] == 0 < values["copy of the transcript", "chrf"] < 50


def test_pairs_have_the_overlap_rule_and_sentences_do_not():
    row = {"text": "a b", "text_b": "a b", "label": "yes"}
    names = {name for name, _ in baseline_values("sentence_pair", [row], [row])}
    assert names == {
        "majority",
        "word overlap",
        "words of the second (naive Bayes)",
        "changed words (naive Bayes)",
        "exchanged words (naive Bayes)",
    }
    names = {name for name, _ in baseline_values("sentiment", [row], [row])}
    assert names == {"majority", "words (naive Bayes)", "bigrams (naive Bayes)"}


def test_bigrams_see_a_negation_that_words_do_not():
    texts = ("not bad", "bad not", "not good", "good not")  # the label turns on the order alone
    rows = [{"text": text, "label": text.startswith("not")} for text in texts]
    values = baseline_values("sentiment", rows, rows)
    assert values["bigrams (naive Bayes)", "accuracy"] == 100 and values["words (naive Bayes)", "accuracy"] == 50
