"""The contract of an encoder: required and optional parts (docs/extend/encoder.md has an example)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from encoders.batch import Layout, View, Vocabulary, side_by_side
from encoders.choices import check_choices, check_known
from encoders.encoding import Encoding
from encoders.frontend import subsampled
from encoders.owner import Owner, incomplete
from encoders.ranges import OneOf, Size

READS = ("speech", "text", "pair")
OWNERS = ("speech", "text", "shared")


@dataclass(frozen=True)
class Work:
    """The segments of one encoder pass, in speech positions and tokens; if `together`, the i-th of both form a pair."""

    speech: tuple[int, ...] = ()
    text: tuple[int, ...] = ()
    together: bool = False

    def segments(self, owner: str) -> tuple[int, ...]:
        """Lengths of the segments that a part processes, of one modality or of both."""
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

    It has a `tag: ClassVar[str]`, its permanent name in ids, and a description below every field. Each field is a
    setting of sweep files. Values that `__post_init__` rejects with ValueError are rejected when a sweep is planned; a
    subclass's `__post_init__` must call that of this class.
    """

    owner: ClassVar[Any] = None
    """The encoder's class; set when that is defined."""

    reads: tuple[Annotated[str, OneOf(READS)], ...] = READS
    """Inputs that the encoder can read: any of speech, text and pair."""
    width: Size = 64
    """Width D of the encoding."""

    def __post_init__(self) -> None:
        if self.owner is None:
            raise incomplete(type(self), "is in no encoder; nest it in its encoder, as Config")
        check_choices(self)
        if not self.reads:
            raise ValueError(f"Encoder reads nothing: expected some of {', '.join(READS)}.")

    def build(self, vocabulary: Vocabulary) -> AbstractEncoder:
        """Make the encoder with freshly initialised weights (the caller has seeded torch)."""
        return self.owner(self, vocabulary)

    def layers_and_width(self) -> tuple[int, int]:
        """Number and width of the layers, from which run time is estimated as long as no stage of the same shape has
        run; by default three layers.
        """
        return 3, self.width


class AbstractEncoder(Owner, nn.Module, ABC):
    """Turns a view into an encoding.

    `Config` and `forward` are required, everything below them is optional. If a class has no `parts`,
    `shared_parameters` or `recompute`, whatever needs it is left out, and the plan says so.

    A class that reads text sets `embedding` in its `__init__`, after that of this class. No other attribute is used by
    the rest of a run. Weights may be moved between devices, saved and loaded at any time, as for any module.
    """

    Config: ClassVar[type[EncoderConfig]]
    stacked: ClassVar[int] = 320
    """Channels C of the stage "stacked": 80 bins of four frames. K-means on log-mel works only with this value."""

    reads: frozenset[str]
    width: int
    """Width D of the stages that objectives build on."""
    embedding: nn.Embedding | None
    """Token embedding, of any width, to which objectives tie their output layer; None if text is not read."""
    precision: str = "fp32"
    """Precision of its matrix products: fp32 or bf16; an encoder that sets it gives it to its encodings, too."""

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
            raise incomplete(cls.Config, f"reads an unknown input: {str(error).rstrip('.')}") from None

    @abstractmethod
    def forward(self, view: View) -> Encoding:
        """Encode. The result for a sequence depends on nothing else in the pack: neither on its neighbours nor on their
        number.

        `view.inputs` is a Speech (log-mel in float16 or float32), Text or Pair, if the config `reads` it; anything else
        raises ValueError. The T speech positions are those of `subsampled`, the S text positions are the tokens. A
        pair's two segments are adjacent in one sequence (text first if `view.text_first`), or are two sequences if
        `view.apart`. In training torch's generator is seeded for each view, so that a resumed run draws the same
        dropout.

        The encoder must not see the positions `view.speech_masked_I`: noise replaces the features there or, if
        `view.hides` is "frames", the log-mel under them. Masked text needs no treatment: its ids are already replaced.

        The encoding has the layout and these stages, in float32 (`encoders/encoding.py` says more):

        - "joint" [N, D]: the output, which most objectives and all tasks use;
        - for inputs with speech also "stacked" [T, C], the log-mel at the rate of positions, never masked, from which
          some codes are computed; "features" [T, D], before masking, for the others; and "speech_tower" [T, D], after
          the speech-only layers (the features, if there are none), for contrastive losses. `speech_layout` is their
          layout.
        """

    def subsampled(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        """Number of speech positions of utterances with `frames` mel frames (of 10 ms), without running anything; at
        least 1 each. By default one per four frames, rounded up, as in `encoders.frontend.stack`. Called for every
        batch.
        """
        return subsampled(frames)

    def side_by_side(self, view: View, parts: Mapping[str, Tensor]) -> tuple[Tensor, Layout, Layout | None]:
        """Pack vectors x_TD of the view's speech and x_SD of its text, by modality, in the order that `forward`
        requires; return one tensor x_ND, its layout and that of the speech alone.
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
        ("speech", "layers", "attention"); each parameter once, in the same place for any work.

        A multiplication and an addition are two operations. None means not counted: then neither the memory of an
        update nor, on GPUs, its time is estimated before a job is queued. Also called on fake tensors.
        """
        return None

    def titles(self) -> Mapping[tuple[str, ...], str]:
        """Text shown beside places of `parts`, such as "8 × conformer"."""
        return {}

    def shared_parameters(self) -> Mapping[str, list[str]]:
        """Names (as in `named_parameters`) of parameters that all modalities use, by scope: a layer ("layer_0"), a part
        of one ("layer_0.ffn"), or anything else. "all" is built from these scopes; no scope name has a slash.

        The gradients of objectives are compared within each scope and over all of them; if empty, they are not.
        """
        return {}

    def recompute(self, on: bool) -> None:
        """From now on recompute activations in the backward pass instead of keeping them, or keep them if not `on`:
        less memory, more time, bit-identical results. Called before training, also with False.

        A training stage whose job ran out of memory is run once more with it, if the encoder has it.
        """

    @property
    def alone(self) -> str:
        """Why the shards of an update cannot be shared between processes; "" if they can."""
        return ""

    def parameters_by_modality(self) -> dict[str, int]:
        """Count parameters: total, and those of the token embedding; if they are counted by owner also those used only
        by speech or only by text (without the embedding), and shared ones.
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
