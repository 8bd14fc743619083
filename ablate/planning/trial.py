"""Encoders that others added encode a few made-up sequences, so that what they lack is known before a stage runs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

from torch._subclasses.fake_tensor import FakeTensorMode

from ablate.errors import UserError
from ablate.store import identity
from ablate.sweepfile.row import owner
from encoders import trial
from encoders.encoder import EncoderConfig
from encoders.owner import Incomplete, incomplete

OURS = "encoders.joint"  # the tests try that one
SMALL = 3e7  # parameters of its layers, about, up to which an encoder is made for it


def hold(encoders: Iterable[EncoderConfig]) -> None:
    """Raise UserError where an encoder is not what its contract asks, or two have one tag; of each class the first
    config is tried.

    A large one is tried on tensors without contents, as far as it can do with those.
    """
    firsts: dict[type, EncoderConfig] = {}
    for config in encoders:
        firsts.setdefault(owner(config), config)
    for cls, config in firsts.items():
        try:
            identity.find(EncoderConfig, config.tag)
        except TypeError as error:
            raise UserError(f"encoder: {error}") from None
        if cls.__module__ != OURS:
            _hold(cls, config)


def _hold(cls: type, config: EncoderConfig) -> None:
    layers, width = config.layers_and_width()
    large = 12 * layers * width**2 > SMALL
    try:
        with FakeTensorMode() if large else nullcontext():
            trial.shaped(config)
    except Incomplete as error:
        raise UserError(f"encoder: {error}") from None
    except Exception as error:
        if not large:
            what = f"raises {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(" .:")
            raise UserError(f"encoder: {incomplete(cls, what + ', with made-up sequences')}") from error
