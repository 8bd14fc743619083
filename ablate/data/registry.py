"""The kinds of corpora by the name that a sweep's `data:` says."""

from __future__ import annotations

from ablate.data.builtin.corpus import BuiltinConfig
from ablate.data.corpus import CorpusConfig
from ablate.data.real.corpus import RealConfig
from ablate.data.stated import StatedConfig

DATA: dict[str, CorpusConfig] = {"builtin": BuiltinConfig(), "real": RealConfig(), "stated": StatedConfig()}
