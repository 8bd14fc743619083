"""Small configs in the shape of the real ones, so that planning is tested without what it plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from ablate.config import Registry
from ablate.errors import UserError
from ablate.row import owner
from ablate.tasks.task import Metric


@dataclass(frozen=True, kw_only=True)
class Block:
    kernel: int = 5
    norm: str = "group"


class Encoder:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        reads: tuple[str, ...] = ("speech", "text", "pair")
        width: int = 64
        shared_layers: int = 2
        dropout: float = 0.1
        block: Block = Block()
        extra: Optional[Block] = None


class Loss:
    def check(self, targets) -> None:
        """Fits all targets."""


class Contrastive:
    reads = "speech"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        weight: float = 1.0
        at: str = "speech_tower"
        diversity: float = 0.1
        targets: str = "learned"

        @property
        def needs(self) -> tuple[str, ...]:
            return (self.targets,)

        @property
        def trains(self) -> tuple[str, ...]:
            return (self.targets,)


class MaskedSpeech:
    reads = "speech"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        weight: float = 1.0
        targets: str = "learned"
        hides: str = "features"
        trains: ClassVar[tuple[str, ...]] = ()

        @property
        def needs(self) -> tuple[str, ...]:
            return (self.targets,)

        def check(self, targets) -> None:
            if self.hides == "frames" and targets[self.targets].learned:
                raise ValueError("codes of features cannot be predicted where frames are hidden.")


class MaskedText:
    reads = "text"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        weight: float = 1.0
        text: str = "true"
        needs: ClassVar[tuple[str, ...]] = ()
        trains: ClassVar[tuple[str, ...]] = ()

        def __post_init__(self) -> None:
            if self.text not in ("true", "drawn"):
                raise ValueError(f"text is '{self.text}', expected true or drawn.")


class Tlm:
    reads = "pair"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        weight: float = 1.0
        pairs: str = "together"
        needs: ClassVar[tuple[str, ...]] = ()
        trains: ClassVar[tuple[str, ...]] = ()


class Stm:
    reads = "pair"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        weight: float = 1.0
        needs: ClassVar[tuple[str, ...]] = ()
        trains: ClassVar[tuple[str, ...]] = ()


class Learned:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        fitted: ClassVar[bool] = False
        learned: ClassVar[bool] = True
        codes: int = 64


class Fixed:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        learned: ClassVar[bool] = False
        fitted: ClassVar[bool] = False
        codes: int = 32


@dataclass(frozen=True, kw_only=True)
class World:
    recipe: ClassVar[int] = 1
    seed: int = 0
    sentences: int = 100

    def tables(self) -> dict:
        """Not known beforehand."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Folder:
    recipe: ClassVar[int] = 3
    how: ClassVar[tuple[str, ...]] = ("root",)
    root: str = ""
    fingerprint: str = ""

    def resolved(self) -> Folder:
        if not self.root:
            raise UserError("data.root is not set; add data.root=PATH.")
        return self

    def tables(self) -> dict:
        """Not known beforehand."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Pieces:
    fields: tuple[str, ...] = ()
    size: int = 400


@dataclass(frozen=True, kw_only=True)
class Update:
    speech: float = 24.0
    text: int = 400
    pairs: int = 8


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    lr: float = 4e-3
    warmup: int = 100


@dataclass(frozen=True, kw_only=True)
class FakeTask:
    table: str
    splits: tuple[str, ...] = ("test",)
    steps: int = 10
    items: int = 4
    lr: float = 2e-3
    tokenizer: Optional[Pieces] = None
    labels: dict[str, int] = field(default_factory=dict)

    def build(self):
        return owner(self)()


class Task:
    trained = True
    by_class = None


class Asr(Task):
    reads, metrics = "speech", (Metric("wer", "lower"), Metric("cer", "lower"))

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        table: str = "asr"
        splits: tuple[str, ...] = ("test", "test_unseen")


class Translation(Task):
    reads, metrics = "speech", (Metric("bleu", "higher"),)

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        table: str = "translation"
        tokenizer: Optional[Pieces] = Pieces(fields=("translation.translation",), size=600)


class Sentiment(Task):
    reads, metrics = "text", (Metric("accuracy", "higher"),)

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        table: str = "sentiment"


class Retrieval(Task):
    reads, trained, metrics = "pair", False, (Metric("recall@1", "higher"), Metric("recall@10", "higher"))
    sees = ("speech", "text")

    @classmethod
    def fits(cls, objectives):
        return True

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        table: str = "retrieval"


def registry() -> Registry:
    """Presets of the fakes above."""
    return Registry(
        encoder={"nano": Encoder.Config(), "nano_wide": Encoder.Config(width=96)},
        objectives={
            "contrastive": Contrastive.Config(), "masked_speech": MaskedSpeech.Config(),
            "masked_text": MaskedText.Config(), "tlm": Tlm.Config(), "stm": Stm.Config(),
        },
        weights={"unit": dict.fromkeys(("speech", "text", "pair"), 1.0), "mslam": {"speech": 1.0, "text": 0.3, "pair": 0.03}},
        targets={"learned": Learned.Config(), "random_projection": Fixed.Config()},
        tasks={
            "asr": Asr.Config(), "translation": Translation.Config(), "sentiment": Sentiment.Config(),
            "retrieval": Retrieval.Config(),
        },
        data={"builtin": World(), "real": Folder()},
        tokenizer=Pieces(), update=Update(), optimizer=Optimizer(),
    )  # fmt: skip
