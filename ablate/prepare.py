"""The `corpus` and `tokenizer` stages: what is made before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.data import tokenizer as tokens
from ablate.data.table import CorpusConfig
from ablate.data.tokenizer import TokenizerConfig
from ablate.run import RunFolder


def corpus(config: CorpusConfig, parents: Mapping[str, RunFolder], run: RunFolder) -> dict[str, Any]:
    """Write the tables of a corpus, and corpus.json."""
    return config.prepare(run)


def tokenizer(config: TokenizerConfig, parents: Mapping[str, RunFolder], run: RunFolder) -> dict[str, Any]:
    """Train a tokenizer on a corpus, and encode every text field of it."""
    return tokens.run(config, parents, run)
