"""From tables to packed batches: the order of items, how many make a shard, and how they are packed.

A stream is an endless sequence of *slots* 0, 1, 2, …; a permutation per epoch says which item is in a slot, and where
corpora are mixed a draw for each slot says of which corpus. A cursor (the next slot) is all that a checkpoint needs.
Every sequence has a random key that depends on its slot, so masks and crops differ between epochs and never depend on
how slots are grouped into shards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from ablate.data.mix import Mix
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

    def seen(self, cursor: int) -> np.ndarray:
        """How often each item lies before a slot, int64 [items]."""
        ...


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
                gather(self._permutation, self.sizes, self.bucket, self.RUNS, rng)
        return int(self._permutation[place])

    def seen(self, cursor: int) -> np.ndarray:
        """How often each item lies before a slot, int64 [items]."""
        epochs, rest = divmod(cursor, self.n)
        times_B = np.full(self.n, epochs)
        times_B[[self.index(slot) for slot in range(cursor - rest, cursor)]] += 1
        return times_B


def gather(order_S: np.ndarray, sizes: np.ndarray, bucket: int, runs: int, rng: np.random.Generator) -> None:
    """Sort every `bucket` consecutive items of an order by size, and permute that in so many runs; in place."""
    for start in range(0, len(order_S), bucket):
        part = order_S[start : start + bucket]
        sorted_ = np.array_split(part[np.argsort(sizes[part], kind="stable")], runs)
        part[:] = np.concatenate([sorted_[i] for i in rng.permutation(len(sorted_))])


class Mixed:
    """Put the items of several corpora in an endless order, in which they have given shares of the amount.

    The corpus of a slot is drawn by (seed, stream, block of slots, place in it), stratified: every `STRATA` slots of a
    block have the shares as nearly as whole items allow. The items of a corpus then come in an `Order` of their own: an
    epoch of it has every item once. With a `bucket`, slots are permuted within it as in `Order`.
    """

    BLOCK: ClassVar[int] = 4096
    STRATA: ClassVar[int] = 64

    def __init__(
        self,
        corpus_B: np.ndarray,
        amounts_B: np.ndarray,
        shares: np.ndarray,
        seed: int,
        stream: str,
        bucket: int = 0,
    ) -> None:
        """`corpus_B` is the number of each item's corpus, `amounts_B` its hours or tokens; `shares` [corpora] are 0
        only where a corpus is never drawn.
        """
        self.n, self.seed, self.stream, self.amounts_B, self.bucket = len(corpus_B), seed, stream, amounts_B, bucket
        self.block = max(self.BLOCK, bucket)
        self.items = [np.flatnonzero(corpus_B == corpus) for corpus in range(len(shares))]
        self.orders = [Order(max(1, len(items)), seed, f"{stream}/{c}") for c, items in enumerate(self.items)]
        mean = np.array([amounts_B[items].mean() if len(items) else 1.0 for items in self.items])
        chances = np.cumsum(shares / mean)  # of an item: a corpus of long ones is drawn less often
        self._until = chances / chances[-1]
        self._before = [np.zeros(len(shares), np.int64)]  # by block, how many slots of each corpus lie before it
        self._number, self._index_S = -1, np.empty(0, int)

    def index(self, slot: int) -> int:
        """Return the index of the item in `slot`."""
        number, place = divmod(slot, self.block)
        if number != self._number:
            self._number, self._index_S = number, self._made(number)
        return int(self._index_S[place])

    def seen(self, cursor: int) -> np.ndarray:
        """How often each item lies before a slot, int64 [items]."""
        number, rest = divmod(cursor, self.block)
        times_B = np.zeros(self.n, np.int64)
        for items, order, before in zip(self.items, self.orders, self._until_block(number)):
            if before:
                times_B[items] += order.seen(int(before))
        np.add.at(times_B, [self.index(slot) for slot in range(cursor - rest, cursor)], 1)
        return times_B

    def _corpora(self, number: int) -> np.ndarray:
        """The corpus of each slot of a block."""
        rng = seeds.rng(seeds.key(self.seed, f"corpora/{self.stream}", number))
        strata = np.tile(np.arange(self.STRATA), (-(-self.block // self.STRATA), 1))
        stratum_S = rng.permuted(strata, axis=1).ravel()[: self.block]
        drawn_S = (stratum_S + rng.random(self.block)) / self.STRATA
        return np.searchsorted(self._until, np.minimum(drawn_S, 1 - 2.0**-53), "right")

    def _until_block(self, number: int) -> np.ndarray:
        while len(self._before) <= number:
            counts = np.bincount(self._corpora(len(self._before) - 1), minlength=len(self.items))
            self._before.append(self._before[-1] + counts)
        return self._before[number]

    def _made(self, number: int) -> np.ndarray:
        corpus_S = self._corpora(number)
        index_S = np.empty(self.block, int)
        for corpus, before in enumerate(self._until_block(number)):
            slots = np.flatnonzero(corpus_S == corpus)
            order, first = self.orders[corpus], int(before)
            index_S[slots] = self.items[corpus][[order.index(first + turn) for turn in range(len(slots))]]
        if self.bucket:
            rng = seeds.rng(seeds.key(self.seed, f"bucket/{self.stream}", number))
            gather(index_S, self.amounts_B, self.bucket, Order.RUNS, rng)
        return index_S


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
        mix: Mix | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        """Draw from the items for which no reason holds; each left-out item counts for its first reason. `sizes` are in
        units of the budget, `amounts` in `unit`.

        Every `bucket` items are grouped by amount. With a `mix`, corpora are drawn by their shares; `rows` are the rows
        of the table that items belong to, by default one each.
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
        self.shares, self.names, self.corpus_B = np.empty(0), (), np.empty(0, np.int64)
        self.order: Order | Mixed = Order(len(self.items), seed, self.name, self.amounts, bucket)
        if mix is not None:
            self.corpus_B = table.corpus[self.items if rows is None else rows[self.items]]
            held = np.bincount(self.corpus_B, self.amounts, len(mix.weights))
            self.shares, self.names = mix.shares(held), mix.names
            self.order = Mixed(self.corpus_B, self.amounts, self.shares, seed, self.name, bucket)

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

    def exposure(self, cursor: int) -> dict[str, Any]:
        """Return what lies before `cursor`: items, epochs, and hours or tokens (repeats counted); of a mixture also by
        corpus.
        """
        times_B = self.order.seen(cursor)
        about = self._amount(times_B, times_B >= 0)
        if len(self.shares):
            about["corpora"] = {
                name: self._amount(times_B, self.corpus_B == number) | {"share": round(float(self.shares[number]), 4)}
                for number, name in enumerate(self.names)
            }
        return about

    def _amount(self, times_B: np.ndarray, of_B: np.ndarray) -> dict[str, Any]:
        items, amount = int(times_B[of_B].sum()), float(times_B[of_B] @ self.amounts[of_B])
        return {"items": items, "epochs": round(items / max(1, of_B.sum()), 3), self.unit: round(amount, 4)}

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

    def __init__(self, table: Table, seed: int, max_frames: int, bucket: int = 0, mix: Mix | None = None) -> None:
        sizes = np.minimum(table.frames, max_frames)
        super().__init__(table, sizes, sizes / FRAMES_PER_HOUR, {}, seed, bucket, mix)
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

    def __init__(
        self, table: Table, tokens: Tokens, seed: int, max_tokens: int, bucket: int = 0, mix: Mix | None = None
    ) -> None:
        self.pieces, self.max_tokens = Pieces(tokens, max_tokens - 2), max_tokens
        sizes = self.pieces.lengths + 2
        super().__init__(table, sizes, sizes, {NO_TEXT: sizes == 2}, seed, bucket, mix, self.pieces.row_P)

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
        self,
        table: Table,
        tokens: Tokens,
        seed: int,
        max_frames: int,
        max_tokens: int,
        bucket: int = 0,
        mix: Mix | None = None,
    ) -> None:
        reasons = {
            NO_TEXT: tokens.lengths == 0,
            f"over longest_pair ({max_frames / 100:g} s)": table.frames > max_frames,
            f"over longest_text ({max_tokens} tokens)": tokens.lengths + 2 > max_tokens,
        }
        super().__init__(table, np.ones(len(table)), table.frames / FRAMES_PER_HOUR, reasons, seed, bucket, mix)
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
    mixes: Mapping[str, Mix] = MappingProxyType({}),
) -> dict[str, Stream]:
    """Open a stream over each of `tables`, by stream ("speech", "text", "pair"); `tokens` are the folders of their
    token ids, `mixes` say how those that have several corpora are drawn from them.
    """
    opened: dict[str, Stream] = {}
    for name in sorted(tables):
        table, mix = tables[name], mixes.get(name)
        if name == "speech":
            opened[name] = SpeechStream(table, seed, max_frames, bucket, mix)
            continue
        encoded = Tokens(tokens[name], "text")
        if name == "text":
            opened[name] = TextStream(table, encoded, seed, max_tokens, bucket, mix)
        else:
            opened[name] = PairStream(table, encoded, seed, max_pair_frames, max_tokens, bucket, mix)
    return opened
