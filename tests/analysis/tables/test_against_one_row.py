"""Every row against one named row: differences with intervals over seeds, and over seeds and items."""

import csv
import io

import pytest
from planted import results

from ablate.errors import UserError
from analysis import report
from analysis.records.frame import measure, read
from analysis.statistics.compare import effect_with_items
from analysis.table import build
from analysis.tables import against

FEW = {
    "rows": ("scratch", "text_only", "joint", "joint_longer"),
    "tasks": ("asr",),
    "claims": {},
    "table": {"compare_with": "scratch", "columns": ["asr.test.wer"]},
}
WER = {"scratch": (50.0, 52.0, 54.0), "joint": (40.0, 44.0, 45.0), "joint_longer": (30.0, 60.0, 50.0)}


def planted(fake, **options):
    """Values of `WER` by row and seed, whose item counts do not give them and so are not used."""
    folder = fake(**FEW | options)

    def change(result, seed, row):
        for score in result["scores"]:
            score["value"] = WER[row][seed]

    results(folder, change)
    return folder


def sheet_of(folder):
    return against.sheet(build(read(folder)))


def test_difference_and_interval_by_hand(fake):
    sheet = sheet_of(planted(fake, seeds=(0, 1, 2)))
    lines = {line[0]: line[1] for line in sheet.lines}
    # no common pre-training, so Welch: variances 4, 7 and 233.33 of three seeds; t(3.723) = 2.8599, t(2.068) = 4.1689
    assert lines == {
        "text only": "n/a",
        "joint": "+9.0 ± 5.5*",
        "joint longer": "+5.3 ± 37.1",
        "rows clearly above": "1 of 2",
        "rows clearly below": "0 of 2",
    }
    printed = {line["row"]: line for line in csv.DictReader(io.StringIO(sheet.csv()))}
    assert [float(printed["joint"][key]) for key in ("difference", "low", "high")] == [9.0, 3.5239, 14.4761]
    assert [printed[row]["excludes_0"] for row in ("joint", "joint_longer", "text_only")] == ["yes", "no", ""]
    assert printed["joint"]["with_items_low"] == "" and printed["text_only"]["difference"] == ""


def test_the_second_interval_counts_the_items_too(fake):
    folder = fake(**FEW, seeds=(0, 1, 2))
    records = read(folder)
    table, what = build(records), measure(records, "asr.test.wer")
    (joint,) = (cells[0] for line, cells in against.differences(table, "scratch") if line.row == "joint")
    assert joint.with_items == effect_with_items(records, {"joint": 1.0, "scratch": -1.0}, what)
    assert joint.with_items.error >= joint.seeds.error and " / " in joint.text()


def test_a_missing_seed_leaves_those_that_there_are(fake):
    sheet = sheet_of(planted(fake, seeds=(0, 1, 2), missing=(("joint", 2, "asr"), ("joint_longer", None, "asr"))))
    lines = {line[0]: line[1] for line in sheet.lines}
    assert lines["joint"] == "+10.0 ± 12.0 (2/3)" and lines["joint longer"] == "—"  # three seeds against two
    sheet = sheet_of(planted(fake, name="b", seeds=(0, 1), missing=(("scratch", 1, None),)))
    assert dict(sheet.lines[:3])["joint"] == "+8.0 (1/2)"  # 42 of two seeds against 50 of one


def test_one_seed_says_so_and_has_no_interval(fake):
    sheet = sheet_of(planted(fake))
    assert sheet.note.startswith("One seed: no interval; nothing tells how much is chance")
    assert sheet.lines[1] == ["joint", "+10.0"] and len(sheet.lines) == 3


def test_each_point_of_the_axes_is_compared_with_its_own(fake):
    points = ({"encoder": "nano"}, {"encoder": "small"})
    records = read(fake(**FEW, seeds=(0, 1), points=points))
    values = records.values(measure(records, "asr.test.wer"))
    for line, cells in against.differences(build(records), "scratch"):
        if line.row == "joint":
            own = values.loc[line.point]
            assert cells[0].seeds.mean == pytest.approx((own.scratch - own.joint).mean())
            assert cells[0].with_items.mean == pytest.approx(cells[0].seeds.mean)


def test_the_row_must_exist_and_without_one_there_is_no_sheet(fake):
    with pytest.raises(UserError, match="did you mean 'scratch'"):
        sheet_of(fake(**FEW | {"table": {"compare_with": "scrath"}}))
    assert sheet_of(fake(**FEW | {"table": {}})) is None


def test_the_report_holds_it_and_files_lie_beside(fake):
    paths = report.write(fake(**FEW, seeds=(0, 1)))
    names = {path.name for path in paths["table"]}
    assert names >= {"baselines.csv", "against_scratch.md", "against_scratch.csv"}
    page = paths["report"].read_text()
    assert "Against scratch (positive is better)" in page and "strongest shallow baseline?" in page
