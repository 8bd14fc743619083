"""From tables to packed batches: the order of items, how many make a shard, and how they are packed.

A stream is an endless sequence of *slots* 0, 1, 2, …; a permutation per epoch says which item is in a slot. A cursor
(the next slot) is all that a checkpoint needs. Every sequence has a random key that depends on its slot, so masks and
crops differ between epochs and never depend on how slots are grouped into shards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from ablate.data.table import Table
from ablate.data.tokenizer import Tokens
from ablate.errors import UserError
from encoders import seeds
from encoders.batch import Batch, Pair, Speech, Text, Vocabulary

FRAMES_PER_HOUR = 360_000
NO_TEXT = "without text"

Draws = Sequence[tuple[int, int]]  # (slot, item index)


class AnyOrder(Protocol):
    """The item of each slot."""

    def index(self, slot: int) -> int: ...


class Order:
    """Put n items in an endless order: each epoch of n slots has every item once, permuted by (seed, stream, epoch).

    With `sizes` and a `bucket`, every `bucket` consecutive slots are sorted by size and cut into `RUNS` runs, which are
    then permuted: items that are packed together have similar sizes, and no size always comes first.
    """

    RUNS: ClassVar[int] = 8

    def __init__(self, n: int, seed: int, stream: str, sizes: np.ndarray | None = None, bucket: int = 0) -> None:
        assert n > 0, "an order over nothing"
        self.n, self.seed, self.stream = n, seed, stream
        self.sizes, self.bucket = sizes, bucket
        self._epoch, self._permutation = -1, np.empty(0, int)

    def index(self, slot: int) -> int:
        """Return the index of the item in `slot`."""
        epoch, place = divmod(slot, self.n)
        if epoch != self._epoch:
            rng = seeds.rng(seeds.key(self.seed, f"order/{self.stream}", epoch))
            self._epoch, self._permutation = epoch, rng.permutation(self.n)
            if self.bucket and self.sizes is not None:
                for start in range(0, self.n, self.bucket):
                    part = self._permutation[start : start + self.bucket]
                    runs = np.array_split(part[np.argsort(self.sizes[part], kind="stable")], self.RUNS)
                    part[:] = np.concatenate([runs[i] for i in rng.permutation(len(runs))])
        return int(self._permutation[place])


def take(
    order: AnyOrder, sizes: np.ndarray, cursor: int, budget: float, shards: int = 1, at_most: int | None = None
) -> tuple[list[list[tuple[int, int]]], int]:
    """Fill each of `shards` shards with consecutive slots until the next item would exceed `budget / shards`.

    A shard has at least one item, however large; all shards together have at most `at_most` items.
    Returns the shards as lists of (slot, item index), and the next cursor.
    """
    room, filled = budget / shards, []
    end = np.inf if at_most is None else cursor + at_most
    for _ in range(shards):
        draws, used = [], 0.0
        while cursor < end:
            index = order.index(cursor)
            used += float(sizes[index])
            if draws and used > room:
                break
            draws.append((cursor, index))
            cursor += 1
        filled.append(draws)
    return filled, cursor


def speech(table: Table, draws: Draws, seed: int, max_frames: int | None = None, *, stream: str = "speech") -> Speech:
    """Pack utterances; one longer than `max_frames` is cropped at a start drawn from its key."""
    keys, mels = _keys(seed, stream, draws), []
    for key, (_, index) in zip(keys, draws):
        mel_FM = table.mel(index)
        if max_frames is not None and len(mel_FM) > max_frames:
            start = int(seeds.rng(seeds.key(key, "crop")).integers(len(mel_FM) - max_frames + 1))
            mel_FM = mel_FM[start : start + max_frames]
        mels.append(mel_FM)
    packed_FM = torch.from_numpy(np.concatenate(mels)).float()
    return Speech(packed_FM, tuple(map(len, mels)), keys)


def text(
    tokens: Tokens | Pieces, draws: Draws, seed: int, max_tokens: int | None = None, *, stream: str = "text"
) -> Text:
    """Pack texts as `CLS … SEP`; a text longer than `max_tokens` (specials included) is truncated."""
    room = None if max_tokens is None else max_tokens - 2
    bodies = [tokens[index][:room] for _, index in draws]
    cls, sep = np.array([Vocabulary.cls]), np.array([Vocabulary.sep])
    ids_S = _ids(part for body in bodies for part in (cls, body, sep))
    return Text(ids_S, tuple(len(body) + 2 for body in bodies), _keys(seed, stream, draws))


def text_pair(
    tokens_a: Tokens, tokens_b: Tokens, draws: Draws, seed: int, max_tokens: int | None = None, *, stream: str = "text"
) -> Text:
    """Pack sentence pairs as `CLS a SEP b SEP`; above `max_tokens` the longer one is truncated first, as in BERT."""
    cls, sep = np.array([Vocabulary.cls]), np.array([Vocabulary.sep])
    parts, lengths = [], []
    for _, index in draws:
        a, b = tokens_a[index], tokens_b[index]
        if max_tokens is not None and len(a) + len(b) + 3 > max_tokens:
            room = max_tokens - 3
            keep_a = room - min(len(b), room // 2) if len(a) >= len(b) else min(len(a), room - room // 2)
            a, b = a[:keep_a], b[: room - keep_a]
        parts += [cls, a, sep, b, sep]
        lengths.append(len(a) + len(b) + 3)
    return Text(_ids(parts), tuple(lengths), _keys(seed, stream, draws))


def pair(table: Table, tokens: Tokens, draws: Draws, seed: int, max_tokens: int | None = None) -> Pair:
    """Pack utterances and their texts, in the same order; the two halves of a pair have different keys."""
    return Pair(
        speech(table, draws, seed, stream="pair"),
        text(tokens, draws, seed, max_tokens, stream="pair/text"),
    )


def targets(tokens: Tokens, draws: Draws) -> Text:
    """Pack texts without special tokens, as references; lengths may be 0. Nothing is random, so the keys are 0."""
    bodies = [tokens[index] for _, index in draws]
    return Text(_ids(bodies), tuple(map(len, bodies)), (0,) * len(bodies))


def ids(table: Table, draws: Draws) -> tuple[str, ...]:
    """The ids of the drawn rows in their table."""
    return tuple(str(table.rows[index]["id"]) for _, index in draws)


def _keys(seed: int, stream: str, draws: Draws) -> tuple[int, ...]:
    return tuple(seeds.key(seed, f"item/{stream}", slot) for slot, _ in draws)


def _ids(parts: Iterable[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(list(parts), dtype=np.int64))


class Pieces:
    """Texts, with long ones cut into the fewest possible pieces of equal length: `pieces[p]` is int32."""

    def __init__(self, tokens: Tokens, most: int) -> None:
        """Cut into pieces of at most `most` ids; an empty text is one empty piece."""
        self.tokens = tokens
        count_B = np.maximum(1, -(-tokens.lengths // most))
        self.row_P = np.repeat(np.arange(len(count_B)), count_B)
        number_P = np.arange(len(self.row_P)) - (np.cumsum(count_B) - count_B)[self.row_P]
        length_P, count_P = tokens.lengths[self.row_P], count_B[self.row_P]
        self.begin_P, self.end_P = (length_P * n // count_P for n in (number_P, number_P + 1))
        self.cut = int((count_B > 1).sum())

    def __getitem__(self, piece: int) -> np.ndarray:
        return self.tokens[int(self.row_P[piece])][self.begin_P[piece] : self.end_P[piece]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of ids of each piece."""
        return self.end_P - self.begin_P


