"""What must not change by accident: the ids of the shipped sweeps, and what each kind of stage computes.

When an id changes on purpose (a default, a preset, a field of a config), or training code changes what it computes
(then raise the kind's `version` in ablate/stages/registry.py too), write the new values with

    python tests/test_golden.py
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # before this folder, if it is the script's: it has an `objectives` of its own

from ablate.planning.plan import plan_file  # noqa: E402  by the path above
from ablate.store.machine import label, machine  # noqa: E402  by the path above

GOLDEN = HERE / "golden.json"
WITHOUT = ("objectives_real", "tasks_real")  # planning these reads corpora, which are not here
SWEEPS = sorted(path.stem for path in (HERE.parent / "sweeps").glob("*.yaml") if path.stem not in WITHOUT)
RECORDED = json.loads(GOLDEN.read_text())["machine"]  # that the losses are of
AGAIN = "if this is meant: python tests/test_golden.py"


def ids(sweep: str) -> dict[str, dict[str, str]]:
    """Of every row and kind of stage a hash of the ids of all such stages that the row needs."""
    plan = plan_file(HERE.parent / "sweeps" / f"{sweep}.yaml", [], "runs")
    by_row: dict[str, dict[str, str]] = {}
    for row in plan.rows:
        kinds: dict[str, list[str]] = {}
        for stage in plan.only([row]).stages.values():
            kinds.setdefault(stage.kind, []).append(stage.id)
        by_row[row] = {
            kind: hashlib.sha256(" ".join(sorted(kinds[kind])).encode()).hexdigest()[:12] for kind in sorted(kinds)
        }
    return by_row


def losses(root: Path) -> dict[str, float]:
    """A number or two of every kind of stage, in the tiny world."""
    sys.path.insert(0, str(HERE))
    from tiny import World

    world = World(root)
    speech = world.run(world.supply.table(world.data, "speech", "train"))
    tokenizer = world.run(world.tokenizer)
    trunk = world.pretrain("contrastive", "masked_speech", "masked_text", "tlm", "stm", steps=30)
    world.run(trunk)
    leaf = world.pretrain(
        "contrastive", "masked_speech", "masked_text", "tlm", "stm", parent=trunk, start=30, steps=10, phase="decay"
    )
    final = world.run(world.heldout(leaf)).result()["final"]
    tuned, scored = world.finetune("asr", leaf, steps=40, evaluate_every=20)
    lines = (world.run(tuned).files / "metrics.jsonl").read_text().splitlines()
    world.run(scored)
    return {
        "table/hours": speech.result()["hours"],
        "tokenizer/size": tokenizer.result()["size"],
        **{
            f"heldout/{name}": final[name]
            for name in final
            if name.endswith(("loss", "contrastive/contrastive", "tlm/text"))
        },
        "finetune/task/ctc": [json.loads(line) for line in lines if "task/ctc" in line][-1]["task/ctc"],
        "score/cer": next(s["value"] for s in world.run(scored).result()["scores"] if s["metric"] == "cer"),
    }


@pytest.mark.parametrize("sweep", SWEEPS)
def test_ids_of_shipped_sweeps(sweep):
    assert ids(sweep) == json.loads(GOLDEN.read_text())["ids"][sweep], AGAIN


def within(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> float:
    """How far losses may lie from the recorded ones, relative: processors and libraries round differently."""
    return 1e-6 if here == recorded else 0.05


@pytest.mark.parametrize(
    "here", [pytest.param(machine(), id=f"within {within(RECORDED, machine()):g}: {label(machine())}")]
)
def test_what_each_kind_of_stage_computes(tmp_path, here):
    """Tightly on the machine they were recorded on, loosely elsewhere; the test's name says which."""
    expected, bound = json.loads(GOLDEN.read_text())["losses"], within(RECORDED, here)
    computed = losses(tmp_path)
    differs = {key: (here.get(key), value) for key, value in RECORDED.items() if here.get(key) != value}
    why = (
        f"recorded on another machine (here, there): {differs}"
        if differs
        else "this is the machine they were recorded on"
    )
    assert computed == pytest.approx(expected, rel=bound), f"held to {bound:g}, {why}; {AGAIN}"


def test_only_the_recorded_machine_is_held_tightly():
    assert within(RECORDED, dict(RECORDED)) == 1e-6
    for key in RECORDED:
        assert within(RECORDED, RECORDED | {key: "other"}) == 0.05, key


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        golden = {"ids": {sweep: ids(sweep) for sweep in SWEEPS}, "machine": machine(), "losses": losses(Path(folder))}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
