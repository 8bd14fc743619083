"""What users of other toolkits reported of scores, tried here."""

import random

import pytest

from ablate.tasks.scoring import metrics


@pytest.mark.parametrize("separator", "\r\n\t\x0b\x0c\x1c\x85\u00a0\u2028\u2029\u3000")
def test_what_separates_lines_elsewhere_is_a_space_and_never_another_item(separator):
    reference, hypothesis = f"one two{separator}three four five", "one two three four five"
    assert metrics.word_errors([reference, "a"], [hypothesis, "a"])[0] == metrics.Errors(0, 0, 0, 5)
    assert metrics.bleu([reference, "a b c d"], [hypothesis, "a b c d"])[0] == pytest.approx(100)
    assert metrics.bleu_of(metrics.ngrams([reference], [hypothesis])) == pytest.approx(100)


def test_errors_of_all_items_are_the_sums_of_each_ones():
    drawn = random.Random(0)
    sides = [[" ".join(drawn.choices("abcde", k=drawn.randint(0, 8))) for _ in range(200)] for _ in range(2)]
    each = [metrics.word_errors([r], [h])[0] for r, h in zip(*sides)]
    assert metrics.word_errors(*sides) == each
    assert sum(e.units for e in each) == sum(len(r.split()) for r in sides[0])


@pytest.mark.parametrize(
    "one, other", [("20mm", "20 mm"), ("3.5", "35"), ("1,000", "1000"), ("it's", "it is"), ("hmm", "")]
)
def test_numbers_and_words_are_never_rewritten(one, other):
    assert metrics.word_errors([one], [other])[0].total
