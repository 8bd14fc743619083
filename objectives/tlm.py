"""Translation language modelling: predict masked text and speech of a pair from both (docs/paper.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Optional

from encoders.batch import View
from encoders.choices import check_choices
from encoders.encoding import Encoding
from encoders.ranges import NonNegative, OneOf, Positive, PositiveShare, Size
from objectives import targets as speech_targets
from objectives.contrastive import DIVERSITY_OVER, ContrastiveHead
from objectives.masked_speech import CodeHead
from objectives.masked_text import TokenHead, spans
from objectives.masking import TextRule
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, gathered
from objectives.views import PAIRS, PairMask


class TLM(AbstractObjective):
    """Masked text and masked speech of pairs in one pass, each term with its own denominator.

    docs/paper.md, sections 10.1 and 10.3, gives the reasons and the controls.
    """

    reads: ClassVar[str] = "pair"

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """Half of the text and 75 % of the speech are masked, as in the paper."""

        tag: ClassVar[str] = "tlm"
        guesses_text: ClassVar[bool] = True

        targets: str = "learned"
        """Name of the speech targets whose codes are predicted."""
        pairs: Annotated[str, OneOf(PAIRS)] = "together"
        """"together"; or a control: "apart" (same items and masks, as separate sequences), "shuffled" (another
        utterance's text)."""
        contrastive: bool = False
        """Add the contrastive loss and its diversity term on the pairs' speech, at the speech tower (paper:
        unknown).
        """
        diversity: NonNegative = field(default=0.1, metadata={"absent": "0.1"})
        """Weight of the diversity term if `contrastive`; no effect on fixed targets."""
        diversity_over: Annotated[str, OneOf(DIVERSITY_OVER)] = field(default="shard", metadata={"absent": '"shard"'})
        """Masked frames over which that term averages code probabilities: those of the "shard", or a moving
        "average".
        """
        negatives: Size = field(default=100, metadata={"absent": "100"})
        """Maximum number of distractors per masked frame of the contrastive loss."""
        kappa: Positive = field(default=0.1, metadata={"absent": "0.1"})
        """Temperature of its cosine similarities."""
        final_dim: Optional[Size] = field(default=None, metadata={"absent": "null"})
        """Width in which it compares encodings and codes; by default the encoder's width."""
        share: PositiveShare = 0.5
        """Share of the text's pieces (or words) to mask."""
        text_span: Size = 5
        """Pieces (or words) in a span of text."""
        whole_words: bool = False
        """Count and mask whole words rather than pieces."""
        prob: PositiveShare = 0.129
        """Probability that a speech position starts a masked span."""
        speech_span: Size = 10
        """Positions in a span of speech."""
        text_first: bool = True
        """Order of the segments; the paper does not say."""

        def __post_init__(self) -> None:
            self.masks()
            check_choices(self)
            if self.diversity_over != "shard" and not self.contrastive:
                raise ValueError("diversity_over has no effect if contrastive is false; remove it.")

        def masks(self) -> PairMask:
            """The view these fields describe."""
            return PairMask(
                text=TextRule(share=self.share, span=self.text_span, whole_words=self.whole_words),
                prob=self.prob,
                span=self.speech_span,
                pairs=self.pairs,
                text_first=self.text_first,
            )

        @property
        def needs(self) -> tuple[str, ...]:
            return (self.targets,)

        @property
        def trains(self) -> tuple[str, ...]:
            return (self.targets,) if self.contrastive else ()

        def note(self) -> str:
            return self.masks().text.note()

        def build(self, ports: Ports) -> TLM:
            return TLM(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.needs, self.view = config.needs, config.masks()
        codes = speech_targets.of(ports, config.targets)
        self.text, self.speech = TokenHead(ports), CodeHead(ports.width, codes)
        self.contrastive = None
        if config.contrastive:
            self.contrastive = ContrastiveHead(
                ports.width, codes, config.final_dim, config.negatives, config.kappa, config.diversity_over
            )
        self.term_weights = {"text": 1.0, "speech": 1.0}
        if config.contrastive:
            self.term_weights |= {"contrastive": 1.0} | ({"diversity": config.diversity} if codes.learned else {})

    @property
    def text_head(self) -> TokenHead:
        return self.text

    def counts(self, view: View) -> Mapping[str, float]:
        counts = {"text": float(len(view.text_masked_I)), "speech": float(sum(view.speech_masked_B))}
        return counts | (self.contrastive.counts(view) if self.contrastive else {})

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        codes = targets[self.needs[0]]
        x_text_ID = gathered(encoding, "joint", "text", view.text_masked_I)
        x_speech_ID = gathered(encoding, "joint", "speech", view.speech_masked_I)
        with encoding.products():
            text = self.text(x_text_ID, view.text_targets_I)
        text = replace(text, metrics={**text.metrics, "span": spans(view)})
        terms = {"text": text, "speech": self.speech(x_speech_ID, codes)}
        if self.contrastive:
            terms |= self.contrastive(view, encoding, "speech_tower", codes)
        return {  # metrics named by term: both text and speech have an accuracy
            term: replace(scored, metrics={f"{term}_{name}": pair for name, pair in scored.metrics.items()})
            for term, scored in terms.items()
        }
