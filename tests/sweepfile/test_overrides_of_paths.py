"""Paths of any letters on the command line; those with signs of the grammar are answered with how to quote them."""

from __future__ import annotations

import shlex

import pytest

from ablate.data.real.settings import RealSettings
from ablate.errors import UserError
from ablate.sweepfile.load import override, parse
from ablate.sweepfile.typed import setting


@pytest.mark.parametrize(
    "value", ["/home/Jürgen/d", "/x/José", "資料/コーパス", "/x/a#b", "/x/a&b", "~/x", "/x/a b", "/x/é à"]
)
def test_any_letters_are_read_as_they_are(value):
    assert parse(f"data.root={value}").value() == value
    assert override({"data": {}}, [f"data.root={value}"])["data"]["root"] == value


@pytest.mark.parametrize("value", ["/x/a=b", "/x/a[1]", "/x/(1)", "/x/{a}", "/x/it's", "/x/a,b", "/é/a,b", "/x/a, b"])
def test_signs_with_a_meaning_are_refused_with_how_to_quote_them(value):
    with pytest.raises(UserError, match="Override") as told:
        parse(f"data.root={value}")
    advice = str(told.value)
    written = advice[advice.index("data.root=", 20) :]
    typed = shlex.split(written[: written.rindex(";") if "; to compare" in written else -1])
    assert parse(" ".join(typed)).value() == value  # as a shell gives it


def test_choices_and_lists_are_what_they_were():
    assert parse("base.encoder.width=32,64").is_sweep_override()
    assert parse("data.asr=[a,b]").value() == ["a", "b"]
    with pytest.raises(UserError, match="cannot be read"):
        parse("base.pretrain.steps= 5=")


def test_an_empty_text_is_no_list():
    assert setting(RealSettings, "asr", "") == setting(RealSettings, "asr", []) == ()
    with pytest.raises(UserError, match="expected a list"):
        setting(RealSettings, "asr", "a")
