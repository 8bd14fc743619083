"""Texts after reading: composed, in lower case; and those whose score no rule of scripts can change."""

from __future__ import annotations

import itertools
import sys
import unicodedata

import pytest

from ablate.data.builtin.corpus import BuiltinConfig
from ablate.data.spelling import composed, lowered, plain
from ablate.tasks.scoring.words import normalise


def test_lower_case_of_composed_text_is_composed():
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code < 0xE000:
            text = lowered(composed(chr(code)))
            assert composed(text) == text, hex(code)


def test_dotted_i():
    assert lowered("İSTANBUL Işık") == "istanbul işık"
    assert lowered(composed("I\u0307zmir")) == "izmir"


def test_composed_orders_marks():
    assert composed("a\u0323\u0302") == composed("a\u0302\u0323") == "ậ"
    assert composed("한") == "한" == composed(unicodedata.normalize("NFD", "한"))


@pytest.mark.parametrize("text", ["", "don't", 'it\'s "fine", (5 %)', "3'4"])
def test_plain(text):
    assert plain(text)


@pytest.mark.parametrize("text", ["the dogs' day", "'tis", "don`t", "don’t", "naïve", "a ' b"])
def test_not_plain(text):
    assert not plain(text)


def test_spoken_texts_of_the_builtin_world_are_plain_and_composed():
    """So its results are those of before there were rules about marks and quotes."""
    config = BuiltinConfig()
    for table, fields in {"asr": ("text",), "translation": ("text",), "normalization": ("spoken",)}.items():
        (sample,) = config.split(table, "test").config.samples
        rows = [entry.row_of(table) for entry in itertools.islice(sample.entries(), 300)]
        for field, row in itertools.product(fields, rows):
            assert plain(row[field]) and normalise(row[field]) == " ".join(row[field].replace(",", "").split())
        for row in rows:
            assert all(composed(text) == text for text in row.values() if isinstance(text, str))
