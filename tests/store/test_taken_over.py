"""A trunk that is suspended, taken over and finished elsewhere, and wakes up: it ends, and changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tiny import World

from ablate.clusters.local import BUSY_CODE
from ablate.errors import UserError
from ablate.stages.execute import execute
from ablate.training import checkpoint

NAMES = ("masked_text",)
WORKER = """
import os, signal, socket, sys
from ablate.clusters import local
from ablate.clusters.cluster import Program
from ablate.store import lock, run
from ablate.training import checkpoint, loop
who, at, root, id = sys.argv[1:]
loop.SAVE_SECONDS = 0.0  # at every tenth update

def suspended(function, now):
    def suspending(*arguments, **more):
        if now(*arguments):
            os.kill(os.getpid(), signal.SIGSTOP)
        return function(*arguments, **more)
    return suspending

place, _, number = at.partition(":")
if place == "update":
    loop.Loop.one_update = suspended(loop.Loop.one_update, lambda self, step: step == int(number))
if place == "save":  # weights and moments are written, what names them is not
    checkpoint.replace = suspended(checkpoint.replace, lambda path, data: b'"step": ' + number.encode() in data)
if place == "result":  # the last look at the lock is over
    run.linked = suspended(run.linked, lambda *_: True)
if who == "second":  # as another machine, which has waited long enough
    socket.gethostname = lambda: "elsewhere"
    lock.STALE_SECONDS = lock.CLOCK_SECONDS = 0.2
local.work(Program("ablate.stages.execute:execute"), "pretrain", id, root, f"{who}.txt")
"""


def worker(world, id, who, at="nowhere"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", WORKER, who, at, str(world.root), id], env=environment)


def suspended(process):
    """Wait until a process has suspended itself."""
    end = time.monotonic() + 120
    while open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.4)  # and is silent


def woken(process):
    process.send_signal(signal.SIGCONT)
    return process.wait(60)


def content(world, id):
    """All that is in the folder of a stage, but what processes said."""
    folder = world.root / "pretrain" / id[:2] / id
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "logs"}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The files of a trunk that nobody disturbed."""
    world = World(tmp_path_factory.mktemp("calm"))
    return same(world.run(world.pretrain(*NAMES, steps=40)))


def same(run):
    """What is the same in every run of a stage: all but seconds."""
    return {name: facts for name, facts in run.result()["files"].items() if name != checkpoint.CHECKPOINT}


@pytest.fixture
def planned(tmp_path):
    world = World(tmp_path)
    id = world.pretrain(*NAMES, steps=40)
    world.lay(id)
    return world, id


@pytest.mark.parametrize("at", ["update:5", "update:25", "save:20", "save:40", "result:"])
def test_a_woken_process_leaves_a_finished_stage_as_it_is(planned, calm, at):
    world, id = planned
    first = worker(world, id, "first", at)
    suspended(first)
    assert worker(world, id, "second").wait(120) == 0
    before = content(world, id)
    assert woken(first) == BUSY_CODE
    assert content(world, id) == before, "byte for byte"
    said = (world.root / "pretrain" / id[:2] / id / "logs" / "first.txt").read_text()
    assert said.count("\n") == 1 and f"pretrain {id} was taken over: somebody else finished it; what" in said
    execute(id, world.root)
    run = world.run(id)
    assert same(run) == calm and run.result()["attempts"] == 2
    assert {path.name for path in run.path.iterdir() if path.is_dir()} == {"logs", run.files.name}
    assert content(world, id) == before


@pytest.mark.parametrize("at", ["update:25", "save:20"])
def test_a_woken_process_leaves_a_running_stage_as_it_is(planned, calm, at):
    world, id = planned
    first = worker(world, id, "first", at)
    suspended(first)
    second = worker(world, id, "second", "update:32")
    suspended(second)
    before = content(world, id)
    assert any(path.name == "checkpoint.json" and json.loads(data)["step"] == 30 for path, data in before.items())
    assert woken(first) == BUSY_CODE and content(world, id) == before
    assert woken(second) == 0 and same(world.run(id)) == calm


@pytest.mark.parametrize("name", ["model.safetensors", "moments.safetensors", "checkpoint.json"])
def test_a_row_does_not_continue_from_changed_bytes(planned, name):
    world, _ = planned
    trunk = world.pretrain(*NAMES, steps=2)
    path = world.run(trunk).files / name
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        UserError, match=rf"{name} has other bytes than its record says .*; remove .*{trunk}, and run the sweep"
    ):
        world.run(world.pretrain(*NAMES, parent=trunk, start=2, steps=2, phase="decay"))


def test_a_row_does_not_continue_from_another_update(planned):
    world, _ = planned
    trunk = world.pretrain(*NAMES, steps=2)
    world.run(trunk)
    with pytest.raises(UserError, match=f"The checkpoint of pretrain {trunk} is of update 2, expected 3"):
        world.run(world.pretrain(*NAMES, parent=trunk, start=3, steps=2, phase="decay"))
