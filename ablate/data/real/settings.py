"""What can be said of real corpora in a sweep: where they lie, which tables they give, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from encoders.ranges import Natural, Positive, Size


@dataclass(frozen=True, kw_only=True)
class RealSettings:
    """Real corpora under one folder. All paths are relative to it (or absolute); an empty one leaves its tables out.

    A source of speech is a folder or manifest in any layout of `ablate.data.real.layouts.registry`.
    """

    root: str = ""
    """Folder that holds the corpora; no part of identity."""
    features: str = "stored"
    """"stored": log-mel is written once, 58 MB an hour; "read": recordings are opened when they are needed, by worker
    processes, for corpora larger than the disk. Results are the same."""
    on_error: str = "stop"
    """"stop" at the first row or recording that cannot be used; or "skip" and list them, after reading all recordings
    once before anything else. What is skipped is in no split."""
    most_skipped: Natural = 100
    """Rows and recordings that "skip" may skip; more are an error."""
    speech: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """Sources that give unlabelled speech."""
    pairs: tuple[str, ...] = ("LibriSpeech/train-clean",)
    """Sources that give pairs for pre-training."""
    asr: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """Sources that train recognition."""
    dev: str = "LibriSpeech/dev-clean"
    """Source of "dev" of speech, pairs, asr, speechstew and retrieval."""
    test: str = "LibriSpeech/test-clean"
    """Source of "test" of asr and retrieval."""
    test_unseen: str = "LibriSpeech/test-other"
    """Source of "test_unseen" of asr."""
    speechstew: tuple[str, ...] = ()
    """Sources that are mixed to train recognition of several corpora."""
    text: tuple[str, ...] = ("text/librispeech_lm.txt",)
    """Texts, one a line (.txt), or one a record with "text" (.jsonl); either also as .gz."""
    translation: str = "covost_qu_es"
    """Folder in the layout of CoVoST 2."""
    directions: tuple[str, ...] = ("qu_es",)
    """Directions of translation, as "SOURCE_TARGET"; rows name theirs, and of several each is a split "test_DIRECTION"
    too.
    """
    sentiment: str = "glue/SST-2"
    """Folder of a GLUE task of single sentences."""
    sentence_pair: str = "glue/RTE"
    """Folder of a GLUE task of sentence pairs."""
    glue: tuple[str, ...] = ()
    """Folders of GLUE tasks that are tables by their own names: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb."""
    normalization: str = "text_normalization"
    """Folder of written and spoken text: train.tsv, dev.tsv and test.tsv, or Google's output-*-of-*."""
    digits: str = "common_voice_digits/en"
    """Folder in the layout of Common Voice."""
    labelled: dict[str, str] = field(default_factory=dict, metadata={"absent": "{}"})
    """Further tables that are registered (`TABLES` of `ablate.data.real.layouts.registry`), and where they lie."""
    tests: dict[str, str] = field(default_factory=dict)
    """Further test splits, "TABLE.test_NAME" and its source: of speech any that trains it, else a table in the columns
    of the corpus: Common Voice's (digits), CoVoST's (translation), the GLUE task's, written and spoken text, or what
    the table of `labelled` has.
    """
    labels: Size = 5000
    """Most training rows of sentiment and sentence_pair."""
    held_out: Size = 500
    """Most rows held out of train as "dev" where a corpus has none; a tenth of its rows if that is fewer."""
    normalisation: str = "bins"
    """Of log-mel: "bins", each mel bin to mean 0 and variance 1 over a recording; "level", to mean 0 alone, from the
    loudest down to 50 dB below it: better for recordings of less than 16 kHz; or "speaker", the same but to mean 0 over
    all of a speaker's recordings in a split (Kaldi's way), which leaves a short one what makes its word.
    """
    lower: bool = True
    """Whether all text is made lower case."""
    max_seconds: Positive = 20.0
    """Recordings longer than this are left out of supervised training; dev and test are always whole."""
