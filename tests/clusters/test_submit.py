"""What is submitted to Slurm and why a job is said to have failed, without Slurm; tests/test_slurm.py has the
real one.
"""

import datetime
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fakes
import pytest

from ablate import sweep as command
from ablate.clusters import failure, registry
from ablate.clusters.failure import Failure
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, ELSEWHERE, FAILED, Board
from ablate.clusters.slurm import controller, diagnosis, pack, reasons, sbatch
from ablate.clusters.slurm.job import Job
from ablate.clusters.slurm.jobs import Jobs
from ablate.clusters.slurm.journal import INTENT, Journal
from ablate.clusters.slurm.submit import Submission
from ablate.errors import UserError
from ablate.stages.registry import KINDS
from ablate.store.lock import read_lock
from ablate.store.record import read_jsonl
from ablate.store.run import RunFolder
from ablate.store.snapshot import snapshot

HERE = Path(__file__).resolve().parents[1]
SHAPES = dict.fromkeys(KINDS, "one")
TRAINS = {name: kind.trains for name, kind in KINDS.items()}


def asked(given):
    return Resources(given, TRAINS)


def arrays(board, jobs=(), largest=1000, seconds=0.0, shapes=SHAPES):
    """(kind, tasks, parents) of the arrays."""
    packed = pack.arrays(board, jobs, largest, shapes, dict.fromkeys(KINDS, seconds))
    return [(array.kind, array.tasks, array.parents) for array in packed]


@pytest.fixture
def board(tmp_path):
    """A corpus, a tokenizer, three trunks, and two fine-tunings of two of them."""
    s = fakes.stage
    stages = [s("co", kind="table"), s("to", "co", kind="tokenizer")]
    stages += [s(f"t{i}", "co", "to", kind="pretrain", cost=100.0) for i in range(3)]
    stages += [s(f"f{i}{j}", "co", "to", f"t{i}", kind="finetune", cost=40.0) for i in range(2) for j in range(2)]
    return Board(fakes.write(tmp_path, *stages), tmp_path)


def test_arrays_wait_for_exactly_their_parents(board, tmp_path):
    assert arrays(board) == [
        ("table", [["co"]], []),
        ("tokenizer", [["to"]], ["co"]),
        ("pretrain", [["t0"], ["t1"], ["t2"]], ["to"]),
        ("finetune", [["f00"], ["f01"]], ["t0"]),
        ("finetune", [["f10"], ["f11"]], ["t1"]),
    ]
    for id in ("co", "to", "t0", "t1"):
        board.set(id, DONE)
    board.set("t2", ELSEWHERE)
    fakes.write(tmp_path, f2 := fakes.stage("f2", "t2", kind="finetune"))
    board.stages["f2"], board.state["f2"] = f2, "waiting"
    assert arrays(board, largest=3) == [("finetune", [["f00"], ["f01"], ["f10"]], []), ("finetune", [["f11"]], [])]
    assert arrays(board, ["t2"], 3)[-1] == ("finetune", [["f2"]], ["t2"])


def test_short_stages_share_a_task(board):
    """Costs: corpus and tokenizer 1 s, trunks 100 s, fine-tunings 40 s."""
    assert arrays(board, seconds=90.0) == [
        ("table", [["co"]], []),
        ("tokenizer", [["to"]], ["co"]),
        ("pretrain", [["t0"], ["t1"], ["t2"]], ["to"]),
        ("finetune", [["f00", "f01"]], ["t0"]),
        ("finetune", [["f10", "f11"]], ["t1"]),
    ]
    # a trunk takes along what follows from it alone; two such chains would be too long for one task
    assert arrays(board, seconds=200.0)[2:] == [
        ("pretrain", [["t0", "f00", "f01"], ["t1", "f10", "f11"], ["t2"]], ["to"])
    ]
    assert arrays(board, seconds=1000.0) == [
        ("table", [["co", "to", "t0", "t1", "t2", "f00", "f01", "f10", "f11"]], [])
    ]
    other = SHAPES | {"pretrain": "with a GPU"}  # which the others do not need
    assert arrays(board, seconds=1000.0, shapes=other) == [
        ("table", [["co"]], []),
        ("tokenizer", [["to"]], ["co"]),
        ("pretrain", [["t0", "t1", "t2"]], ["to"]),
        ("finetune", [["f00", "f01"]], ["t0"]),
        ("finetune", [["f10", "f11"]], ["t1"]),
    ]


