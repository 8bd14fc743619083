"""Kill a small sweep at random moments, run it again, and compare with one left alone: python tests/kills.py --kills 50

A kill falls on an update before its step, half-way through the bytes of a checkpoint or of a record, between a stage's
result and the end of its lock, on the driver while it writes its plan, or at a random time; it takes everything at
once, the driver alone, or one worker. Each attempt has another number of workers. A sweep that gets done is compared,
and the next kills fall on a fresh one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ablate import drive, sweep
from ablate.clusters.cluster import Program
from ablate.store import run as run_module
from ablate.store import stage
from ablate.store.lock import PROGRESS
from ablate.store.record import files_of, read_jsonl

HERE = Path(__file__).resolve().parent
SWEEP = """
name: kills
question: Does it survive?
data: {preset: builtin, speech: 30, text: 100, pairs: 20, asr: 20, translation: 20, sentiment: 20, sentence_pair: 20,
       normalization: 20, dev: 10, test: 10, retrieval: 10, text_dev: 10, text_test: 10}
base:
  encoder: nano_narrow
  tokenizer: {size: 150, bytes: false}
  pretrain:
    objectives: {contrastive: 1.0, masked_speech: 1.0, masked_text: 1.0}
    steps: 30
    decay: 10
    update: {speech: 3 s, text: 60 tokens, pairs: 2}
  tasks:
    asr: {steps: 20, items: 2, evaluate_every: 10}
    sentiment: {steps: 20, items: 4, evaluate_every: 10}
rows:
  text_only: {encoder: {reads: [text]}, pretrain: {objectives: {contrastive: null, masked_speech: null}}}
  joint: {}
  joint_tlm: {after: joint, pretrain: {objectives: {tlm: 1.0}}}
tasks: [asr, sentiment, retrieval]
"""
MOMENTS = {  # and up to how many such events an attempt lives through
    "update": 50,
    "checkpoint": 8,
    "record": 20,
    "finish": 5,
    "plan": 12,
    "time": 0,
    "driver": 0,
}
FREE = {
    "seconds",
    "attempts",
    "attempt",
    "code",
    "ended",
    "busy_seconds",
    "waiting",
}  # of a result: may differ between runs


# In the sweep's processes ----------------------------------------------------------------------------------------


def fires(moment: str) -> bool:
    """Count an event over all processes of this attempt; True when it is the one to die at."""
    wanted, number, _, counter = os.environ["KILLS"].split(":", 3)
    if moment != wanted:
        return False
    with open(counter, "ab", buffering=0) as file:
        file.write(b".")
        return file.tell() == int(number)


def die() -> None:
    """Kill everything at once, as a power cut does, or this process alone."""
    if os.environ["KILLS"].split(":")[2] == "all":
        kill(pid for pid in members(os.getsid(0)) if pid != os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def members(session: int) -> list[int]:
    """Processes of a session: the driver, its forkserver and all workers."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if int(fields[3]) == session:
            pids.append(int(path.parent.name))
    return pids


