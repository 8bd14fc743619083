"""Ten thousand stages are a few arrays: beyond some hundreds of sets of parents, stages of a kind wait wave by wave."""

import fakes

from ablate.clusters.schedule import Board
from ablate.clusters.slurm import pack


def arrays(tmp_path, rows):
    s = fakes.stage
    stages = [s("co", kind="table")]
    for n in range(rows):
        stages += [s(f"t{n}", "co", kind="pretrain", cost=9.0), s(f"f{n}", f"t{n}", kind="finetune", cost=9.0)]
    board = Board({one.id: one for one in stages}, tmp_path)
    shapes = {kind: kind for kind in ("table", "pretrain", "finetune")}
    return pack.arrays(board, (), 1000, shapes, dict.fromkeys(shapes, 0.0))


def test_few_stages_wait_for_exactly_their_parents(tmp_path):
    packed = arrays(tmp_path, 20)
    assert len(packed) == 22 and not any(array.wave for array in packed)
    assert all(array.parents == [f"t{array.tasks[0][0][1:]}"] for array in packed if array.kind == "finetune")


def test_many_wait_wave_by_wave(tmp_path):
    packed = arrays(tmp_path, 2500)
    assert [(array.kind, len(array.tasks)) for array in packed] == [
        ("table", 1),
        *[("pretrain", n) for n in (1000, 1000, 500)],
        *[("finetune", n) for n in (1000, 1000, 500)],
    ]
    assert all(array.wave for array in packed)
    assert len(packed[-1].parents) == 2500 and sorted(
        id for array in packed for task in array.tasks for id in task
    ) == sorted(["co", *(f"{kind}{n}" for kind in "tf" for n in range(2500))])
