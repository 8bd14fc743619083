"""A real small sweep that is pruned: the report stays the same, and what a new row needs is made again, bit for bit."""

import shutil

import kills
import pytest
from tiny import World

from ablate import prune, sweep
from ablate.clusters import debug
from ablate.clusters.cluster import Program
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, Board
from ablate.store import pruned, pruning
from ablate.store.run import RunFolder

PROGRAM = Program("ablate.stages.execute:execute")


def content(folder):
    """Files below a folder and their bytes, but for what says when and how long."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("summary.txt", ".report.json")
    }


def weights(run):
    """The weights and moments of a stage."""
    return {path.name: path.read_bytes() for path in run.files.glob("*.safetensors")}


def test_a_pruned_trunk_is_trained_again_for_a_stage_that_goes_on_from_it(tmp_path):
    world = World(tmp_path)
    trunk = world.pretrain("masked_text", steps=20)
    leaf = world.pretrain("masked_text", parent=trunk, start=20, steps=10, phase="decay")
    tuned, score = world.finetune("sentiment", leaf, steps=4, items=2)
    world.run(score)
    before = {id: weights(RunFolder(tmp_path, world.stages[id].kind, id)) for id in (trunk, leaf, tuned)}
    (tmp_path / "sweeps" / "tiny" / "manifest.jsonl").write_text(
        '{"row": "a", "point": {}, "seed": 0, "stages": {"score": "' + score + '"}}\n'
    )
    pruning.remove(pruning.survey(tmp_path))
    run = RunFolder(tmp_path, "pretrain", trunk)
    assert not weights(run) and pruned.gone(run.path) and run.done
    longer = world.pretrain("masked_text", parent=trunk, start=20, steps=20, phase="decay")
    board = Board(world.needed(score, longer), tmp_path)
    assert trunk in board.again and leaf not in board.again and tuned not in board.again
    board.reopen()
    debug.Debug(board, "tiny", Resources({}, {}), PROGRAM, 1).run(lambda board: None, lambda: 0)
    assert board.count(DONE) == len(board.stages)
    assert weights(run) == before[trunk] and weights(RunFolder(tmp_path, "pretrain", leaf)) == before[leaf]
    assert not weights(RunFolder(tmp_path, "finetune", tuned))


def test_a_trunk_does_not_go_on_from_one_that_was_pruned(tmp_path):
    world = World(tmp_path)
    short, long = (world.pretrain("masked_text", steps=steps) for steps in (20, 40))
    world.run(short)
    pruned.write(RunFolder(tmp_path, "pretrain", short).path, {"moments.safetensors": 1})
    assert "continued" not in world.run(long).result()


@pytest.mark.slow
def test_the_report_of_a_pruned_sweep_is_the_same_byte_for_byte(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kills.yaml").write_text(kills.SWEEP)
    assert sweep.main(["kills.yaml", "root=runs", "workers=2"]) == 0
    folder = tmp_path / "runs" / "sweeps" / "kills"
    before = content(folder)
    assert prune.main(["runs", "--yes"]) == 0
    assert not any(folder.glob("*.npz")) and not any((tmp_path / "runs").glob("finetune/*/*/*/model*"))
    for path in list(folder.iterdir()):
        if path.name not in ("sweep.json", "manifest.jsonl"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert sweep.main(["kills.yaml", "root=runs", "workers=2"]) == 0
    assert content(folder) == before
    capfd.readouterr()
    assert sweep.main(["kills.yaml", "root=runs", "workers=2", "+rows.more={after: joint}", "--dry-run"]) == 0
    assert "pruned stages that missing ones read are made again" in capfd.readouterr().out
