"""What is asked for is read as people write it, or refused in a sentence that shows the right form."""

import pytest
from fakes import KINDS

from ablate.clusters.resources import Resources
from ablate.clusters.slurm import preview, sbatch
from ablate.errors import UserError
from ablate.planning.plan import plan_file

READ = [
    ("timeout_min", 90, 90),
    ("timeout_min", "90", 90),
    ("timeout_min", "2:00:00", 120),
    ("timeout_min", "0:00:30", 1),
    ("timeout_min", "1-12:00:00", 2160),
    ("timeout_min", "1-12", 2160),
    ("mem_gb", 40, 40),
    ("mem_gb", "40", 40),
    ("mem_gb", "40G", 40),
    ("mem_gb", "40GB", 40),
    ("mem_gb", "40 GiB", 40),
    ("mem_gb", "512M", 0.5),
    ("mem_gb", "1.5T", 1536),
    ("gpus", 4, 4),
    ("gpus", "4", 4),
    ("gpus", 0, 0),
    ("cpus", 8.0, 8),
    ("setup", "module load cuda", ["module load cuda"]),
    ("setup", ["a", "b"], ["a", "b"]),
    ("account", 1234, "1234"),
    ("nice", -5, -5),
    ("pack_min", 0, 0),
    ("sbatch", {"--mail_type": "END", "exclusive": True}, {"mail-type": "END", "exclusive": True}),
]
REFUSED = [
    ("timeout_min", "2:00", r"found '2:00', expected whole minutes, or hours.*; write timeout_min: 2:00:00\."),
    ("timeout_min", "2h", r"write timeout_min: 2:00:00\."),
    ("timeout_min", "90 min", r"write timeout_min: 90\."),
    ("timeout_min", "1d", r"write timeout_min: 1-0:00:00\."),
    ("timeout_min", 1.5, r"write timeout_min: 2\."),
    ("timeout_min", 0, r"write timeout_min: 1\."),
    ("timeout_min", "0:00:00", "expected whole minutes"),
    ("timeout_min", "soon", r"as in 90, 2:00:00 or 1-12:00:00\."),
    ("mem_gb", True, r"found true, expected memory in GB, as in 40, 40G or 512M\."),
    ("mem_gb", -4, "expected memory"),
    ("mem_gb", 0, "expected memory"),
    ("mem_gb", "40 gigs", r"write mem_gb: 40G\."),
    ("mem_gb", "512K", r"as in 40, 40G or 512M\.$"),
    ("gpus", "a100", r"write gpus: a100:1\."),
    ("gpus", "4:a100", r"write gpus: a100:4\."),
    ("gpus", "gpu:a100:4", r"write gpus: a100:4\."),
    ("gpus", 0.5, r"write gpus: 1\."),
    ("gpus", -1, r"write gpus: 1\."),
    ("cpus", 0, r"write cpus: 1\."),
    ("cpus", [2], "expected a whole number from 1"),
    ("parallelism", 0, r"write parallelism: 1\."),
    ("poll_s", 0, "more than 0"),
    ("nodelist", ["n1", "n2"], r"write nodelist: n1,n2\."),
    ("partition", True, "expected text"),
    ("partition", "a\nb", "not several lines"),
    ("setup", [1], "a line of shell"),
    ("sbatch", "--exclusive", "options of sbatch by name"),
    ("sbatch", {"exclusive": False}, r"resources\.sbatch\.exclusive: found false, expected text"),
    ("sbatch", {"": 1}, "options of sbatch by name"),
    ("sbatch", {"comment": "x"}, r"resources\.sbatch: --comment of sbatch is set by this command; leave it out\."),
    ("sbatch", {"kill-on-invalid-dep": "no"}, "leave it out"),
    ("sbatch", {"hold": True}, "leave it out"),
    ("sbatch", {"job_name": "x"}, "--job-name"),
    ("sbatch", {"--time": 5}, r"write resources\.timeout_min\."),
    ("sbatch", {"dep": "afterok:1"}, "--dependency"),  # sbatch takes beginnings of its options, too
    ("sbatch", {"mem-per-cpu": "4G"}, r"write resources\.mem_gb\."),
]


@pytest.mark.parametrize("name, written, read", READ)
def test_as_people_write_it(name, written, read):
    found = Resources({name: written}, KINDS).wanted("pretrain")[name]
    assert found == read and type(found) is type(read)
    assert (
        Resources({"pretrain": {name: written}} if name != "parallelism" else {}, KINDS).wanted("pretrain")[name]
        == read
    )


@pytest.mark.parametrize("name, written, why", REFUSED)
@pytest.mark.parametrize("asks", [True, False])
def test_what_makes_no_sense_is_refused_wherever_it_runs(name, written, why, asks):
    with pytest.raises(UserError, match=why):
        Resources({name: written}, KINDS, asks)