def test_stages_that_cost_nothing_share_no_task_unless_asked(tmp_path):
    s = fakes.stage
    board = Board(fakes.write(tmp_path, s("a", cost=0), s("b", "a", cost=0)), tmp_path)
    assert arrays(board) == [("score", [["a"]], []), ("score", [["b"]], ["a"])]
    assert arrays(board, seconds=1.0) == [("score", [["a", "b"]], [])]


def test_a_stage_with_two_parents_goes_along_with_neither(tmp_path):
    s = fakes.stage
    board = Board(fakes.write(tmp_path, s("a", cost=5), s("b", cost=5), s("c", "a", "b", cost=1)), tmp_path)
    assert arrays(board, seconds=6.0) == [("score", [["a"], ["b"]], []), ("score", [["c"]], ["a", "b"])]


@pytest.mark.parametrize("count", [1, 7, 100])
def test_tasks_are_of_equal_length_and_lose_nothing(tmp_path, count):
    stages = [fakes.stage(f"s{i:03}", cost=60.0 + i % 3) for i in range(count)]
    board = Board(fakes.write(tmp_path, *stages), tmp_path)
    ((_, tasks, _),) = arrays(board, seconds=600.0)
    assert [id for task in tasks for id in task] == [stage.id for stage in stages]
    assert max(map(len, tasks)) - min(map(len, tasks)) <= 2 and max(map(len, tasks)) <= 10


def test_resources(tmp_path):
    wanted = asked({"mem_gb": 8, "partition": "gpu", "pretrain": {"gpus": 1, "mem_gb": 30}}).for_submitit("pretrain")
    assert wanted == {
        "mem": "30GB",
        "cpus_per_task": 1,
        "time": 120,
        "partition": "gpu",
        "gpus_per_node": 1,
        "signal_delay_s": 90,
    }
    with pytest.raises(UserError, match="did you mean 'partition'"):
        asked({"partion": "gpu"}).for_submitit("score")
    with pytest.raises(UserError, match="did you mean 'timeout_min'"):
        asked({"score": {"timeout": 3}}).for_submitit("score")
    with pytest.raises(UserError, match="did you mean 'pretrain'"):
        asked({"pretrian": {"gpus": 1}}).for_submitit("score")


def test_several_processes_are_for_training_alone():
    assert asked({"tasks": 2}).for_submitit("pretrain")["ntasks_per_node"] == 2
    assert "ntasks_per_node" not in asked({"tasks": 2}).for_submitit("score")
    with pytest.raises(UserError, match="only pretrain and finetune"):
        asked({"score": {"tasks": 2}}).for_submitit("score")
    assert asked({"tasks": 2}).seconds_of_task("pretrain") == 0.0
    assert asked({"timeout_min": 6}).seconds_of_task("pretrain") == 180.0
    assert asked({"pack_min": 1}).seconds_of_task("score") == 60.0


def test_a_profile_lies_under_what_the_sweep_asks_for(tmp_path):
    profile = tmp_path / "here.yaml"
    profile.write_text("partition: gpu\nmem_gb: 8\nsetup: [module load cuda]\npretrain: {gpus: 4, timeout_min: 600}\n")
    given = {"profile": str(profile), "mem_gb": 16, "pretrain": {"gpus": 1}}
    wanted = asked(given).for_submitit("pretrain")
    assert (wanted["partition"], wanted["mem"], wanted["gpus_per_node"], wanted["time"]) == ("gpu", "16GB", 1, 600)
    assert wanted["setup"] == ["module load cuda"]
    profile.write_text("partion: gpu\n")
    with pytest.raises(UserError, match="did you mean 'partition'"):
        asked({"profile": profile})
    with pytest.raises(UserError, match="did you mean 'here.yaml'"):
        asked({"profile": tmp_path / "hare.yaml"})


