"""BLEU in the words of the target language: counted by hand, beside sacrebleu's, and for each direction of a table."""

from __future__ import annotations

import pytest
from sacrebleu.metrics import BLEU, CHRF

from ablate.data.spelling import OWN_WORDS, language
from ablate.tasks.registry import TASKS
from ablate.tasks.scoring import metrics
from ablate.tasks.scoring.metrics import NGrams

CHINESE = ["我们今天去北京看了很多有意思的地方。", "他说明天会下雨，所以不去了。"]
SAID = ["我们今天去北京看了许多有意思的地方。", "他说明天要下雨，所以他不去了。"]


def scores(directions, references, hypotheses):
    rows = [
        {"id": str(n), "text": "", "translation": reference} | ({"direction": direction} if direction else {})
        for n, (direction, reference) in enumerate(zip(directions, references))
    ]
    task = TASKS["translation"].build()
    made, items = task.score(rows, hypotheses)
    again = metrics.bleu_of([NGrams(i["matches"], i["totals"], i["sys_len"], i["ref_len"]) for i in items])
    assert again == pytest.approx(made[0].value, abs=1e-9), "items are not enough to compute BLEU again"
    assert {(one.name, one.metric) for one in task.baselines(rows, rows)} == {
        (name, metric.name) for name in ("best constant", "copy of the transcript") for metric in task.metrics
    }
    return {score.metric: score for score in made}


def test_counts_by_hand():
    assert metrics.ngrams(["我们今天。"], ["我们明天。"], ["zh-CN"]) == [NGrams((4, 2, 0, 0), (5, 4, 3, 2), 5, 5)]
    assert metrics.ngrams(["我们今天"], ["我们今天"], ["de"]) == [NGrams((1, 0, 0, 0), (1, 0, 0, 0), 1, 1)]
    assert metrics.ngrams(["ไปไหน"], ["ไปนี่"], ["th"])[0].totals == (5, 4, 3, 2)


@pytest.mark.parametrize("direction", ["en_zh-CN", "en_zh_TW", "en_cmn", "de_yue"])
def test_chinese(direction):
    found = scores([direction] * 2, CHINESE, SAID)
    assert found["bleu"].value == pytest.approx(BLEU(trg_lang="zh").corpus_score(SAID, [CHINESE]).score, abs=1e-9)
    assert round(found["bleu"].value, 1) == 72.8 and "|tok:zh|" in found["bleu"].signature
    assert found["chrfpp"].value == CHRF(word_order=2).corpus_score(SAID, [CHINESE]).score
    assert "nw:2" in found["chrfpp"].signature and "nw:0" in found["chrf"].signature


@pytest.mark.parametrize("code", ["ja", "ko", "th", "lo", "km", "my", "bo", "jpn", "tha"])
def test_characters_where_nothing_segments(code, monkeypatch):
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda package: None)
    metrics._tokenizer.cache_clear()
    found = scores([f"en_{code}"], ["これは本です"], ["これは木です"])
    metrics._tokenizer.cache_clear()
    assert "|tok:char|" in found["bleu"].signature
    assert found["bleu"].value == pytest.approx(
        BLEU(tokenize="char").corpus_score(["これは木です"], [["これは本です"]]).score, abs=1e-9
    )


@pytest.mark.parametrize("code, tokenizer", [("ja", "ja-mecab"), ("ko", "ko-mecab"), ("th", "char")])
def test_mecab_where_it_is_installed(code, tokenizer, monkeypatch):
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda package: package)
    metrics._tokenizer.cache_clear()
    assert metrics.tokenizers(["x"], [code]) == [tokenizer]
    metrics._tokenizer.cache_clear()


@pytest.mark.parametrize("direction", ["en_de", "zh-CN_en", "qu_es", "", "en_fa"])
def test_others_are_counted_as_before(direction):
    references, hypotheses = ["Das Haus ist alt , aber schön .", "Ja"], ["Das Haus ist alt und schön .", "Ja"]
    found = scores([direction] * 2, references, hypotheses)["bleu"]
    expected = BLEU()
    assert found.value == expected.corpus_score(hypotheses, [references]).score
    assert found.signature.startswith(f"{expected.get_signature()}|beam")


def test_without_a_direction_the_script_decides():
    assert "|tok:char|" in scores([""] * 2, CHINESE, SAID)["bleu"].signature


def test_each_direction_of_a_split_has_its_own():
    references, hypotheses = [CHINESE[0], "the cat sat on the mat ."], [SAID[0], "the cat sat on a mat ."]
    found = scores(["de_zh-CN", "de_en"], references, hypotheses)["bleu"]
    assert "|tok:13a+zh|" in found.signature
    counts = metrics.ngrams(references[:1], hypotheses[:1], ["zh"]) + metrics.ngrams(references[1:], hypotheses[1:])
    assert found.value == metrics.bleu_of(counts) and [c.sys_len for c in counts] == [18, 7]


def test_languages():
    assert [language(code) for code in ("zh-CN", "cmn_hans", "pt-BR", "jpn", "", "EN")] == [
        "zh",
        "zh",
        "pt",
        "ja",
        "",
        "en",
    ]
    assert {code for code in OWN_WORDS if metrics.tokenizers(["x"], [code]) != ["13a"]} == OWN_WORDS
