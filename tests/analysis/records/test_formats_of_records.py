"""Records of format 1 and of format 2 with the same numbers make the same table, figures, verdicts and events."""

import json
import re

import pytest
from pandas.testing import assert_frame_equal

from ablate.errors import UserError
from ablate.store.record import read_jsonl
from analysis import report, tensorboard
from analysis.figures import losses
from analysis.figures.curves import finetuning_curves, pretraining_curves
from analysis.records.frame import measure, read
from analysis.records.manifest import KINDS, stages
from analysis.records.scores import MISSING
from analysis.statistics import claims
from analysis.table import build, why
from analysis.tables import formats

SWEEP = {
    "rows": ("scratch", "text_only", "speech_only", "joint", "joint_placebo", "joint_tlm"),
    "seeds": (0, 1),
    "tasks": ("asr", "sentiment", "retrieval"),
    "table": {"blocks": [{"reference": "joint"}], "compare_with": "scratch"},
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
def both(tmp_path, fake_sweep):
    """Folders of one sweep in either format, format 1 first."""

    def write(**options):
        return [fake_sweep(root=tmp_path / f"format_{k}", format=k, **SWEEP | options).write() for k in (1, 2)]

    return write


def without_ids(text):
    return re.sub(r"\b[0-9a-f]{16}\b", "ID", text)


def test_scores_baselines_and_curves_are_the_same(both):
    old, new = map(read, both())
    assert_frame_equal(old.scores.drop(columns=["run", "drawn"]), new.scores.drop(columns=["run", "drawn"]))
    assert_frame_equal(old.baselines, new.baselines)
    assert_frame_equal(pretraining_curves(old), pretraining_curves(new))
    assert_frame_equal(finetuning_curves(old), finetuning_curves(new))
    assert old.manifest[0]["stages"]["score"]["asr"] not in set(new.scores.run)


def test_held_out_losses_are_found_in_the_leaf_or_in_a_stage_of_their_own(both):
    folders = both()
    for folder in folders:
        sweep = json.loads((folder / "sweep.json").read_text())
        for about in sweep["rows"].values():
            about["objectives"].get("masked_text", {})["text"] = "true"
        (folder / "sweep.json").write_text(json.dumps(sweep))
    old, new = (losses.held_out(read(folder)) for folder in folders)
    assert_frame_equal(old, new)
    assert set(new.value) == {2.5} and "scratch" not in set(new.row)  # which has no updates, so no losses


def test_every_file_of_a_report_is_the_same(both):
    folders = both()
    for folder in folders:
        report.write(folder)
    old, new = ({path.relative_to(folder).as_posix(): path for path in folder.rglob("*")} for folder in folders)
    assert set(old) == set(new) and len([name for name in old if name.endswith(".csv")]) > 5
    for name, path in old.items():
        if path.suffix in (".md", ".tex", ".csv"):
            assert without_ids(path.read_text()) == without_ids(new[name].read_text()), name
        if path.suffix == ".png":
            assert path.read_bytes() == new[name].read_bytes(), name
    pages = [path["report.html"].read_text() for path in (old, new)]
    sections = [re.findall(r'<section aria-labelledby="(.*?)">(.*?)</section>', page, re.S) for page in pages]
    listed = {"rows", "provenance"}  # which stages there are is not the same
    one, other = ({name: without_ids(text) for name, text in pairs if name not in listed} for pairs in sections)
    assert one == other and {"claims", "table", "pretraining", "samples"} <= set(one)


def test_verdicts_and_why_are_the_same(both):
    old, new = map(read, both())
    assert [str(v) for v in claims.verdicts(old)] == [str(v) for v in claims.verdicts(new)]
    tables = build(old), build(new)
    texts = [without_ids(why(table, "joint", "asr.test_unseen.wer")) for table in tables]
    texts = [re.sub(r"\S*/score/../ID", "PLACE", text) for text in texts]
    assert texts[0] == texts[1] and texts[0].count("PLACE") == 2
    run = new.manifest[-1]["stages"]["score"]["asr"]["test_unseen"]
    assert f"score/{run[:2]}/{run}" in why(tables[1], "joint_tlm", "asr.test_unseen.wer")


def test_events_are_the_same(both, tmp_path):
    pytest.importorskip("tensorboard")
    old, new = both()
    events = []
    for number, folder in enumerate((old, new)):
        to = tmp_path / f"events_{number}"
        events.append({path.relative_to(to): path.read_bytes() for path in tensorboard.write(folder, to=to)})
    assert events[0] == events[1] and len(events[0]) > 30


def test_what_is_not_finished_looks_the_same(both):
    for missing in ([("joint", 1, "asr")], [(None, None, "asr")], [(None, None, None)]):
        old, new = map(read, both(missing=missing, claims={}))
        assert_frame_equal(old.scores.drop(columns=["run", "drawn"]), new.scores.drop(columns=["run", "drawn"]))
        texts = [re.sub(r"\d+ of \d+ scoring runs", "N", formats.md(build(records))) for records in (old, new)]
        assert texts[0] == texts[1] and "N are not finished" in texts[1]


def test_a_new_test_set_is_missing_on_its_own(fake):
    folder = fake(**SWEEP | {"missing": ((None, None, "asr", "test_unseen"), ("scratch", 0, "asr", "test"))})
    records = read(folder)
    asr = records.scores[records.scores.task == "asr"]
    assert measure(records, "asr").split == "test"  # also where the first row has only the other one
    assert set(asr[asr.split == "test_unseen"].status) == {MISSING, "n/a"} and set(asr.metric) == {"wer"}
    assert [column.name for column in build(records).columns][:2] == ["asr.test.wer", "asr.test_unseen.wer"]
    manifest = folder / "manifest.jsonl"
    lines = list(read_jsonl(manifest))
    for line in lines:
        if line["row"] == "joint":
            del line["stages"]["score"]["asr"]["test_unseen"]  # another world has no such set
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = read(folder).scores.query("row == 'joint' and task == 'asr'")
    assert dict(zip(scores.split, scores.status)) == {"test": "done", "test_unseen": "n/a"}


def test_a_stage_that_runs_is_read_where_its_claim_says(fake):
    folder = fake(**SWEEP | {"rows": ("joint",), "seeds": (0,)})
    leaf = read(folder).manifest[0]["stages"]["leaf"]
    stage = read(folder).path("pretrain", leaf)
    (stage / "result.json").unlink()
    (stage / "again").mkdir()
    (stage / "again" / "metrics.jsonl").write_text('{"step": 10, "loss": 2.5}\n')
    (stage / "claim.json").write_text('{"token": "again"}')
    curves = pretraining_curves(read(folder))
    assert curves[curves.stage == leaf][["step", "value"]].values.tolist() == [[10, 2.5]]


def test_stages_are_listed_with_what_they_are_for(both):
    old, new = (list(stages(read(folder).manifest[-1])) for folder in both())
    assert [(kind, what) for kind, what, _ in old] == [
        ("corpus", ""),
        ("tokenizer", ""),
        ("pretrain", "trunk"),
        ("pretrain", "trunk"),
        ("pretrain", "leaf"),
        ("finetune", "asr"),
        ("finetune", "sentiment"),
        ("score", "asr"),
        ("score", "sentiment"),
        ("score", "retrieval"),
    ]
    assert {("table", "asr.train"), ("tokens", "sentiment.dev"), ("heldout", ""), ("score", "asr.test_unseen")} <= {
        x[:2] for x in new
    }
    kinds = [kind for kind, _, _ in new]
    assert kinds == sorted(kinds, key=KINDS.index)


def test_a_newer_format_is_refused_in_one_sentence(fake):
    folder = fake(**SWEEP)
    result = next(folder.parents[1].glob("score/*/*/result.json"))
    result.write_text(json.dumps(json.loads(result.read_text()) | {"format": 3}))
    with pytest.raises(UserError, match="format 3"):
        read(folder)