def test_the_code_is_copied_once(tmp_path):
    first = snapshot(tmp_path)
    assert (first / "ablate" / "clusters" / "slurm" / "submit.py").read_bytes() == (
        HERE.parent / "ablate" / "clusters" / "slurm" / "submit.py"
    ).read_bytes()
    assert snapshot(tmp_path) == first and len(list((tmp_path / "code").iterdir())) == 1


def test_what_code_reads_beside_it_is_copied_too(tmp_path):
    """The job that --detach leaves writes the report with its copy of the code."""
    copy = snapshot(tmp_path)
    for file in ("analysis/page/page.css", "analysis/page/page.js", "analysis/tables/published/librispeech.csv"):
        assert (copy / file).read_bytes() == (HERE.parent / file).read_bytes()
    assert not list(copy.rglob("*.pyc"))


def noted(journal, tasks, jobs, sweep="sweep"):
    """An array that Slurm took."""
    intent = journal.intend(journal.fresh("x"), tasks, sweep, {"throttle": 4})
    journal.write(intent, jobs)
    return intent


def test_the_journal_knows_the_latest_job_of_this_cluster(tmp_path):
    here, other = Journal(tmp_path, "here"), Journal(tmp_path, "other")
    noted(here, [["a", "b"], ["c"]], ["7_0", "7_1"])
    noted(here, [["a"]], ["9"])
    noted(other, [["c"]], ["8"])
    fresh = Journal(tmp_path, "here")
    fresh.read()
    assert fresh.latest == here.latest == {"a": "9", "b": "7_0", "c": "7_1"} and fresh.times["a"] == 2
    assert fresh.tasks["7_0"].stages == ("a", "b") and fresh.tasks["7_0"].throttle == 4
    noted(here, [["d"]], ["12"])
    fresh.read()
    assert fresh.latest["d"] == "12" and not fresh.intents()


def test_what_was_to_be_submitted_is_known_until_it_is_settled(tmp_path):
    here, other, fresh = (Journal(tmp_path, name) for name in ("here", "other", "here"))
    first = here.intend(here.fresh("x"), [["a"], ["b"]], "sweep", {"code": "c"})
    second = here.intend(here.fresh("y"), [["d"]], "sweep", {})
    other.intend(other.fresh("z"), [["e"]], "sweep", {})
    fresh.read()
    assert [one.mark for one in fresh.intents()] == [first.mark, second.mark] and first.mark != second.mark
    assert fresh.intents()[0].tasks == (("a",), ("b",)) and fresh.intents()[0].about["code"] == "c"
    assert fresh.latest == {} and not any(one.unlikely() for one in fresh.intents())
    past = time.time() - 61  # by the clock of the file system
    os.utime(first.folder / INTENT, (past, past))
    assert not fresh.intents()[0].unlikely(), "sbatch may still run"
    here.fail(first)
    assert not fresh.intents()[0].unlikely()
    os.utime(first.folder / INTENT, (past, past))
    assert fresh.intents()[0].mark == first.mark and fresh.intents()[0].unlikely()
    os.utime(second.folder / INTENT, (past - 300, past - 300))
    assert fresh.intents()[1].unlikely()
    here.drop(second)
    fresh.write(fresh.intents()[0], ["5_0", "5_1"])
    here.read()
    assert not here.intents() and not fresh.intents() and here.latest == {"a": "5_0", "b": "5_1"}


