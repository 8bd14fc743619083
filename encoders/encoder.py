"""The contract of an encoder: what must be there, and what may be (docs/extend/encoder.md has an example)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from encoders.batch import Layout, View, Vocabulary, side_by_side
from encoders.choices import check_known
from encoders.encoding import Encoding
from encoders.frontend import subsampled
from encoders.owner import Owner, incomplete
from encoders.ranges import Size

READS = ("speech", "text", "pair")
OWNERS = ("speech", "text", "shared")


@dataclass(frozen=True)
class Work:
    """The segments of one encoder pass, in speech positions and tokens; `together` the i-th of both are a pair."""

    speech: tuple[int, ...] = ()
    text: tuple[int, ...] = ()
    together: bool = False

    def segments(self, owner: str) -> tuple[int, ...]:
        """Lengths of the segments that a part goes over, of one modality or of both."""
        return {"speech": self.speech, "text": self.text, "shared": self.speech + self.text}[owner]

    def sequences(self, owner: str) -> tuple[int, ...]:
        """Lengths of the sequences within which a part attends."""
        if owner == "shared" and self.together:
            return tuple(s + t for s, t in zip(self.speech, self.text, strict=True))
        return self.segments(owner)


@dataclass
class Count:
    """Parameters by owner, and floating-point operations of one forward pass."""

    parameters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OWNERS, 0))
    flops: int = 0


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Base of encoder configs: a frozen dataclass, nested in its encoder as `Config`.

    It has a `tag: ClassVar[str]`, its name in ids for ever, and a sentence below every field. Each field is a setting
    of sweep files. What `__post_init__` refuses, by ValueError, is refused when a sweep is planned; one of a subclass
    calls that of this class.
    """

    owner: ClassVar[Any] = None
    """The encoder's class; set where that is defined."""

    reads: tuple[str, ...] = READS
    """Inputs that the encoder has parts for: of speech, text and pair."""
    width: Size = 64
    """Width D of the encoding."""

    def __post_init__(self) -> None:
        if self.owner is None:
            raise incomplete(type(self), "is in no encoder; nest it in its encoder, as Config")
        check_known("read", self.reads, READS)
        if not self.reads:
            raise ValueError(f"Encoder reads nothing: expected some of {', '.join(READS)}.")

    def build(self, vocabulary: Vocabulary) -> AbstractEncoder:
        """Make the encoder with freshly initialised weights (the caller has seeded torch)."""
        return self.owner(self, vocabulary)

    def layers_and_width(self) -> tuple[int, int]:
        """How many layers there are and how wide they are, from which seconds are estimated while no stage of the same
        shape has run; three where nothing is known.
        """
        return 3, self.width


