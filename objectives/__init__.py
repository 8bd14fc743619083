"""Pre-training objectives by name. A new loss is one file and one line here."""

from __future__ import annotations

from objectives.contrastive import Contrastive
from objectives.masked_speech import MaskedSpeech
from objectives.masked_text import MaskedText
from objectives.objective import ObjectiveConfig
from objectives.pair_ctc import PairCTC
from objectives.stm import STM
from objectives.tlm import TLM

OBJECTIVES: dict[str, ObjectiveConfig] = {
    "contrastive": Contrastive.Config(),
    "masked_speech": MaskedSpeech.Config(),
    "masked_text": MaskedText.Config(),
    "tlm": TLM.Config(),
    "stm": STM.Config(),
    "pair_ctc": PairCTC.Config(),
}
