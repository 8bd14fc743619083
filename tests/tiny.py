"""A corpus of a few dozen made-up sentences whose speech is one tone per letter: enough to run every stage kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ablate.data.corpus import CorpusConfig, Split, SplitConfig
from ablate.data.streams import STREAMS
from ablate.data.table import Table, TableWriter
from ablate.data.tokenizer import TokenizerConfig
from ablate.planning.supply import Supply
from ablate.stages import prepare
from ablate.stages.execute import execute
from ablate.stages.finetune import FinetuneStage
from ablate.stages.heldout import HeldoutStage
from ablate.stages.pretrain import PretrainStage
from ablate.stages.registry import make
from ablate.stages.score import ScoreStage
from ablate.store.run import RunFolder
from ablate.store.stage import Plan, Stage, materialise
from ablate.sweepfile.row import owner
from ablate.tasks.registry import TASKS
from ablate.training.update import Update
from encoders import seeds
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.targets import TARGETS

WORDS = "ada ben cat dog eats sees red blue".split()
ENCODER = replace(PRESETS["nano"], width=16, heads=2, ffn=32, groups=2)


TABLES = {
    **dict.fromkeys(("speech", "text", "pairs"), ("train", "dev")),
    "asr": ("train", "dev", "test", "test_unseen"),
    **dict.fromkeys(
        ("translation", "sentiment", "sentence_pair", "normalization", "retrieval"), ("train", "dev", "test")
    ),
}
SPOKEN = ("speech", "pairs", "asr", "translation", "retrieval")


@dataclass(frozen=True, kw_only=True)
class TinySplit(SplitConfig):
    """One split; its speech lies beside its rows."""

    tag: ClassVar[str] = "tiny_split"
    recipe: ClassVar[int] = 1
    table: str
    split: str
    rows: int

    def write(self, run, recordings):
        with TableWriter(run.files) as writer:
            for i in range(self.rows):
                rng = seeds.rng(seeds.key(0, f"{self.table}/{self.split}", i))
                text = " ".join(rng.choice(WORDS, 4))
                row = {
                    "id": f"{self.table}-{self.split}-{i}",
                    "text": text,
                    "text_b": text[::-1],
                    "translation": text.upper(),
                    "label": i % 2,
                    "written": text.replace("red", "1"),
                    "spoken": text,
                    "voice": f"v{i % 3}",
                    "snr": 10.0 + i,
                    "phones": [[8 * n, c] for n, c in enumerate(text)],
                }
                writer.add(row, speak(text, rng) if self.table in SPOKEN else None)
        return {"rows": self.rows, "hours": writer.hours}


@dataclass(frozen=True, kw_only=True)
class TinyConfig(CorpusConfig):
    """Rows per split of every table."""

    tag: ClassVar[str] = "tiny"
    rows: int = 12

    def tables(self):
        return TABLES

    def split(self, table, split):
        return Split(TinySplit(table=table, split=split, rows=self.rows))


def speak(text: str, rng: np.random.Generator) -> np.ndarray:
    """Eight frames a letter, one band of the 80 per letter: [F, 80] float16."""
    mel = rng.normal(0, 0.3, (8 * len(text), 80))
    for place, letter in enumerate(text):
        mel[8 * place : 8 * place + 8, (ord(letter) * 3) % 80] += 3
    return mel.astype(np.float16)


class World:
    """Tiny stages under a root, made and run by name."""

    def __init__(self, root, corpus=TinyConfig()):
        self.root, self.data, self.stages = root, corpus, {}
        self.supply = Supply(self._supplied)
        self.tokenizer = self.supply.tokenizer(corpus, TokenizerConfig(fields=("text.text",), size=300), "tokenizer")

    def _supplied(self, kind, config, parents, title, cost, uses):
        return self.add(make(kind, config, parents.items(), title, uses=uses))

    def add(self, stage: Stage) -> str:
        self.stages[stage.id] = stage
        materialise(Plan("tiny", {"table": {"blocks": []}, "rows": {}}, [], {stage.id: stage}, {}), self.root)
        return stage.id

    def run(self, id: str) -> RunFolder:
        """Run a stage after all that it needs."""
        run = RunFolder(self.root, self.stages[id].kind, id)
        if not run.done:
            self.prepare(id)
            execute(id, self.root)
        return run

    def prepare(self, id: str) -> None:
        """Run all that a stage needs."""
        for _, needed in self.stages[id].needs:
            self.run(needed)

    def lay(self, *ids: str) -> None:
        """Run the data stages that these stages need."""
        for id, stage in self.needed(*ids).items():
            if stage.kind in ("recordings", "table", "tokenizer", "tokens"):
                self.run(id)

    def needed(self, *ids: str) -> dict[str, Stage]:
        """The stages and all that they need, as a plan has them."""
        by_id: dict[str, Stage] = {}
        for id in ids:
            by_id |= self.needed(*(needed for _, needed in self.stages[id].needs)) | {id: self.stages[id]}
        return by_id

    def read(self, *tables: str, split: str = "train") -> list[tuple[str, str]]:
        """The parents of a stage that reads a split of tables of pre-training."""
        parents = [("tokenizer", self.tokenizer)]
        for table in sorted(tables):
            parents.append((f"table/{table}", self.supply.table(self.data, table, split)))
            if table != "speech":
                parents.append((f"tokens/{table}", self.supply.tokens(self.data, self.tokenizer, table, split)))
        return parents

    def task(self, table: str, *splits: str) -> list[tuple[str, str]]:
        """The parents of a stage that reads splits of a task's table."""
        parents = [("tokenizer", self.tokenizer)]
        for split in splits:
            parents.append((f"table/{split}", self.supply.table(self.data, table, split)))
            parents.append((f"tokens/{split}", self.supply.tokens(self.data, self.tokenizer, table, split)))
        return parents

    def opened(self, table: str, split: str) -> Table:
        """Open a table, made if it was not."""
        return prepare.opened(self.run(self.supply.table(self.data, table, split)), f"{table}.{split}")

    def pretrain(self, *names: str, parent: str | None = None, **fields) -> str:
        """Plan a pretrain stage with the named objectives."""
        objectives = fields.pop("objectives", {name: OBJECTIVES[name] for name in names})
        tables = {STREAMS[owner(objective).reads].table for objective in objectives.values()}
        if fields.pop("unread", False):  # as a row from scratch, which trains nothing, is planned
            tables = set()
        parents = self.read(*tables) + ([("pretrain", parent)] if parent else []) + fields.pop("parents", [])
        targets = fields.pop(
            "targets", {"learned": TARGETS["learned"]} if set(names) & {"contrastive", "masked_speech", "tlm"} else {}
        )
        if any(one.anneals() for one in targets.values()):
            fields.setdefault("horizon", 1000)
        config = PretrainStage(
            encoder=fields.pop("encoder", ENCODER),
            objectives=objectives,
            targets=targets,
            update=fields.pop("update", Update(speech=3.0, text=60, pairs=3)),
            **fields,
        )
        return self.add(make("pretrain", config, parents, "pretrain"))

    def heldout(self, leaf: str) -> str:
        """Plan the held-out losses of a leaf."""
        tables = [role.partition("/")[2] for role, _ in self.stages[leaf].parents if role.startswith("table/")]
        return self.add(
            make("heldout", HeldoutStage(), [*self.read(*tables, split="dev"), ("pretrain", leaf)], "held out")
        )

    def finetune(self, task: str, leaf: str, **fields) -> tuple[str, str]:
        """Plan fine-tuning and scoring of a task; returns both ids."""
        config = replace(TASKS[task], tokenizer=None, **fields)
        parents = [*self.task(config.table, "train", "dev"), ("pretrain", leaf)]
        tuned = self.add(
            make(
                "finetune",
                FinetuneStage(encoder=ENCODER, task=config.for_training(), search=config.search()),
                parents,
                task,
            )
        )
        return tuned, self.score(config, ("finetune", tuned))

    def score(self, config, *parents: tuple[str, str]) -> str:
        """Plan the score of a task's first split."""
        split, learnt = config.splits[0], owner(config).baseline_split
        of = ScoreStage(encoder=ENCODER, task=config.for_scoring(split))
        return self.add(
            make("score", of, [*self.task(config.table, *dict.fromkeys((learnt, split))), *parents], "score")
        )
