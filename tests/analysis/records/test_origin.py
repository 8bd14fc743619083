"""Rows whose records come from several kinds of processor, or versions of the code, are named."""

import csv
import io
import json

import pytest

from analysis import report
from analysis.records import origin
from analysis.records.frame import read
from analysis.statistics import claims
from analysis.table import build, why
from analysis.tables import formats

A = {"processor": "Xeon 8", "instructions": "avx512", "device": "cpu", "torch": "2.13.0", "threads": 1}
B = {"processor": "EPYC 7", "instructions": "avx2", "device": "cpu", "torch": "2.13.0", "threads": 2}
SWEEP = {
    "rows": ("speech_only", "joint", "joint_placebo"),
    "tasks": ("asr", "sentiment"),
    "seeds": (0, 1),
    "table": {"blocks": [{"reference": "joint"}]},
    "claims": {
        "text_harms_speech": {
            "effect": "joint - joint_placebo",
            "on": "asr.wer",
            "below": 0,
            "coefficients": {"joint": 1.0, "joint_placebo": -1.0},
        }
    },
}


@pytest.fixture
def made_on(fake):
    """A sweep whose stages were computed where `where(row, seed, kind, task)` says; None for records that do
    not say.
    """

    def write(where, **options):
        folder = fake(**SWEEP | options)
        records = read(folder)
        for line in records.manifest:
            for task in SWEEP["tasks"]:
                for kind, id in origin.behind(line, task):
                    path = records.path(kind, id) / "result.json"
                    if not path.exists():
                        continue
                    machine = where(line["row"], line["seed"], kind, "" if kind == "pretrain" else task)
                    path.write_text(
                        json.dumps(json.loads(path.read_text()) | ({"machine": machine} if machine else {}))
                    )
        return folder

    return write


def caption(folder):
    return build(read(folder)).caption


def test_one_kind_of_processor_and_records_that_do_not_say_are_no_note(made_on, fake):
    assert "processor" not in caption(fake(**SWEEP, format=1))
    assert "processor" not in caption(made_on(lambda *_: A))
    assert "processor" not in caption(made_on(lambda row, *_: A if row == "joint" else None))
    other_threads = A | {"threads": 16, "torch": "3.0"}
    assert "processor" not in caption(made_on(lambda row, *_: A if row == "joint" else other_threads))


def test_a_row_on_other_processors_than_its_reference_is_named(made_on):
    text = caption(made_on(lambda row, *_: B if row == "speech_only" else A))
    assert "Records of 2 kinds of processor are mixed: EPYC 7, avx2; Xeon 8, avx512." in text
    assert text.endswith("Not made with the same as the row they are compared with: speech only.")
    assert "Made with several" not in text


def test_a_stage_elsewhere_makes_a_row_of_several(made_on):
    text = caption(made_on(lambda row, seed, kind, task: B if (row, kind, task) == ("joint", "finetune", "asr") else A))
    assert "Made with several: joint." in text
    assert text.endswith("compared with: speech only, joint placebo.")  # on that task, both were made otherwise


def test_seeds_elsewhere_are_compared_like_with_like(made_on):
    text = caption(made_on(lambda row, seed, *_: B if seed else A))
    assert "Made with several: speech only‡, joint‡, joint placebo‡." in text and "compared" not in text


def test_a_row_whose_seeds_were_made_elsewhere_is_marked_in_every_format(made_on):
    folder = made_on(lambda row, seed, *_: B if (row, seed) == ("speech_only", 1) else A)
    records = read(folder)
    table = build(records)
    assert origin.mixed(records) == {("speech_only", "")}
    for form, label in (
        ("terminal", "speech only‡ "),
        ("md", "| speech only‡ |"),
        ("tex", r"speech only$^{\ddagger}$ &"),
        ("html", ">speech only‡</th>"),
    ):
        assert getattr(formats, form)(table).count(label) == 2, form  # among the values, and among the differences
    assert "Made with several: speech only‡. ‡ Not all seeds of the row were made on the same kinds." in table.caption
    lines = csv.DictReader(io.StringIO(formats.csv(table)))
    assert {(line["row"], line["processors"]) for line in lines if line["block"] == "joint"} == {
        ("speech_only", "several"),
        ("joint", ""),
        ("joint_placebo", ""),
    }


def test_stages_elsewhere_in_the_same_way_for_all_seeds_are_no_mark(made_on):
    """Pre-trained on one machine and scored on another, as on any cluster; and a seed that is not scored yet."""
    folder = made_on(lambda row, seed, kind, task: A if kind == "pretrain" else B)
    assert origin.mixed(read(folder)) == frozenset() and "‡" not in caption(folder)
    folder = made_on(
        lambda row, seed, kind, task: A if kind == "pretrain" else B, name="b", missing=(("joint", 1, None),)
    )
    assert origin.mixed(read(folder)) == frozenset()


def test_claims_and_why_say_it_too(made_on):
    folder = made_on(lambda row, seed, kind, task: B if (row, kind, task) == ("joint", "score", "asr") else A)
    records = read(folder)
    (verdict,) = claims.verdicts(records)
    assert "rows were made on different kinds of processor" in verdict.reason
    text = why(build(records), "joint", "asr")
    assert text.count(", on EPYC 7, avx2, on Xeon 8, avx512") == 2
    assert "EPYC" not in why(build(records), "joint", "sentiment")
    page = report.write(folder)["report"].read_text()
    assert (
        "<dt>processors</dt><dd>Xeon 8, avx512 (" in page and "EPYC 7, avx2 (4 stages)" in page
    )  # two splits, two seeds
    (verdict,) = claims.verdicts(read(made_on(lambda row, *_: B if row == "speech_only" else A)))
    assert "processor" not in verdict.reason  # which the claim does not name


def test_the_row_that_all_are_compared_with_counts(made_on):
    table = {"blocks": [{"rows": ["speech_only", "joint", "joint_placebo"]}], "compare_with": "joint_placebo"}
    text = caption(made_on(lambda row, *_: B if row == "joint_placebo" else A, table=table))
    assert text.endswith("compared with: speech only, joint.")


def test_a_gpu_is_named_and_what_is_unknown_left_out():
    assert origin.processor({"machine": A | {"device": "NVIDIA H200"}}) == "NVIDIA H200, Xeon 8, avx512"
    assert origin.processor({"machine": {"processor": None, "instructions": "neon", "device": None}}) == "neon"
    assert origin.processor({}) == origin.processor(None) == ""


def test_versions_of_the_code_are_named_the_same_way(fake):
    folder = fake(**SWEEP)
    records = read(folder)
    path = records.path("score", records.manifest[0]["stages"]["score"]["asr"]["test"]) / "result.json"
    path.write_text(path.read_text().replace("a1b2c3d4e5f6", "ffffffffffff"))
    text = caption(folder)
    assert "Records of 2 code versions are mixed: a1b2c3d4; ffffffff. Made with several: speech only." in text
    assert text.endswith("compared with: speech only.")


def test_many_rows_are_counted(fake):
    records = read(
        fake(
            rows=(
                "scratch",
                "text_only",
                "speech_contrastive",
                "speech_only",
                "joint",
                "joint_placebo",
                "joint_longer",
                "joint_tlm",
                "joint_tlm_unpaired",
            ),
            tasks=("sentiment",),
            table={},
            claims={},
        )
    )
    assert origin._names(records, list(records.rows)).endswith("joint tlm and 1 more")
    assert origin._names(records, ["joint", "scratch"]) == "joint, scratch"
