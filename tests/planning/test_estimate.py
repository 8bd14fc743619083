"""What a plan says of hours and memory, before anything is queued; and the paper's sweep, planned and run small on two
ranks.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from ranks import ranks_of
from torch._subclasses.fake_tensor import FakeTensorMode

from ablate import sweep
from ablate.clusters.remaining import Remaining
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import Board, ancestors
from ablate.clusters.slurm.preview import slurm_text
from ablate.describe import BYTES_PER_PARAMETER, Sizes, activations, vocabulary
from ablate.errors import UserError
from ablate.planning import cost, size
from ablate.planning.plan import plan_file
from ablate.stages.execute import execute
from ablate.store.record import read_jsonl, run_path
from ablate.store.run import RunFolder
from ablate.store.stage import materialise
from encoders.presets import PRESETS

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
PAPER = ["cluster=slurm", f"resources.profile={SWEEPS / 'clusters' / 'a100.yaml'}"]


@pytest.mark.parametrize("name", ["nano", "tiny"])
def test_memory_is_that_of_a_forward_pass_over_all_sequences_at_once(name):
    encoder = replace(PRESETS[name], speech_layers=1, shared_layers=1)
    whole = size.update(encoder, 500, (("speech", 12.0), ("text", 160)), 1, 3.0, 32)
    with FakeTensorMode():
        built = encoder.build(vocabulary(500))
        sizes = Sizes(speech=12.0, text=160, pairs=0, utterance=3.0, document=32)
        kept = sum(activations(built, inputs) for inputs in sizes.inputs(["speech", "text"]).values())
    weights = BYTES_PER_PARAMETER * sum(p.numel() for p in built.parameters())
    assert whole.bytes == pytest.approx(size.BASE + size.MARGIN * (weights + kept), rel=1e-3)
    halves = size.update(encoder, 500, (("speech", 12.0), ("text", 160)), 2, 3.0, 32)
    assert halves.flops == whole.flops and halves.bytes < whole.bytes


def test_operations_of_the_papers_update_by_hand():
    """24 layers of 24 M parameters see a speech position, 16 a token; three times two operations for each parameter."""
    slam = PRESETS["slam"]
    speech = size.update(slam, 32_000, (("speech", 1200.0),), 1, 12.0, 128)
    assert speech.flops == pytest.approx(6 * 1200 * 25 * 24 * 24.2e6, rel=0.15)
    text = size.update(slam, 32_000, (("text", 12_800),), 1, 12.0, 128)
    assert text.flops == pytest.approx(6 * 12_800 * 16 * 24.2e6, rel=0.15)


def test_a_stage_costs_what_stages_of_its_shape_took(tmp_path):
    """Another seed, other steps and another learning rate are the same shape; another update is not."""
    plan = plan_file(SWEEPS / "objectives.yaml")
    trunk = plan.stages[plan.lines("joint")[0]["stages"]["trunk"]]
    materialise(replace(plan, stages={trunk.id: trunk}), tmp_path)
    path = run_path(tmp_path, "pretrain", trunk.id) / "result.json"
    path.write_text(json.dumps({"seconds": 0.25 * trunk.steps}))

    def planned(*overrides):
        other = plan_file(
            SWEEPS / "objectives.yaml",
            ["seeds=[7]", *overrides],
            known=cost.Known.of(tmp_path),
        )
        return other.stages[other.lines("joint")[0]["stages"]["trunk"]].cost

    assert planned("base.pretrain.steps=200", "base.pretrain.optimizer.lr=1e-3") == pytest.approx(50.0)
    assert planned("base.pretrain.steps=200", "base.pretrain.update.speech=40", "claims=null") != pytest.approx(
        50.0, rel=0.05
    )


@pytest.mark.slow
def test_what_does_not_fit_a_gpu_is_refused_before_anything_is_queued():
    with pytest.raises(
        UserError,
        match=r"pretrain text_only .*needs about 34\.\d GB in each process \(42\d\.\d M parameters\), but "
        r"resources\.gpu_gb allows 30\.0 GB; .*pretrain\.update\.shards, now 64",
    ):
        plan_file(SWEEPS / "paper.yaml", [*PAPER, "resources.pretrain.gpu_gb=30"], asking=["slurm"])


def test_what_does_not_fit_is_refused_before_anything_is_queued():
    with pytest.raises(UserError, match=r"resources\.mem_gb allows 1\.0 GB"):
        plan_file(SWEEPS / "objectives.yaml", ["cluster=slurm", "resources.mem_gb=1G"], asking=["slurm"])
    plan_file(SWEEPS / "objectives.yaml", ["cluster=slurm"], asking=["slurm"])
    plan_file(SWEEPS / "objectives.yaml", ["cluster=local", "resources.mem_gb=1"], asking=["slurm"])


GPU = ["cluster=slurm", "base.encoder={preset: nano, precision: bf16}"]


def test_hours_of_gpus_follow_from_traced_operations(tmp_path, monkeypatch):
    """Of the GPU that is asked for, by the roofline; twice the updates take twice as long; measured paces still win."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))

    def trunk(gpus, steps=200, **known):
        plan = plan_file(
            SWEEPS / "objectives.yaml",
            [*GPU, f"resources.pretrain={{gpus: {gpus}}}", f"base.pretrain.steps={steps}"],
            asking=["slurm"],
            **known,
        ).only(["text_only"])
        return plan, plan.stages[plan.lines("text_only")[0]["stages"]["trunk"]]

    plan, a100 = trunk("a100:1")
    (note,) = (note for note in plan.notes if "GPU-hours" in note)
    assert "of A100" in note and "of H200" in note and "2.5 µs a launch" in note
    _, h200 = trunk("h200:1")
    _, longer = trunk("a100:1", 400)
    assert 0 < h200.cost <= a100.cost  # launches rule at this size
    assert longer.cost - cost.START == pytest.approx(2 * (a100.cost - cost.START), abs=0.02)
    assert size.BASE < a100.memory < 1.2 * size.BASE
    idle, one = trunk("a100:4")
    assert one.cost == a100.cost  # one process uses one GPU
    assert [note for note in idle.notes if "asks for 4 GPUs of a node and runs as 1 process, each" in note]
    assert not [note for note in plan.notes if "GPUs of a node" in note]
    shape = cost.shape("pretrain", a100.config)
    assert trunk("a100:1", known=cost.Known(paces=lambda: {shape: 3.0}))[1].cost == pytest.approx(600.0)


