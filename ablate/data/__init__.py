"""Where data comes from: kinds of corpora, the tables they are written to, tokens and packed batches.

`DATA` maps the names of a sweep's `data:` to their presets. It is made when first asked for, so that reading a table
does not import every kind of corpus.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "DATA":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ablate.data.builtin.corpus import BuiltinConfig
    from ablate.data.real.corpus import RealConfig
    from ablate.data.stated import StatedConfig

    presets = {"builtin": BuiltinConfig(), "real": RealConfig(), "stated": StatedConfig()}
    globals()["DATA"] = presets
    return presets
