"""Tries what plugins added before a stage runs: checks names and runs encoders and objectives on made-up sequences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from ablate.errors import UserError, place
from ablate.planning.size import SMALL
from ablate.stages.registry import KINDS
from ablate.store import identity, plugins
from ablate.sweepfile.row import owner
from ablate.sweepfile.typed import settable
from ablate.tasks.registry import TASKS
from encoders import trial
from encoders.encoder import EncoderConfig
from encoders.joint import Joint
from encoders.owner import Incomplete, raised
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.objective import ObjectiveConfig
from objectives.quantizer import TargetsConfig
from objectives.targets import TARGETS
from objectives.trial import tried

LOSSES = ("contrastive", "masked_speech", "masked_text", "pair_ctc", "stm", "tlm")
OURS = ("encoders.joint", *(f"objectives.{name}" for name in LOSSES))  # not tried here, as the tests do that
REGISTRIES = {"encoder": PRESETS, "objective": OBJECTIVES, "speech targets": TARGETS, "task": TASKS, "stage": KINDS}
CONFIGS = {"encoder": EncoderConfig, "objective": ObjectiveConfig, "speech targets": TargetsConfig}
ALIKE = 1e-2  # tolerance relative to the largest value: covers bfloat16, but not leaks from padding or neighbours


def load() -> None:
    """Import all plugins.

    Raises UserError if a plugin cannot be imported, takes a name that is in use, or registers an object of a wrong
    class.
    """
    for name in plugins.named():
        before = _entries()
        plugins.load([name])
        for (kind, key), thing in _entries().items():
            if before.get((kind, key), thing) is not thing:
                what = f"plugins: '{name}' takes the name '{key}' of {kind}"
                raise UserError(f"{what}, which is there already; choose another.")
            if not isinstance(thing, CONFIGS.get(kind, object)):
                what = f"plugins: '{name}' registers {thing!r} as {kind} '{key}'"
                raise UserError(f"{what}, expected a config: {key} = Class.Config().")
            if (config := thing.settings if kind == "stage" else thing) is not None:
                _settings(config)


def _settings(config: object) -> None:
    """Raise UserError if a field of a config cannot be set in a sweep file or cannot enter an id.

    The message gives the class's file and line.
    """
    cls = type(config)
    try:
        fields = identity.fields(cls)
    except TypeError as error:
        raise UserError(str(error)) from None
    for one in fields:
        try:
            identity.Forms().of(getattr(config, one.attribute), one.hint)
        except (TypeError, ValueError) as error:
            raise UserError(f"{cls.__qualname__} ({place(cls)}): {one.attribute}: {error}") from None
    settable(config)


def _entries() -> dict[tuple[str, str], Any]:
    """Return everything registered, by kind and name."""
    return {(kind, key): thing for kind, registry in REGISTRIES.items() for key, thing in registry.items()}


def hold(encoders: Iterable[EncoderConfig]) -> None:
    """Check that encoders fulfil their contract and that no two classes have one tag. Raises UserError.

    The first config of each class is tried; a large encoder on tensors without contents, as far as that is possible.
    """
    firsts: dict[type, EncoderConfig] = {}
    for config in encoders:
        firsts.setdefault(owner(config), config)
    for cls, config in firsts.items():
        try:
            identity.find(EncoderConfig, config.tag)
        except TypeError as error:
            raise UserError(f"encoder: {error}") from None
        if cls.__module__ not in OURS:
            _hold(cls, config)


def _hold(cls: type, config: EncoderConfig) -> None:
    layers, width = config.layers_and_width()
    large = 12 * layers * width**2 > SMALL
    try:
        if large:
            with FakeTensorMode():
                trial.shaped(config)
        else:
            trial.tried(config, ALIKE)
    except Incomplete as error:
        raise UserError(f"encoder: {error}") from None
    except Exception as error:
        if not large:
            raise UserError(f"encoder: {raised(cls, error)}") from error


def score(objectives: Iterable[tuple[ObjectiveConfig, Mapping[str, TargetsConfig]]]) -> None:
    """Check that objectives fulfil their contract and that no two classes have one tag. Raises UserError.

    Objectives come with the speech targets of their row. The first config of each class is tried, on a small encoder.
    """
    firsts: dict[type, tuple[ObjectiveConfig, Mapping[str, TargetsConfig]]] = {}
    for config, targets in objectives:
        firsts.setdefault(owner(config), (config, targets))
    packages = {"objectives", *(name.partition(".")[0] for name in plugins.named())}
    for cls, (config, targets) in firsts.items():
        try:
            identity.find(ObjectiveConfig, config.tag)
            if cls.__module__.partition(".")[0] in packages and cls.__module__ not in OURS:
                small = Joint.Config(width=16, heads=2, ffn=16, groups=2, shared_layers=1).build(trial.VOCABULARY)
                tried(config, targets, small, trial.VOCABULARY, trial.inputs)
        except (Incomplete, TypeError) as error:
            raise UserError(f"objective: {error}") from None
