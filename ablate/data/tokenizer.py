"""Tokenizers: SentencePiece models trained on tables of text, and the texts of tables as ids, written once.

A `tokenizer` folder holds `model.spm` and `vocabulary.json` (pieces, unigram counts, which pieces begin a word). A
`tokens` folder holds every text field of one split of one table: `<field>.i32` (ids, one text after the other) with
`<field>.i64` (index of each text's first id, and the end of the last), both memory-mapped when read. Ids 0-6 are pad,
unk, bos, eos, cls, sep and mask; then 256 byte pieces (if enabled), then the learnt pieces. Text is not normalised and
never lost: `decode(encode(s)) == s` for any string, except that U+2581, SentencePiece's own sign for a space, becomes a
space.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional

import numpy as np
import sentencepiece

from ablate.data.columns import ColumnWriter, column
from ablate.data.table import Table
from ablate.errors import UserError, nearest
from encoders.batch import Vocabulary
from encoders.choices import check_choices
from encoders.ranges import OneOf, Size, Within

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-%$&/"  # have a piece even if the texts lack them
MODELS = ("bpe", "unigram", "char")
SPACE = "\u2581"  # SentencePiece's sign for a space: a piece that starts with it begins a word
BYTES = 256
LABELS = ("id", "voice", "label", "direction", "path")  # string fields of a row that are not text
CHUNK = 10_000  # number of texts that are encoded at once


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """What a tokenizer is trained on, and its kind and size."""

    tag: ClassVar[str] = "tokenizer"

    fields: tuple[str, ...] = ()
    """Fields whose train split it is trained on, as "table.field"; empty: the pre-training texts, `text.text` and
    `pairs.text`, if the corpus has them."""
    alphabet: Optional[str] = None
    """Characters that get a piece even if the texts lack them; null: `ALPHABET` if `fields` is empty, otherwise
    none.
    """
    size: Annotated[int, Within(Vocabulary.specials + 1)] = 400
    """Maximum number of pieces, special tokens included; byte pieces are extra. There are fewer if the texts
    are small.
    """
    model: Annotated[str, OneOf(MODELS)] = "bpe"
    """Kind of SentencePiece model: "bpe", "unigram" or "char"."""
    bytes: bool = True
    """Spell characters without a piece as bytes (256 more pieces); otherwise they become unk and are never dropped."""
    texts: Size = 2_000_000
    """Maximum number of texts to train on, chosen by lowest hash; training holds them in memory."""

    def __post_init__(self) -> None:
        check_choices(self)

    def settled(self, tables: Collection[str]) -> TokenizerConfig:
        """This config with explicit fields and alphabet, for a corpus with the pre-training `tables`."""
        fields = self.fields or tuple(f"{table}.text" for table in ("text", "pairs") if table in tables)
        alphabet = ("" if self.fields else ALPHABET) if self.alphabet is None else self.alphabet
        return replace(self, fields=fields, alphabet=alphabet)


class Tokenizer:
    """Converts strings to ids and back, with the model in a tokenizer stage's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "model.spm"))

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.folder,)  # sent with every batch of a worker: one object per process is enough

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Size, unigram counts over the training text, and which pieces begin a word."""
        facts = json.loads((self.folder / "vocabulary.json").read_text(encoding="utf-8"))
        return Vocabulary(facts["size"], tuple(facts["counts"]), tuple(facts["starts_word"]))

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without specials."""
        return self.model.encode(text)

    def decode(self, ids: list[int] | np.ndarray) -> str:
        """Return the text of `ids`; special tokens are dropped, and invalid UTF-8 becomes U+FFFD."""
        return self.model.decode([int(i) for i in ids if i == Vocabulary.unk or i >= Vocabulary.specials])


