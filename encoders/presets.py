"""Named encoders, each defined by its differences from another one."""

from __future__ import annotations

from dataclasses import replace

from encoders.blocks import PARTS
from encoders.encoder import EncoderConfig
from encoders.joint import Joint
from encoders.owner import Registered

# For laptops: a training step of a few dozen milliseconds on one CPU thread.
nano = Joint.Config()

# Three sizes for capacity sweeps: only the width changes.
nano_narrow = replace(nano, width=32, ffn=64)
nano_wide = replace(nano, width=128, ffn=256)

# The sizes of the speed comparisons.
tiny = replace(nano, width=144, ffn=576, kernel=31, speech_layers=1, shared_layers=3)
base = replace(tiny, width=256, ffn=1024, groups=8, speech_layers=2, shared_layers=6)

# The paper's shape: 616M parameters with its 32k vocabulary (612M without front end and projection), trained in bf16 as
# a GPU is needed anyway; the smaller presets are fp32. Unknown in the paper: groups, the front end's channels, and
# positions of speech.
slam = replace(
    nano,
    width=1024,
    heads=8,
    ffn=4096,
    kernel=5,
    groups=32,
    speech_layers=8,
    shared_layers=16,
    frontend="conv2d",
    positions="none",
    precision="bf16",
)

# Degrees of sharing, compared with the fully shared stack of the same size. For each modality the number of layers and
# of parameters on its path are the same in all of them (pairs still attend to each other in all layers of "shared");
# the total grows. "late": sharing begins half-way up ("speech_tower" is then higher). "experts": feed-forwards per
# modality. "separate": a tower per modality, with nothing shared but attention within a pair.
nano_late = replace(nano, speech_layers=2, text_layers=1, shared_layers=1)
nano_experts = replace(nano, per_modality=("ffn",))
nano_separate = replace(nano, per_modality=PARTS)
slam_late = replace(slam, speech_layers=16, text_layers=8, shared_layers=8)
slam_experts = replace(slam, per_modality=("ffn",))
slam_separate = replace(slam, per_modality=PARTS)

# The same with narrower feed-forwards, so that the total (without the token embedding) equals that of the shared stack:
# as deep, but with fewer parameters per modality.
nano_experts_matched = replace(nano_experts, ffn=76)
nano_separate_matched = replace(nano_separate, ffn=28)
slam_experts_matched = replace(slam_experts, ffn=2432)
slam_separate_matched = replace(slam_separate, ffn=1728)

PRESETS: Registered[EncoderConfig] = Registered(
    {
        "nano_narrow": nano_narrow,
        "nano": nano,
        "nano_wide": nano_wide,
        "tiny": tiny,
        "base": base,
        "slam": slam,
        "nano_late": nano_late,
        "nano_experts": nano_experts,
        "nano_experts_matched": nano_experts_matched,
        "nano_separate": nano_separate,
        "nano_separate_matched": nano_separate_matched,
        "slam_late": slam_late,
        "slam_experts": slam_experts,
        "slam_experts_matched": slam_experts_matched,
        "slam_separate": slam_separate,
        "slam_separate_matched": slam_separate_matched,
    }
)
