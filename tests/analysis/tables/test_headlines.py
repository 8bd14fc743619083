"""The character error rate stands before the word error rate where the records have it first."""

from types import SimpleNamespace

import pandas as pd

from analysis.table import _headlines


def test_cer_comes_first_where_words_are_characters():
    lines = [("zh", "cer"), ("zh", "wer"), ("en", "wer"), ("en", "cer")]
    scores = pd.DataFrame(lines, columns=["task", "metric"]).assign(split="test", better="lower", unit="%")
    records = type("Fake", (SimpleNamespace,), {"__hash__": object.__hash__})(
        name="x", sweep={"tasks": {"zh": {}, "en": {}, "st": {}}}, scores=scores
    )
    names = ["zh.wer", "zh.cer", "en.wer", "en.cer", "zh.test.wer", "st"]
    assert _headlines(names, records) == ["zh.cer", "zh.wer", "en.wer", "en.cer", "zh.test.wer", "st"]
