"""Labels in scripts that the usual font lacks are printed with another installed font, or the letters are named."""

import json
import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.image import imread

from analysis import report
from analysis.figures import drawings, fonts, look
from analysis.records.frame import read

HAN, HANGUL = "資料結果", "한국어"


def square():
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()


def font(path, family, letters):
    """A TrueType font whose every letter is a square as wide as high."""
    names = {ord(one): f"u{ord(one):04X}" for one in letters}
    glyphs = {name: square() for name in (".notdef", *names.values())}
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder(list(glyphs))
    made.setupCharacterMap(names)
    made.setupGlyf(glyphs)
    made.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    made.setupHorizontalHeader(ascent=900, descent=-100)
    made.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    made.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family.replace(" ", "")})
    made.setupPost()
    made.save(path)
    return str(path)


@pytest.fixture
def installed(monkeypatch):
    """Have the fonts given found as installed, beside those of matplotlib itself."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))

    def install(*files):
        fonts.fallbacks.cache_clear()
        monkeypatch.setattr(fonts, "findSystemFonts", lambda: list(files))

    install()
    yield install
    fonts.fallbacks.cache_clear()
    look.theme()


def test_the_family_with_most_of_what_is_lacking_goes_first(tmp_path, installed):
    installed(
        font(tmp_path / "a.ttf", "All Korean", HANGUL),
        font(tmp_path / "b.ttf", "Some Han", HAN),
        font(tmp_path / "c.ttf", "Nothing New", "資料abc"),
        font(tmp_path / "d.ttf", ".LastResort", HAN + HANGUL),
    )
    assert fonts.fallbacks(frozenset(HAN + HANGUL + "aß é\n✗")) == (("Some Han", "All Korean"), "")
    assert fonts.fallbacks(frozenset("abc ↓é")) == ((), "")


def test_letters_that_no_font_has_are_told_in_a_sentence(installed):
    families, lacking = fonts.fallbacks(frozenset(HAN))
    assert not families and set(lacking) == set(HAN)
    assert fonts.told("") == ""
    assert fonts.told(lacking).startswith(f"No installed font has {' '.join(sorted(HAN))}, and figures show boxes")
    assert "and 3 others" in fonts.told("x" * (fonts.SHOWN + 3))


def labelled(fake):
    folder = fake(rows=("text_only", "joint"), tasks=("asr",), table={}, claims={})
    place = folder / "sweep.json"
    sweep = json.loads(place.read_text(encoding="utf-8"))
    sweep["rows"]["joint"]["label"] = f"{HAN} {HANGUL}"
    place.write_text(json.dumps(sweep))
    return folder


def test_labels_are_printed_and_measured_with_these_fonts(tmp_path, installed, fake):
    installed(font(tmp_path / "a.ttf", "Squares", HAN + HANGUL))
    records = read(labelled(fake))
    assert drawings.amiss(records) == ""
    look.theme(drawings._letters(records))
    assert look.wide(HAN, 72.0) == pytest.approx(len(HAN), rel=0.15)  # squares of an em each, at an inch an em
    figure, _ = look.grid(1, 1.0)
    look.legend(figure, look.keys(records, ["joint"], [""]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each glyph that it lacks
        png, pdf = look.save(figure, tmp_path, "one")
    assert b"Squares" in pdf.read_bytes()
    legend = imread(png)[-60:, :, :3].mean(2) < 0.5  # dark pixels of the lowest 5 mm, where the legend is
    assert legend.sum() > 0.6 * len(HAN + HANGUL) * (0.9 * 6.5 / 72 * look.DPI) ** 2  # squares of .9 em, filled


def test_a_report_says_once_what_its_figures_lack_and_draws_again(installed, fake, monkeypatch, capfd):
    folder = labelled(fake)
    monkeypatch.setattr(drawings, "FIGURES", {"finetuning": drawings.FIGURES["finetuning"]})
    for _ in range(2):
        report.write(folder, folder.parents[1])
        said = capfd.readouterr().err
        assert said.count("No installed font has") == 1 and "Glyph" not in said
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("No installed font has") == 1 and f"{HAN} {HANGUL}" in page
    assert "state" not in json.loads((folder / report.STATE).read_text())