def ended(tmp_path, job, state=None, log="", begun=False, own=""):
    """Failure of a stage whose job ended in `state`, with these texts in Slurm's log and in its own."""
    run = RunFolder(tmp_path, "pretrain", "aa11")
    (run.path / "logs").mkdir(parents=True)
    (run.path / "logs" / "out.txt").write_text(own)
    if begun:
        (run.path / "attempts.jsonl").write_text(json.dumps({"job": job, "outcome": "lost"}) + "\n")
    slurm_log = tmp_path / "log.err"
    slurm_log.write_text(log)
    return diagnosis.of_job(run, job, state, slurm_log)


SLURMSTEPD = "slurmstepd: error: *** STEP 7.0 ON node CANCELLED AT 2026-01-01T00:00:00"
CASES = [
    ("7", "TIMEOUT", f"{SLURMSTEPD} DUE TO TIME LIMIT ***", True, failure.TIME),
    ("7", None, f"{SLURMSTEPD} DUE TO TIME LIMIT ***", True, failure.TIME),  # without accounting
    ("7", "PREEMPTED", "", True, failure.PREEMPTED),
    ("7", None, f"{SLURMSTEPD} DUE TO PREEMPTION ***", True, failure.PREEMPTED),
    ("7", "NODE_FAIL", "", True, failure.NODE),
    ("7", "OUT_OF_MEMORY", "", True, failure.MEMORY),
    ("7", "FAILED", "slurmstepd: error: Exceeded job memory limit", True, failure.MEMORY),
    ("7", "CANCELLED", f"{SLURMSTEPD} ***", True, failure.CANCELLED_RUNNING),
    ("7_3", "CANCELLED", "", False, failure.CANCELLED_PENDING),
    ("7_3", None, "", False, failure.CANCELLED_PENDING),  # Slurm forgets a pending task cancelled out of an array
    ("7", None, "", False, failure.LOST),
    ("7", "FAILED", "", True, failure.KILLED),
    ("7", "FAILED", f"{SLURMSTEPD} DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***\nsrun: done\n", False, failure.NODE),
    ("7", "CANCELLED", f"{SLURMSTEPD} ***", False, failure.CANCELLED_RUNNING),
    ("7", "FAILED", "module: command not found", False, failure.LOST),
]


@pytest.mark.parametrize("job, state, log, begun, kind", CASES)
def test_why_a_job_is_gone(tmp_path, job, state, log, begun, kind):
    verdict = ended(tmp_path, job, state, log, begun)
    assert verdict.kind == kind and ("module" in log) <= ("started the stage: module: command" in verdict.why)


@pytest.mark.parametrize(
    "code, own, kind, why",
    [
        (1, "Traceback ...\nValueError: no such thing\n", failure.EXCEPTION, "ValueError: no such thing"),
        (
            1,
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n",
            failure.MEMORY,
            "Tried to allocate",
        ),
        (
            1,
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\n",
            failure.MEMORY,
            "can't allocate",
        ),
        (-9, "", failure.MEMORY, "SIGKILL"),
        (-11, "", failure.KILLED, "SIGSEGV"),
        (3, "bye\n", failure.EXCEPTION, "exit status 3"),
    ],
)
def test_why_a_process_ended(tmp_path, code, own, kind, why):
    run = RunFolder(tmp_path, "pretrain", "aa11")
    (run.path / "logs").mkdir(parents=True)
    (run.path / "logs" / "out.txt").write_text(own)
    verdict = diagnosis.of_exit(run, "7", code, None)
    assert verdict.kind == kind and why in verdict.why
    failure.write(run, verdict)
    assert failure.read(run) == replace(verdict, tries=1)
    run.note("result.json", {})
    assert failure.read(run) is None