@dataclass(frozen=True)
class Loss:
    """What a stream does not show of its table, for one reason: the number of items, and their share of the total."""

    items: int
    share: float
    """Share of hours or tokens."""


class Stream(ABC):
    """An endless source of updates from one split of a table: which items, how large, and how they are packed.

    `left_out` describes the items that are never drawn, by reason.
    """

    name: ClassVar[str]  # "speech", "text" or "pair": the name of the stream in a mixture
    tokens: Tokens | None = None  # the texts of its speech, by row of the table
    unit: ClassVar[str]  # what `exposure` counts beside items: "hours" or "tokens"

    def __init__(
        self,
        table: Table,
        sizes: np.ndarray,
        amounts: np.ndarray,
        reasons: Mapping[str, np.ndarray],
        seed: int,
        bucket: int = 0,
    ) -> None:
        """Draw from the items for which no reason holds; each left-out item counts for its first reason. `sizes` are in
        units of the budget, `amounts` in `unit`.

        Every `bucket` items are grouped by amount.
        """
        out, self.left_out = np.zeros(len(sizes), bool), {}
        for reason, holds in reasons.items():
            own, out = holds & ~out, out | holds
            if own.any():
                self.left_out[reason] = Loss(
                    int(own.sum()), round(float(amounts[own].sum() / max(amounts.sum(), 1e-9)), 4)
                )
        self.items = np.flatnonzero(~out)
        if len(self.items) == 0:
            why = ", ".join(f"{loss.items} {reason}" for reason, loss in self.left_out.items())
            raise UserError(
                f"{table.name} has no item to pre-train on{f' (left out: {why})' * bool(why)}; add data, or raise "
                "pretrain.update.longest_pair or longest_text."
            )
        self.table = table
        self.sizes, self.amounts, self.seed = sizes[self.items], amounts[self.items], seed
        self.order = Order(len(self.items), seed, self.name, self.amounts, bucket)

    @abstractmethod
    def collate(self, draws: Draws) -> Batch:
        """Pack drawn rows of the table, as (slot, row), into one shard."""

    def drawn(self, cursor: int, budget: float, shards: int = 1) -> tuple[list[Draws], int]:
        """Return the content of each shard of the update at `cursor`, for `collate`, and the cursor after it.

        `budget` is that of the whole update: frames of speech, tokens of text (specials included), or pairs.
        """
        filled, cursor = take(self.order, self.sizes, cursor, budget, shards)
        return [[(slot, int(self.items[i])) for slot, i in draws] for draws in filled], cursor

    def next_update(self, cursor: int, budget: float, shards: int = 1) -> tuple[list[Batch], int]:
        """Return the shards of the update at `cursor`, and the cursor after it."""
        drawn, cursor = self.drawn(cursor, budget, shards)
        return [self.collate(draws) for draws in drawn], cursor

    def exposure(self, cursor: int) -> dict[str, float]:
        """Return what lies before `cursor`: items, epochs, and hours or tokens (repeats counted)."""
        epochs, rest = divmod(cursor, self.order.n)
        begun = [self.order.index(slot) for slot in range(cursor - rest, cursor)]
        amount = epochs * self.amounts.sum() + self.amounts[begun].sum()
        return {"items": cursor, "epochs": round(cursor / self.order.n, 3), self.unit: round(float(amount), 4)}

    def shortened(self) -> dict[str, Loss]:
        """Losses from items that are drawn but not shown whole, by what is done with them."""
        return {}

    def supply(self) -> dict[str, Any]:
        """Return how much there is to draw from, and what is left out or shortened."""
        about = {"items": len(self.items), self.unit: round(float(self.amounts.sum()), 4)}
        for name, losses in (("left_out", self.left_out), ("shortened", self.shortened())):
            if losses:
                about[name] = {reason: {"items": loss.items, "share": loss.share} for reason, loss in losses.items()}
        return about


