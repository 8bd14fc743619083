"""What others need comes first, and a cycle is told with its names."""

import pytest

from ablate.errors import UserError
from ablate.sweepfile.order import needed_first


def test_each_comes_once_after_what_it_needs_and_is_asked_once():
    needs, asked = {"a": "db", "b": "c", "c": "", "d": "c", "e": ""}, []

    def ask(name):
        asked.append(name)
        return needs[name]

    assert needed_first("abcde", ask, "rows", "after", "") == ["c", "d", "b", "a", "e"]
    assert sorted(asked) == [*"abcde"]


def test_a_long_ladder_takes_no_time_that_doubles_with_each_rung():
    needs = {str(n): [str(n + 1)] * 2 if n < 60 else [] for n in range(61)}
    assert needed_first(needs, needs.get, "rows", "needs", "") == [str(n) for n in range(60, -1, -1)]


@pytest.mark.parametrize(
    ("needs", "told"),
    [({"a": "a"}, "a after a"), ({"x": "a", "a": "b", "b": "c", "c": "a"}, "a after b after c after a")],
)
def test_a_cycle_is_told_without_what_leads_to_it(needs, told):
    with pytest.raises(UserError, match=rf"^rows\.a: {told} is a cycle; cut it\.$"):
        needed_first(needs, lambda name: needs[name], "rows", "after", "cut it")
