"""The kinds of corpora by their name in a sweep's `data:`."""

from __future__ import annotations

from ablate.data.builtin.corpus import BuiltinConfig
from ablate.data.contract import Registered, complete
from ablate.data.corpus import CorpusConfig
from ablate.data.real.corpus import RealConfig
from ablate.data.stated import StatedConfig


def _check(name: str, config: CorpusConfig) -> None:
    complete(type(config), CorpusConfig)


DATA: Registered[CorpusConfig] = Registered(
    {"builtin": BuiltinConfig(), "real": RealConfig(), "stated": StatedConfig()}, _check
)
