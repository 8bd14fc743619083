"""Named encoders, each a named difference from another."""

from __future__ import annotations

from dataclasses import replace

from encoders.encoder import EncoderConfig
from encoders.joint import Joint

# For laptops: a training step of a few dozen milliseconds on one CPU thread.
nano = Joint.Config()

# Three sizes for capacity sweeps: width alone changes.
nano_narrow = replace(nano, width=32, ffn=64)
nano_wide = replace(nano, width=128, ffn=256)

# The sizes of the speed comparisons.
tiny = replace(nano, width=144, ffn=576, kernel=31, speech_layers=1, shared_layers=3)
base = replace(tiny, width=256, ffn=1024, groups=8, speech_layers=2, shared_layers=6)

# The paper's shape: 616M parameters with its 32k vocabulary (612M without front end and projection). Unknown there:
# groups, the front end's channels, and positions of speech.
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
)

PRESETS: dict[str, EncoderConfig] = {
    "nano_narrow": nano_narrow,
    "nano": nano,
    "nano_wide": nano_wide,
    "tiny": tiny,
    "base": base,
    "slam": slam,
}
