"""Word errors by hand, BLEU from items' counts against sacrebleu, and recall on planted embeddings."""

from __future__ import annotations

import pytest
import sacrebleu

from ablate.tasks.registry import TASKS
from ablate.tasks.scoring import metrics
from ablate.tasks.scoring.metrics import Errors, NGrams


def test_word_errors_by_hand():
    references = ["the cat sat", "no", "", "a b c"]
    hypotheses = ["the bat sat down", "", "oops here", "b c"]
    assert metrics.word_errors(references, hypotheses) == [
        Errors(1, 0, 1, 3),
        Errors(0, 1, 0, 1),
        Errors(0, 0, 2, 0),
        Errors(0, 1, 0, 3),
    ]


def test_error_rate_sums_before_it_divides():
    errors = metrics.word_errors(["a b c d", "e"], ["a b c d", "x y"])
    assert metrics.error_rate(errors) == 100 * 2 / 5
    assert metrics.error_rate([]) == 0
    assert metrics.error_rate(metrics.word_errors(["", ""], ["", ""])) == 0


def test_empty_hypotheses_are_all_deletions():
    assert metrics.error_rate(metrics.word_errors(["a b", "c"], ["", ""])) == 100


def test_characters_count_spaces():
    assert metrics.character_errors(["ab cd"], ["abcd"]) == [Errors(0, 1, 0, 5)]
    assert metrics.character_errors(["ab"], ["ba"])[0].total == 2


def test_normalisation_is_what_the_signature_says():
    assert metrics.normalise("  It’s  FIVE—o'clock, isn't_it?\n") == "it's five o'clock isn't it"
    assert "case:lc|punct:no" in metrics.NORMALISED and "jiwer:" in metrics.NORMALISED


REFERENCES = ["Der Hund läuft schnell nach Hause .", "Ja .", "Das Haus ist sehr groß , aber alt .", "Gut gemacht"]
HYPOTHESES = ["Der Hund geht schnell nach Hause", "", "Das Haus ist groß , aber alt und schön .", "Gut"]


def test_bleu_from_items_equals_sacrebleu():
    expected = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES])
    counts = metrics.ngrams(REFERENCES, HYPOTHESES)
    value, signature = metrics.bleu(REFERENCES, HYPOTHESES)
    assert expected.score > 20
    assert metrics.bleu_of(counts) == pytest.approx(expected.score, abs=1e-9)
    assert value == pytest.approx(expected.score, abs=1e-9)
    assert [sum(c.matches[n] for c in counts) for n in range(4)] == list(expected.counts)
    assert "tok:13a" in signature and f"version:{sacrebleu.__version__}" in signature


def test_bleu_counts_by_hand():
    assert metrics.ngrams(["a b c d"], ["a b d"]) == [NGrams((3, 1, 0, 0), (3, 2, 1, 0), 3, 4)]


def test_bleu_of_nothing_is_zero():
    assert metrics.bleu(["a b", "c"], ["", ""])[0] == 0 == metrics.bleu_of(metrics.ngrams(["a b"], [""]))


def test_items_of_a_translation_are_enough_to_compute_its_bleu_again():
    rows = [{"id": str(i), "translation": r, "text": ""} for i, r in enumerate(REFERENCES)]
    scores, items = TASKS["translation"].build().score(rows, HYPOTHESES)
    counts = [NGrams(i["matches"], i["totals"], i["sys_len"], i["ref_len"]) for i in items]
    assert scores[0].metric == "bleu" and metrics.bleu_of(counts) == pytest.approx(scores[0].value, abs=1e-9)
    assert scores[1].metric == "chrf" and "nrefs:1" in scores[1].signature


def test_items_of_a_recognition_are_enough_to_compute_its_wer_again():
    rows = [{"id": "1", "text": "One two"}, {"id": "2", "text": "three"}]
    (wer, cer), items = TASKS["asr"].build().score(rows, ["one too", "three four"])
    edits = sum(item["substitutions"] + item["deletions"] + item["insertions"] for item in items)
    assert wer.value == 100 * edits / sum(item["words"] for item in items) == pytest.approx(200 / 3)
    wrong, all_of_them = (sum(item[key] for item in items) for key in ("character_errors", "characters"))
    assert cer.value == pytest.approx(100 * wrong / all_of_them)


def test_sentence_errors():
    rows = [{"id": "1", "spoken": "five dollars"}, {"id": "2", "spoken": "on may first"}]
    (ser, wer), items = TASKS["normalization"].build().score(rows, ["five  dollars", "on may two"])
    assert (ser.value, [item["correct"] for item in items]) == (50, [1, 0])
    assert wer.value == pytest.approx(100 / 5)
