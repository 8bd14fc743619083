"""`python -m ablate.bench.gpu`: the whole program on a CPU with torch alone; what fails, hangs or dies is told."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablate.bench.gpu import __main__ as command
from ablate.bench.gpu import agreement, attention, driver, made, memory, resume
from ablate.bench.gpu.report import FAILED, PASSED, REPORTED, SKIPPED, Report
from ablate.bench.gpu.steps import LIMIT, NAMES, STEPS, Step
from ablate.bench.gpu.table import table
from ablate.planning.plan import read
from ablate.sweepfile import load
from ablate.sweepfile.rows import Resolver

ROOT = Path(driver.__file__).resolve().parents[3]
CASES = [*agreement.cases()]
CPU = torch.device("cpu")

# Put in front of every process: nothing loads but the standard library, this project, torch with what it requires, and
# what is allowed by name.
ALONE = """
import importlib.machinery, importlib.metadata, os, re, sys

def needed(names):
    found, open_ = set(), list(names)
    while open_:
        name = open_.pop().lower().replace("-", "_")
        if name not in found:
            found.add(name)
            try:
                wanted = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            open_ += [re.match(r"[\\w.-]+", one)[0] for one in wanted if "extra ==" not in one]
    return found

LIBRARIES = needed(["torch", "einops", "numpy", "scipy"]) | set(os.environ["ALLOWED"].split())
KNOWN = {*sys.stdlib_module_names, "ablate", "encoders", "objectives", "torchgen", "functorch"}

