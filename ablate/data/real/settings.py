"""The settings of real corpora in a sweep: their location, the tables made of them, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from encoders.choices import check_choices
from encoders.frontend import NORMALISATIONS
from encoders.ranges import Natural, NonNegative, OneOf, Positive, Size

PUBLISHED = ("librispeech", "covost2", "speechstew")


@dataclass(frozen=True, kw_only=True)
class RealSettings:
    """Real corpora under one folder. All paths are relative to it (or absolute); an empty path disables its tables.

    A source of speech is a folder or manifest in any layout of `ablate.data.real.layouts.registry`.
    """

    root: str = ""
    """Folder that contains the corpora; not part of ids."""
    features: Annotated[str, OneOf(("stored", "read"))] = "stored"
    """"stored": log-mel is written once, 58 MB per hour; "read": worker processes read recordings when they are needed,
    for corpora larger than the disk. Results are the same."""
    on_error: Annotated[str, OneOf(("stop", "skip"))] = "stop"
    """"stop" at the first row or recording that cannot be used; or "skip" and list them, after all recordings were read
    once at the start. What is skipped is in no split."""
    most_skipped: Natural = 100
    """Maximum number of rows and recordings that "skip" may skip; more are an error."""
    speech: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """Sources of unlabelled speech."""
    pairs: tuple[str, ...] = ("LibriSpeech/train-clean",)
    """Sources of pairs for pre-training."""
    asr: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """Sources of training data for recognition."""
    dev: str = "LibriSpeech/dev-clean"
    """Source of the split "dev" of speech, pairs, asr, speechstew and retrieval."""
    test: str = "LibriSpeech/test-clean"
    """Source of the split "test" of asr and retrieval."""
    test_unseen: str = "LibriSpeech/test-other"
    """Source of the split "test_unseen" of asr."""
    mix: dict[str, NonNegative] = field(default_factory=dict, metadata={"absent": "{}"})
    """How pre-training draws from several sources of `speech`, of `text` or of `pairs`; empty: from all of their rows
    alike. `temperature: T` draws corpus i with p_i ∝ n_i^(1/T), its share of hours (of text: of tokens), where n_i is
    what it holds; every source is a corpus. Weights by name, as in `{LibriSpeech: 2, common_voice: 1}`, draw with
    p_i ∝ w_i, both with p_i ∝ w_i n_i^(1/T): a name is a folder or file in paths of sources, and all those sources are
    one corpus (or language). A weight of 0 leaves a corpus out.
    """
    speechstew: tuple[str, ...] = ()
    """Sources that are mixed for multi-domain training of recognition."""
    text: tuple[str, ...] = ("text/librispeech_lm.txt",)
    """Files of unlabelled text: one text per line (.txt), or one record with "text" per line (.jsonl); also as .gz."""
    translation: str = "covost_qu_es"
    """Folder in the layout of CoVoST 2."""
    directions: tuple[str, ...] = ("qu_es",)
    """Directions of translation, as "SOURCE_TARGET"; rows state theirs. With several, each also has a test split
    "test_DIRECTION".
    """
    sentiment: str = "glue/SST-2"
    """Folder of a GLUE task on single sentences."""
    sentence_pair: str = "glue/RTE"
    """Folder of a GLUE task on sentence pairs."""
    glue: tuple[str, ...] = ()
    """Folders of GLUE tasks that become tables under their own names: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb."""
    normalization: str = "text_normalization"
    """Folder of written and spoken text: train.tsv, dev.tsv and test.tsv, or Google's output-*-of-*."""
    digits: str = "common_voice_digits/en"
    """Folder in the layout of Common Voice."""
    labelled: dict[str, str] = field(default_factory=dict, metadata={"absent": "{}"})
    """Further registered tables (`TABLES` of `ablate.data.real.layouts.registry`) and their paths."""
    tests: dict[str, str] = field(default_factory=dict)
    """Further test splits, as "TABLE.test_NAME" with their source. For a speech table this is any source that could
    train it; otherwise a file with the corpus's columns: Common Voice's (digits), CoVoST's (translation), the GLUE
    task's, written and spoken text, or those of the table in `labelled`.
    """
    published: tuple[Annotated[str, OneOf(PUBLISHED)], ...] = field(default=(), metadata={"absent": "[]"})
    """The corpora of published values that the test sets are, so that these stand beside ours: "librispeech" (`test` is
    test-clean, `test_unseen` test-other), "covost2", "speechstew". A declaration: nothing checks it.
    """
    labels: Size = 5000
    """Maximum number of training rows of sentiment and sentence_pair."""
    held_out: Size = 500
    """Maximum number of rows held out of train as "dev" if a corpus has none, but not more than a tenth of its rows."""
    normalisation: Annotated[str, OneOf(NORMALISATIONS)] = "bins"
    """Normalisation of log-mel. "bins": each mel bin to mean 0 and variance 1 over a recording. "level": only to mean
    0, with values more than 50 dB below the loudest raised to that level; better for recordings sampled at less than
    16 kHz. "speaker": as "level", but to mean 0 over all of a speaker's recordings in a split (as in Kaldi), so that a
    short recording keeps its own spectrum.
    """
    lower: bool = True
    """Whether all text is lower-cased."""
    max_seconds: Positive = 20.0
    """Longer recordings are left out of supervised training; dev and test are always complete."""

    def __post_init__(self) -> None:
        check_choices(self)
