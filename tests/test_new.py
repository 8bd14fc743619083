"""`--new`: files for every answer plan as they are written, nothing is written over, wrong answers name valid ones."""

import csv
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ablate import new, sweep
from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.sweepfile.template import COMPARE, WHERE, Answers, text

ROOT = Path(__file__).resolve().parents[1]


def planned(tmp_path, answers):
    file = tmp_path / "mine.yaml"
    file.write_text(text(answers, "python -m ablate.sweep mine.yaml"))
    return plan_file(file, [], tmp_path / "runs"), file


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("compare", COMPARE)
def test_every_choice_is_a_complete_question_that_plans(compare, where, tmp_path):
    words = [f"compare={compare}", "seeds=2", f"where={where}", *(["partition=gpu"] if where == "slurm" else [])]
    plan, file = planned(tmp_path, new.given(words))
    assert plan.notes == () and plan.sweep["seeds"] == [0, 1] and plan.cluster == ("" if where == "local" else where)
    assert plan.sweep["question"].endswith("?") and plan.sweep["changes_our_mind"]
    assert len(plan.sweep["claims"]) == 2 and len(plan.sweep["table"]["columns"]) == 3
    shown = [row for block in plan.sweep["table"]["blocks"] for row in block["rows"]]
    assert sorted(shown) == sorted(plan.rows)
    assert all(about["label"] != name for name, about in plan.sweep["rows"].items())
    assert len(file.read_text().splitlines()) < 60


def test_values_of_a_setting_are_rows_and_those_of_an_axis_points(tmp_path):
    setting = "compare=values setting=base.pretrain.optimizer.lr values=[1e-3,2e-3,4e-3]"
    plan, _ = planned(tmp_path, new.given(setting.split()))
    assert plan.rows == ["lr_1e_3", "lr_2e_3", "lr_4e_3"]
    rates = [plan.resolved[row]["pretrain"]["optimizer"]["lr"] for row in plan.rows]
    assert rates == [0.001, 0.002, 0.004]
    plan, _ = planned(tmp_path, new.given("compare=axis setting=pretrain.steps values=100,200".split()))
    assert plan.sweep["axes"] == {"pretrain.steps": [100, 200]}


def test_values_that_read_alike_are_rows_of_their_own_and_words_are_quoted(tmp_path):
    plan, _ = planned(tmp_path, new.given("compare=values setting=tasks.asr.lr values=1e-3,1e3,1e+3,1e-3".split()))
    assert plan.rows == ["lr_1e_3", "lr_1e3", "lr_1e_3_3"]
    plan, _ = planned(tmp_path, new.given(["partition=cpu,gpu"]))
    assert plan.resources == {"partition": "cpu,gpu"}


def test_rows_of_unequal_updates_are_claimed_as_such(tmp_path):
    plan, _ = planned(tmp_path, new.given("compare=values setting=pretrain.steps values=400,800".split()))
    assert all(claim["unmatched"] for claim in plan.sweep["claims"].values())


def test_real_corpora_plan(tmp_path, real_data):
    plan, file = planned(tmp_path, new.given([f"data={real_data}", "data.sentence_pair=glue/MRPC"]))
    assert yaml.safe_load(file.read_text())["data"]["sentence_pair"] == "glue/MRPC" and not plan.absent


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("compare=objectivs", "did you mean 'objectives'"),
        ("where=slrm", "did you mean 'slurm'"),
        ("data=builtn", "did you mean 'builtin'"),
        ("seting=3", "did you mean 'setting'"),
        ("mine", "expected NAME=VALUE"),
        ("where=slurm", "add partition=NAME"),
        ("seeds=0", "expected how many"),
        ("seeds=many", "expected how many"),
        ("setting=pretrain.steps", "goes with compare=values"),
        ("where=local partition=gpu", "goes with where=slurm"),
        ("compare=values setting=pretrian.steps values=1,2", "did you mean 'pretrain'"),
        ("compare=values setting=pretrain.steps", "two or more"),
        ("compare=values setting=pretrain.steps values=5,5", "two or more"),
        ("data.speech=[x]", "a setting of real corpora"),
    ],
)
def test_wrong_answers_name_valid_ones(words, sentence):
    with pytest.raises(UserError, match=sentence):
        new.given(words.split())


def test_a_partition_means_jobs():
    assert new.given(["partition=gpu"]) == Answers(where="slurm", partition="gpu")