def test_a_kind_says_what_is_its_own():
    with pytest.raises(UserError, match=r"resources\.score\.cpus: found 0"):
        Resources({"score": {"cpus": 0}}, KINDS)
    with pytest.raises(
        UserError, match=r"resources\.score\.poll_s: it is set for the whole sweep; write resources\.poll_s"
    ):
        Resources({"score": {"poll_s": 3}}, KINDS)
    with pytest.raises(UserError, match=r"resources\.score: found 4, expected a mapping"):
        Resources({"score": 4}, KINDS)
    asked = Resources({"sbatch": {"mail-type": "END"}, "score": {"sbatch": {"exclusive": True}}}, KINDS)
    assert asked.wanted("score")["sbatch"] == {"mail-type": "END", "exclusive": True}
    assert Resources({"partition": None}, KINDS).wanted("score").keys() == {"mem_gb", "cpus", "timeout_min"}


@pytest.mark.parametrize("asks", [True, False])
def test_processes_that_would_share_a_gpu_are_refused(asks):
    with pytest.raises(
        UserError, match=r"8 processes of a pretrain stage would share 2 GPUs.* gpus to 8, or tasks to 2"
    ):
        Resources({"gpus": "a100:2", "tasks": 8}, KINDS, asks)
    with pytest.raises(UserError, match="2 processes of a finetune stage would share 1 GPU of"):
        Resources({"gpus": 2, "tasks": 2, "finetune": {"gpus": 1}}, KINDS, asks)
    Resources({"gpus": 0, "tasks": 8}, KINDS, asks)  # on CPUs
    Resources({"gpus": 1, "pretrain": {"gpus": 8, "tasks": 8, "nodes": 8}}, KINDS, asks)


def test_the_type_of_a_gpu_stands_beside_their_number():
    asked = Resources({"gpus": "a100:4", "finetune": {"gpus": 1}}, KINDS)
    assert asked.wanted("pretrain").items() >= {"gpu_type": "a100", "gpus": 4}.items()
    assert "gpu_type" not in asked.wanted("finetune")
    assert asked.for_submitit("pretrain")["gpus_per_node"] == "a100:4"
    assert asked.for_submitit("finetune")["gpus_per_node"] == 1


def test_options_reach_the_script(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 7\n")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    for name in ("sbatch", "srun"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    given = {"exclude": "n[1-2]", "nodelist": "n3", "gres": "disk:1", "reservation": "us", "nice": 9, "gpus": "a100:2"}
    asked = Resources({**given, "mem_gb": "512M", "sbatch": {"mail-type": "END", "exclusive": True}}, KINDS)
    sbatch.sbatch(tmp_path, 1, asked.for_submitit("score"), "ablate:m")
    written = (tmp_path / "submission.sh").read_text().splitlines()
    options = ["--exclude='n[1-2]'", "--nodelist=n3", "--gres=disk:1", "--reservation=us", "--nice=9"]
    for option in [
        *options,
        "--gpus-per-node=a100:2",
        "--mem=512MB",
        "--mail-type=END",
        "--exclusive",
        "--comment=ablate:m",
    ]:
        assert f"#SBATCH {option}" in written
    shown = preview.options("score", asked).split()
    assert {"--nice=9", "--exclusive", "--gpus-per-node=a100:2"} <= {*shown} and "additional" not in str(shown)


SWEEP = """\
data: {preset: builtin, speech: 30, text: 60}
resources:
  timeout_min: 2:00:00
  pretrain: {timeout_min: "3:00:00", gpus: a100:4, mem_gb: 40G, setup: module load cuda}
  finetune: {timeout_min: 7200}
base: {encoder: nano, pretrain: {objectives: {masked_text: 1.0}, steps: 1, decay: 1}}
rows: {one: {}}
"""


def test_a_time_in_a_file_is_hours_quoted_or_not(tmp_path):
    """YAML takes 2:00:00 for the number 7200."""
    file, profile = tmp_path / "small.yaml", tmp_path / "here.yaml"
    file.write_text(SWEEP)
    plan = plan_file(file, ["resources.score.timeout_min=4:00:00"], tmp_path)
    asked = Resources(plan.resources, plan.kinds)
    times = {kind: asked.wanted(kind)["timeout_min"] for kind in ("table", "pretrain", "finetune", "score")}
    assert times == {"table": 120, "pretrain": 180, "finetune": 7200, "score": 240}
    assert asked.wanted("pretrain")["mem_gb"] == 40
    profile.write_text(
        "timeout_min: 2:00:00\naccount: 0123\npartition: null\nsbatch: {exclusive: true}\nscore: {cpus: 2}\n"
    )
    asked = Resources({"profile": str(profile)}, KINDS)
    assert asked.wanted("score") == {
        "mem_gb": 4,
        "cpus": 2,
        "timeout_min": 120,
        "account": "0123",
        "sbatch": {"exclusive": True},
    }
    file.write_text(SWEEP.replace("a100:4", "0.5"))
    with pytest.raises(UserError, match=r"resources\.pretrain\.gpus: found 0\.5"):
        plan_file(file, [], tmp_path)
    profile.write_text("a: [\n")
    with pytest.raises(UserError, match="not valid YAML"):
        Resources({"profile": str(profile)}, KINDS)


def test_the_sweep_that_asks_differently_is_the_same_work(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(SWEEP)
    ids = plan_file(file, [], tmp_path).stages.keys()
    assert plan_file(file, ["resources={mem_gb: 1, sbatch: {exclusive: true}}"], tmp_path).stages.keys() == ids
