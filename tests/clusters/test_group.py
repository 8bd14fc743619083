"""A root that a group shares: what one leaves, another goes on with; where he may not, a sentence names the file.

Processes take the identities of two made-up users with a group in common; that needs root, and setpriv.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import fakes
import pytest
import torch
from test_local import HERE, wait_for

from ablate.store import continuing, disk
from ablate.store.lock import me
from ablate.store.record import run_path
from ablate.store.run import RunFolder
from ablate.training import checkpoint

ADA, BOB, LAB = 61_001, 61_002, 61_003  # nobody's numbers
SWEEP = """
question: Who goes on?
data: {preset: builtin, speech: 2, text: 60, pairs: 2, asr: 2, translation: 2, sentiment: 20, sentence_pair: 2,
       normalization: 2, dev: 10, test: 10, retrieval: 2, text_dev: 10, text_test: 10}
base:
  encoder: nano_narrow
  tokenizer: {size: 150, bytes: false}
  pretrain: {objectives: {masked_text: 1.0}, steps: 40, decay: 10, update: {text: 60 tokens}}
  tasks: {sentiment: {steps: 20, items: 4, evaluate_every: 10}}
rows: {text_only: {encoder: {reads: [text]}}}
tasks: [sentiment]
"""


@pytest.fixture
def root():
    """An empty root of ada's that the group may write to; its folders are the group's, too."""
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("only root can take the identities of two users, with setpriv of util-linux")
    place = Path(tempfile.mkdtemp(prefix="group"))  # pytest's own folders are closed to others
    place.chmod(0o755)
    path = place / "runs"
    path.mkdir()
    os.chown(path, ADA, LAB)
    path.chmod(0o2775)
    yield path
    shutil.rmtree(place)


def as_user(user, command, place, umask=0o002):
    """Start a command as a user of the group."""
    home = place / f"home{user}"
    home.mkdir(exist_ok=True)
    os.chown(home, user, LAB)
    who = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={LAB}"]
    if closed_python():
        who += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # it may read all, and write no more
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), "HOME": str(home)}
    return subprocess.Popen(
        [*who, *command],
        umask=umask,
        cwd=HERE.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def closed_python():
    """Whether other users cannot come to this Python, as below /root."""
    places = (Path(sys.executable), Path(sys.executable).resolve(), HERE)
    return any(not folder.stat().st_mode & 0o001 for place in places for folder in place.parents)


def driver(user, root, umask=0o002):
    """Drive the fake stages under a root as a user."""
    return as_user(user, [sys.executable, str(HERE / "fakes.py"), str(root), "local", "1"], root.parent, umask)


@contextlib.contextmanager
def being(user, umask=0o002):
    """Be a user of the group for a while, in this process."""
    before, groups = os.umask(umask), os.getgroups()
    os.setgroups([LAB])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        os.umask(before)


def planned(user, root, *stages, umask=0o002):
    with being(user, umask):
        fakes.write(root, *stages)


def step(root, id):
    return max(
        (json.loads(p.read_text())["step"] for p in run_path(root, "score", id).glob("*/checkpoint.json")), default=0
    )


def killed(process, root, id, at=5):
    """Kill a driver with its worker when a stage has come so far; the step that is saved then."""
    wait_for(lambda: step(root, id) >= at)
    worker = RunFolder(root, "score", id).holder()["pid"]
    os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: RunFolder(root, "score", id).holder() is None)
    return step(root, id)


def closed_to_group(root):
    """What a member of the group could not read and write."""
    return [
        disk.modes(path)
        for path in root.rglob("*")
        if not path.is_symlink()
        and (
            path.stat().st_gid != LAB
            or path.stat().st_mode & 0o060 != 0o060
            or path.is_dir()
            and not path.stat().st_mode & 0o2010 == 0o2010
        )
    ]


def test_what_one_leaves_another_goes_on_with(root):
    planned(ADA, root, fakes.stage("aa", steps=150))
    saved = killed(driver(ADA, root), root, "aa")
    process = driver(BOB, root)
    wait_for(lambda: step(root, "aa") > saved)
    assert RunFolder(root, "score", "aa").path.joinpath("claim.json").stat().st_uid == BOB
    saved = killed(process, root, "aa", at=saved + 5)
    process = driver(ADA, root)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    run = RunFolder(root, "score", "aa")
    lines = [json.loads(line) for line in (run.files / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 151)) and run.result()["attempts"] == 3
    assert not closed_to_group(root)


@pytest.mark.parametrize("mode", [0o664, 0o644])
def test_a_checkpoint_of_another_is_taken_over(root, mode):
    """By a link, or by a copy where links to files that one may not write to are forbidden (fs.protected_hardlinks)."""
    run = RunFolder(root, "pretrain", "abcdef")
    with being(ADA), pytest.raises(RuntimeError), run.lock():
        checkpoint.save(run.files, 7, {"x": torch.arange(3.0)}, {"m": torch.ones(2)}, {})
        for path in run.files.glob("*.safetensors"):
            assert path.stat().st_mode & 0o777 == 0o664
            path.chmod(mode)
        inodes = {path.name: path.stat().st_ino for path in run.files.glob("*.safetensors")}
        raise RuntimeError
    with being(BOB), run.lock():
        saved = checkpoint.load(run.files)
        assert saved.step == 7 and saved.weights["x"].tolist() == [0.0, 1.0, 2.0] and len(saved.moments) == 1
        same = {path.name: path.stat().st_ino for path in run.files.glob("*.safetensors")} == inodes
        assert same == (mode == 0o664 or not int(Path("/proc/sys/fs/protected_hardlinks").read_text()))
        checkpoint.save(run.files, 8, {"x": torch.arange(3.0)}, {}, {}, last=True)
        run.finish({"steps": 8})
    with being(ADA):
        assert checkpoint.of(run).step == 8 and [path.name for path in run.path.glob(".*")] == []


def test_a_note_of_another_is_no_error(root):
    """That a trunk is finished, which both found out."""
    with being(ADA, 0o022):
        run = RunFolder(root, "pretrain", "abcdef")
        run.note(
            "identity.json", {"kind": "pretrain", "version": 1, "config": {"start": 0, "steps": 10}, "parents": []}
        )
        continuing.note(run, 10)
    with being(BOB):
        continuing.note(run, 10)
    (noted,) = (root / "trunks").rglob("10-abcdef")
    assert noted.stat().st_uid == ADA


def test_whose_process_lives_is_not_disturbed_by_another_user(root):
    planned(ADA, root, fakes.stage("aa", steps=200))
    first = driver(ADA, root)
    wait_for(lambda: step(root, "aa") >= 3)
    second = driver(BOB, root)
    said = second.communicate(timeout=60)[0], first.communicate(timeout=60)[0]
    assert (second.returncode, first.returncode) == (0, 0), said
    assert "follow" in said[0] and RunFolder(root, "score", "aa").result()["attempts"] == 1


def test_a_stage_that_is_closed_says_which_file_and_whose(root):
    planned(ADA, root, fakes.stage("aa", steps=100), umask=0o022)
    killed(driver(ADA, root, umask=0o022), root, "aa")
    process = driver(BOB, root)
    said = process.communicate(timeout=60)[0]
    folder = run_path(root, "score", "aa")
    assert process.returncode == 1 and "Traceback" not in said, said
    (line,) = [line for line in said.splitlines() if "FAILED" in line]
    assert (
        f"no permission: {folder} is drwxr-sr-x of {ADA}:{LAB}, and you are {BOB}; a group shares a root where" in line
    )
    assert "umask 002" in line and "chmod -R g+rwX ROOT" in line and "chmod g+s" in line


def test_a_dead_lock_of_another_host_that_may_not_be_touched_is_no_reason_to_wait(root):
    planned(ADA, root, fakes.stage("aa"), umask=0o022)
    file = run_path(root, "score", "aa") / "claim.json"
    with being(ADA, 0o022):
        lock = {**me(), "host": "elsewhere", "token": "0123456789ab", "began": 0.0}
        file.write_text(json.dumps(lock))
        os.utime(file, (0, 0))
    process = driver(BOB, root)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and f"{file.parent} is drwxr-sr-x of {ADA}:{LAB}" in said, said


def sweep(user, root, *arguments, umask=0o002):
    """Run the command as a user; return what it says and its exit status."""
    file = root.parent / "shared.yaml"
    file.write_text(SWEEP)
    command = [sys.executable, "-m", "ablate.sweep", str(file), f"root={root}", "workers=2", *arguments]
    process = as_user(user, command, root.parent, umask)
    return process.communicate(timeout=300)[0], process.returncode


@pytest.mark.slow
def test_a_whole_sweep_goes_from_hand_to_hand(root):
    said, status = sweep(ADA, root)
    assert status == 0, said
    assert not closed_to_group(root)
    said, status = sweep(BOB, root, "base.pretrain.steps=60")  # goes on from ada's trunk, and writes over her report
    assert status == 0 and "goes on from a finished trunk" in said, said
    report = root / "sweeps" / "shared" / "report.html"
    assert report.stat().st_uid == BOB
    said, status = sweep(ADA, root, "base.pretrain.steps=60", "--fresh")
    assert status == 0 and report.stat().st_uid == ADA, said
    assert not closed_to_group(root)


@pytest.mark.slow
def test_a_root_that_is_closed_is_told_by_every_command(root):
    said, status = sweep(ADA, root, umask=0o022)
    assert status == 0, said
    for looking in ("--dry-run", "--status"):
        said, status = sweep(BOB, root, looking)
        assert status == 0 and "All done." in said, said
    for arguments in (["--fresh"], ["base.pretrain.steps=60"]):
        said, status = sweep(BOB, root, *arguments)
        error = said.strip().splitlines()[-1]
        assert status == 2 and "Traceback" not in said and error.startswith("error: Cannot use "), said
        assert f"of {ADA}:{LAB}, and you are {BOB}; " in error and "umask 002" in error
    (root / "sweeps" / "shared" / ".report.json").unlink()
    command = [sys.executable, "-m", "analysis.report", "shared", "--root", str(root)]
    process = as_user(BOB, command, root.parent)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 2 and "Traceback" not in said and said.startswith("Cannot use "), said
    assert f"{root / 'sweeps' / 'shared'} is drwxr-sr-x of {ADA}:{LAB}" in said or "-rw-r--r--" in said
    with being(BOB):
        assert not [path for path in root.rglob("*") if path.stat().st_uid == BOB]