def test_at_a_terminal_wrong_answers_are_asked_again_and_nothing_typed_is_the_default(capsys):
    typed = iter(["valeus", "values", "", "1, 5, 9", "", "4", "slurm", "", "gpu"])
    answers = new.asked(lambda question: next(typed))
    assert answers == Answers(
        compare="values",
        setting="pretrain.objectives.masked_text.span",
        values=("1", "5", "9"),
        seeds=4,
        where="slurm",
        partition="gpu",
    )
    said = capsys.readouterr().out
    assert "did you mean 'values'" in said and "Jobs need a partition" in said

    def ended(_):
        raise EOFError

    with pytest.raises(UserError, match="nothing was written"):
        new.asked(ended)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The command without a terminal and without answers: what it said, and its folder."""
    folder = tmp_path_factory.mktemp("new")
    return command(folder, "mine"), folder


def command(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "ablate.sweep", "--new", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_without_a_terminal_defaults_are_taken_and_said_and_the_plan_and_the_next_command_shown(told):
    said, folder = told
    assert said.returncode == 0, said.stderr
    assert "compare=objectives data=builtin seeds=3 where=local" in said.stdout and "Wrote mine.yaml." in said.stdout
    assert re.search(r"3 seeds\. \d.* left on \d+ workers? \(", said.stdout)
    assert said.stdout.endswith("    python -m ablate.sweep mine.yaml\n") and "mine.yaml --quick" in said.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["mine.yaml"]
    head = (folder / "mine.yaml").read_text().splitlines()
    assert head[0] == "# Run: python -m ablate.sweep mine.yaml"
    assert re.fullmatch(r"# Cost: about \d+ min on 2 cores, 3 seeds", head[1])
    schema = head[2].removeprefix("# yaml-language-server: $schema=")
    assert (folder / schema).resolve() == ROOT / "sweeps" / "schema.json" and (folder / schema).is_file()


def test_nothing_is_written_over(told):
    _, folder = told
    before = (folder / "mine.yaml").read_bytes()
    for name in ("mine", "mine.yaml"):
        said = command(folder, name, "compare=weights")
        assert said.returncode == 2 and "'mine.yaml' is there already" in said.stderr
    assert (folder / "mine.yaml").read_bytes() == before
    with pytest.raises(UserError, match="there already"):
        new._written(folder / "mine.yaml", "other")
    assert [path.name for path in folder.iterdir()] == ["mine.yaml"] and (folder / "mine.yaml").read_bytes() == before


def test_what_does_not_plan_is_not_written(tmp_path):
    said = command(tmp_path, "mine", "compare=values", "setting=pretrain.stps", "values=1,2")
    assert said.returncode == 2 and "did you mean 'steps'" in said.stderr and "Nothing was written" in said.stderr
    assert said.stderr.startswith("error: mine.yaml, line") and not [*tmp_path.iterdir()]
    assert "no folder" in command(tmp_path, "there/mine").stderr


def test_where_the_schema_lies_is_said_from_the_file(tmp_path):
    assert new.schema_from(ROOT / "sweeps") == "schema.json" and new.schema_from(ROOT) == "sweeps/schema.json"
    (tmp_path / "link").symlink_to(ROOT / "sweeps")
    assert new.schema_from(tmp_path / "link") == "schema.json"  # for the file lies where the link leads


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    said = command(tmp_path, "mine.txt")
    assert said.returncode == 2 and "'mine.txt' ends in '.txt'" in said.stderr and "write mine.yaml." in said.stderr
    assert not [*tmp_path.iterdir()]


def test_costs_are_said_as_headers_say_them():
    said = [new.cost(minutes) for minutes in (0.1, 11.6, 119, 300)]
    assert said == [f"about {cost} on 2 cores" for cost in ("1 min", "12 min", "119 min", "5 h")]


def test_help_teaches_it():
    shown = sweep._parser().format_help()
    examples = re.findall(r"--new mine(.*)", shown)
    assert len(examples) == 2 and new.given([word for word in examples[1].split() if word != "data=DIR"])
    assert set(itertools.chain(COMPARE, WHERE)) <= set(re.findall(r"\w+", " ".join(new.QUESTIONS.values())))


@pytest.mark.slow
def test_a_new_file_goes_to_a_complete_report_by_quick(tmp_path):
    assert command(tmp_path, "mine", "seeds=1").returncode == 0
    run = [sys.executable, "-m", "ablate.sweep", "mine.yaml", "--quick"]
    done = subprocess.run(
        run, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("mine_quick: Quick run: ") and not (tmp_path / "runs").exists()
    folder = tmp_path / "runs-quick" / "sweeps" / "mine_quick"
    cells = list(csv.DictReader((folder / "table.csv").open()))
    rows = {"scratch": 3, "text_only": 1, "speech_only": 2, "joint": 3}
    assert {row: sum(cell["row"] == row and cell["status"] == "done" for cell in cells) for row in rows} == rows
    assert done.stdout.count("UNDECIDED") == 2 and "decides nothing" in (folder / "report.html").read_text()
    assert {"interference.png", "pretraining.png", "finetuning.png"} <= {path.name for path in folder.glob("figures/*")}
