"""A test.tsv of GLUE's layout that has labels is the test; GLUE's own, which have none, are not read."""

from __future__ import annotations

import json

import pytest
from real_files import Made, cache, ids, root, small, tsv  # noqa: F401  fixtures

from ablate.data.real.layouts import glue
from ablate.planning.plan import plan_file

MOVIES = ("sentence\tlabel", "awful\t0", "superb\t1", "so so\t0")


def test_a_labelled_test_is_the_test(root, tmp_path):  # noqa: F811  the fixture
    tsv(root / "glue/SST-2/test.tsv", *MOVIES)
    made = Made(small(root), tmp_path / "made")
    assert made.rows("sentiment.train", "sentiment.dev", "sentiment.test") == {
        "sentiment.train": 40,  # "good film" is in dev
        "sentiment.dev": 1,
        "sentiment.test": 3,
    }
    assert [row["text"] for row in made.table("sentiment.dev").rows] == ["good film"]
    assert sorted(row["text"] for row in made.table("sentiment.test").rows) == ["awful", "so so", "superb"]


def test_training_labels_stay_limited(root, tmp_path):  # noqa: F811  the fixture
    tsv(root / "glue/SST-2/test.tsv", *MOVIES)
    few = Made(small(root, labels=7), tmp_path / "few").rows("sentiment.train", "sentiment.dev")
    assert few == {"sentiment.train": 7, "sentiment.dev": 1}


@pytest.mark.parametrize(
    "lines", [("index\tsentence", "0\tawful"), ("sentence\tlabel", "awful\t-1"), ("sentence\tlabel",)]
)
def test_a_test_without_labels_changes_nothing(root, lines):  # noqa: F811  the fixture
    before = ids(small(root), "sentiment.train", "sentiment.dev", "sentiment.test")
    tsv(root / "glue/SST-2/test.tsv", *lines)
    assert ids(small(root), *before) == before


def test_mnli_needs_labels_of_both_tests(tmp_path):
    header, row = "sentence1\tsentence2\tgold_label", "A\tB\tneutral"
    tsv(tmp_path / "MNLI/test_matched.tsv", header, row)
    assert not glue.labelled(tmp_path / "MNLI", "MNLI")
    tsv(tmp_path / "MNLI/test_mismatched.tsv", header, row)
    assert glue.labelled(tmp_path / "MNLI", "MNLI")


@pytest.mark.parametrize(
    "task, line, expected",
    [
        ("CoLA", "x\t1\t\tIt is so.", True),
        ("CoLA", "0\tIt is so.", False),
        ("STS-B", "sentence1\tsentence2\tscore\nA\tB\t3.5", True),
        ("STS-B", "sentence1\tsentence2\tscore\nA\tB\t-1", False),
        ("RTE", "index\tsentence1\tsentence2\n0\tA\tB", False),
    ],
)
def test_labels_are_known_by_the_first_row(tmp_path, task, line, expected):
    tsv(tmp_path / task / "test.tsv", line)
    assert glue.labelled(tmp_path / task, task) == expected


SWEEP = """
name: x
seeds: [0]
data: {preset: real, root: ROOT, translation: "", digits: ""}
base:
  encoder: nano
  pretrain: {objectives: {contrastive: 1.0}, steps: 0, decay: 0, update: {speech: 4 s}}
rows: {joint: {}}
tasks: [sentiment]
"""


def test_an_added_test_split_is_scored_where_asked_or_named(root, tmp_path):  # noqa: F811  the fixture
    tsv(root / "far.tsv", "sentence\tlabel", "far away\t1")
    file = tmp_path / "x.yaml"
    file.write_text(SWEEP.replace("ROOT", json.dumps(str(root))))
    added = "data.tests={sentiment.test_far: far.tsv}"
    said = (
        "data.tests has sentiment.test_far, which no task scores: add test_far to the splits of a task that reads "
        "sentiment."
    )
    assert said in plan_file(file, [added]).notes
    plan = plan_file(file, [added, "base.tasks.sentiment.splits=[test,test_far]", "table.columns=[sentiment.accuracy]"])
    assert said not in plan.notes and list(plan.manifest[0]["stages"]["score"]["sentiment"]) == ["test", "test_far"]
    column = "table.columns=[sentiment.test_far.accuracy]"
    plan = plan_file(file, [added, "base.tasks.sentiment.splits=[test,test_far]", column])
    assert plan.sweep["table"]["columns"] == ["sentiment.test_far.accuracy"]
