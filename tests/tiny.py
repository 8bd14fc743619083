"""A corpus of a few dozen made-up sentences whose speech is one tone per letter: enough to run every stage kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ablate.data.table import CorpusConfig, TableWriter, write_corpus
from ablate.finetune import FinetuneStage
from ablate.pretrain import PretrainStage, Update
from ablate.score import ScoreStage
from ablate.stage import Plan, Stage, execute, make, materialise
from ablate.tasks import TASKS
from encoders import seeds
from encoders.presets import PRESETS
from objectives import OBJECTIVES
from objectives.targets import TARGETS

WORDS = "ada ben cat dog eats sees red blue".split()
ENCODER = replace(PRESETS["nano"], width=16, heads=2, ffn=32, groups=2)


@dataclass(frozen=True, kw_only=True)
class TinyConfig(CorpusConfig):
    """Rows per split of every table."""

    recipe: ClassVar[int] = 1
    rows: int = 12

    def prepare(self, run):
        splits = {"speech": ("train", "dev"), "text": ("train", "dev"), "pairs": ("train", "dev")}
        tasks = ("asr", "translation", "sentiment", "sentence_pair", "normalization", "retrieval")
        splits |= dict.fromkeys(tasks, ("train", "dev", "test"))
        splits["asr"] = ("train", "dev", "test", "test_unseen")
        for table, names in splits.items():
            for split in names:
                with TableWriter(run.files, table, split) as writer:
                    for i in range(self.rows):
                        rng = seeds.rng(seeds.key(0, f"{table}/{split}", i))
                        text = " ".join(rng.choice(WORDS, 4))
                        row = {"id": f"{table}-{split}-{i}", "text": text, "text_b": text[::-1], "translation": text.upper(),
                               "label": i % 2, "written": text.replace("red", "1"), "spoken": text,
                               "voice": f"v{i % 3}", "snr": 10.0 + i, "phones": [[8 * n, c] for n, c in enumerate(text)]}  # fmt: skip
                        writer.add(row, speak(text, rng) if table in ("speech", "pairs", "asr", "translation", "retrieval") else None)
        return write_corpus(run, {})


def speak(text: str, rng: np.random.Generator) -> np.ndarray:
    """Eight frames a letter, one band of the 80 per letter: [F, 80] float16."""
    mel = rng.normal(0, 0.3, (8 * len(text), 80))
    for place, letter in enumerate(text):
        mel[8 * place : 8 * place + 8, (ord(letter) * 3) % 80] += 3
    return mel.astype(np.float16)


class World:
    """Tiny stages under a root, made and run by name."""

    def __init__(self, root, corpus=TinyConfig()):
        self.root, self.stages = root, {}
        self.corpus = self.add(make("corpus", corpus, (), "corpus"))
        from ablate.data.tokenizer import TokenizerConfig

        of = TokenizerConfig(fields=("text.text",), size=300)
        self.tokenizer = self.add(make("tokenizer", of, [("corpus", self.corpus)], "tokenizer"))
        self.base = [("corpus", self.corpus), ("tokenizer", self.tokenizer)]

    def add(self, stage: Stage) -> str:
        self.stages[stage.id] = stage
        materialise(Plan("tiny", {"table": {"blocks": []}, "rows": {}}, [], {stage.id: stage}, {}), self.root)
        return stage.id

    def run(self, id: str):
        from ablate.run import RunFolder

        execute(id, self.root)
        return RunFolder(self.root, self.stages[id].kind, id)

    def pretrain(self, *names: str, parent: str | None = None, **fields) -> str:
        """Plan a pretrain stage with the named objectives."""
        parents = self.base + ([("pretrain", parent)] if parent else []) + fields.pop("parents", [])
        config = PretrainStage(
            encoder=fields.pop("encoder", ENCODER),
            objectives=fields.pop("objectives", {name: OBJECTIVES[name] for name in names}),
            targets=fields.pop(
                "targets", {"learned": TARGETS["learned"]} if set(names) & {"contrastive", "masked_speech", "tlm"} else {}
            ),
            update=fields.pop("update", Update(speech=3.0, text=60, pairs=3)),
            **fields,
        )
        return self.add(make("pretrain", config, parents, "pretrain"))

    def finetune(self, task: str, leaf: str, **fields) -> tuple[str, str]:
        """Plan fine-tuning and scoring of a task; returns both ids."""
        config = replace(TASKS[task], tokenizer=None, **fields)
        tuned = self.add(make("finetune", FinetuneStage(encoder=ENCODER, task=config),
                              [*self.base, ("pretrain", leaf)], task))  # fmt: skip
        return tuned, self.score(config, ("finetune", tuned))

    def score(self, config, parent: tuple[str, str]) -> str:
        return self.add(make("score", ScoreStage(encoder=ENCODER, task=config), [*self.base, parent], "score"))