class Alone(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in KNOWN or top.lower() in LIBRARIES or top.startswith("_")
        return super().find_spec(name, path, target) if known else None

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Alone
"""


def run(folder: Path, *arguments: str, allowed: str = "") -> tuple[subprocess.CompletedProcess, dict]:
    """The command in a process that finds torch, einops, numpy, scipy and what is `allowed`; and the record."""
    (folder / "sitecustomize.py").write_text(ALONE)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "ALLOWED": allowed}
    command = [sys.executable, "-m", "ablate.bench.gpu", "--device", "cpu", "--out", str(folder / "out.json")]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)
    return done, json.loads((folder / "out.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"), allowed="safetensors")


def test_the_whole_program_runs_with_torch_einops_numpy_and_scipy(whole):
    done, record = whole
    assert done.returncode == 0, done.stderr
    assert record["complete"] and record["device"] == "cpu" and [one["name"] for one in record["steps"]] == [*NAMES]
    verdicts = {one["name"]: one["verdict"] for one in record["steps"]}
    assert verdicts == {**dict.fromkeys(NAMES, PASSED), "memory": REPORTED, "ceilings": REPORTED}
    for one in record["steps"]:
        assert one["values"] and 0 < one["seconds"] < one["budget"] and "error" not in one
        for value in one["values"]:
            assert value["verdict"] == (PASSED if value["bound"] else REPORTED), value


def test_progress_and_tables(whole):
    done, record = whole
    for number, step in enumerate(STEPS, 1):
        assert f"step {number} of {len(STEPS)}, {step.name}: {step.what} (" in done.stderr
        assert f"{step.name}: passed after" in done.stderr or f"{step.name}: reported after" in done.stderr
    assert "s left for all)" in done.stderr and done.stdout.strip() == table(record)
    assert len(done.stdout.splitlines()) == 5 + len(STEPS) + sum(len(one["values"]) for one in record["steps"])


def values(record: dict, step: str) -> dict:
    (one,) = (one for one in record["steps"] if one["name"] == step)
    return {value["name"]: value["value"] for value in one["values"]}


def test_every_objective_head_and_part_is_compared(whole):
    compared = values(whole[1], "agreement")
    names = {name.rpartition(", ")[0] for name in compared}
    assert names == {case.name for case in agreement.cases()} >= {*agreement.OBJECTIVES, "ctc", "transducer"}
    for name in names:
        assert compared[f"{name}, fp32: loss"] == 0.0 and compared[f"{name}, fp32: gradient"] > 1 - 1e-9
        assert 0 < compared[f"{name}, bf16: loss"] < 0.01 and compared[f"{name}, bf16: gradient"] > 0.9


def test_a_run_resumed_on_a_cpu_is_bit_equal(whole):
    assert values(whole[1], "resume")["bit-equal to an uninterrupted run"] is True


def test_without_safetensors_one_step_is_skipped_and_says_so(tmp_path):
    done, record = run(tmp_path, "--only", "memory", "resume")
    assert done.returncode == 0, done.stderr
    assert [one["verdict"] for one in record["steps"]] == [REPORTED, SKIPPED]
    assert record["steps"][1]["error"] == "safetensors is not installed, and checkpoints are written with it"


# What goes wrong -------------------------------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Run steps whose modules do what is asked, and return whether all was well, and the record on disk."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "faulty_steps").mkdir()
    out = tmp_path / "out.json"

    def run(*bodies: str, budget: float = 60.0, limit: float = 60.0) -> tuple[bool, dict]:
        for number, body in enumerate(bodies):
            lines = "\n    ".join(["report.value('before', 1.0)", *body.splitlines()])
            head = f"import json, os, signal, subprocess, time\n\nOUT = {str(out)!r}\n\n"
            (tmp_path / "faulty_steps" / f"step_{number}.py").write_text(
                f"{head}def run(device, report):\n    {lines}\n"
            )
        steps = [Step(f"step_{number}", budget, "planted", "faulty_steps") for number in range(len(bodies))]
        sound = driver.Driver(out, "cpu", limit).run(steps)
        return sound, json.loads(out.read_text())

    return run


@pytest.mark.parametrize(
    ("body", "verdict", "why"),
    [
        ("raise ValueError('a planted fault')", FAILED, "ValueError: a planted fault"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", FAILED, "Its process ended with status -11."),
        ("os._exit(3)", FAILED, "Its process ended with status 3."),
        ("report.value('x', 2.0, at_most=1.0)", FAILED, None),
        ("with report.part('one'): raise ValueError('planted')", FAILED, None),
    ],
)
def test_a_step_that_fails_is_written_down_and_the_next_goes_on(planted, capsys, body, verdict, why):
    sound, record = planted(body, "report.value('x', 1.0, 's', at_most=1.0)")
    bad, good = record["steps"]
    assert not sound and record["complete"] and bad["verdict"] == verdict and bad.get("error") == why
    assert bad["values"][0]["value"] == 1.0
    assert good["verdict"] == PASSED and [value["value"] for value in good["values"]] == [1.0, 1.0]
    assert "traces" not in good and ("in run" in str(bad.get("traces"))) == ("raise" in body)
    assert f"| step_0 | {verdict} |" in table(record) and "step_0: failed after" in capsys.readouterr().err


def test_a_step_that_hangs_ends_with_what_it_started_when_its_time_is_up(planted):
    hangs = "child = subprocess.Popen(['sleep', '600'])\nreport.value('child', child.pid)\ntime.sleep(600)"
    sound, record = planted(hangs, "pass", budget=8.0)
    late, good = record["steps"]
    assert not sound and late["verdict"] == "out of time" and late["error"] == "It was ended after 8 s."
    assert good["verdict"] == REPORTED
    with pytest.raises(ProcessLookupError):
        wait_for_end(late["values"][1]["value"])


def wait_for_end(pid: int) -> None:
    """Raise ProcessLookupError once there is no such process, or only its remains."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError
        time.sleep(0.05)


def test_no_step_begins_without_time_for_it(planted):
    sound, record = planted("time.sleep(600)", "pass", limit=0.0)
    assert not sound and [one["verdict"] for one in record["steps"]] == ["out of time"] * 2


def test_the_record_on_disk_has_each_value_as_soon_as_it_is_told(planted):
    waits = """
def told():
    return [value['name'] for value in json.load(open(OUT))['steps'][-1]['values']]
while told() != ['before']:
    time.sleep(0.01)
report.value('seen', json.load(open(OUT))['steps'][-1]['verdict'])
"""
    _, record = planted(waits)
    assert [value["value"] for value in record["steps"][0]["values"]] == [1.0, "running"]


def test_a_run_that_is_told_to_stop_leaves_a_record_that_says_so(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "ablate.bench.gpu", "--device", "cpu", "--only", "agreement", "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "contrastive, fp32: loss" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate()
    record = json.loads(out.read_text())
    assert process.returncode == 143 and not record["complete"]
    assert record["steps"][0]["verdict"] == "interrupted" and record["steps"][0]["values"]


def told(run, *arguments) -> dict:
    """The values that a function tells to a report, by name."""
    messages = []
    run(*arguments, Report(messages.append))
    return {content["name"]: content for kind, content in messages if kind == "value"}


def test_bounds():
    def tell(report):
        report.value("at the bound", 1.0, at_most=1.0)
        report.value("above it", 1.01, at_most=1.0)
        report.value("below", 0.9, at_least=0.95)
        report.value("not a number", float("nan"), at_most=1.0)
        report.value("no bound", float("inf"))
        report.equal("equal", [1], [1])
        report.equal("other", [1], [2])

    found = told(tell)
    verdicts = (PASSED, FAILED, FAILED, FAILED, REPORTED, PASSED, FAILED)
    assert [value["verdict"] for value in found.values()] == [*verdicts]
    assert found["not a number"]["value"] == "nan" and found["above it"]["bound"] == "at most 1"
    json.dumps(list(found.values()), allow_nan=False)


@pytest.mark.parametrize(("factor", "verdict"), [(1 + 5e-5, PASSED), (1 + 2e-4, FAILED)])
def test_a_loss_that_differs_on_the_device_fails(monkeypatch, factor, verdict):
    real, calls = agreement.scored, []

    def scored(*arguments):
        loss, gradient = real(*arguments)
        calls.append(loss)
        return (loss, gradient) if len(calls) == 1 else (loss * factor, gradient)

    monkeypatch.setattr(agreement, "scored", scored)
    monkeypatch.setattr(agreement, "cases", lambda: CASES[:1])
    found = told(agreement.run, CPU)
    assert found["contrastive, fp32: loss"]["verdict"] == verdict
    assert found["contrastive, fp32: gradient"]["verdict"] == PASSED


def test_a_gradient_that_points_elsewhere_fails(monkeypatch):
    real, calls = agreement.scored, []

    def scored(*arguments):
        loss, gradient = real(*arguments)
        calls.append(loss)
        bent = gradient + 0.1 * gradient.norm() * torch.nn.functional.normalize(torch.ones_like(gradient), dim=0)
        return loss, gradient if len(calls) == 1 else bent

    monkeypatch.setattr(agreement, "scored", scored)
    monkeypatch.setattr(agreement, "cases", lambda: CASES[:1])
    assert told(agreement.run, CPU)["contrastive, fp32: gradient"]["verdict"] == FAILED


def test_an_attention_backend_that_computes_something_else_fails(monkeypatch):
    def forgetful(q, k, v, layout):  # its sequences see each other
        return attention.attention(q, k, v, replace(layout, lengths=(layout.total,), modalities=("speech",)))

    monkeypatch.setattr(attention, "BACKENDS", {"right": attention.dense, "wrong": forgetful})
    monkeypatch.setattr(attention, "lacking", lambda name, case: "")
    found = told(attention.run, CPU)
    bounded = {name: value["verdict"] for name, value in found.items() if value["bound"]}
    assert {verdict for name, verdict in bounded.items() if not name.startswith("wrong")} == {PASSED}
    for name, verdict in bounded.items():
        if name.startswith("wrong"):
            assert verdict == (PASSED if "one of 90" in name else FAILED), name


def test_moments_that_are_lost_on_resuming_are_beyond_the_bound(tmp_path, monkeypatch):
    plan = resume.Plan(8, 4, 8)
    whole = dict(resume.train(tmp_path, plan))
    resumed = dict(resume.train(tmp_path, plan))
    assert [*resumed] == [4, 5, 6, 7] and resume.apart(whole, resumed) == 0.0
    load = resume.FlatAdamW.load

    def halved(self, state, *more):
        load(self, {name: x / 2 for name, x in state.items()}, *more)

    monkeypatch.setattr(resume.FlatAdamW, "load", halved)
    wrong = dict(resume.train(tmp_path, plan))
    assert wrong[4] == whole[4] and resume.apart(whole, wrong) > resume.SOON


def test_memory_is_measured_with_the_papers_objectives():
    sweep, registry = read(ROOT / "sweeps" / "paper.yaml", [])
    row = Resolver(load.interpolated(sweep), registry).rows({})["joint_tlm_stm"]
    assert (memory.OBJECTIVES, memory.TARGETS) == (row.objectives, row.targets)
    assert memory.PRESETS[memory.PAPER.preset] == row.encoder and memory.PAPER.pieces == row.tokenizer.size
    assert memory.PER_SECOND == row.update.text / row.update.speech
    assert memory.SECONDS_PER_PAIR == row.update.speech / row.update.pairs
    shard = memory.shard(memory.PAPER, 192, made.vocabulary(memory.PAPER.pieces))
    assert sum(shard["speech"].inputs.lengths) == 19_200 and sum(shard["text"].inputs.lengths) == 8192
    assert len(shard["pair"].inputs.text.lengths) == 2


def test_what_does_not_fit_is_told_as_that(monkeypatch):
    def full(shape, variant, device, report):
        raise torch.OutOfMemoryError("planted")

    bounded, free = memory.Variant("bf16", 4, bound=1.0), memory.Variant("fp32", 4)
    monkeypatch.setattr(memory, "SMALL_VARIANTS", (bounded, free))
    monkeypatch.setattr(memory, "update", full)
    monkeypatch.setattr(memory, "foreseen", lambda *_: 10**9)
    found = told(memory.run, CPU)
    assert found[f"{bounded}: peak"] == {**found[f"{bounded}: peak"], "value": "inf", "verdict": FAILED}
    assert found[f"{free}: peak"]["verdict"] == REPORTED


# The command -----------------------------------------------------------------------------------------------------


def test_help_and_list_name_every_step(capsys):
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*NAMES]
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    said = capsys.readouterr().out
    assert all(step.what in said for step in STEPS) and "under 9 minutes" in said


def test_budgets_fit_into_nine_minutes():
    assert sum(step.budget for step in STEPS) <= LIMIT < 540


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cpu"], "--out FILE is missing"),
        (["--device", "cpu", "--out", "nowhere/at/all.json"], "there is no folder"),
        (["--only", "memories", "--out", "x.json"], "invalid choice: 'memories'"),
        (["--out", "x.json"], "torch finds no CUDA device here; --device cpu runs the program at small shapes"),
    ],
)
def test_mistakes_in_the_command(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert message in capsys.readouterr().err