class SpeechStream(Stream):
    """Unlabelled speech, budgeted in frames; utterances longer than `max_frames` are cropped, differently per epoch."""

    name, unit = "speech", "hours"

    def __init__(self, table: Table, seed: int, max_frames: int, bucket: int = 0) -> None:
        sizes = np.minimum(table.frames, max_frames)
        super().__init__(table, sizes, sizes / FRAMES_PER_HOUR, {}, seed, bucket)
        self.max_frames = max_frames

    def collate(self, draws: Draws) -> Batch:
        return Batch(speech(self.table, draws, self.seed, self.max_frames), ids=ids(self.table, draws))

    def shortened(self) -> dict[str, Loss]:
        over = np.maximum(self.table.frames - self.max_frames, 0)
        how = f"cropped to longest_speech ({self.max_frames / 100:g} s), at another place in each epoch"
        return (
            {how: Loss(int((over > 0).sum()), round(float(over.sum() / self.table.frames.sum()), 4))}
            if over.any()
            else {}
        )


class TextStream(Stream):
    """Unlabelled text, budgeted in tokens; texts longer than `max_tokens` are cut into pieces, empty ones left out."""

    name, unit = "text", "tokens"

    def __init__(self, table: Table, tokens: Tokens, seed: int, max_tokens: int, bucket: int = 0) -> None:
        self.pieces, self.max_tokens = Pieces(tokens, max_tokens - 2), max_tokens
        sizes = self.pieces.lengths + 2
        super().__init__(table, sizes, sizes, {NO_TEXT: sizes == 2}, seed, bucket)

    def collate(self, draws: Draws) -> Batch:
        rows = [(slot, int(self.pieces.row_P[piece])) for slot, piece in draws]
        return Batch(text(self.pieces, draws, self.seed), ids=ids(self.table, rows))

    def shortened(self) -> dict[str, Loss]:
        how = f"cut into pieces of longest_text ({self.max_tokens} tokens)"
        return {how: Loss(self.pieces.cut, 0.0)} if self.pieces.cut else {}