def test_a_process_that_is_killed_leaves_no_lock(tmp_path, monkeypatch):
    """Its job clears that away: another host could not tell for minutes that it is dead."""
    fakes.write(tmp_path, fakes.stage("aa", do="die"))
    run = RunFolder(tmp_path, "score", "aa")
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not Job(fakes.PROGRAM)._done(run, {})
    assert read_lock(run.path) is None and failure.read(run).kind == failure.MEMORY
    (attempt,) = read_jsonl(run.path / "attempts.jsonl")
    assert (attempt["outcome"], attempt["job"]) == ("lost", "7")


def test_a_job_does_not_wait_for_the_files_of_a_parent_that_has_failed(tmp_path, monkeypatch):
    fakes.write(tmp_path, fakes.stage("aa"), fakes.stage("bb", "aa"))
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    failure.write(RunFolder(tmp_path, "score", "aa"), Failure(failure.EXCEPTION, "ValueError: no", "6"))
    began, run = time.monotonic(), RunFolder(tmp_path, "score", "bb")
    assert not Job(fakes.PROGRAM)._done(run, {}) and time.monotonic() - began < 20
    assert failure.read(run).why == "starts from aa, which was not done"


def test_memory_that_runs_out_twice_comes_with_advice():
    told = str(diagnosis.advice(Failure(failure.MEMORY, "CUDA out of memory", "7"), "pretrain", tried=True))
    assert "with activation checkpointing too: lower pretrain.update" in told and "resources.pretrain.mem_gb" in told


def test_a_stage_that_cannot_compute_activations_twice_is_not_run_again_for_memory(tmp_path):
    stage = replace(fakes.stage("aa", kind="pretrain"), recomputes=False)
    fakes.write(tmp_path, stage)
    jobs = Jobs.__new__(Jobs)
    jobs.board = Board({"aa": stage}, tmp_path)
    jobs.failed("aa", Failure(failure.MEMORY, "CUDA out of memory", "7"))
    assert jobs.board.state["aa"] == FAILED and not jobs.board.folders["aa"].spares_memory
    assert "its encoder has no activation checkpointing: lower pretrain.update" in jobs.board.why["aa"]


def test_an_unknown_cluster_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'slurm'"):
        registry.named("slrum")


def test_only_jobs_ask_for_resources(tmp_path, capsys):
    """A file that names the profile of another machine runs here all the same."""
    sweep = tmp_path / "small.yaml"
    sweep.write_text(
        "data: {preset: builtin, speech: 30, text: 60}\n"
        "resources: {profile: not there.yaml}\n"
        "base: {encoder: nano, pretrain: {objectives: {masked_text: 1.0}, steps: 1, decay: 1}}\n"
        "rows: {one: {}}\n"
    )
    assert command.main([str(sweep), "--dry-run", f"root={tmp_path}"]) == 0
    capsys.readouterr()
    (tmp_path / ".hidden.yaml").write_text("mem_gb: 1\n")
    given = f"resources.profile='{tmp_path}/not there.yaml'"
    assert command.main([str(sweep), "--dry-run", f"root={tmp_path}", "cluster=slurm", given]) == 2
    assert "no file" in (said := capsys.readouterr().err) and "hidden" not in said


# What Slurm answers --------------------------------------------------------------------------------------------------


