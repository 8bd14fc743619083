"""Mixes of devices, planted one at a time: planted.py prints by name in which error each ended, and where."""

import shadow  # first  # noqa: I001

import json
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import torch
from scenarios import SCENARIOS

from ablate.training.optim import FlatAdamW
from encoders import batch, convolution, frontend
from objectives import kmeans, masked_text, transducer


def host(function: Callable, place: int | None = None) -> Callable:
    """The function with its result, or an argument of it, on the CPU."""

    def moved(*arguments, **how):
        if place is None:
            return function(*arguments, **how).cpu()
        left = [x.cpu() if i == place else x for i, x in enumerate(arguments)]
        return function(*left, **how)

    return moved


def begun(self: FlatAdamW, state: dict, real: Callable = FlatAdamW._begin) -> None:
    """Moments as they come from a checkpoint."""
    real(self, state)
    for moments in self.adamw.state.values():
        moments["exp_avg"] = moments["exp_avg"].cpu()


def predicted(self: transducer.Transducer, last_B, state, real: Callable = transducer.Transducer._predict):
    """The state of a search, kept on the CPU."""
    y_BH, state = real(self, last_B, state)
    return y_BH, tuple(part.cpu() for part in state)


# by name: the scenario, what is replaced, by what
PLANTED = {
    "front end": ("front end conv2d", frontend, "_taken", host(frontend._taken)),
    "layout": ("norm group", batch.Layout, "starts", host(batch.Layout.starts)),
    "convolution": ("block conformer", convolution, "_depthwise_kernel", host(convolution._depthwise_kernel, 1)),
    "index of an objective": ("objective masked_text", masked_text, "gathered", host(masked_text.gathered, 3)),
    "centroids": ("targets: k-means of log-mel", kmeans, "nearest", host(kmeans.nearest, 1)),
    "optimizer": ("update", FlatAdamW, "_begin", begun),
    "state of a search": ("transducer", transducer.Transducer, "_predict", predicted),
    "generator": ("update", torch, "Generator", lambda device="cpu", real=torch.Generator: real("cpu")),
}


def found(name: str) -> dict[str, str]:
    scenario, where, what, fault = PLANTED[name]
    with ExitStack() as stack:
        stack.enter_context(patch.object(where, what, fault))
        try:
            SCENARIOS[scenario](stack.enter_context(shadow.using("cuda")))
        except RuntimeError as error:
            places = [shadow.own(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
            return {"error": str(error), "place": [place for place in places if place][-1]}
    return {"error": "", "place": ""}


if __name__ == "__main__":
    print(json.dumps({name: found(name) for name in PLANTED}))