@pytest.mark.slow
def test_the_papers_sweep_is_planned_without_its_corpora(tmp_path, capsys):
    plan = plan_file(SWEEPS / "paper.yaml", PAPER, tmp_path, asking=["slurm"])
    joint = plan.lines("joint")[0]
    trunk = plan.stages[joint["stages"]["trunk"]]
    assert (trunk.steps, joint["steps"], plan.lines("joint_tlm")[0]["steps"]) == (500_000, 550_000, 800_000)
    assert trunk.config["encoder"]["width"] == 1024 and trunk.config["targets"]["learned"]["entries"] == 1024
    board = Board(plan.stages, tmp_path)
    said = slurm_text(board, Resources(plan.resources, plan.kinds), Remaining(board, 256).estimate())
    pretrain = next(line for line in said.splitlines() if line.startswith("pretrain "))
    assert "GPU-hours" in pretrain and "--nodes=8" in pretrain and "37.8 GB" in pretrain
    hours = float(pretrain.split("GPU-hours")[0].split()[-1].replace(",", ""))
    assert 20_000 < hours < 80_000
    (note,) = (note for note in plan.notes if "GPU-hours" in note)
    a100, h200 = (float(x.replace(",", "")) for x in re.findall(r"([\d,]+) of (?:A100|H200)", note))
    assert hours < a100 < 1.1 * hours and a100 / 989 * 312 < h200 < a100 / 2 and "70%" in note
    assert "pretrain joint / leaf" in said and "GPU-hours in total" in said
    assert sweep.main([str(SWEEPS / "paper.yaml"), f"root={tmp_path}"]) == 2
    assert "can only be planned" in capsys.readouterr().err and not list(tmp_path.iterdir())


SMALL = [
    "data={preset: builtin, speech: 30, text: 60, pairs: 20, asr: 20, translation: 20, sentiment: 20, "
    "sentence_pair: 20, normalization: 20, dev: 10, test: 10, retrieval: 10, text_dev: 10, text_test: 10}",
    "base.encoder={width: 32, heads: 2, ffn: 64, groups: 4, speech_layers: 2, shared_layers: 3, frontend_channels: 8}",
    "base.tokenizer.size=150",
    "base.pretrain.targets.learned={entries: 16, dim: 16}",
    "base.pretrain.steps=6",
    "base.pretrain.decay=2",
    "base.pretrain.update={speech: 6 s, text: 60 tokens, pairs: 3, shards: 3}",
    "seeds=[0]",
    "rows.joint_tlm_stm.pretrain={steps: 4, update: {speech: 6 s, text: 60 tokens, pairs: 3}}",
    "claims=null",
    "base.tasks.asr={steps: 4, items: 2, evaluate_every: 2, transducer: {hidden: 16, layers: 1}, "
    "tokenizer: {size: 100}}",
]


@pytest.mark.slow
def test_the_papers_code_runs_small_on_two_ranks_as_on_one(tmp_path):
    """Both stages and a transducer, conv2d front end and all, in three pieces an update on two processes and on one."""
    losses = []
    for ranks in (1, 2):
        root = tmp_path / str(ranks)
        plan = plan_file(SWEEPS / "paper.yaml", [*SMALL, "cluster=local"], root).only(["joint_tlm_stm"])
        stages = plan.lines("joint_tlm_stm")[0]["stages"]
        wanted = ancestors(plan.stages, [stages["finetune"]["asr"]])
        materialise(plan, root)
        order = [id for id in Board(plan.stages, root).stages if id in wanted]
        alone = [id for id in order if plan.stages[id].kind not in ("pretrain", "finetune")]
        for id in alone if ranks == 2 else order:
            execute(id, root)
        spread = [id for id in order if id not in alone]
        if ranks == 2:
            assert ranks_of(root, 2, *spread) == [0, 0]
        logs = [read_jsonl(RunFolder(root, plan.stages[id].kind, id).files / "metrics.jsonl") for id in spread]
        losses.append([(line["step"], line["loss"]) for log in logs for line in log if "loss" in line])
    assert len(losses[0]) == len(spread) == 4
    for one, two in zip(*losses):
        assert one[0] == two[0] and one[1] == pytest.approx(two[1], rel=1e-3)
