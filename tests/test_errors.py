"""Parts of messages: names close to a wrong one, counts with their nouns, values as a file has them."""

import pytest

from ablate.errors import as_written, close, nearest, plural


@pytest.mark.parametrize(
    ("count", "noun", "verb", "said"),
    [
        (1, "stage", "are", "1 stage is"),
        (2, "stage", "are", "2 stages are"),
        (0, "stage", "were", "0 stages were"),
        (1, "", "were", "1 was"),
        (12345, "row", "", "12,345 rows"),
    ],
)
def test_a_count_inflects_its_noun_and_verb(count, noun, verb, said):
    assert plural(count, noun, verb) == said


def test_close_names():
    assert close("jiont", ["joint", "alone"]) == "joint" and close("x", ["joint"]) is None
    assert nearest("x", ["joint"]) == "valid: joint." and nearest("x", []) == "valid: none."


def test_values_are_shown_as_a_file_has_them():
    assert as_written({"a": [True, None, 1.5, "x"]}) == "{a: [true, null, 1.5, 'x']}"
