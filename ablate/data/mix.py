"""How a stream of pre-training is drawn from several corpora: their shares of what is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional

import numpy as np

from ablate.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The weights of the corpora of a table, in the order of their numbers there, and the temperature.

    Corpus i is drawn with p_i ∝ w_i n_i^(1/T), where n_i is what it holds in hours (of speech, of pairs) or tokens (of
    text), and p_i its share of the hours or tokens drawn. So with T = 1 and equal weights all corpora have as many
    epochs, the larger T the more equal their shares, and without a temperature p_i ∝ w_i: sizes do not matter.

    Source: Arivazhagan et al. 2019 (arXiv 1907.05019), with weights of our own; 1/T is the α of XLM-R (Conneau et al.
    2020, α = 0.3). They count in sentences, we in tokens and hours: so T = 1 is data as they are, however long their
    items.
    """

    tag: ClassVar[str] = "mix"
    how: ClassVar[tuple[str, ...]] = ("names",)

    weights: tuple[float, ...]
    temperature: Optional[float] = None
    names: tuple[str, ...]
    """What the corpora are called, in the order of their numbers: results do not depend on it."""

    def shares(self, sizes: np.ndarray) -> np.ndarray:
        """Shares p of corpora that hold `sizes` [corpora] hours or tokens, float64 [corpora]; they sum to 1.

        Raises UserError, by its name, if a corpus with a weight holds nothing.
        """
        weights = np.array(self.weights)
        if (empty := np.flatnonzero((weights > 0) & (sizes <= 0))).size:
            raise UserError(
                f"data.mix has a weight for {self.names[empty[0]]}, of which nothing is left to pre-train on; raise "
                "pretrain.update.longest_pair or longest_text, or set its weight to 0."
            )
        weighted = weights if self.temperature is None else weights * (sizes / sizes.max()) ** (1 / self.temperature)
        return weighted / weighted.sum()
