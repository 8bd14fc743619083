"""What lies between an encoder's layers, for measurements; not used in training."""

from __future__ import annotations

import torch
from torch import Tensor

from encoders.batch import View
from encoders.blocks import Stack
from encoders.encoder import AbstractEncoder
from encoders.encoding import Encoding


@torch.no_grad()
def by_layer(encoder: AbstractEncoder, view: View) -> tuple[Encoding, dict[str, Tensor]]:
    """Encode, and return beside the encoding the input of each stack and the output of each of its layers.

    "speech_0" is the input of the speech-only layers and "speech_1" the output of the first of them; likewise
    "text_..." and "shared_...". The last output of a stack is taken after the stack's final norm, so the last
    "shared_..." is the stage "joint". The layout is `encoding.layout` for "shared_...", the modality's own for the
    others. An encoder without stacks counts as one speech layer and one shared layer.
    """
    states: dict[str, Tensor] = {}

    def entering(name: str):
        return lambda module, arguments: states.update({name: arguments[0]})

    def leaving(name: str):
        return lambda module, arguments, x_ND: states.update({name: x_ND})

    stacks = {path.split(".")[0]: m for path, m in encoder.named_modules() if isinstance(m, Stack)}
    handles = []
    for name, stack in stacks.items():
        handles.append(stack.register_forward_pre_hook(entering(f"{name}_0")))
        for number, block in enumerate(stack.blocks, start=1):
            handles.append(block.register_forward_hook(leaving(f"{name}_{number}")))
        handles.append(stack.register_forward_hook(leaving(f"{name}_{len(stack.blocks)}")))
    try:
        encoding = encoder(view)
    finally:
        for handle in handles:
            handle.remove()
    if not stacks:
        names = {"speech_0": "features", "speech_1": "speech_tower", "shared_1": "joint"}
        states = {name: encoding.stages[stage] for name, stage in names.items() if stage in encoding.stages}
    return encoding, states
