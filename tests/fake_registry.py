"""Small configs in the shape of the real ones, so that planning is tested without what it plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from ablate.data.corpus import CorpusConfig, Split, SplitConfig
from ablate.data.tokenizer import TokenizerConfig
from ablate.errors import UserError
from ablate.stages import pretrain
from ablate.sweepfile.registry import Registry
from ablate.tasks.task import AbstractMeasure, AbstractTask, Metric, TaskConfig
from ablate.training import optim
from encoders.encoder import AbstractEncoder, EncoderConfig
from encoders.owner import Owner
from objectives.objective import ObjectiveConfig
from objectives.quantizer import TargetsConfig


@dataclass(frozen=True, kw_only=True)
class Block:
    tag: ClassVar[str] = "fake_block"
    kernel: int = 5
    norm: str = "group"


class Encoder(AbstractEncoder):
    __module__ = "encoders.joint"  # planning tries those of other files

    def subsampled(self, frames):
        """Never run."""

    def forward(self, view):
        """Never run."""

    def shared_parameters(self):
        """Never asked."""

    @dataclass(frozen=True, kw_only=True)
    class Config(EncoderConfig):
        tag: ClassVar[str] = "fake_encoder"
        reads: tuple[str, ...] = ("speech", "text", "pair")
        width: int = 64
        shared_layers: int = 2
        dropout: float = 0.1
        block: Block = Block()
        extra: Optional[Block] = None


class Loss(ObjectiveConfig):
    def build(self, ports):
        """Never built."""


class Contrastive(Owner):
    reads = "speech"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        tag: ClassVar[str] = "fake_contrastive"
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


class MaskedSpeech(Owner):
    reads = "speech"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        tag: ClassVar[str] = "fake_masked_speech"
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


class MaskedText(Owner):
    reads = "text"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        tag: ClassVar[str] = "fake_masked_text"
        weight: float = 1.0
        text: str = "true"
        needs: ClassVar[tuple[str, ...]] = ()
        trains: ClassVar[tuple[str, ...]] = ()

        def __post_init__(self) -> None:
            if self.text not in ("true", "drawn"):
                raise ValueError(f"text is '{self.text}', expected true or drawn.")


class Tlm(Owner):
    reads = "pair"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        tag: ClassVar[str] = "fake_tlm"
        weight: float = 1.0
        pairs: str = "together"
        needs: ClassVar[tuple[str, ...]] = ()
        trains: ClassVar[tuple[str, ...]] = ()


class Stm(Owner):
    reads = "pair"

    @dataclass(frozen=True, kw_only=True)
    class Config(Loss):
        tag: ClassVar[str] = "fake_stm"
        weight: float = 1.0
        needs: ClassVar[tuple[str, ...]] = ()
        trains: ClassVar[tuple[str, ...]] = ()


class Learned:
    @dataclass(frozen=True, kw_only=True)
    class Config(TargetsConfig):
        tag: ClassVar[str] = "fake_learned"
        learned: ClassVar[bool] = True
        codes: int = 64

        def anneals(self):
            return "temperature"

        def build(self, ports):
            """Never built."""


class Fixed:
    @dataclass(frozen=True, kw_only=True)
    class Config(TargetsConfig):
        tag: ClassVar[str] = "fake_fixed"
        learned: ClassVar[bool] = False
        codes: int = 32

        def build(self, ports):
            """Never built."""


@dataclass(frozen=True, kw_only=True)
class FakeSplit(SplitConfig):
    tag: ClassVar[str] = "fake_split"
    recipe: ClassVar[int] = 1
    of: str

    def write(self, run, recordings):
        """Never made."""


@dataclass(frozen=True, kw_only=True)
class FakeRows(FakeSplit):
    tag: ClassVar[str] = "fake_rows"
    recipe: ClassVar[int] = 3
    how: ClassVar[tuple[str, ...]] = ("root",)
    root: str = ""


@dataclass(frozen=True, kw_only=True)
class World(CorpusConfig):
    tag: ClassVar[str] = "fake_world"
    seed: int = 0
    sentences: int = 100

    def tables(self):
        return {}

    def split(self, table, split):
        return Split(FakeSplit(of=f"{self.seed}/{self.sentences}/{table}.{split}"))


@dataclass(frozen=True, kw_only=True)
class Folder(CorpusConfig):
    tag: ClassVar[str] = "fake_folder"
    how: ClassVar[tuple[str, ...]] = ("root",)
    root: str = ""
    rows: str = ""

    def resolved(self) -> Folder:
        if not self.root:
            raise UserError("data.root is not set; add data.root=PATH.")
        return self

    def tables(self):
        return {}

    def split(self, table, split):
        return Split(FakeRows(of=f"{self.rows}/{table}.{split}", root=self.root))


@dataclass(frozen=True, kw_only=True)
class Pieces(TokenizerConfig):
    tag: ClassVar[str] = "fake_pieces"
    fields: tuple[str, ...] = ()
    size: int = 400


@dataclass(frozen=True, kw_only=True)
class Update(pretrain.Update):
    tag: ClassVar[str] = "fake_update"
    speech: float = 24.0
    text: int = 400
    pairs: int = 8


@dataclass(frozen=True, kw_only=True)
class Optimizer(optim.OptimizerConfig):
    tag: ClassVar[str] = "fake_optimizer"
    lr: float = 4e-3
    warmup: int = 100


@dataclass(frozen=True, kw_only=True)
class FakeTask(TaskConfig):
    table: str
    splits: tuple[str, ...] = ("test",)
    steps: int = 10
    items: int = 4
    lr: float = 2e-3
    tokenizer: Optional[Pieces] = None
    labels: dict[str, int] = field(default_factory=dict)

    def ids(self):
        return ("own",)


class Task(AbstractTask):
    """Planned, never run."""

    objective = inputs = score = None


class Asr(Task):
    reads, metrics = "speech", (Metric("wer", "lower"), Metric("cer", "lower"))

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        tag: ClassVar[str] = "fake_asr"
        table: str = "asr"
        splits: tuple[str, ...] = ("test", "test_unseen")


class Translation(Task):
    reads, metrics = "speech", (Metric("bleu", "higher"),)

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        tag: ClassVar[str] = "fake_translation"
        table: str = "translation"
        tokenizer: Optional[Pieces] = Pieces(fields=("translation.translation",), size=600)

        def ids(self):
            return ("own", "targets")


class Sentiment(Task):
    reads, metrics = "text", (Metric("accuracy", "higher"),)

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        tag: ClassVar[str] = "fake_sentiment"
        table: str = "sentiment"


class Retrieval(AbstractMeasure):
    reads, metrics = "pair", (Metric("recall@1", "higher"), Metric("recall@10", "higher"))
    sees = ("speech", "text")
    measure = score = None

    @dataclass(frozen=True, kw_only=True)
    class Config(FakeTask):
        tag: ClassVar[str] = "fake_retrieval"
        table: str = "retrieval"


def registry() -> Registry:
    """Presets of the fakes above."""
    return Registry(
        encoder={"nano": Encoder.Config(), "nano_wide": Encoder.Config(width=96)},
        objectives={
            "contrastive": Contrastive.Config(),
            "masked_speech": MaskedSpeech.Config(),
            "masked_text": MaskedText.Config(),
            "tlm": Tlm.Config(),
            "stm": Stm.Config(),
        },
        weights={
            "unit": dict.fromkeys(("speech", "text", "pair"), 1.0),
            "mslam": {"speech": 1.0, "text": 0.3, "pair": 0.03},
        },
        targets={"learned": Learned.Config(), "random_projection": Fixed.Config()},
        tasks={
            "asr": Asr.Config(),
            "translation": Translation.Config(),
            "sentiment": Sentiment.Config(),
            "retrieval": Retrieval.Config(),
        },
        data={"builtin": World(), "real": Folder()},
        tokenizer=Pieces(),
        update=Update(),
        optimizer=Optimizer(),
    )
