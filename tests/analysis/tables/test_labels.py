"""Labels of any text: every format shows them as they are written, on one line."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest

from analysis.figures import look
from analysis.page import samples
from analysis.page.page import _version
from analysis.records.frame import read
from analysis.table import build
from analysis.tables import formats
from analysis.tables.sheet import markdown

LABELS = {
    "text_only": "*with* <unk> & $x$ | a_b [c] `d` \\e ~~f~~",
    "speech_only": "資料 한국어\nin two lines",
    "joint": "_x " + "y" * 130,
}


@pytest.fixture
def labelled(fake):
    folder = fake(rows=tuple(LABELS), tasks=("asr",), table={}, claims={})
    place = folder / "sweep.json"
    sweep = json.loads(place.read_text())
    for name, label in LABELS.items():
        sweep["rows"][name]["label"] = label
    place.write_text(json.dumps(sweep))
    return folder


def test_markdown_shows_any_text_as_it_is():
    assert markdown(LABELS["text_only"]) == (r"\*with\* &lt;unk&gt; &amp; \$x\$ \| a_b \[c\] \`d\` \\e \~~f\~~")
    assert markdown("_x y_ joint_tlm 5 ~ 6") == r"\_x y\_ joint_tlm 5 ~ 6"


def test_every_format_shows_any_label_on_one_line(labelled):
    table = build(read(labelled))
    texts = {name: getattr(formats, name)(table) for name in ("md", "tex", "html")}
    assert r"\*with\* &lt;unk&gt; &amp; \$x\$ \| a_b" in texts["md"] and "<unk>" not in texts["md"]
    assert r"*with* \textless{}unk\textgreater{} \& \$x\$ | a\_b" in texts["tex"]
    assert "*with* &lt;unk&gt; &amp; $x$ | a_b" in texts["html"]
    for text in texts.values():
        assert "資料 한국어 in two lines" in text and "y" * 130 in text
    assert len({line.count("|") - line.count("\\|") for line in texts["md"].splitlines() if line.startswith("|")}) == 1


def test_a_figure_shows_any_label(labelled):
    records = read(labelled)
    look.theme()
    figure, _ = look.grid(1, 1.0)
    handles = look.keys(records, list(LABELS), [""])
    look.legend(figure, handles)
    figure.canvas.draw()  # dollars are no formula
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(shown) == 3 and shown[0].replace("\n", " ") == LABELS["text_only"]
    assert shown[2].replace("\n", "").replace(" ", "") == LABELS["joint"].replace(" ", "")
    assert all(look.wide(line, 6.5) < look.COLUMN for text in shown for line in text.splitlines())
    look.plt.close(figure)


def test_figures_look_the_same_whatever_the_users_own_settings_are():
    look.theme()
    usual = dict(matplotlib.rcParams)
    matplotlib.rcParams.update({"text.usetex": True, "savefig.format": "svg", "lines.marker": "o", "figure.dpi": 30})
    look.theme()
    assert dict(matplotlib.rcParams) == usual and not matplotlib.rcParams["text.usetex"]


def test_samples_of_speech_have_the_look_of_figures_too(monkeypatch):
    looks = []
    monkeypatch.setattr(look, "theme", lambda: looks.append(1))
    assert samples.spectrogram(np.zeros((50, 80), np.float32), []).startswith(b"\x89PNG")
    assert looks


def test_code_without_git_is_called_that():
    assert _version({"code": {"commit": None, "dirty": None}}) == _version({}) == "no commit"
    assert _version({"code": {"commit": "0123456789", "dirty": True}}) == "01234567 with uncommitted changes"
