"""Order, take and collate: every item once per epoch, nothing but the cursor remembered, values exact."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ablate.data import packing
from ablate.data.packing import Loss, Order, PairStream, SpeechStream, TextStream, take
from ablate.data.table import Table, TableWriter
from ablate.errors import UserError
from encoders import seeds

RNG = np.random.default_rng(0)


class FakeTable:
    """Rows of the given lengths, whose frames are all distinct numbers."""

    name = "some.train"

    def __init__(self, *frames: int) -> None:
        self.frames = np.array(frames)
        self.rows = [{"id": f"row-{i}"} for i in range(len(frames))]
        starts = np.concatenate(([0], np.cumsum(self.frames)))
        values = RNG.normal(size=(starts[-1], 80)).astype(np.float16)
        self._mels = [values[a:b] for a, b in zip(starts, starts[1:])]

    def __len__(self) -> int:
        return len(self.frames)

    def mel(self, index: int) -> np.ndarray:
        return self._mels[index]


class FakeTokens:
    """Text i is 100 i, 100 i + 1, …"""

    def __init__(self, *lengths: int) -> None:
        self.lengths = np.array(lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.arange(100 * index, 100 * index + self.lengths[index], dtype=np.int32)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_order_has_every_item_once_per_epoch(n: int) -> None:
    order = Order(n, seed=3, stream="text")
    epochs = [[order.index(slot) for slot in range(e * n, (e + 1) * n)] for e in range(4)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    if n == 100:
        assert epochs[0] != epochs[1] != epochs[2]


def test_order_is_a_function_of_seed_stream_and_slot() -> None:
    slots = [250, 3, 99, 100, 3, 1_000_003, 0]
    once = Order(100, 0, "speech")
    assert [once.index(s) for s in slots] == [Order(100, 0, "speech").index(s) for s in slots]
    first = [Order(100, seed, stream).index(0) for seed in range(8) for stream in ("speech", "text")]
    assert len(set(first)) > 8


def test_buckets_bring_equal_lengths_together_and_lose_nothing() -> None:
    sizes = RNG.integers(1, 1000, size=800)
    plain, bucketed = Order(800, 0, "speech"), Order(800, 0, "speech", sizes, bucket=400)
    orders = [[order.index(slot) for slot in range(1600)] for order in (plain, bucketed)]
    for order in orders:
        assert sorted(order[:800]) == sorted(order[800:]) == list(range(800))
    # The same items lie in each bucket: nothing waits longer than for that.
    assert sorted(orders[0][:400]) == sorted(orders[1][:400])
    spreads = [np.mean([np.ptp(sizes[order[i : i + 10]]) for i in range(0, 1600, 10)]) for order in orders]
    assert spreads[1] < 0.2 * spreads[0]
    # No size comes always first: runs are permuted, in every bucket anew.
    means = [sizes[orders[1][i : i + 50]].mean() for i in range(0, 1600, 50)]
    assert means[:8] != sorted(means[:8]) and np.argsort(means[:8]).tolist() != np.argsort(means[8:16]).tolist()


def test_take_by_hand() -> None:
    order = SimpleNamespace(index=lambda slot: slot % 4)
    sizes = np.array([3, 5, 2, 9])
    assert take(order, sizes, 0, 10) == ([[(0, 0), (1, 1), (2, 2)]], 3)
    # The item that does not fit opens the next shard, alone if it is larger than the shard.
    assert take(order, sizes, 0, 16, shards=2) == ([[(0, 0), (1, 1)], [(2, 2)]], 3)
    assert take(order, sizes, 3, 8) == ([[(3, 3)]], 4)
    # The end of what there is, when a split is read once.
    assert take(order, sizes, 1, 100, at_most=2) == ([[(1, 1), (2, 2)]], 3)


@pytest.mark.parametrize("shards", [1, 3])
def test_take_respects_the_budget_and_does_not_depend_on_how_it_is_called(shards: int) -> None:
    sizes = RNG.integers(1, 60, size=37)
    order, cursor, seen = Order(37, 1, "text"), 0, []
    for _ in range(50):
        filled, after = take(order, sizes, cursor, 200, shards)
        # A fresh order at the same cursor (a resumed run) takes the same.
        assert (filled, after) == take(Order(37, 1, "text"), sizes, cursor, 200, shards)
        for draws in filled:
            used = [sizes[index] for _, index in draws]
            assert draws and (len(draws) == 1 or sum(used) <= 200 / shards)
        seen += [slot for draws in filled for slot, _ in draws]
        cursor = after
    assert seen == list(range(cursor))


def test_speech_values_keys_and_crops() -> None:
    table = FakeTable(4, 9, 3)
    draws = [(7, 2), (8, 0), (9, 1)]
    packed = packing.speech(table, draws, seed=5)
    assert packed.mel_FM.dtype == torch.float32 and packed.lengths == (3, 4, 9)
    expected = np.concatenate([table.mel(2), table.mel(0), table.mel(1)]).astype(np.float32)
    assert torch.equal(packed.mel_FM, torch.from_numpy(expected))
    assert packed.keys == tuple(seeds.key(5, "item/speech", slot) for slot in (7, 8, 9))

    starts = set()
    for slot in range(60):
        cropped = packing.speech(table, [(slot, 1)], 5, max_frames=5).mel_FM
        matches = [s for s in range(5) if torch.equal(cropped, torch.from_numpy(table.mel(1)[s : s + 5]).float())]
        assert len(matches) == 1
        starts.add(matches[0])
    assert starts == {0, 1, 2, 3, 4}


def test_the_same_item_has_another_key_in_another_epoch_and_the_same_whatever_lies_beside_it() -> None:
    table = FakeTable(4, 9)
    alone, together = packing.speech(table, [(5, 1)], 0), packing.speech(table, [(4, 0), (5, 1)], 0)
    assert alone.keys == together.keys[1:]
    assert packing.speech(table, [(7, 1)], 0).keys != alone.keys


def test_text_values() -> None:
    tokens = FakeTokens(2, 0, 6)
    packed = packing.text(tokens, [(0, 2), (1, 1), (2, 0)], seed=0, max_tokens=6)
    assert packed.ids_S.tolist() == [4, 200, 201, 202, 203, 5, 4, 5, 4, 0, 1, 5]
    assert packed.ids_S.dtype == torch.int64 and packed.lengths == (6, 2, 4)
    whole = packing.targets(tokens, [(0, 2), (1, 1), (2, 0)])
    assert whole.ids_S.tolist() == [200, 201, 202, 203, 204, 205, 0, 1] and whole.lengths == (6, 0, 2)


CUTS = [(2, 3, (2, 3)), (9, 2, (5, 2)), (2, 9, (2, 5)), (9, 9, (4, 3)), (5, 4, (4, 3)), (4, 5, (4, 3))]


@pytest.mark.parametrize(("a", "b", "kept"), CUTS)
def test_text_pair_cuts_the_longer_first(a: int, b: int, kept: tuple[int, int]) -> None:
    packed = packing.text_pair(FakeTokens(a), FakeTokens(b), [(0, 0)], seed=0, max_tokens=10)
    body = list(range(9))
    assert packed.ids_S.tolist() == [4, *body[: kept[0]], 5, *body[: kept[1]], 5]
    assert packed.lengths == (sum(kept) + 3,)


def test_pair_keeps_halves_together_with_keys_of_their_own() -> None:
    table, tokens = FakeTable(4, 9), FakeTokens(2, 3)
    packed = packing.pair(table, tokens, [(0, 1), (1, 0)], seed=0)
    assert packed.speech.lengths == (9, 4) and packed.text.lengths == (5, 4)
    assert packed.text.ids_S.tolist() == [4, 100, 101, 102, 5, 4, 0, 1, 5]
    assert not set(packed.speech.keys) & set(packed.text.keys)


def test_streams_resume_from_the_cursor() -> None:
    table, tokens = FakeTable(*RNG.integers(50, 400, size=20)), FakeTokens(*RNG.integers(1, 60, size=20))
    streams = {
        SpeechStream: lambda: (SpeechStream(table, 0, max_frames=300), 1200),
        TextStream: lambda: (TextStream(table, tokens, 0, max_tokens=40), 150),
        PairStream: lambda: (PairStream(table, tokens, 0, max_frames=300, max_tokens=40), 4),
    }
    for make in streams.values():
        stream, budget = make()
        cursor, cursors = 0, []
        for _ in range(12):
            cursors.append(cursor)
            batches, cursor = stream.next_update(cursor, budget, shards=2)
        again, after = make()[0].next_update(cursors[-1], budget, shards=2)
        assert after == cursor and repr(again) == repr(batches)


@pytest.mark.parametrize("bucket", [0, 8])
def test_every_update_is_the_same_in_a_process_that_begins_there(bucket: int) -> None:
    """In any epoch, also where one ends within the update; and no batch of an epoch comes again in the next."""
    table = FakeTable(*RNG.integers(50, 400, size=20))
    stream, cursor, drawn = SpeechStream(table, 0, max_frames=300, bucket=bucket), 0, []
    while cursor < 9 * 20:
        shards, after = stream.drawn(cursor, 1200, 2)
        assert SpeechStream(table, 0, max_frames=300, bucket=bucket).drawn(cursor, 1200, 2) == (shards, after)
        drawn += [(slot // 20, [item for _, item in shard]) for shard in shards for slot, _ in shard[:1]]
        assert [slot for shard in shards for slot, _ in shard] == list(range(cursor, after))
        cursor = after
    epochs = [{frozenset(items) for epoch, items in drawn if epoch == number} for number in range(9)]
    assert sum(len(one & other) for one, other in zip(epochs, epochs[1:])) <= 2  # by chance


def test_more_shards_than_items_are_all_filled() -> None:
    shards, _ = SpeechStream(FakeTable(100, 200), 0, max_frames=300).drawn(0, 800, 8)
    assert all(shards) and {item for shard in shards for _, item in shard} == {0, 1}


def test_a_cropped_utterance_counts_what_is_left_of_it() -> None:
    stream = SpeechStream(FakeTable(*[1000] * 10), 0, max_frames=500)
    batches, cursor = stream.next_update(0, budget=2100)
    assert batches[0].inputs.lengths == (500,) * 4
    assert stream.exposure(cursor) == {"items": 4, "epochs": 0.4, "hours": round(2000 / 360_000, 4)}


@pytest.mark.parametrize("cursor", [0, 3, 5, 17])
def test_exposure_counts_what_was_drawn(cursor: int) -> None:
    tokens = FakeTokens(1, 2, 3, 40, 5)
    stream = TextStream(FakeTable(1), tokens, 0, max_tokens=10)
    pieces = [1, 2, 3, *[8] * 5, 5]  # the text of 40 is five
    drawn = [pieces[stream.order.index(slot)] + 2 for slot in range(cursor)]
    assert stream.exposure(cursor)["tokens"] == sum(drawn)


def test_pair_stream_leaves_out_what_does_not_fit_and_says_so() -> None:
    stream = PairStream(FakeTable(10, 999, 30, 40), FakeTokens(3, 3, 0, 99), 0, max_frames=100, max_tokens=20)
    batches, cursor = stream.next_update(0, budget=3)
    assert batches[0].inputs.speech.lengths == (10, 10, 10) and cursor == 3
    reasons = {"without text": (1, 30), "over longest_pair (1 s)": (1, 999), "over longest_text (20 tokens)": (1, 40)}
    assert stream.left_out == {name: Loss(n, round(frames / 1079, 4)) for name, (n, frames) in reasons.items()}
    assert stream.supply()["left_out"]["over longest_pair (1 s)"] == {"items": 1, "share": 0.9259}
    assert stream.supply()["items"] == 1 and "shortened" not in stream.supply()
    with pytest.raises(UserError, match=r"some.train has no item to pre-train on .*1 over longest_pair \(1 s\)"):
        PairStream(FakeTable(999), FakeTokens(3), 0, max_frames=100, max_tokens=20)


def test_long_texts_are_cut_into_pieces_that_lose_nothing() -> None:
    """Of equal length but for one token, in every epoch all of them, and under the ids of their rows."""
    tokens = FakeTokens(7, 0, 8, 9, 60)
    stream = TextStream(FakeTable(1, 1, 1, 1, 1), tokens, 0, max_tokens=10)
    assert stream.pieces.lengths.tolist() == [7, 0, 8, 4, 5, 7, 8, 7, 8, 7, 8, 7, 8]
    assert stream.supply()["shortened"] == {"cut into pieces of longest_text (10 tokens)": {"items": 2, "share": 0.0}}
    assert stream.left_out == {"without text": Loss(1, 0.0182)} and stream.supply()["tokens"] == 84 + 2 * 12
    seen, rows, cursor = [], [], 0
    while cursor < 12:
        (batch,), cursor = stream.next_update(cursor, budget=10)
        ids = batch.inputs.ids_S.tolist()
        assert (ids[0], ids[-1]) == (4, 5) and len(batch.ids) == 1
        seen += ids[1:-1]
        rows += [f"row-{one // 100}" for one in ids[1:-1]][:1]
        assert batch.ids == (rows[-1],)
    assert sorted(seen) == sorted(one for i in (0, 2, 3, 4) for one in tokens[i])


def test_long_speech_is_cropped_and_counted() -> None:
    stream = SpeechStream(FakeTable(1000, 400, 600), 0, max_frames=500)
    how = "cropped to longest_speech (5 s), at another place in each epoch"
    assert stream.supply()["shortened"] == {how: {"items": 2, "share": 0.3}}


def test_streams_open_the_tables_they_are_named_for(tmp_path: Path) -> None:
    tables, tokens = {}, {}
    for name in ("speech", "pair", "text"):
        with TableWriter(tmp_path / name) as writer:
            for i in range(3):
                mel = None if name == "text" else np.full((20 + i, 80), i, np.float16)
                writer.add({"id": str(i), "text": "a b c"}, mel)
        tables[name] = Table(tmp_path / name, f"{name}.train")
        tokens[name] = tmp_path / f"{name} as ids"
        tokens[name].mkdir()
        np.arange(9, dtype="<i4").tofile(tokens[name] / "text.i32")
        np.array([0, 2, 5, 9], "<i8").tofile(tokens[name] / "text.i64")
    opened = packing.streams(tables, tokens, seed=0)
    assert list(opened) == ["pair", "speech", "text"]
    (batch,), _ = opened["pair"].next_update(0, budget=3)
    assert sorted(zip(batch.inputs.speech.lengths, batch.inputs.text.lengths)) == [(20, 4), (21, 5), (22, 6)]