class PairStream(Stream):
    """Speech with its transcript, budgeted in pairs.

    A pair with an empty text, or longer than `max_frames` or `max_tokens`, is left out: a crop does not match its text.
    """

    name, unit = "pair", "hours"

    def __init__(
        self, table: Table, tokens: Tokens, seed: int, max_frames: int, max_tokens: int, bucket: int = 0
    ) -> None:
        reasons = {
            NO_TEXT: tokens.lengths == 0,
            f"over longest_pair ({max_frames / 100:g} s)": table.frames > max_frames,
            f"over longest_text ({max_tokens} tokens)": tokens.lengths + 2 > max_tokens,
        }
        super().__init__(table, np.ones(len(table)), table.frames / FRAMES_PER_HOUR, reasons, seed, bucket)
        self.tokens = tokens
        over = {reason: loss.items for reason, loss in self.left_out.items() if reason != NO_TEXT}
        if 2 * sum(over.values()) > len(table):
            why = ", ".join(f"{items:,} {reason}" for reason, items in over.items())
            raise UserError(
                f"More than half of {table.name} would be left out of pre-training ({why}, of {len(table):,}); raise "
                "pretrain.update.longest_pair or longest_text."
            )

    def collate(self, draws: Draws) -> Batch:
        return Batch(pair(self.table, self.tokens, draws, self.seed), ids=ids(self.table, draws))


def streams(
    tables: Mapping[str, Table],
    tokens: Mapping[str, Path],
    seed: int,
    max_frames: int = 1600,
    max_tokens: int = 256,
    max_pair_frames: int = 1600,
    bucket: int = 0,
) -> dict[str, Stream]:
    """Open a stream over each of `tables`, by stream ("speech", "text", "pair"); `tokens` are the folders of their
    token ids.
    """
    opened: dict[str, Stream] = {}
    for name in sorted(tables):
        table = tables[name]
        if name == "speech":
            opened[name] = SpeechStream(table, seed, max_frames, bucket)
        elif name == "text":
            opened[name] = TextStream(table, Tokens(tokens[name], "text"), seed, max_tokens, bucket)
        else:
            opened[name] = PairStream(table, Tokens(tokens[name], "text"), seed, max_pair_frames, max_tokens, bucket)
    return opened
