"""Run scenarios (all, or those named) without the device and with it; print how they compare, by name, as JSON."""

import shadow  # first  # noqa: I001

import json
import sys
import traceback

import torch
from scenarios import SCENARIOS, difference, flat


def compared(name: str) -> dict[str, object]:
    """The largest differences between the devices of a scenario's tensors (gradients, weights) and of its other values;
    or the error that it ended in.
    """
    found = {}
    for kind in ("cpu", "cuda"):
        with shadow.using(kind) as device:
            try:
                found[kind] = flat(SCENARIOS[name](device))
            except Exception:
                return {"error": f"on {kind}: {traceback.format_exc()}"}
    one, two = found["cpu"], found["cuda"]
    assert one.keys() == two.keys(), one.keys() ^ two.keys()
    gaps = {where: difference(one[where], two[where]) for where in one}
    tensors = {where for where, x in one.items() if isinstance(x, torch.Tensor) and x.dim()}
    return {
        "values": max((gap for where, gap in gaps.items() if where not in tensors), default=0.0),
        "tensors": max((gaps[where] for where in tensors), default=0.0),
        "loss": max((gap for where, gap in gaps.items() if where.startswith("/loss")), default=0.0),
        "compared": len(gaps),
        "worst": max(gaps, key=gaps.get),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: compared(name) for name in sys.argv[1:] or SCENARIOS}))
