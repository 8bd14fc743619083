"""Words, characters and their errors in many scripts, counted by hand; words that are equal however they are typed."""

from __future__ import annotations

import unicodedata

import pytest

from ablate.tasks.registry import TASKS
from ablate.tasks.scoring import metrics
from ablate.tasks.scoring.words import normalise, unspaced, words

# Reference, hypothesis; words and word errors; characters and character errors.
COUNTED = {
    "Hindi": ("नमस्ते दुनिया यह एक परीक्षण है", "नमस्ते दुनिया यह एक परीक्षा है", 6, 1, 30, 1),
    "Tamil": ("தமிழ் மொழி", "தமிழ மொழி", 2, 1, 10, 1),
    "Thai": ("น้ำแข็ง", "นำแข็ง", 5, 1, 7, 1),
    "vowelled Arabic": ("كِتَابٌ جَدِيدٌ", "كِتَابٌ جَدِيدُ", 2, 1, 15, 1),
    "pointed Hebrew": ("שָׁלוֹם עוֹלָם", "שלום עוֹלָם", 2, 1, 14, 3),
    "Yoruba": ("ọjọ́ dára", "ọjọ dara", 2, 2, 9, 2),
    "Vietnamese": ("Tiếng Việt", "tiêng việt", 2, 1, 10, 1),
    "Turkish": ("İstanbul güzel", "istanbul güzel", 2, 0, 14, 0),
    "Chinese": ("我们今天，去北京。", "我们今天去南京", 7, 1, 7, 1),
    "Japanese": ("ガラスを食べる", "カラスを食べる", 7, 1, 7, 1),
    "Korean": ("한국어 공부", "한국말 공부", 2, 1, 6, 1),
    "Greek": ("Ο ΔΡΌΜΟΣ", "ο δρόμος", 2, 0, 8, 0),
    "Russian": ("Ещё день", "еще день", 2, 1, 8, 1),
    "Persian with a non-joiner": ("می\u200cخواهم بروم", "میخواهم بروم", 2, 1, 13, 1),
    "Sinhala with a joiner": ("ශ්\u200dරී ලංකා", "ශ්රී ලංකා", 2, 1, 10, 1),
    "Khmer": ("ខ្ញុំ", "ខញុំ", 2, 1, 5, 1),
    "Chinese and English": ("我 love 你们", "我 loved 你们", 4, 1, 7, 1),
}


@pytest.mark.parametrize("language", COUNTED)
def test_errors_counted_by_hand(language):
    reference, hypothesis, count, wrong, characters, wrong_characters = COUNTED[language]
    for form in ("NFC", "NFD"):  # however the text is composed
        reference = unicodedata.normalize(form, reference)
        (by_word,) = metrics.word_errors([reference], [hypothesis])
        (by_character,) = metrics.character_errors([reference], [hypothesis])
        assert (by_word.units, by_word.total) == (count, wrong)
        assert (by_character.units, by_character.total) == (characters, wrong_characters)
        assert metrics.word_errors([reference], [reference])[0].total == 0


@pytest.mark.parametrize("apostrophe", "'’‘‛ʼʻʹ′＇`´΄᾽՚׳ꞌ")
def test_an_apostrophe_is_an_apostrophe(apostrophe):
    assert normalise(f"We don{apostrophe}t know") == "we don't know"
    assert words(f"L{apostrophe}été, rock {apostrophe}n{apostrophe} roll") == ["l'été", "rock", "n", "roll"]


EQUAL = (
    (
        "she said 'come home'",
        "She said “come home”",
        "she said ‘come home’",
        "she said «come home»",
        "She said come home",
    ),
    ("the software runs", "the soft\u00adware runs", "the soft\u200bware runs", "\ufeffthe software\u200e runs"),
    ("the dogs' day", "the dogs’ day", "the dogs day"),
    ("ok", "ok 👍🏽", "❤️ ok 👨\u200d👩\u200d👧", "o\u200dk"),
    ('צה"ל', "צה״ל", "צה”ל"),
    ("كتاب", "كتـــاب", "ﻛﺘﺎﺏ"),
    ("ガラス", "ｶﾞﾗｽ", "カ\u3099ラス"),
    ("你好世界", "你好，世界！", "你 好 世 界", "你好\u200b世界"),
    ("น้ำ", "น\u0e49\u0e4d\u0e32"),
    ("five o'clock", "FIVE—o'clock", "five\u00a0o’clock"),
)


@pytest.mark.parametrize("spellings", EQUAL, ids=lambda spellings: spellings[0])
def test_equal_words_are_equal(spellings):
    assert {normalise(one) for one in spellings} == {normalise(spellings[0])}
    assert metrics.error_rate(metrics.word_errors([spellings[0]] * len(spellings), spellings)) == 0
    assert metrics.error_rate(metrics.character_errors([spellings[0]] * len(spellings), spellings)) == 0


@pytest.mark.parametrize(
    "one, other", [("bass", "baß"), ("किताब", "कताब"), ("می\u200cروم", "میروم"), ("resume", "résumé"), ("hes", "he's")]
)
def test_other_words_are_other(one, other):
    assert normalise(one) != normalise(other)


def test_joiners_without_meaning_go():
    assert normalise("ra\u200cdio \u200cok\u200d") == "radio ok"
    assert normalise("کتاب\u200c ها") == "کتاب ها"  # at the end of a word nothing follows that could join
    assert normalise("ന്\u200d") == "ന്\u200d"  # Malayalam's chillu ends words
    assert normalise("র\u200d্যা") == "র\u200d্যা"  # Bengali's ya-phala after ra


def test_marks_without_a_letter_are_no_word():
    assert words("\u0301 a ' \u0301' \ufe0f b") == ["a", "b"]


def test_scripts_without_spaces():
    assert words("ສະບາຍດີ") == ["ສ", "ະ", "ບ", "າ", "ຍ", "ດີ"]
    assert words("2024年3月 OK") == ["2024", "年", "3", "月", "ok"]
    assert unspaced(["我 love 你们", "是的"]) and not unspaced(["한국어 공부", "one 二"]) and not unspaced([""])


def test_without_spaces_the_character_error_rate_comes_first():
    task = TASKS["asr"].build()
    scores, items = task.score([{"id": "1", "text": "我们去北京"}], ["我们去南京"])
    assert [(one.metric, one.value) for one in scores] == [("cer", 20.0), ("wer", 20.0)]
    assert [metrics.BY_CHARACTER in one.signature for one in scores] == [False, True]
    assert items[0]["words"] == items[0]["characters"] == 5
    scores, _ = task.score([{"id": "1", "text": "we go"}], ["we went"])
    assert [one.metric for one in scores] == ["wer", "cer"] and metrics.BY_CHARACTER not in scores[0].signature
