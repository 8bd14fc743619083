"""Whole stages without the device and with it: python chain.py FOLDER PART prints how far their results are apart.

PART is "leaf" (pre-training, held-out losses, k-means of the leaf, what is measured of it), "tasks" (fine-tuning and
scores), or "resume" (a trunk that moves between the devices).
"""

import shadow  # first  # noqa: I001

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scenarios import difference
from tiny import ENCODER, World

from ablate.errors import UserError
from ablate.stages.kmeans import KMeansStage
from ablate.stages.registry import make
from ablate.store import run
from ablate.store.record import read_jsonl
from ablate.store.run import RunFolder
from ablate.tasks.registry import TASKS
from ablate.training import checkpoint
from objectives import OBJECTIVES
from objectives.kmeans import KMeans

ALL = ("contrastive", "masked_speech", "masked_text", "tlm", "stm", "pair_ctc")
MEASURED = ("retrieval", "pairing", "matching", "codes", "alignment_by_layer", "pairing_by_layer", "probes_by_layer")
FINETUNED = ("asr", "translation", "sentiment", "sentence_pair", "normalization")
TIMES = ("busy_seconds", "waiting", "seconds", "ended", "attempt", "attempts", "files")


def leaf(world: World) -> str:
    trunk = world.pretrain(*ALL, steps=20)
    return world.pretrain(*ALL, parent=trunk, start=20, steps=10, phase="decay")


def of_leaf(world: World) -> list[str]:
    """A leaf, its held-out losses, k-means of one of its layers, a row that predicts these codes, and measures."""
    first = leaf(world)
    codes = KMeans.Config(entries=6, positions=200, iterations=20, of="a row", input="speech_tower")
    parents = [*world.read("speech"), ("pretrain", first)]
    fitted = world.add(make("kmeans", KMeansStage.of(codes, ENCODER), parents, "k-means"))
    predicted = {"masked_speech": replace(OBJECTIVES["masked_speech"], targets="kmeans")}
    second = world.pretrain(
        objectives=predicted, targets={"kmeans": codes}, parents=[("kmeans/kmeans", fitted)], steps=10, phase="decay"
    )
    measures = [world.score(replace(TASKS[name], splits=("dev",)), ("pretrain", first)) for name in MEASURED]
    return [first, world.heldout(first), fitted, second, *measures]


def of_tasks(world: World) -> list[str]:
    first = leaf(world)
    how = {"steps": 6, "items": 4, "evaluate_every": 3, "average": 0.5, "frozen": 0.2}
    return [first, *(id for name in FINETUNED for id in world.finetune(name, first, **how))]


def results(world: World, ids: list[str]) -> dict[str, object]:
    """What each stage found: its result without times, its log, its files' tensors."""
    found: dict[str, object] = {}
    for number, id in enumerate(ids):
        made = world.run(id)
        name = f"{number} {made.kind}"
        result = {key: value for key, value in made.result().items() if key not in TIMES}
        log = made.result()["files"].get("metrics.jsonl") and [*read_jsonl(made.checked("metrics.jsonl"))]
        found[name] = [result, log]
        if made.kind in ("pretrain", "kmeans", "finetune"):
            saved = checkpoint.of(made, moments=True)
            assert not any(x.is_cuda for x in [*saved.weights.values(), *saved.moments.values()])
            assert "cuda" not in made.checked(checkpoint.CHECKPOINT).read_text()
    return found


class Interrupt:
    """A stage is asked to stop after so many looks at whether it is."""

    def __init__(self, looks: int) -> None:
        self.left, self.real = looks, run.RunFolder.stopping

    def __enter__(self) -> None:
        def look(folder: RunFolder) -> bool:
            self.left -= 1
            return self.left < 0

        run.RunFolder.stopping = property(look)

    def __exit__(self, *_: object) -> None:
        run.RunFolder.stopping = self.real


def stopped(world: World, id: str) -> None:
    try:
        with Interrupt(looks=0):
            world.run(id)
    except run.Stopped:
        return
    raise AssertionError("the stage was not stopped")


def said(world: World, id: str, was: str, now: str) -> None:
    """Let the checkpoint of an unfinished stage say another precision."""
    about = RunFolder(world.root, "pretrain", id).files / checkpoint.CHECKPOINT
    about.write_text(about.read_text().replace(f'"precision": "{was}"', f'"precision": "{now}"'))


def resumed(worlds: dict[str, World]) -> dict[str, object]:
    """A trunk with everything that a checkpoint holds: on the CPU alone; and begun there, continued on the device, and
    ended on the CPU. Then one whose checkpoint says another precision.
    """
    for world in worlds.values():
        id = world.pretrain(
            *ALL,
            objectives={
                **{name: OBJECTIVES[name] for name in ALL},
                "contrastive": replace(OBJECTIVES["contrastive"], diversity_over="average"),
            },
            encoder=replace(ENCODER, conv_norm="batch"),
            steps=30,
        )
    kinds = []
    real = torch.nn.Module.load_state_dict

    def loaded(module, *arguments, **how):
        kinds.append(next(module.parameters()).device.type)
        return real(module, *arguments, **how)

    moved = worlds["cuda"]
    with shadow.using("cpu"):
        whole = worlds["cpu"].run(id)
        stopped(moved, id)
    torch.nn.Module.load_state_dict = loaded
    with shadow.using("cuda"):
        stopped(moved, id)
    torch.nn.Module.load_state_dict = real
    with shadow.using("cpu"):
        said(moved, id, "fp32", "bf16")
        try:
            moved.run(id)
            refused = ""
        except UserError as error:
            refused = str(error)
        said(moved, id, "bf16", "fp32")
        other = moved.run(id)
    logs = [[*read_jsonl(made.checked("metrics.jsonl"))] for made in (whole, other)]
    losses = [[line["loss"] for line in log if "loss" in line] for log in logs]
    kept = [checkpoint.of(made, moments=True) for made in (whole, other)]
    return {
        "loaded_on": kinds,
        "losses": len(losses[0]),
        "loss": max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)),
        "log": difference(*logs),
        "state": [{k: v for k, v in one.state.items() if not k.endswith("seconds")} for one in kept],
        "second moments": max(
            float((x - y).abs().max() / x.abs().max())
            for (name, x), y in zip(
                sorted(kept[0].moments.items()), (kept[1].moments[n] for n in sorted(kept[0].moments))
            )
            if name.startswith("exp_avg_sq/")
        ),
        "attempts": other.result()["attempts"],
        "refused": refused,
    }


def main(folder: Path, part: str) -> dict[str, object]:
    torch.set_num_threads(1)
    plan = {"leaf": of_leaf, "tasks": of_tasks, "resume": lambda world: [leaf(world)]}[part]
    with shadow.using("cpu"):
        base = World(folder / "cpu")
        base.lay(*plan(base))
    shutil.copytree(folder / "cpu", folder / "cuda")
    worlds = {"cpu": base, "cuda": World(folder / "cuda")}
    if part == "resume":
        return resumed(worlds)
    found = {}
    for kind, world in worlds.items():
        with shadow.using(kind):
            found[kind] = results(world, plan(world))
    return {name: difference(values, found["cuda"][name]) for name, values in found["cpu"].items()}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
