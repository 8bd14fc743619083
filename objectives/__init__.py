"""Pre-training objectives by name, and presets of their weights. To add a loss, write one file and one line here."""

from __future__ import annotations

from encoders.owner import Registered
from objectives.contrastive import Contrastive
from objectives.masked_speech import MaskedSpeech
from objectives.masked_text import MaskedText
from objectives.objective import ObjectiveConfig
from objectives.pair_ctc import PairCTC
from objectives.stm import STM
from objectives.tlm import TLM

OBJECTIVES: Registered[ObjectiveConfig] = Registered(
    {
        "contrastive": Contrastive.Config(),
        "masked_speech": MaskedSpeech.Config(),
        "masked_text": MaskedText.Config(),
        "tlm": TLM.Config(),
        "stm": STM.Config(),
        "pair_ctc": PairCTC.Config(),
    }
)

# Factors on the objectives' own weights, by the stream they read. The paper does not publish its weights
# (docs/paper.md, section 2).
WEIGHTS: dict[str, dict[str, float]] = {
    "unit": {"speech": 1.0, "text": 1.0, "pair": 1.0},
    "mslam": {"speech": 1.0, "text": 0.3, "pair": 0.03},
}
