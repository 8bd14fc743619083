"""The tokenizer stage: train SentencePiece on a corpus, and write every text of the corpus as ids, once.

A tokenizer folder holds `model.spm`, `vocabulary.json` (pieces, unigram counts, which pieces begin a word) and
`tokens/<table>.<split>.<field>.i32` (ids, one text after the other) with `.i64` (where each text begins, and where the
last ends), both memory-mapped when read. Ids 0-6 are pad, unk, bos, eos, cls, sep and mask; then 256 byte pieces (if
asked for), then what was learnt. Text is not normalised and never lost: `decode(encode(s)) == s` for any string, save
that U+2581, SentencePiece's own sign for a space, comes back as a space.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sentencepiece

from ablate.data.columns import ColumnWriter, column
from ablate.data.table import Table
from ablate.errors import UserError, nearest
from encoders.batch import Vocabulary

MODELS = ("bpe", "unigram", "char")
SPACE = "\u2581"  # SentencePiece's sign for a space: a piece that starts with it begins a word
BYTES = 256
LABELS = ("id", "voice", "label", "direction", "path")  # string fields of a row that are no text
CHUNK = 10_000  # texts that are encoded at once


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """What a tokenizer is trained on, and of which kind and size it is."""

    fields: tuple[str, ...] = ()
    """Fields whose train split it learns from, as "table.field"; none: those that the corpus names for it."""
    size: int = 400
    """Most pieces to learn, specials included; byte pieces come on top. Fewer where the text supports no more."""
    model: str = "bpe"
    """Kind of SentencePiece model: "bpe", "unigram" or "char"."""
    bytes: bool = True
    """Spell what has no piece as bytes (256 more pieces); without, it becomes unk, and no character is dropped."""
    texts: int = 2_000_000
    """Most texts to learn from, spread evenly over all there are: learning holds them in memory."""
    encode: tuple[str, ...] = ()
    """Fields to write as ids, in every split, as "table.field"; none: every text field of the corpus."""

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UserError(f"tokenizer.model is '{self.model}': {nearest(self.model, MODELS)}")
        if self.size <= Vocabulary.specials:
            raise UserError(
                f"tokenizer.size is {self.size}, expected more than the {Vocabulary.specials} specials; try 400."
            )


class Tokenizer:
    """Turn strings into ids and back, with the model in a tokenizer stage's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._model = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "model.spm"))

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.folder,)  # it comes with every batch of a worker: one in each process is enough

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Size, unigram counts over the training text, and which pieces begin a word."""
        facts = json.loads((self.folder / "vocabulary.json").read_text(encoding="utf-8"))
        return Vocabulary(facts["size"], tuple(facts["counts"]), tuple(facts["starts_word"]))

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without specials."""
        return self._model.encode(text)

    def decode(self, ids: list[int] | np.ndarray) -> str:
        """Return the text of `ids`; specials are dropped, and bytes that are no UTF-8 become U+FFFD."""
        return self._model.decode([int(i) for i in ids if i == Vocabulary.unk or i >= Vocabulary.specials])


@lru_cache(maxsize=8)
def _opened(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


class Tokens:
    """All texts of one field of one table's split, as ids: `tokens[i]` is int32, without specials."""

    SUFFIX: ClassVar[str] = ".i32"

    def __init__(self, folder: Path, table: str, split: str, field: str) -> None:
        name = f"{table}.{split}.{field}"
        path = Path(folder) / "tokens" / f"{name}{self.SUFFIX}"
        if not path.exists():
            have = sorted(p.name.removesuffix(self.SUFFIX) for p in path.parent.glob(f"*{self.SUFFIX}"))
            raise UserError(f"The tokenizer has encoded no '{name}': {nearest(name, have)}")
        self.ids, self.offsets = column(path, "<i4"), column(path.with_name(f"{name}.i64"), "<i8")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of ids of each text, int64; 0 is possible."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


def run(config: TokenizerConfig, parents: Mapping[str, Any], run: Any) -> dict[str, Any]:
    """Train a tokenizer on the corpus stage `parents["corpus"]`, and encode the corpus with it.

    Deterministic: one thread, nothing sampled. Returns the real size, and per encoded split the texts and ids.
    """
    corpus = parents["corpus"].files
    facts = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))
    fields = config.fields or tuple(facts["fields"]["tokenizer"])
    count = sum(1 for _ in _texts(corpus, fields))
    if not count:
        raise UserError(f"The tokenizer has nothing to learn from: {', '.join(fields)} hold no text in 'train'.")
    model = train(spread(_texts(corpus, fields), count, config.texts), config)
    run.write_bytes("model.spm", model)
    run.write_json("vocabulary.json", _vocabulary(model, _texts(corpus, fields)))

    (run.files / "tokens").mkdir(exist_ok=True)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    encoded: dict[str, dict[str, int]] = {}
    _check_encode(config, corpus, facts)
    splits = [(table, split) for table, splits in sorted(facts["tables"].items()) for split in sorted(splits)]
    for step, (table_name, split) in enumerate(splits, 1):
        table = Table(corpus, table_name, split)
        for field in text_fields(table):
            if not config.encode or f"{table_name}.{field}" in config.encode:
                name = f"{table_name}.{split}.{field}"
                encoded[name] = _encode(processor, table, field, run.files / "tokens" / f"{name}{Tokens.SUFFIX}")
        run.progress(step, len(splits), note=f"{table_name}.{split}")
    return {"size": processor.get_piece_size(), "asked": config.size, "encoded": encoded}


