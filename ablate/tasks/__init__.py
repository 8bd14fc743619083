"""Downstream tasks by name, with the settings of the small presets."""

from __future__ import annotations

from ablate.tasks.alignment_by_layer import AlignmentByLayer
from ablate.tasks.asr import Recognition
from ablate.tasks.classification import TextClassification
from ablate.tasks.codes import SpeechCodes
from ablate.tasks.normalization import Normalization
from ablate.tasks.pairing import Pairing
from ablate.tasks.pairing_by_layer import PairingByLayer
from ablate.tasks.probes_by_layer import ProbesByLayer
from ablate.tasks.retrieval import Retrieval
from ablate.tasks.task import TaskConfig
from ablate.tasks.translation import Translation

TASKS: dict[str, TaskConfig] = {
    "asr": Recognition.Config(),
    "digits": Recognition.Config(table="digits", splits=("test",)),
    "translation": Translation.Config(),
    "sentiment": TextClassification.Config(table="sentiment", steps=200),
    "sentence_pair": TextClassification.Config(table="sentence_pair", fields=("text", "text_b"), steps=400),
    "normalization": Normalization.Config(),
    "retrieval": Retrieval.Config(),
    "pairing": Pairing.Config(),
    "codes": SpeechCodes.Config(),
    "alignment_by_layer": AlignmentByLayer.Config(),
    "pairing_by_layer": PairingByLayer.Config(),
    "probes_by_layer": ProbesByLayer.Config(),
}
