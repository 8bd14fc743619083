"""Every kind of stage that may take long says how far it is, and ends at the whole."""

import pytest
from tiny import World

from ablate.store.run import RunFolder
from ablate.tasks.registry import TASKS


@pytest.fixture
def told(monkeypatch):
    """What stages report of their progress: (step, steps, unit), by kind; and the notes of the tokenizer."""
    told: dict[str, list] = {"notes": []}

    def progress(self, step, steps, unit="steps", note="", **fields):
        told.setdefault(self.kind, []).append((step, steps, unit))
        told["notes"] += [note] if note else []

    monkeypatch.setattr(RunFolder, "progress", progress)
    return told


def test_kinds_of_stages_show_progress(tmp_path, told):
    world = World(tmp_path)
    leaf = world.pretrain("masked_text", steps=10, phase="decay")
    world.run(world.heldout(leaf))
    rows = world.data.rows
    for task, kind, parent in (
        ("sentiment", "finetune", world.finetune("sentiment", leaf, steps=10, evaluate_every=10)[0]),
        ("retrieval", "pretrain", leaf),
    ):
        told.pop("score", None)
        if kind == "finetune":
            world.run(parent)
        world.run(world.score(TASKS[task], (kind, parent)))
        assert told["score"][-1] == (rows, rows, "items")
        assert all(steps == rows for _, steps, _ in told["score"])
    assert told["pretrain"] == [(10, 10, "steps")] and told["finetune"] == [(10, 10, "steps")]
    assert told["heldout"] == [(n, 4, "batches") for n in (1, 2, 3, 4)]
    assert told["notes"] == [f"learns from {rows} texts", "counts its pieces"]
    assert {unit for _, _, unit in told["tokens"]} == {"texts"} and told["tokens"][-1][0] == told["tokens"][-1][1]