@lru_cache(maxsize=8)
def _opened(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


@dataclass(frozen=True, kw_only=True)
class TokenizerStage:
    """Identity of a `tokenizer` stage, in addition to the tables that it starts from."""

    tag: ClassVar[str] = "tokenizer_stage"

    tokenizer: TokenizerConfig
    """With explicit fields and alphabet."""
    texts: dict[str, str] = field(default_factory=dict)
    """For each field of `tokenizer`, the digest of its texts alone, where known. Then the stage uses their table
    without starting from it: other speech for the same texts changes nothing.
    """


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """Identity of a `tokens` stage: it has no settings, only its parents, a tokenizer and a split of a table."""

    tag: ClassVar[str] = "tokens"


class Tokens:
    """All texts of one field of one split of a table, as ids: `tokens[i]` is int32, without specials.

    Raises UserError for a field that is not in `folder`, with the nearest name that is there.
    """

    SUFFIX: ClassVar[str] = ".i32"

    def __init__(self, folder: Path, field: str) -> None:
        path = Path(folder) / f"{field}{self.SUFFIX}"
        if not path.exists():
            have = sorted(p.name.removesuffix(self.SUFFIX) for p in path.parent.glob(f"*{self.SUFFIX}"))
            raise UserError(f"This table has no text '{field}' as ids: {nearest(field, have)}")
        self.ids, self.offsets = column(path, "<i4"), column(path.with_suffix(".i64"), "<i8")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of ids of each text, int64; 0 is possible."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


def learn(config: TokenizerConfig, tables: Mapping[str, Table], run: Any) -> dict[str, Any]:
    """Train a tokenizer on the train splits `tables`, by name; the config's fields and alphabet must be explicit.

    Deterministic: one thread, no sampling. Returns the real size.
    """
    count = sum(1 for _ in _texts(tables, config.fields))
    if not count and not config.alphabet:
        raise UserError(f"The tokenizer has nothing to learn from: {', '.join(config.fields)} hold no text in 'train'.")
    run.progress(0, 0, note=f"learns from {count:,} texts")
    model = train(lowest(_texts(tables, config.fields), config.texts) if count else [config.alphabet], config)
    run.progress(0, 0, note="counts its pieces")
    run.write_bytes("model.spm", model)
    run.write_json("vocabulary.json", _vocabulary(model, _texts(tables, config.fields)))
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return {"size": processor.get_piece_size(), "asked": config.size, "texts": count}


def encode(tokenizer: Tokenizer, table: Table, run: Any) -> dict[str, Any]:
    """Write every text field of a table's split as ids. Returns per field the number of texts, ids and unknowns."""
    fields, encoded = text_fields(table), {}
    for number, name in enumerate(fields):

        def told(done: int, before: int = number * len(table)) -> None:
            run.progress(before + done, len(fields) * len(table), unit="texts")

        encoded[name] = _encode(tokenizer.model, table, name, run.files / f"{name}{Tokens.SUFFIX}", told)
    return {"encoded": encoded}


def lowest(texts: Iterable[str], most: int) -> list[str]:
    """The `most` texts with the lowest hashes, sorted by hash: the same whatever the order of `texts`."""
    return heapq.nsmallest(most, texts, key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())


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
            required_chars=config.alphabet or "",
            character_coverage=0.9995 if config.bytes else 1.0,  # rare characters are bytes rather than pieces
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            control_symbols=["<cls>", "<sep>", "<mask>"],
            max_sentence_length=1 << 24,  # bytes; longer texts would be dropped silently
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if match := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
            least = int(match[1]) - BYTES * config.bytes
            raise UserError(
                f"tokenizer.size is {config.size}, expected at least {least}: the characters of the text and the "
                f"{Vocabulary.specials} specials; raise it, or learn from fewer fields."
            ) from error
        raise
    return model.getvalue()


def text_fields(table: Table) -> list[str]:
    """Names of a table's fields that hold text."""
    return [f for f in table.fields if isinstance(table.rows[0][f], str) and f not in LABELS]


def _texts(tables: Mapping[str, Table], fields: tuple[str, ...]) -> Iterator[str]:
    for name in fields:
        table_name, _, field = name.partition(".")
        table = tables[table_name]
        if len(table) and field not in text_fields(table):
            valid = [f"{table_name}.{f}" for f in text_fields(table)]
            raise UserError(f"tokenizer.fields has '{name}', which is no text field: {nearest(name, valid)}")
        yield from (row[field] for row in table.rows)


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


def _encode(processor: Any, table: Table, field: str, path: Path, told: Callable[[int], None]) -> dict[str, int]:
    """Write one field as ids, and count texts, ids and unknowns; `told` hears how many texts are done."""
    ids, starts, unknown = ColumnWriter(path, "<i4"), ColumnWriter(path.with_suffix(".i64"), "<i8"), 0
    starts.append(0)
    texts = (row[field] for row in table.rows)
    while chunk := list(islice(texts, CHUNK)):
        for encoded in processor.encode(chunk, num_threads=1):
            ids.extend(np.array(encoded, np.int32))
            starts.append(ids.count)
            unknown += encoded.count(Vocabulary.unk)
        told(starts.count - 1)
    ids.close(), starts.close()
    return {"texts": starts.count - 1, "ids": ids.count, "unknown": unknown}
