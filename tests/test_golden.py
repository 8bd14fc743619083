"""What must not change by accident: the ids of the shipped sweeps, and what each kind of stage computes.

When an id changes on purpose (a default, a preset, a field of a config), or training code changes what it computes (then
raise the kind's `version` in ablate/stage.py too), write the new values with

    python tests/test_golden.py
"""

import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # before this folder, if it is the script's: it has an `objectives` of its own

from ablate.plan import plan_file  # noqa: E402

GOLDEN = HERE / "golden.json"
SWEEPS = ("objectives", "capacity", "targets", "alignment", "stages")
AGAIN = "if this is meant: python tests/test_golden.py"


def ids(sweep: str) -> dict[str, str]:
    """The first leaf's id of every row."""
    plan = plan_file(HERE.parent / "sweeps" / f"{sweep}.yaml", [], "runs")
    found: dict[str, str] = {}
    for line in plan.manifest:
        found.setdefault(line["row"], line["stages"]["leaf"])
    return found


def losses(root: Path) -> dict[str, float]:
    """A number or two of every kind of stage, in the tiny world."""
    sys.path.insert(0, str(HERE))
    from tiny import World

    world = World(root)
    corpus, tokenizer = world.run(world.corpus), world.run(world.tokenizer)
    trunk = world.pretrain("contrastive", "masked_speech", "masked_text", "tlm", "stm", steps=30)
    world.run(trunk)
    leaf = world.pretrain("contrastive", "masked_speech", "masked_text", "tlm", "stm", parent=trunk, start=30, steps=10,
                          phase="decay")  # fmt: skip
    final = world.run(leaf).result()["final"]
    tuned, scored = world.finetune("asr", leaf, steps=40, evaluate_every=20)
    lines = (world.run(tuned).path / "metrics.jsonl").read_text().splitlines()
    world.run(scored)
    return {
        "corpus/hours": corpus.result()["tables"]["speech"]["train"]["hours"],
        "tokenizer/size": tokenizer.result()["size"],
        **{f"pretrain/{name}": final[name] for name in final if name.endswith(("loss", "contrastive/contrastive", "tlm/text"))},
        "finetune/task/ctc": [json.loads(line) for line in lines if "task/ctc" in line][-1]["task/ctc"],
        "score/cer": next(s["value"] for s in world.run(scored).result()["scores"] if s["metric"] == "cer"),
    }


@pytest.mark.parametrize("sweep", SWEEPS)
def test_ids_of_shipped_sweeps(sweep):
    assert ids(sweep) == json.loads(GOLDEN.read_text())["ids"][sweep], AGAIN


def test_what_each_kind_of_stage_computes(tmp_path):
    """Within 5 %: processors round differently."""
    expected = json.loads(GOLDEN.read_text())["losses"]
    found = losses(tmp_path)
    assert found == pytest.approx(expected, rel=0.05), AGAIN


if __name__ == "__main__":
    import tempfile

    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        golden = {"ids": {sweep: ids(sweep) for sweep in SWEEPS}, "losses": losses(Path(folder))}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