@pytest.fixture
def shims(tmp_path, monkeypatch):
    """Put commands in place of Slurm's."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def make(**scripts):
        for name, script in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)

    return make


def test_parallelism_counts_all_tasks_of_a_sweep_until_they_left_the_queue(tmp_path, monkeypatch):
    """Those of another command, too; where all has ended, for a minute."""
    board = Board(fakes.write(tmp_path, *(fakes.stage(id, kind="table") for id in ("aa", "bb", "cc"))), tmp_path)
    journal = Journal(tmp_path, "here")
    noted(journal, [["aa"], ["bb"]], ["1_0", "1_1"])
    noted(journal, [["zz"]], ["2"])
    noted(journal, [["yy"]], ["3"], sweep="another")
    jobs = SimpleNamespace(
        board=board, journal=journal, name="sweep", jobs={"aa": "1_0", "bb": "1_1"}, resources={"parallelism": 9}
    )
    submission, now = Submission(jobs), 1000.0
    monkeypatch.setattr("ablate.clusters.slurm.submit.time.monotonic", lambda: now)
    queue = dict.fromkeys(["1_0", "1_1", "2", "3", "77"])
    assert submission._free(queue) == 6
    board.set("aa", DONE)
    assert submission._free(queue) == 6 and submission._free({"1_1": None}) == 8
    now += 61
    assert submission._free(queue) == 7
    jobs.resources = {}
    assert Submission(jobs)._free(queue) > 1000


def test_a_collector_is_told_what_to_wait_for_or_it_is_not_known_whether_it_was(shims, tmp_path):
    log = f'echo "$@" >> {tmp_path}/log\n'
    shims(scontrol=log)
    controller.release("7", "afterany:5")
    told = (tmp_path / "log").read_text().splitlines()
    assert told == ["update jobid=7 dependency=afterany:5", "release 7"]
    shims(scontrol=f'{log}echo "slurm_update error: Unable to contact slurm controller" >&2; exit 1')
    with pytest.raises(controller.Silent, match="contact"):
        controller.release("7", "afterany:5")
    (tmp_path / "log").unlink()
    shims(scontrol=f'{log}case $3 in depend*) echo "Job dependency problem for job 7" >&2; exit 1;; esac')
    controller.release("7", "afterany:5")  # Slurm has forgotten job 5
    assert (tmp_path / "log").read_text().splitlines()[1:] == ["update jobid=7 StartTime=now+10minutes", "release 7"]


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "printf '7_0|RUNNING|None|2026-01-02T03:04:05|ablate:a|x.pretrain\\n7_1|PEND'",  # cut in the middle
        "printf '7_0|RUNNING|None|2026-01-02T03:04:05|ablate:a|x\\n7_1|PENDING|Priority|N/A|ab|x'",  # cut at the end
        "echo 'some banner of the site'",
    ],
)
def test_a_queue_that_is_not_whole_is_no_answer(shims, script):
    shims(squeue=script)
    with pytest.raises(controller.Silent, match="squeue"):
        controller.queue()


def test_the_queue_has_marks_and_reasons(shims, monkeypatch):
    """Whatever the user's own defaults for squeue are, and what a job around this command was told."""
    for name in ("SQUEUE_FORMAT", "SLURM_JOB_ID", "SLURM_NTASKS", "SUBMITIT_EXECUTOR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SLURM_CONF", "/etc/a.conf")
    handed_on = "env | grep -q '^SQUEUE_\\|^SLURM_JOB\\|^SLURM_NT\\|^SUBMITIT' && exit 1"
    shims(squeue=f"{handed_on}\necho '7_0|PENDING|Priority|2026-01-02T03:04:05|ablate:a|x|y'")
    when = datetime.datetime(2026, 1, 2, 3, 4, 5).timestamp()
    assert controller.queue() == {"7_0": controller.Queued("PENDING", "Priority", when, "ablate:a", "x|y")}
    assert controller.environment()["SLURM_CONF"] == "/etc/a.conf"
    shims(squeue="exit 0")
    assert controller.queue() == {}


def test_jobs_with_names_of_any_bytes_and_lines_are_read(shims):
    shims(squeue="printf '7|RUNNING|None|N/A|one\\ntwo|caf\\351\\n8_[2-5%%2]|PENDING|Priority|N/A|(null)|b\\n'")
    assert controller.queue() == {
        "7": controller.Queued("RUNNING", "None", 0.0, "one two", "caf\ufffd"),
        "8_[2-5%2]": controller.Queued("PENDING", "Priority", 0.0, "(null)", "b"),
    }


