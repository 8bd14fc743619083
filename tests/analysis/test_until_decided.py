"""--until-decided: which rows get more seeds, when it stops, and what it says; on records that are made up, and once
for real.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ablate import drive, sweep
from ablate.store.record import run_path
from ablate.store.stage import Plan, Stage, materialise
from analysis import report
from analysis.records.frame import read
from analysis.table import build

ROOT = Path(__file__).resolve().parents[2]
ROWS = ("scratch", "joint", "speech_only", "joint_longer", "text_only")
SCORE = 10.0  # estimated seconds of a score stage


def claim(a, b, **more):
    return {"effect": f"{a} - {b}", "coefficients": {a: 1.0, b: -1.0}, "on": "asr.wer", **more}


CLAIMS = {
    "clear": claim("speech_only", "scratch", above=0),
    "close": claim("joint_longer", "joint", above=0),
}


@pytest.fixture
def looked(tmp_path, monkeypatch, fake_sweep):
    """Return (run the command with some claims and return its status, what was run as (row, seed) by look)."""
    root, ran, given = tmp_path / "runs", [], {}

    def planned(options, counts=None):
        count = max([given["looks"][0], *counts.values()])
        folder = tmp_path / "made" / "sweeps" / "objectives"
        lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
        lines = [line for line in lines if line["seed"] < counts.get(line["row"], given["looks"][0])]
        about = json.loads((folder / "sweep.json").read_text())
        about |= {"looks": given["looks"], "seeds": list(range(count)), "claims": given["claims"]}
        ids = [id for line in lines for of in line["stages"]["score"].values() for id in of.values()]
        stages = {id: Stage("score", {}, (), id, cost=SCORE) for id in ids}
        return Plan("objectives", about, lines, stages, {}, root=str(root), budget=given["budget"])

    def carry_out(full, whole, options):
        if options.dry_run:
            return 0
        scored = {line["stages"]["score"]["asr"]["test"]: line for line in full.manifest if "asr" not in line["na"]}
        new = {
            id: line for id, line in scored.items() if not run_path(root, "score", id).joinpath("result.json").exists()
        }
        ran.append(sorted((line["row"], line["seed"]) for line in new.values()))
        materialise(full, root)
        if given["fails"] == len(ran):
            return 1
        leaves = {line["stages"]["leaf"]: "pretrain" for line in full.manifest}
        for id, kind in {**leaves, **dict.fromkeys(full.stages, "score")}.items():
            shutil.copytree(run_path(tmp_path / "made", kind, id), run_path(root, kind, id), dirs_exist_ok=True)
            result = run_path(root, kind, id) / "result.json"
            result.write_text(json.dumps(json.loads(result.read_text()) | {"seconds": SCORE}))
        records = read(root / "sweeps" / "objectives")
        report.claims.log(records, report.claims.verdicts(records))
        return 0

    monkeypatch.setattr(drive, "planned", planned)
    monkeypatch.setattr(drive, "carry_out", carry_out)

    options = {"rows": ROWS, "tasks": ("asr",), "table": {}, "noise": 0.5, "size": 400}
    fake_sweep(root=tmp_path / "made", seeds=tuple(range(6)), **options).write()

    def run(*arguments, claims=CLAIMS, looks=(4, 6), budget=None, fails=0):
        given.update(claims=claims, looks=list(looks), budget=budget, fails=fails)
        return sweep.main(["objectives.yaml", "--until-decided", *arguments])

    return run, ran, root


def test_only_rows_of_undecided_claims_get_more_seeds(looked, capsys):
    run, ran, root = looked
    assert run() == 0
    first = sorted((row, seed) for row in ROWS if row != "text_only" for seed in range(4))
    assert ran == [first, [("joint", 4), ("joint", 5), ("joint_longer", 4), ("joint_longer", 5)]]
    said = capsys.readouterr().out
    assert "clear: supported, corrected p of difference = " in said and "; no more seeds" in said
    assert "close: undecided, corrected p of difference = " in said and "; goes on to 6 seeds" in said
    assert (
        said.index("Look 1 of 2, 4 seeds:") < said.index("Look 2 of 2, 6 seeds:") < said.index("Stopped after 6 seeds")
    )
    logged = [json.loads(line) for line in (root / "sweeps" / "objectives" / "looks.jsonl").read_text().splitlines()]
    assert [(line["look"], set(line["claims"])) for line in logged] == [(1, {"clear", "close"}), (2, {"close"})]


def test_a_row_that_was_never_asked_for_more_seeds_lacks_none(looked):
    run, _, root = looked
    assert run() == 0
    lines = {line.row: line for line in build(read(root / "sweeps" / "objectives")).lines}
    seeds = {row: (line.cells[0].n, line.cells[0].seeds) for row, line in lines.items() if row != "text_only"}
    assert seeds == {"scratch": (4, 4), "speech_only": (4, 4), "joint": (6, 6), "joint_longer": (6, 6)}


def test_a_repeated_command_goes_on_where_it_was(looked, capsys):
    run, ran, root = looked
    assert run(fails=2) == 1 and len(ran) == 2  # the second look fails
    assert run() == 0 and len(ran) == 3
    assert ran[2] == ran[1] != []  # nothing of the first look is run again
    assert run() == 0 and ran[3:] == [[]]
    lines = (root / "sweeps" / "objectives" / "claims.jsonl").read_text().splitlines()
    assert len(lines) == 1  # declared once


def test_it_stops_where_all_is_decided_or_hopeless(looked, capsys):
    run, ran, _ = looked
    assert run(claims={"clear": CLAIMS["clear"]}) == 0 and len(ran) == 1
    assert "Stopped after 4 seeds. No claim is left for which more seeds are worth running." in capsys.readouterr().out


def test_a_hopeless_claim_is_given_up(looked, capsys):
    run, ran, _ = looked
    vain = claim("joint", "speech_only", above=-4)  # exactly the effect
    assert run(claims={"vain": vain}, looks=(5, 6)) == 0
    said = capsys.readouterr().out
    assert ("given up: the last look would hardly decide it" in said) == (len(ran) == 1)


def test_an_assays_rows_go_on_with_their_claim(looked):
    run, ran, _ = looked
    nothing = CLAIMS["close"] | {
        "assay": "speech_only - scratch",
        "assay_coefficients": {"speech_only": 1.0, "scratch": -1.0},
    }
    assert run(claims={"c": nothing}) == 0
    assert {row for row, _ in ran[1]} == {"joint", "joint_longer", "speech_only", "scratch"}


def test_the_budget_stops_before_a_look_that_does_not_fit(looked, capsys):
    run, ran, _ = looked
    assert run(budget=34 * SCORE) == 0 and len(ran) == 1  # of 32 stages, and 8 more
    said = capsys.readouterr().out
    assert "all stages come to 5 min of work, and at most to 8 min; the budget is 6 min." in said
    assert "Stopped after 4 seeds. Look 2 takes about 80 s of work beyond the 5 min" in said
    assert run(budget=SCORE, looks=(5, 6)) == 2
    assert "more than the budget of 10 s; give a larger one, as in budget='" in capsys.readouterr().err


def test_a_dry_run_says_what_it_may_cost_and_runs_nothing(looked, capsys):
    run, ran, root = looked
    assert run("--dry-run", budget=3 * 3600.0) == 0 and ran == [] and not root.exists()
    assert "Verdicts at 4 and 6 seeds: all stages come to 5 min" in capsys.readouterr().out
    assert run("--dry-run", budget=SCORE) == 0 and ran == []
    assert "note: Look 1 takes about 5 min of work beyond" in capsys.readouterr().out


def test_claims_that_came_too_late_are_named_where_it_stops(looked, capsys):
    run, ran, root = looked
    only = {"clear": CLAIMS["clear"]}
    assert run(claims=only) == 0
    for path in (root / "score").glob("*/*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"ended": "2026-01-01T00:00:00Z"}))
    lines = root / "sweeps" / "objectives" / "claims.jsonl"
    lines.write_text(lines.read_text().replace('"time": "20', '"time": "19'))
    capsys.readouterr()
    assert run(claims={"clear": CLAIMS["clear"] | {"above": 1}}) == 0
    said = capsys.readouterr().out
    assert "clear: exploratory\n" in said
    assert "Stopped after 4 seeds. No verdict for clear: changed since its first result (above), so explor" in said


@pytest.mark.parametrize("option", [["--only", "joint"], ["--detach"], ["--fresh"], ["--show", "joint"]])
def test_what_fits_no_look_is_refused(looked, capsys, option):
    assert looked[0](*option) == 2 and f"leave {option[0]} out" in capsys.readouterr().err


def test_without_claims_there_is_nothing_to_decide(looked, capsys):
    assert looked[0](claims={"x": CLAIMS["clear"] | {"family": "exploratory"}}) == 2
    assert "needs claims that get a verdict" in capsys.readouterr().err


SWEEP = """\
data: {preset: builtin, speech: 30, text: 60, pairs: 20, dev: 10, test: 10, retrieval: 10}
seeds: [0, 1, 2]
looks: [3, 4]
base:
  encoder: {width: 32, heads: 2, ffn: 64, groups: 4}
  tokenizer: {size: 100}
  pretrain: {objectives: {masked_text: 1.0}, steps: 2, decay: 1, update: {text: 60 tokens}}
  tasks: {retrieval: {}}
rows: {one: {}, two: {pretrain: {steps: 3}}, three: {}}
claims:
  alike: {effect: three - one, on: retrieval, above: 0}
  different: {effect: two - one, on: retrieval, above: 100, unmatched: true}
"""


@pytest.mark.slow
def test_a_real_sweep_adds_a_seed_for_what_is_undecided(tmp_path):
    """Rows that are the same model differ by 0 for every seed, which no number of seeds decides; 100 is refuted."""
    (tmp_path / "small.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "ablate.sweep", "small.yaml", "--until-decided", "workers=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "alike: undecided; goes on to 4 seeds" in told.stdout and "Stopped after 4 seeds" in told.stdout
    folder = tmp_path / "runs" / "sweeps" / "small"
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows = Counter(line["row"] for line in lines)
    assert rows == {"one": 4, "three": 4, "two": 3} and "different" in (folder / "looks.jsonl").read_text()
    assert "declared before its first result" in (folder / "report.html").read_text()