def kill(pids: Iterable[int]) -> None:
    """Kill processes, of which some may have ended meanwhile."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def dying_replace(original, path: Path, data: bytes, durable: bool = True) -> None:
    """Write a record, or half of it."""
    if path.name != PROGRESS and fires("record"):
        path.with_name(f".{path.name}.0.part").write_bytes(data[: len(data) // 2])
        die()
    original(path, data, durable)


def dying_write(original, path: Path, text: str) -> None:
    """Write a part of the plan, or half of it."""
    if fires("plan"):
        path.with_name(f".{path.name}.{os.getpid()}.tmp").write_text(text[: len(text) // 2])
        die()
    original(path, text)


def trace(folder: Path, *words: object) -> None:
    """Add a line to what is known of all attempts at the stage in a run folder."""
    with open(folder / "trace", "ab", buffering=0) as file:
        file.write((" ".join(map(str, words)) + "\n").encode())


def trace_half_written(folder: Path) -> None:
    """Let this process trace every half-written file that it reads."""

    def opened(event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).endswith((".part", ".tmp")) and "r" in str(arguments[1]):
            trace(folder, "half", arguments[0])

    sys.addaudithook(opened)


def trace_updates(folder: Path) -> None:
    """Let training trace where it begins, its updates, and what it has saved."""
    from ablate.training.loop import Loop

    fit, update, save = Loop.fit, Loop.one_update, Loop.save

    def traced_fit(self, at):
        trace(folder, "fit", at)
        fit(self, at)

    def traced_update(self, at):
        trace(folder, "update", at)
        return update(self, at)

    def traced_save(self, at, last=False):
        seconds = save(self, at, last)
        trace(folder, "saved", at)
        return seconds

    Loop.fit, Loop.one_update, Loop.save = traced_fit, traced_update, traced_save


def die_on_the_way() -> None:
    """Let this process die where an update, a checkpoint, a record or the end of the stage is the moment for it."""
    import safetensors.torch

    from ablate.training import checkpoint
    from ablate.training.optim import FlatAdamW

    step, save_file, release = FlatAdamW.step, safetensors.torch.save_file, run_module.RunFolder.release

    def dying_step(self, factor, *more):
        if fires("update"):
            die()
        return step(self, factor, *more)

    def dying_save_file(tensors, path, metadata=None):
        save_file(tensors, path, metadata)
        if fires("checkpoint"):
            os.truncate(path, path.stat().st_size // 2)
            die()

    def dying_release(self, outcome):
        if outcome == "done" and fires("finish"):
            die()
        release(self, outcome)

    FlatAdamW.step, safetensors.torch.save_file = dying_step, dying_save_file
    run_module.RunFolder.release = dying_release
    for module in (run_module, checkpoint):
        module.replace = functools.partial(dying_replace, module.replace)


def execute(id: str, root: Path) -> None:
    """Run a stage as `ablate.stages.execute` does, leaving a trace of its updates, and perhaps dying on the way."""
    from ablate.stages.execute import execute as run_stage
    from ablate.training import loop

    folder = run_module.find(root, id).path
    if not (folder / "result.json").exists():
        trace(folder, "start", id)
    loop.SAVE_SECONDS = 0.2
    trace_half_written(folder)
    trace_updates(folder)
    die_on_the_way()
    run_stage(id, root)


def command(arguments: list[str]) -> int:
    """The sweep command with the stages above, and without a report at its end."""
    drive.PROGRAM = Program("kills:execute", preload="ablate.warm")
    drive.write_report = lambda *_: None
    stage._write = functools.partial(dying_write, stage._write)
    return sweep.main(arguments)


# In the process that kills ---------------------------------------------------------------------------------------


def start(
    folder: Path, root: str, workers: int, moment: str = "none", number: int = 0, whom: str = "all"
) -> subprocess.Popen:
    """Start the sweep in a session of its own."""
    counter = folder / "events"
    counter.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "KILLS": f"{moment}:{number}:{whom}:{counter}",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    }
    command = [
        sys.executable,
        str(HERE / "kills.py"),
        "--drive",
        str(folder / "kills.yaml"),
        f"root={folder / root}",
        f"workers={workers}",
    ]
    log = open(folder / "log.txt", "ab")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=HERE.parent, start_new_session=True)


def ended(process: subprocess.Popen) -> int:
    """Wait until a driver and all its workers are gone."""
    status = process.wait()
    while members(process.pid):
        time.sleep(0.05)
    return status


def campaign(folder: Path, kills: int, seed: int) -> str:
    """Kill `kills` times; raises AssertionError where a sweep ends in anything but what the calm one ended in."""
    (folder / "kills.yaml").write_text(SWEEP)
    began = time.monotonic()
    assert ended(start(folder, "calm", 2)) == 0, (folder / "log.txt").read_text()[-3000:]
    calm = time.monotonic() - began
    draw, done, sweeps, attempts, hit = random.Random(seed), 0, 0, 0, Counter()
    again = 0
    while done < kills or (folder / f"rough{sweeps}").exists():
        root = f"rough{sweeps}"
        moment = draw.choice(list(MOMENTS)) if done < kills else "none"
        whom = draw.choice(["all", "all", "one"])
        process = start(folder, root, draw.randint(1, 3), moment, draw.randint(1, MOMENTS.get(moment) or 1), whom)
        if moment in ("time", "driver"):
            try:
                process.wait(draw.uniform(0.0, 0.6) * calm)
            except subprocess.TimeoutExpired:
                kill([process.pid] if moment == "driver" else members(process.pid))
        status, attempts = ended(process), attempts + 1
        if status == 0:
            again += same(folder / "calm", folder / root)
            sweeps += 1
        else:
            done, hit[moment] = done + 1, hit[moment] + 1
            assert moment != "none", (folder / "log.txt").read_text()[-3000:]
    what = ", ".join(f"{n} {name}" for name, n in sorted(hit.items()))
    return (
        f"{done} kills ({what}) over {sweeps} sweeps in {attempts} attempts: every sweep ended as the calm one, bit "
        f"for bit; {again} updates since a last checkpoint were made again, none before it; no half-written file was "
        f"read; {(time.monotonic() - began) / 60:.1f} min"
    )


def same(calm: Path, rough: Path) -> int:
    """Compare two finished roots bit for bit, and check the traces; return how many updates were made again."""
    folders = sorted(path.parent.relative_to(calm) for path in calm.glob("*/??/*/result.json"))
    assert folders == sorted(path.parent.relative_to(rough) for path in rough.glob("*/??/*/result.json"))
    again = 0
    for name in folders:
        one, two = calm / name, rough / name
        results = [json.loads((at / "result.json").read_text()) for at in (one, two)]
        ours, theirs = (files_of(at, result) for at, result in zip((one, two), results))
        for result in results:
            result["files"].pop("checkpoint.json", None)  # has seconds in it
        first, second = ({k: v for k, v in result.items() if k not in FREE} for result in results)
        assert first == second, (name, first, second)
        for file in first["files"]:
            assert (ours / file).read_bytes() == (theirs / file).read_bytes(), (name, file)
        assert "metrics.jsonl" in first["files"] or name.parts[0] not in ("pretrain", "finetune")
        assert not set(two.glob("*.gone")) | set(two.glob(".*.gone")), name
        assert [at for at in two.iterdir() if at.is_dir() and at.name != "logs"] == [theirs], (
            name
        )  # one attempt is left
        list(read_jsonl(two / "attempts.jsonl"))  # whole lines only
        again += made_again(two)
        assert not (two / "claim.json").exists() or results[1]["attempts"] > 0
    return again


def made_again(folder: Path) -> int:
    """Read a stage's trace: it goes on from its last checkpoint or later; returns how many updates were made twice."""
    saved, made = None, []
    for word, value in (line.split(" ", 1) for line in (folder / "trace").read_text().splitlines()):
        assert word != "half", (folder, value)
        if word == "saved":
            saved = int(value)
        elif word == "fit" and saved is not None:
            assert int(value) >= saved, (folder, f"went on from {value}, though {saved} was saved")
        elif word == "update":
            made.append(int(value))
    return len(made) - len(set(made))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        sys.exit(command(sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        where = options.folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        print(campaign(where, options.kills, options.seed))
