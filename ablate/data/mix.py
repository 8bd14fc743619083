"""How a stream of pre-training is drawn from several corpora: their shares of what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
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

    Source: Arivazhagan et al. 2019 (arXiv 1907.05019, section 4.1), with weights of our own; 1/T is α of XLM-R (Conneau
    et al. 2020, α = 0.3) and of XLS-R (Babu et al. 2021, hours of speech). They count what is drawn in sentences or
    utterances, we in tokens and hours: T = 1 then is data as they are, however long their items.
    """

    tag: ClassVar[str] = "mix"

    weights: tuple[float, ...]
    temperature: Optional[float] = None

    def shares(self, sizes: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Shares p of corpora that hold `sizes` [corpora] hours or tokens, float64 [corpora]; they sum to 1.

        Raises UserError, by its name, if a corpus with a weight holds nothing.
        """
        weights = np.array(self.weights)
        if (empty := np.flatnonzero((weights > 0) & (sizes <= 0))).size:
            raise UserError(
                f"data.mix has a weight for {names[empty[0]]}, of which nothing is left to pre-train on; raise "
                "pretrain.update.longest_pair or longest_text, or set its weight to 0."
            )
        weighted = weights if self.temperature is None else weights * (sizes / sizes.max()) ** (1 / self.temperature)
        return weighted / weighted.sum()
