"""Speech-text matching: distinguish true from false pairs at CLS (docs/paper.md, section 2; the form is ALBEF's)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from encoders.batch import View
from encoders.encoding import Encoding
from encoders.ranges import PositiveShare, Size
from objectives.masked_text import spans
from objectives.masking import TextRule
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term
from objectives.views import Clean, Matching, PairMask


class STM(AbstractObjective):
    """Cross-entropy over {false, true} from the joint encoding of CLS (docs/paper.md, section 10.2).

    Half of the pairs of a shard exchange texts with their neighbours in length, so one pass contains both kinds. A
    shard of one pair, in which nothing can be false, is not counted.
    """

    reads: ClassVar[str] = "pair"
    term_weights: Mapping[str, float] = {"loss": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """Ratio and masking are not in the paper."""

        tag: ClassVar[str] = "stm"
        judges_pairs: ClassVar[bool] = True

        negatives: PositiveShare = 0.5
        """Share of the pairs that are made false."""
        masked: bool = False
        """Mask both modalities, as in TLM; by default nothing is masked."""
        share: PositiveShare = field(default=0.5, metadata={"absent": "0.5"})
        """Share of the text's pieces to mask, if `masked`. This and the next four are TLM's settings: keep them
        equal.
        """
        whole_words: bool = field(default=False, metadata={"absent": "false"})
        """Count and mask whole words rather than pieces."""
        text_span: Size = field(default=5, metadata={"absent": "5"})
        """Pieces in a span of text."""
        prob: PositiveShare = field(default=0.129, metadata={"absent": "0.129"})
        """Probability that a speech position starts a masked span."""
        speech_span: Size = field(default=10, metadata={"absent": "10"})
        """Positions in a span of speech."""
        text_first: bool = True
        """Order of the segments; in both orders CLS begins the text."""

        def __post_init__(self) -> None:
            self.matching()

        def matching(self) -> Matching:
            """The view these fields describe."""
            masks = None
            if self.masked:
                text = TextRule(share=self.share, span=self.text_span, whole_words=self.whole_words)
                masks = PairMask(text=text, prob=self.prob, span=self.speech_span, text_first=self.text_first)
            return Matching(negatives=self.negatives, masks=masks, text_first=self.text_first)

        def note(self) -> str:
            masks = self.matching().masks
            return masks.text.note() if masks else ""

        def build(self, ports: Ports) -> STM:
            return STM(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.view = config.matching()
        self.whole_pairs = self.view.masks or Clean(text_first=config.text_first)
        self.output = nn.Linear(ports.width, 2)

    def counts(self, view: View) -> Mapping[str, float]:
        pairs = len(view.speech_lengths)
        return {"loss": float(pairs) if pairs > 1 else 0.0}

    def logits(self, encoding: Encoding) -> Tensor:
        layout = encoding.layout
        cls_B = (~layout.is_speech_N & (layout.position_N == 0)).nonzero().squeeze(1)
        return self.output(encoding.stages["joint"].index_select(0, cls_B)).float()

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        logits_B2 = self.logits(encoding)
        total = F.cross_entropy(logits_B2, view.matched_B, reduction="sum")
        right = (logits_B2.detach().argmax(1) == view.matched_B).sum()
        hidden = {"span": spans(view)} if view.text_spans[1] else {}
        return {"loss": Term(total, {"accuracy": (right, float(len(logits_B2))), **hidden})}
