"""Every figure of a report is read at one column's width and without colour: the rules, on planted sweeps of every
kind.
"""

import json
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from test_interference_figures import ROWS, fixed_losses, probed, runs

from analysis.figures import drawings, look
from analysis.page import samples
from analysis.records.frame import read

WIDEST = 3.4
"""Inches of one column."""
POINTS = tuple({"size": name} for name in ("narrow", "nano", "wide"))
SEVERAL = {"tasks": ("asr", "translation", "sentiment", "sentence_pair", "normalization"), "table": {}, "claims": {}}
DIVERGING = {"RdBu", "RdBu_r"}
"""Maps whose two ends are equally dark: allowed where every cell has its value, with a sign, written in it."""


def by_layer(folder):
    """Give every score of recognition probes by layer."""
    for line, path in runs(folder):
        if "asr" not in line["stages"]["score"]:
            continue
        place = path("score", line["stages"]["score"]["asr"]["test"]) / "result.json"
        result = json.loads(place.read_text())
        names = ("speech_0", "speech_1", "shared_0", "shared_1", "shared_2")
        result["scores"] += [
            {**result["scores"][0], "metric": f"{what}/{name}", "value": 40.0 + 3 * k + line["seed"]}
            for what in ("phone", "word", "voice")
            for k, name in enumerate(names)
        ]
        place.write_text(json.dumps(result))


def objectives(fake):
    """Many rows, two stages, a placebo, probes of gradients and of layers."""
    folder = fake(seeds=(0, 1))
    probed(folder, {"joint": -0.4, "joint_contrastive": 0.1, "joint_tlm": 0.3}.get)
    by_layer(folder)
    return folder


def capacity(fake):
    """Three sizes of three rows, with losses of fixed targets."""
    folder = fake(rows=("text_only", "speech_only", "joint"), points=POINTS, seeds=(0, 1), **SEVERAL)
    fixed_losses(folder, lambda modality, n, row: 2 + 30 / n**0.4)
    by_layer(folder)
    return folder


def frontier(fake):
    """A frontier, and long names."""
    table = {
        "frontier": {"x": "asr.wer", "y": "sentiment.accuracy", "rows": ["joint_contrastive", "joint", "joint_placebo"]}
    }
    folder = fake(rows=ROWS, seeds=(0,), **SEVERAL | {"table": table})
    place = folder / "sweep.json"
    sweep = json.loads(place.read_text())
    for name, about in sweep["rows"].items():
        about["label"] = f"{name.replace('_', ' ')}, 1/2 in spans of 400 ms with the weights of the paper"
    place.write_text(json.dumps(sweep))
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, fake_sweep):
    """Every figure of reports on the planted sweeps: (sweep, name) -> figure."""
    figures = {}
    with pytest.MonkeyPatch.context() as patch:
        for make in (objectives, capacity, frontier):
            root = tmp_path_factory.mktemp(make.__name__) / "runs"
            folder = make(lambda root=root, **options: fake_sweep(root=root, **options).write())

            def keep(figure, place, name, make=make):
                place.mkdir(parents=True, exist_ok=True)
                figure.canvas.draw()
                figures[make.__name__, name] = figure

            patch.setattr(look, "save", keep)
            records = read(folder)
            drawings.draw(records, drawings.stages(records), {})
    assert {name for _, name in figures} == set(drawings.FIGURES)  # none escapes
    yield figures
    look.plt.close("all")


def words(figure):
    """Texts that are printed."""
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            there = {tick.label1 for tick in axis._update_ticks()} if axes.axison else set()
            beyond |= {tick.label1 for tick in axis.get_major_ticks() + axis.get_minor_ticks()} - there
    texts = figure.findobj(matplotlib.text.Text)
    return [
        t for t in texts if t not in beyond and t.get_text().strip() and t.get_visible() and t.get_window_extent().width
    ]


@pytest.mark.slow
def test_figures_are_one_column_wide_with_type_that_is_read(drawn):
    for key, figure in drawn.items():
        assert figure.get_figwidth() <= WIDEST, key
        sizes = {t.get_text(): t.get_fontsize() for t in words(figure)}
        assert min(sizes.values()) >= look.SMALLEST == 6, (key, min(sizes, key=sizes.get))


