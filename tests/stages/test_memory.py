"""Activation checkpointing after memory ran out is how a stage runs, not what it is."""

from tiny import World

from ablate.store.run import RunFolder
from ablate.training import checkpoint
from ablate.training.update import Update
from encoders import joint


def test_saving_memory_changes_no_result(tmp_path, monkeypatch):
    blobs, switched = {}, []
    before = joint.Joint.recompute
    monkeypatch.setattr(joint.Joint, "recompute", lambda self, on: (switched.append(on), before(self, on)))
    for spare in (False, True):
        world = World(tmp_path / str(spare))
        id = world.pretrain("masked_text", "contrastive", steps=5, update=Update(speech=3.0, text=60))
        if spare:
            RunFolder(world.root, "pretrain", id).spare_memory("a test")

        blobs[spare] = checkpoint.of(world.run(id)).weights
    assert switched == [False, True]
    assert blobs[False].keys() == blobs[True].keys()
    assert all(blobs[True][name].equal(x) for name, x in blobs[False].items())
