"""Numbers in print: a true minus, no sign for what rounds to 0, and effects in points with their unit."""

import random
import re

import pytest
from planted import results

from analysis.figures import interference, look
from analysis.page.page import page
from analysis.records.frame import Measure, read
from analysis.statistics import claims, wording
from analysis.table import build, why
from analysis.tables import across, against, baselines, formats, paper
from analysis.tables.cells import Column

ZERO = re.compile(r"(?<!\w)[-−+]0(\.0*)?(?![\d.])")
"""A 0 with a sign."""
WER = Measure(task="asr", split="test", metric="wer", better="lower", unit="%")


def of(metric, better="higher", unit=""):
    return Measure(task="t", split="test", metric=metric, better=better, unit=unit)


def test_any_number_is_read_back_and_no_zero_has_a_sign():
    draw = random.Random(0)
    for _ in range(5000):
        value, decimals = draw.uniform(-1, 1) * 10 ** draw.uniform(-7, 3), draw.randrange(5)
        for signed in (True, False):
            text = wording.number(value, decimals, signed)
            back = float(text.replace("−", "-"))
            assert abs(back - value) <= 0.5000001 * 10**-decimals and "-" not in text
            assert (text[0] in "+−") == (back != 0 and (signed or back < 0)), (value, text)
    printed = [wording.number(value, 1, True) for value in (-0.04, 0.04, -0.0, -0.06, 2.0)]
    assert printed == ["0.0", "0.0", "0.0", "−0.1", "+2.0"]


def test_an_effect_has_points_of_its_metric_and_a_side():
    assert wording.effect(-1.62, 1, WER) == "−1.6 points of WER, worse"
    assert wording.effect(1.62, 2, of("accuracy", unit="%")) == "+1.62 points of accuracy, better"
    assert wording.effect(0.04, 1, WER) == "0.0 points of WER"
    assert wording.effect(-0.5, 1, of("bleu")) == "−0.5 BLEU, worse"
    assert wording.effect(0.125, 3, of("loss_drop", unit="nats")) == "+0.125 nats, better"
    assert wording.effect(3.0, 1, of("perplexity", better="")) == "+3.0 perplexity"
    assert wording.metric("phone_nmi") == "phone NMI" and wording.interval(-0.01, 2, 1) == "[0.0, +2.0]"


@pytest.fixture
def tiny(fake):
    """All scores are equal but for less than their last decimal, and those of one row alone in both directions."""
    folder = fake(
        seeds=(0, 1, 2),
        rows=("scratch", "speech_only", "joint", "joint_placebo", "joint_tlm", "joint_tlm_unpaired", "text_only"),
        table={"blocks": [{"reference": "joint"}], "compare_with": "joint"},
    )
    draw = random.Random(1)

    def change(result, seed, row):
        for score in result["scores"]:
            score["value"] = 40.0 + draw.uniform(-1, 1) * 1e-4

    results(folder, change)
    return folder


def test_nothing_that_is_printed_has_a_zero_with_a_sign(tiny):
    records = read(tiny)
    table = build(records)
    sheets = [baselines.sheet(table), across.sheet(table), paper.sheet(table), against.sheet(table)]
    texts = [formats.joined(table, form, sheets) for form in ("terminal", "md", "tex", "html")]
    texts += [why(table, row, column) for row in records.rows for column in ("asr", "translation", "sentiment")]
    verdicts = claims.verdicts(records)
    texts += [*map(claims.measured, verdicts), page(table, sheets, sheets[-1], verdicts, [])]
    for text in texts:
        plain = text.replace("$-$", "−")
        assert not ZERO.search(plain), plain[max(0, ZERO.search(plain).start() - 60) :][:120]
    assert "0.0 points of WER" in texts[4] and "95 % [0.0, 0.0]" in texts[4]


def test_figures_have_no_zero_with_a_sign_either(tiny):
    look.theme()
    drawn = interference.figure(read(tiny))
    texts = [text.get_text() for text in drawn.findobj(look.plt.Text)]
    look.plt.close(drawn)
    assert "asr: points of WER" in texts and not any(map(ZERO.search, texts))
    assert any(re.fullmatch(r"0\.\d+|[+−]0\.\d+", text) for text in texts)


def test_differences_are_in_points_not_in_per_cent(fake):
    table = build(read(fake(seeds=(0, 1, 2), table={"blocks": [{"reference": "joint"}], "compare_with": "scratch"})))
    column = table.columns[0]
    assert (column.title, column.title_of_differences) == ("WER (%) ↓", "WER (points)")
    below = formats.md(table).partition("Δ against")[2]
    assert "WER (points)" in below and "(%)" not in below and "BLEU |" in below
    assert not any("%" in head for head in against.sheet(table).heads)
    heads = paper.sheet(table).heads
    assert heads[4:6] == ["Δ ours (points)", "Δ published (points)"] and heads[8:] == ["Δ ours", "Δ published"]
    told = why(table, "joint_tlm", "asr")
    assert told.startswith("joint tlm / asr.test.wer in %: ") and "% (empty output)" in told
    assert re.search(r"against joint: [+−]\d+\.\d points of WER, (better|worse), 95 % \[.*\] over 3 seeds", told)
    assert not re.search(r"[+−]\d[\d.]* ?%", formats.joined(table, "md", [against.sheet(table)]))


def test_a_measure_without_a_direction_says_so():
    plain = Column(measure=of("perplexity", better=""), decimals=1, baseline=None)
    assert plain.title_of_differences == "perplexity (plain difference)"