@pytest.mark.slow
def test_no_type_is_cut_off_or_printed_over_other_type(drawn):
    wrong = []
    for key, figure in drawn.items():
        shown, (width, height) = words(figure), figure.bbox.size
        for t in shown:
            box = t.get_window_extent()
            if not (box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1):
                wrong.append((*key, "cut off", t.get_text()))
        straight = [(t.get_text(), t.get_window_extent()) for t in shown if t.get_rotation() % 90 == 0]
        for (one, a), (other, b) in combinations(straight, 2):
            across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            if across > 1 and up > 0.25 * min(a.height, b.height):  # boxes are taller than letters
                wrong.append((*key, one, "over", other))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.slow
def test_lines_are_told_apart_without_colour(drawn):
    """Two lines of a panel differ in dash or marker, are of one row, or are named where they are drawn."""
    for key, figure in drawn.items():
        for axes in figure.axes:
            looks = {}
            for line in axes.lines:
                pale = (line.get_alpha() or 1) < 0.5  # seeds behind their mean, bars behind their marker
                plain = (
                    line.get_marker() in ("None", "", None) and len(set(line.get_ydata())) <= 1
                )  # intervals, lines at a value
                if pale or plain or key[1] in ("interference", "frontier") and line.get_marker() in ("None", "", None):
                    continue
                look = (
                    str(line.get_linestyle()),
                    line.get_marker(),
                    str(line._dash_pattern),
                    line.get_markerfacecolor() == "white",
                )
                looks.setdefault(look, set()).add(line.get_color())
            assert all(len(colours) == 1 for colours in looks.values()), (*key, axes.get_title(loc="left"))


def luminance(colour):
    """Relative luminance as WCAG defines it: what a colour becomes in grey."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)[:3]]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_colours_of_lines_are_seen_on_white_in_grey():
    for colour in look.COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour


@pytest.mark.slow
def test_colour_maps_fall_in_grey_or_carry_signed_numbers(drawn):
    seen = 0
    for key, figure in drawn.items():
        for axes in figure.axes:
            for image in [*axes.images, *[c for c in axes.collections if c.get_array() is not None]]:
                seen += 1
                cells = image.get_array().size
                steps = np.diff([luminance(image.cmap(x)) for x in np.linspace(0, 1, 32)])
                if image.cmap.name in DIVERGING:
                    values = [t.get_text() for t in axes.texts]
                    assert len(values) == cells and all(v[0] in "+−—·" or not v.strip("0.") for v in values), key
                else:
                    assert (steps > 0).all() or (steps < 0).all(), key
                for t in axes.texts:
                    assert t.get_color() != "white", key  # dark type is read on all of these
    assert seen >= 3


def test_spectrograms_fall_in_grey_with_type_that_is_read(monkeypatch):
    monkeypatch.setattr(look.plt, "close", lambda figure: None)
    assert samples.spectrogram(np.zeros((120, samples.BINS), np.float32), [[0, "s"], [20, "I"]]).startswith(b"\x89PNG")
    figure = look.plt.gcf()
    monkeypatch.undo()
    image = figure.axes[0].images[0]
    assert (np.diff([luminance(image.cmap(x)) for x in np.linspace(0, 1, 32)]) > 0).all()
    assert min(t.get_fontsize() for t in words(figure)) >= look.SMALLEST
    look.plt.close(figure)


def test_a_figure_is_saved_at_its_size(tmp_path):
    figure, _ = look.grid(1, 1.0)
    png, pdf = look.save(figure, tmp_path, "one")
    assert matplotlib.image.imread(png).shape[1] == pytest.approx(look.COLUMN * look.DPI, abs=1)
    box = pdf.read_bytes().partition(b"/MediaBox [ ")[2].split()[2]
    assert float(box) == pytest.approx(look.COLUMN * 72, abs=0.5)


def test_a_row_looks_the_same_whichever_rows_are_shown(fake):
    records = read(fake(rows=ROWS, tasks=("asr",), table={}, claims={}))
    few = look.looks(records, ["joint"], [""])
    assert few["joint", ""] == look.looks(records, list(ROWS), [""])["joint", ""]
    assert len(
        {(str(style["linestyle"]), style["marker"]) for style in look.looks(records, ROWS, ["a", "b", "c"]).values()}
    ) == 3 * len(ROWS)


def test_lines_of_type_are_broken_to_their_width():
    text = look.wrapped("what joint training costs each of its tasks\nin points", 1.0)
    assert text.endswith("\nin points") and len(text.splitlines()) >= 3
    assert all(look.wide(line, 6.5) <= 1.0 for line in text.splitlines())
    lines = look.wrapped("a " + "incomprehensibilities" * 6, 1.0).splitlines()
    assert "".join(lines) == "a" + "incomprehensibilities" * 6 and all(look.wide(line, 6.5) <= 1.0 for line in lines)
