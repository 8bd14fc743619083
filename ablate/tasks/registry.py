"""Downstream tasks by name, with the settings of the small presets."""

from __future__ import annotations

from ablate.data.contract import Registered
from ablate.data.tokenizer import TokenizerConfig
from ablate.tasks.measured.alignment_by_layer import AlignmentByLayer
from ablate.tasks.measured.codes import SpeechCodes
from ablate.tasks.measured.matching import Matching
from ablate.tasks.measured.pairing import Pairing
from ablate.tasks.measured.pairing_by_layer import PairingByLayer
from ablate.tasks.measured.probes_by_layer import ProbesByLayer
from ablate.tasks.measured.retrieval import Retrieval
from ablate.tasks.supervised.asr import Recognition
from ablate.tasks.supervised.classification import TextClassification
from ablate.tasks.supervised.normalization import Normalization
from ablate.tasks.supervised.translation import Translation
from ablate.tasks.task import TaskConfig, check
from objectives import sequence
from objectives.transducer import Transducer

# The paper's recipes, as far as they are known (docs/paper.md, section 4); learning rates are mSLAM's.
ASR_SLAM = Recognition.Config(
    head="transducer",
    transducer=Transducer.Config(hidden=640, layers=2),
    tokenizer=TokenizerConfig(fields=("asr.text",), size=1024),
    steps=20_000,
    items=256,
    lr=3e-4,
    head_lr=1e-3,
    warmup=0.25,
    head_warmup=0.075,
)
TRANSLATION_SLAM = Translation.Config(
    decoder=sequence.Sequence.Config(reads="speech", layers=4, width=384, ffn=1536, heads=4, dropout=0.3),
    tokenizer=TokenizerConfig(fields=("translation.translation",), size=8192),
    steps=20_000,
    items=256,
    lr=3e-4,
    head_lr=1e-3,
    warmup=0.25,
    head_warmup=0.075,
)

PAIR = ("text", "text_b")
PARAPHRASE = ("f1", "accuracy")  # GLUE reports both
GLUE: dict[str, TaskConfig] = {
    "mnli": TextClassification.Config(table="mnli", fields=PAIR, splits=("test", "test_mismatched"), steps=4000),
    "qnli": TextClassification.Config(table="qnli", fields=PAIR, steps=4000),
    "qqp": TextClassification.Config(table="qqp", fields=PAIR, steps=4000, metrics=PARAPHRASE, positive="duplicate"),
    "sst2": TextClassification.Config(table="sst2", steps=2000),
    "cola": TextClassification.Config(table="cola", steps=1000, metrics=("matthews",), positive="acceptable"),
    "mrpc": TextClassification.Config(table="mrpc", fields=PAIR, steps=600, metrics=PARAPHRASE, positive="paraphrase"),
    "rte": TextClassification.Config(table="rte", fields=PAIR, steps=600),
    "stsb": TextClassification.Config(table="stsb", fields=PAIR, steps=600, metrics=("pearson", "spearman")),
}
# "glue" is the paper's four, as we guess them (docs/paper.md, section 4).
GROUPS: dict[str, tuple[str, ...]] = {"glue": ("mnli", "qnli", "qqp", "sst2")}
TASKS: Registered[TaskConfig] = Registered(
    {
        "asr": Recognition.Config(),
        "asr_slam": ASR_SLAM,
        "speechstew": Recognition.Config(table="speechstew", splits=("test",)),
        "digits": Recognition.Config(table="digits", splits=("test",)),
        "translation": Translation.Config(),
        "translation_slam": TRANSLATION_SLAM,
        "sentiment": TextClassification.Config(table="sentiment", steps=200),
        "sentence_pair": TextClassification.Config(table="sentence_pair", fields=("text", "text_b"), steps=400),
        **GLUE,
        "normalization": Normalization.Config(),
        "retrieval": Retrieval.Config(),
        "pairing": Pairing.Config(),
        "matching": Matching.Config(),
        "codes": SpeechCodes.Config(),
        "alignment_by_layer": AlignmentByLayer.Config(),
        "pairing_by_layer": PairingByLayer.Config(),
        "probes_by_layer": ProbesByLayer.Config(),
    },
    check,
)
