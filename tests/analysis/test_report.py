"""The report: one self-contained page, made from whatever is finished."""

import time
from html.parser import HTMLParser

import pytest

from analysis import report

FEW = dict(
    rows=("scratch", "speech_only", "joint", "joint_placebo", "joint_tlm"), tasks=("asr", "sentence_pair"),
    table={"blocks": [{"reference": "joint"}]},
    claims={"text_harms_speech": {"effect": "joint - joint_placebo", "on": "asr.wer", "below": 0,
                                  "coefficients": {"joint": 1.0, "joint_placebo": -1.0}}},
)  # fmt: skip
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects text and sources, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words, self.alts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.sources += [found[key] for key in ("src", "href") if key in found]
        self.alts += [found.get("alt")] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_report_is_complete_and_self_contained(fake):
    folder = fake(**FEW, seeds=(0, 1, 2))
    paths = report.write(folder)
    names = {path.name for path in paths["table"]} | {path.name for path in paths["figures"]} | {paths["report"].name}
    assert names >= {"table.md", "table.tex", "table.csv", "interference.png", "interference.pdf", "report.html"}
    assert all(path.stat().st_size for path in [*paths["table"], *paths["figures"], paths["report"]])
    page = Page(paths["report"].read_text())
    text = " ".join(page.words)
    for expected in ("Which pre-training losses", "What would change our mind", "joint tlm", "built-in world", "items; fake"):
        assert expected in text
    assert page.sources and all(source.startswith(("data:", "#")) for source in page.sources)
    assert page.alts.count("") == 1 and page.alts[-1] == ""  # the enlarged figure has its text when it is shown
    assert not [path for path in folder.rglob("*.new")]


def test_one_seed_is_a_caveat_and_no_verdict(fake):
    paths = report.write(fake(**FEW))
    text = " ".join(Page(paths["report"].read_text()).words)
    assert "One seed: no row can be told from another" in text and "one seed: a claim about rows needs" in text


def test_nothing_finished_and_no_claims_still_make_a_page(fake):
    paths = report.write(fake(**FEW | {"claims": {}}, missing=((None, None, None),)))
    Page(paths["report"].read_text())


def test_names_are_escaped(fake):
    folder = fake(rows=("joint", "speech_only"), table={}, claims={})
    sweep = folder / "sweep.json"
    sweep.write_text(sweep.read_text().replace("Which pre-training", "<script>alert(1)</script> & Which"))
    text = report.write(folder)["report"].read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_capacity_figure_only_with_several_sizes(fake):
    points = ({"encoder": "nano"}, {"encoder": "small"})
    rows = ("text_only", "speech_only", "joint")
    paths = report.write(fake(rows=rows, tasks=("asr",), points=points, table={}, claims={}))
    assert "capacity.png" in {path.name for path in paths["figures"]}


def test_summary_for_the_terminal_ends_with_the_claims(fake):
    text = report.summary(fake(**FEW), width=150)
    assert "UNDECIDED" in text.splitlines()[-1] and "text_harms_speech" in text


@pytest.mark.slow
def test_a_full_sweep_is_reported_in_seconds(fake):
    folder = fake()
    began = time.process_time()
    report.write(folder)
    assert time.process_time() - began < 8