class AbstractEncoder(Owner, nn.Module, ABC):
    """Turns a view into an encoding.

    Asked for are `Config` and `forward`. What is below them is optional. Where a class has no `parts`,
    `shared_parameters` or `recompute`, what needs it is left out, and the plan says so.

    A class that reads text sets `embedding` in its `__init__`, after that of this class. The rest of a run relies on no
    other attribute. Weights may be moved between devices, saved and loaded at any time, as those of any module.
    """

    Config: ClassVar[type[EncoderConfig]]
    stacked: ClassVar[int] = 320
    """Channels C of the stage "stacked": 80 bins of four frames. K-means of log-mel goes with this alone."""

    reads: frozenset[str]
    width: Size
    """D of the stages that objectives build on."""
    embedding: nn.Embedding | None
    """Token embedding, of any width, which objectives tie their output to; None when text is not read."""

    def __init__(self, config: EncoderConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.reads, self.width, self.embedding = frozenset(config.reads), config.width, None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" not in vars(cls):
            return
        if not issubclass(cls.Config, EncoderConfig):
            raise incomplete(cls.Config, "is no EncoderConfig; let it be one of encoders/encoder.py")
        reads = cls.Config.__dataclass_fields__["reads"].default
        try:
            check_known("read", reads if isinstance(reads, tuple) else (), READS)
        except ValueError as error:
            raise incomplete(cls.Config, f"reads what there is not: {str(error).rstrip('.')}") from None

    @abstractmethod
    def forward(self, view: View) -> Encoding:
        """Encode. A sequence's result depends on nothing else in the pack: not on its neighbours, nor on their number.

        `view.inputs` is a Speech (log-mel in float16 or float32), Text or Pair, of those that the config `reads`; of
        another it is a ValueError. The T speech positions are those of `subsampled`, the S text positions the tokens. A
        pair's two segments stand side by side in a sequence (text first if `view.text_first`), or each alone if
        `view.apart`. In training torch's generator is seeded for each view, so that dropout is drawn alike by a resumed
        run.

        Positions `view.speech_masked_I` must not be seen: noise stands for the features there, or, where `view.hides`
        is "frames", for the log-mel below them. Hidden text needs nothing: its ids are replaced already.

        The encoding has the layout and these stages, in float32 (`encoders/encoding.py` says more):

        - "joint" [N, D]: the output, which most objectives and all tasks take;
        - of inputs with speech also "stacked" [T, C], the log-mel at the rate of positions, never masked, which some
          codes are chosen from; "features" [T, D], before masks, for the others; and "speech_tower" [T, D], after the
          layers of speech alone (the features, if there are none), where contrastive losses look. `speech_layout` lays
          them out.
        """

    def subsampled(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        """Speech positions for utterances of so many mel frames (of 10 ms), without running anything; at least 1 each.
        Here one for every four frames or part of it, as in `encoders.frontend.stack`. Called for every batch.
        """
        return subsampled(frames)

    def side_by_side(self, view: View, parts: Mapping[str, Tensor]) -> tuple[Tensor, Layout, Layout | None]:
        """Lay out vectors x_TD of the view's speech and x_SD of its text, by modality, as `forward` is asked to; return
        them in one tensor x_ND, with its layout and that of the speech alone.
        """
        layouts = {}
        if speech := view.inputs.speech:
            layouts["speech"] = Layout.of("speech", self.subsampled(speech.lengths), parts["speech"].device)
        if text := view.inputs.text:
            layouts["text"] = Layout.of("text", text.lengths, parts["text"].device)
        return *side_by_side(parts, layouts, view), layouts.get("speech")

    @classmethod
    def offers(cls, part: str) -> bool:
        """Whether the class has an optional part: parts, shared_parameters or recompute."""
        return getattr(cls, part) is not getattr(AbstractEncoder, part)

    def parts(self, work: Work) -> Mapping[tuple[str, ...], Count] | None:
        """Count parameters by owner and operations of a forward pass over `work`, by place, such as
        ("speech", "layers", "attention"); each parameter once, in the same place whatever the work.

        A multiplication and an addition are two operations. None: not counted, and then neither the memory of an update
        nor, on GPUs, its time is estimated before a job is queued. Called on tensors without contents, too.
        """
        return None

    def titles(self) -> Mapping[tuple[str, ...], str]:
        """What is written beside places of `parts`, such as "8 × conformer"."""
        return {}

    def shared_parameters(self) -> Mapping[str, list[str]]:
        """Names (as in `named_parameters`) of parameters that all modalities go through, by scope: a layer ("layer_0"),
        a part of one ("layer_0.ffn"), or what else there is; "all" is made of them, and no name has a slash.

        The gradients of objectives are compared within each scope and over all of them. None at all: not compared.
        """
        return {}

    def recompute(self, on: bool) -> None:
        """From now on compute activations again in the backward pass instead of keeping them, or keep them: less
        memory, more time, the same results to the bit. Called before training, also with False.

        A training stage whose job ran out of memory is run once more with it; of an encoder without, it is not.
        """

    @property
    def alone(self) -> str:
        """Why an update's shards cannot be shared between processes; "" where they can."""
        return ""

    def parameters_by_modality(self) -> dict[str, int]:
        """Count parameters: total, and those of the token embedding; where they are counted by owner also those that
        only speech or text uses (embedding apart), and shared ones.
        """
        total = sum(p.numel() for p in self.parameters())
        embedding = 0 if self.embedding is None else self.embedding.weight.numel()
        counted = self.parts(Work())
        if counted is None:
            return {"total": total, "embedding": embedding}
        owned = {owner: sum(count.parameters[owner] for count in counted.values()) for owner in OWNERS}
        return {
            "total": total,
            "speech_only": owned["speech"],
            "text_only": owned["text"] - embedding,
            "shared": owned["shared"],
            "embedding": embedding,
        }