def test_how_jobs_ended_is_asked_of_accounting_then_of_the_controller(shims):
    shims(sacct="echo '7_0|CANCELLED by 5'; echo '7_1|COMPLETED'", squeue="exit 1")
    assert controller.ended(["7_0", "7_1", "7_2"]) == {"7_0": "CANCELLED", "7_1": "COMPLETED"}
    shims(sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1", squeue="echo '7_0|FAILED'; echo '9|RUNNING'")
    assert controller.ended(["7_0"]) == {"7_0": "FAILED"}
    shims(squeue="echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(controller.Silent):
        controller.ended(["7_0"])
    shims(sacct="echo 'sacct: error: Problem talking to the database' >&2; exit 1", squeue="echo '7_0|FAILED'")
    assert controller.ended(["7_0"]) == {"7_0": "FAILED"}
    with pytest.raises(controller.Silent, match="database"):  # it may know of the other, when it comes back
        controller.ended(["7_0", "8"])


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("echo 'Submitted batch job 12'", ["12_0", "12_1"]),
        ("echo 'Submitted batch job 12 on cluster x'", ["12_0", "12_1"]),
        ("echo 'hello, job 12'", controller.Silent),
        ("kill -9 $$", controller.Silent),
        (
            "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
            controller.Silent,
        ),
        ("echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1", sbatch.Full),
        ("echo 'sbatch: error: invalid partition specified: x' >&2; exit 1", UserError),
        ("echo 'sbatch: error: Munge encode failed: Failed to access the socket' >&2; exit 1", controller.Silent),
    ],
)
def test_what_sbatch_says_is_an_array_a_refusal_or_nothing(shims, tmp_path, script, outcome):
    shims(sbatch=script, srun="exit 0")
    parameters = {"time": 5, "mem": "1GB", "job_name": "x"}
    if isinstance(outcome, list):
        assert sbatch.sbatch(tmp_path, 2, parameters, "ablate:m") == outcome
        assert "--comment=ablate:m" in (tmp_path / "submission.sh").read_text()
    else:
        with pytest.raises(outcome):
            sbatch.sbatch(tmp_path, 2, parameters, "ablate:m")


def test_waiting_for_an_answer_is_told_and_ends_when_asked_to(capsys):
    asked, answers = [], iter([controller.Silent("squeue: no"), controller.Silent("squeue: no"), "there"])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert controller.patiently(ask) == "there"
    said = capsys.readouterr().err
    assert said.count("Slurm has not answered since") == 1 and "squeue: no" in said and "answers again" in said

    def never():
        asked.append(1)
        raise controller.Silent("no")

    with pytest.raises(KeyboardInterrupt):
        controller.patiently(never, lambda: len(asked))


def test_a_question_is_given_up_when_the_user_has_seen_enough(shims):
    shims(squeue="exec sleep 60")
    began = time.monotonic()
    controller.heed(lambda: time.monotonic() - began > 1)
    try:
        with pytest.raises(controller.Silent):
            controller.queue()
    finally:
        controller.heed(lambda: 0)
    assert time.monotonic() - began < 10


def test_reasons_that_never_end_have_advice():
    assert "timeout_min" in reasons.hopeless("PartitionTimeLimit") and reasons.hopeless("BadConstraints")
    assert reasons.hopeless("MaxMemPerLimit") and reasons.hopeless("QOSMinGRES")
    assert reasons.hopeless("QOSMaxCpuPerJobLimit") and reasons.hopeless("AssocMaxWallDurationPerJobLimit")
    assert not any(map(reasons.hopeless, ("Priority", "Resources", "Dependency", "JobHeldUser", "BeginTime", "None")))


def test_a_stage_that_reads_what_was_pruned_meanwhile_is_to_be_run_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    fakes.write(tmp_path, fakes.stage("a", do="pruned"))
    run = RunFolder(tmp_path, "score", "a")
    assert not Job(fakes.PROGRAM)._done(run, {})
    assert (said := failure.read(run)).kind == failure.AGAIN and said.job == "7"
