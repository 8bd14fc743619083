"""Run scenarios (all, or those named) without the device and with it; print how they compare, by name, as JSON."""

import shadow  # first  # noqa: I001

import json
import sys
import time
import traceback

import torch
from scenarios import SCENARIOS, flat


def compared(name: str) -> dict:
    """The largest difference of a scenario's values between the devices, relative to the largest value of its tensor."""
    values, seconds = {}, time.process_time()
    for kind in ("cpu", "cuda"):
        with shadow.using(kind) as device:
            try:
                values[kind] = SCENARIOS[name](device)
            except Exception:
                return {"error": f"on {kind}: {traceback.format_exc()}"}
    own = {where for where, x in flat_tensors(values["cuda"]).items() if not x.is_cuda}
    one, two = (flat(values[kind]) for kind in ("cpu", "cuda"))
    assert one.keys() == two.keys(), one.keys() ^ two.keys()
    worst = {"number": 0.0, "tensor": 0.0}
    for where, x in one.items():
        y = two[where]
        if isinstance(x, torch.Tensor) and x.dim():
            gap = float((x - y).abs().max() / x.abs().max().clamp_min(1e-6)) if x.numel() else 0.0
            worst["tensor"] = max(worst["tensor"], gap)
            worst[where] = gap
        elif isinstance(x, (float, torch.Tensor)):
            worst["number"] = max(worst["number"], abs(float(x) - float(y)) / max(1.0, abs(float(x))))
        else:
            gaps = difference(x, y)
            worst["number"] = max(worst["number"], gaps)
    top = sorted(((v, k) for k, v in worst.items()), reverse=True)[:4]
    return {**{k: worst[k] for k in ("number", "tensor")}, "top": top, "on_cpu": sorted(own), "seconds": time.process_time() - seconds}


def flat_tensors(values, name=""):
    if isinstance(values, dict):
        return {k: v for key, value in values.items() for k, v in flat_tensors(value, f"{name}/{key}").items()}
    return {name: values} if isinstance(values, torch.Tensor) else {}


def difference(x, y) -> float:
    if isinstance(x, (list, tuple)):
        return max([float(len(x) != len(y)), *(difference(a, b) for a, b in zip(x, y))])
    return abs(x - y) / max(1.0, abs(x)) if isinstance(x, float) else float(x != y)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: compared(name) for name in sys.argv[1:] or SCENARIOS}))
