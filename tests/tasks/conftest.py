"""A corpus of a dozen words, each with a sound of its own, and its tokenizers: what every task can be tried on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ablate.data import tokenizer
from ablate.data.table import Table, TableWriter
from ablate.data.tokenizer import Tokenizer
from ablate.tasks.task import Dataset

WORDS = "one two three cat dog bird runs sleeps eats the a no".split()
GERMAN = dict(zip(WORDS, "eins zwei drei Katze Hund Vogel rennt schläft isst das ein nein".split()))


def spoken(words: list[str], rng: np.random.Generator) -> np.ndarray:
    """Twelve noisy frames per word."""
    sounds = np.random.default_rng(5).normal(size=(len(WORDS), 80))
    frames = np.repeat(sounds[[WORDS.index(w) for w in words]], 12, axis=0)
    return (frames + rng.normal(scale=0.2, size=frames.shape)).astype(np.float16)


def rows(split: str, n: int) -> list[dict]:
    rng = np.random.default_rng(len(split))
    made = []
    for i in range(n):
        words = list(rng.choice(WORDS, size=rng.integers(1, 5)))
        other = words if rng.random() < 0.5 else list(rng.choice(WORDS, size=3))
        made.append(
            {
                "id": f"{split}-{i}",
                "text": " ".join(words),
                "translation": " ".join(GERMAN[w] for w in words),
                "text_b": " ".join(other),
                "same": "yes" if other is words else "no",
                "mood": int("no" in words),
                "written": " ".join({"one": "1", "two": "2", "three": "3"}.get(w, w.capitalize()) for w in words),
                "mel": spoken(words, rng),
            }
        )
    return made


TABLES = {
    "asr": (("text",), ("train", "dev", "test", "test_unseen")),
    "translation": (("text", "translation"), ("train", "dev", "test")),
    "retrieval": (("text",), ("dev", "test")),
    "sentiment": (("text",), ("train", "dev", "test")),
    "sentence_pair": (("text", "text_b"), ("train", "dev", "test")),
    "normalization": (("written",), ("train", "dev", "test")),
}


def example(table: str, fields: tuple[str, ...], row: dict) -> dict:
    """What a table holds of a row: its `fields`, and its label or its spoken form."""
    kept = {"id": row["id"], **{field: row[field] for field in fields}}
    if table == "sentiment":
        kept["label"] = row["mood"]
    if table == "sentence_pair":
        kept["label"] = row["same"]
    if table == "normalization":
        kept["spoken"] = row["text"]
    return kept


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    """Every split of every table, by "table.split"."""
    folder, made = tmp_path_factory.mktemp("tables"), {}
    for table, (fields, splits) in TABLES.items():
        for split in splits:
            name = f"{table}.{split}"
            with TableWriter(folder / name) as writer:
                for row in rows(split, 48 if split == "train" else 20):
                    audio = table in ("asr", "translation", "retrieval")
                    writer.add(example(table, fields, row), row["mel"] if audio else None)
            made[name] = Table(folder / name, name)
    return made


class Run:
    """What the tokenizer's stages ask of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.files = folder
        folder.mkdir(exist_ok=True)

    def write_bytes(self, name: str, data: bytes) -> None:
        (self.files / name).write_bytes(data)

    def write_json(self, name: str, data: object) -> None:
        (self.files / name).write_text(json.dumps(data))

    def progress(self, *_, **__) -> None:
        """Nobody watches."""


def tokenized(tables: dict[str, Table], folder: Path, config: tokenizer.TokenizerConfig) -> Path:
    """Train a tokenizer and encode all tables with it, without their stages' machinery."""
    trained = {name.removesuffix(".train"): table for name, table in tables.items() if name.endswith(".train")}
    tokenizer.learn(config, trained, Run(folder))
    for name, table in tables.items():
        tokenizer.encode(Tokenizer(folder), table, Run(folder / name))
    return folder


@pytest.fixture(scope="session")
def tokens(tables: dict[str, Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tokenizer.TokenizerConfig(fields=("asr.text", "normalization.written"), size=60, bytes=False)
    return tokenized(tables, tmp_path_factory.mktemp("tokens"), config)


@pytest.fixture(scope="session")
def german(tables: dict[str, Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tokenizer.TokenizerConfig(fields=("translation.translation",), size=60, bytes=False)
    return tokenized(tables, tmp_path_factory.mktemp("german"), config)


@pytest.fixture
def dataset(tables: dict[str, Table], tokens: Path, german: Path):
    """Open a split of a table; translation has its own target tokenizer."""

    def opened(table: str, split: str) -> Dataset:
        name = f"{table}.{split}"
        own, other = ((Tokenizer(folder), folder / name) for folder in (tokens, german))
        return Dataset(tables[name], own, other if table == "translation" else None)

    return opened