def spread(texts: Iterable[str], count: int, most: int) -> Iterator[str]:
    """Yield all of `count` texts, or `most` of them, evenly spread."""
    if count <= most:
        return iter(texts)
    return (text for i, text in enumerate(texts) if (i + 1) * most // count > i * most // count)


def train(texts: Iterable[str], config: TokenizerConfig) -> bytes:
    """Train a SentencePiece model on `texts` and return it; UserError if `size` cannot hold their characters."""
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=config.model,
            vocab_size=config.size + BYTES * config.bytes,
            hard_vocab_limit=False,  # "at most": little text makes a smaller vocabulary instead of an error
            byte_fallback=config.bytes,
            character_coverage=0.9995 if config.bytes else 1.0,  # rare characters are bytes rather than pieces
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            control_symbols=["<cls>", "<sep>", "<mask>"],
            max_sentence_length=1 << 24,  # bytes; longer texts would be dropped in silence
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if found := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
            least = int(found[1]) - BYTES * config.bytes
            raise UserError(
                f"tokenizer.size is {config.size}, expected at least {least}: the characters of the text and the "
                f"{Vocabulary.specials} specials; raise it, or learn from fewer fields."
            ) from error
        raise
    return model.getvalue()


def text_fields(table: Table) -> list[str]:
    """Names of a table's fields that hold text."""
    return [f for f in table.fields if isinstance(table.rows[0][f], str) and f not in LABELS]


def _texts(corpus: Path, fields: tuple[str, ...]) -> Iterator[str]:
    for name in fields:
        table_name, _, field = name.partition(".")
        table = Table(corpus, table_name, "train")
        if len(table) and field not in text_fields(table):
            valid = [f"{table_name}.{f}" for f in text_fields(table)]
            raise UserError(f"tokenizer.fields has '{name}', which is no text field: {nearest(name, valid)}")
        yield from (row[field] for row in table.rows)


def _check_encode(config: TokenizerConfig, corpus: Path, facts: Mapping[str, Any]) -> None:
    """UserError if `encode` names a field that no split of the corpus has."""
    tables = [Table(corpus, name, split) for name, splits in facts["tables"].items() for split in splits]
    valid = {f"{table.table}.{field}" for table in tables for field in text_fields(table)}
    for name in config.encode:
        if name not in valid:
            raise UserError(f"tokenizer.encode has '{name}', which is no text field: {nearest(name, sorted(valid))}")


def _vocabulary(model: bytes, texts: Iterator[str]) -> dict[str, Any]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.get_piece_size()
    pieces = [processor.id_to_piece(i) for i in range(size)]
    counts = np.zeros(size, np.int64)
    while chunk := list(islice(texts, CHUNK)):
        ids = [np.array(one, np.int64) for one in processor.encode(chunk, num_threads=1)]
        counts += np.bincount(np.concatenate(ids), minlength=size)
    counts[: Vocabulary.specials] = 0
    starts_word = [p.startswith(SPACE) for p in pieces]
    return {"size": size, "pieces": pieces, "counts": counts.tolist(), "starts_word": starts_word}


def _encode(processor: Any, table: Table, field: str, path: Path) -> dict[str, int]:
    """Write one field of one split as ids, and count texts, ids and unknowns."""
    ids, starts, unknown = ColumnWriter(path, "<i4"), ColumnWriter(path.with_suffix(".i64"), "<i8"), 0
    starts.append(0)
    texts = (row[field] for row in table.rows)
    while chunk := list(islice(texts, CHUNK)):
        for encoded in processor.encode(chunk, num_threads=1):
            ids.extend(np.array(encoded, np.int32))
            starts.append(ids.count)
            unknown += encoded.count(Vocabulary.unk)
    ids.close(), starts.close()
    return {"texts": starts.count - 1, "ids": ids.count, "unknown": unknown}
