"""Mixtures of corpora: shares are those asked for, epochs of a corpus are whole, any slot is found again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ablate.data.mix import Mix
from ablate.data.packing import Mixed, Order, SpeechStream, TextStream
from ablate.errors import UserError

RNG = np.random.default_rng(0)


def mix(*weights: float, temperature: float | None = None) -> Mix:
    return Mix(weights=weights, temperature=temperature, names=tuple("abcdefghijkl"[: len(weights)]))


def test_shares_by_hand() -> None:
    sizes = np.array([800.0, 100.0])
    assert mix(1.0, 1.0, temperature=1.0).shares(sizes) == pytest.approx([8 / 9, 1 / 9])
    assert mix(1.0, 1.0, temperature=3.0).shares(sizes) == pytest.approx([2 / 3, 1 / 3])
    assert mix(1.0, 4.0, temperature=3.0).shares(sizes) == pytest.approx([1 / 3, 2 / 3])
    assert mix(2.0, 1.0).shares(sizes) == pytest.approx([2 / 3, 1 / 3])
    assert mix(0.0, 1.0).shares(np.array([0.0, 5.0])).tolist() == [0.0, 1.0]
    assert mix(1.0, 1.0, temperature=0.01).shares(sizes).tolist() == [1.0, 2.0**-300]
    with pytest.raises(UserError, match="data.mix has a weight for a, of which nothing is left to pre-train on"):
        mix(1.0, 1.0).shares(np.array([0.0, 5.0]))


def test_the_inverse_of_a_temperature_is_alpha_of_xlm_r() -> None:
    """XLM-R: q_i ∝ (n_i / Σ n_k)^α."""
    sizes = RNG.uniform(1, 1e6, 12)
    q = (sizes / sizes.sum()) ** 0.3
    np.testing.assert_allclose(mix(*(1.0,) * 12, temperature=1 / 0.3).shares(sizes), q / q.sum(), rtol=1e-12)


def corpora(*counts: int, longest: float = 9.0) -> tuple[np.ndarray, np.ndarray]:
    """The corpus of each item, shuffled, and its amount: the items of corpus c are about c + 1 times as long."""
    corpus_B = RNG.permutation(np.repeat(np.arange(len(counts)), counts))
    return corpus_B, RNG.uniform(1, longest, len(corpus_B)) * (corpus_B + 1)


SHARES = np.array([0.5, 0.3, 0.2])


@pytest.mark.parametrize("bucket", [0, 64, 5000])
def test_the_shares_drawn_are_those_asked_for_and_epochs_are_without_replacement(bucket: int) -> None:
    corpus_B, amounts_B = corpora(700, 150, 40)
    order = Mixed(corpus_B, amounts_B, SHARES, 3, "speech", bucket)
    slots = 60_000
    drawn = np.array([order.index(slot) for slot in range(slots)])
    amount = np.array([amounts_B[drawn][corpus_B[drawn] == c].sum() for c in range(3)])
    np.testing.assert_allclose(amount / amount.sum(), SHARES, atol=0.01)
    for c in range(3):
        own, n = drawn[corpus_B[drawn] == c], int((corpus_B == c).sum())
        times = np.bincount(own, minlength=len(corpus_B))[corpus_B == c]
        if not bucket:
            epochs = own[: len(own) // n * n].reshape(-1, n)
            assert (np.sort(epochs, 1) == np.flatnonzero(corpus_B == c)).all() and len(epochs) > 10
            assert (epochs[0] != epochs[1]).any()
            assert np.ptp(times) <= 1
    np.testing.assert_array_equal(order.seen(slots), np.bincount(drawn, minlength=order.n))


def test_every_64_slots_have_the_shares_as_nearly_as_whole_items_allow() -> None:
    corpus_B, amounts_B = corpora(700, 150, 40)
    order = Mixed(corpus_B, amounts_B, SHARES, 3, "speech")
    mean = np.array([amounts_B[corpus_B == c].mean() for c in range(3)])
    expected = 64 * (SHARES / mean) / (SHARES / mean).sum()
    corpus_S = corpus_B[[order.index(slot) for slot in range(2 * Mixed.BLOCK)]].reshape(-1, 64)
    counts = np.stack([(corpus_S == c).sum(1) for c in range(3)], 1)
    assert (np.abs(counts - expected) < 2).all() and np.abs(counts.mean(0) - expected).max() < 0.1
    assert len(set(map(bytes, corpus_S.astype("u1")))) == len(corpus_S)  # and in every 64 another order


def test_sorting_in_buckets_changes_no_epoch_between_blocks() -> None:
    corpus_B, amounts_B = corpora(70, 15, 4)
    plain, bucketed = (Mixed(corpus_B, amounts_B, SHARES, 3, "speech", bucket) for bucket in (0, 64))
    for block in range(2):
        slots = range(block * Mixed.BLOCK, (block + 1) * Mixed.BLOCK)
        for start in range(slots.start, slots.stop, 64):
            one, other = ([order.index(start + i) for i in range(64)] for order in (plain, bucketed))
            assert sorted(one) == sorted(other)


def test_equal_epochs_at_temperature_one() -> None:
    corpus_B, amounts_B = corpora(700, 150, 40)
    held = np.bincount(corpus_B, amounts_B)
    order = Mixed(corpus_B, amounts_B, mix(*(1.0,) * 3, temperature=1.0).shares(held), 0, "text")
    times_B = order.seen(89_000)
    np.testing.assert_allclose([times_B[corpus_B == c].mean() for c in range(3)], 100, rtol=0.04)


def test_an_order_is_a_function_of_seed_stream_and_slot() -> None:
    corpus_B, amounts_B = corpora(70, 15, 4)

    def order(seed: int = 0, stream: str = "speech") -> Mixed:
        return Mixed(corpus_B, amounts_B, SHARES, seed, stream, 16)

    once = order()
    slots = [250, 3, 99, 9_003, 4095, 4096, 0]
    assert [once.index(slot) for slot in slots] == [order().index(slot) for slot in slots]
    for cursor in (0, 1, 4096, 5_000):
        counted = np.bincount([once.index(slot) for slot in range(cursor)], minlength=len(corpus_B))
        np.testing.assert_array_equal(order().seen(cursor), counted)
    others = [order(*of) for of in ((0,), (1,), (0, "text"))]
    first = [[one.index(slot) for slot in range(50)] for one in others]
    assert first[0] != first[1] and first[0] != first[2]


def test_a_corpus_of_weight_0_is_never_drawn_even_if_it_is_empty() -> None:
    corpus_B, amounts_B = corpora(10, 20)
    for shares in ([0.0, 1.0, 0.0], [1.0, 0.0, 0.0]):
        order = Mixed(corpus_B, amounts_B, np.array(shares), 0, "speech")
        assert {int(corpus_B[order.index(slot)]) for slot in range(5000)} == {shares.index(1.0)}


def table(*frames: int, corpus: list[int]) -> SimpleNamespace:
    return SimpleNamespace(
        name="speech.train",
        frames=np.array(frames),
        corpus=np.array(corpus),
        corpora=("a", "b"),
    )


def test_exposure_and_shares_of_a_stream_by_corpus() -> None:
    frames, corpus = RNG.integers(50, 900, 60), RNG.integers(0, 2, 60)
    stream = SpeechStream(table(*frames, corpus=corpus.tolist()), 0, 400, 0, mix(3.0, 1.0))
    assert stream.shares.tolist() == [0.75, 0.25]
    cursor, seen = 0, []
    for _ in range(200):
        (draws,), cursor = stream.drawn(cursor, 3000)
        seen += [row for _, row in draws]
    about = stream.exposure(cursor)
    hours = [sum(min(400, frames[row]) for row in seen if corpus[row] == c) / 360_000 for c in range(2)]
    for c, name in enumerate("ab"):
        own = about["corpora"][name]
        count = sum(corpus[row] == c for row in seen)
        assert own["items"] == count and own["share"] == [0.75, 0.25][c]
        assert own["hours"] == pytest.approx(hours[c], abs=1e-4)
        assert own["epochs"] == pytest.approx(count / (corpus == c).sum(), abs=1e-3)
    assert about["hours"] == pytest.approx(sum(hours), abs=1e-4) and about["items"] == cursor
    assert hours[0] / sum(hours) == pytest.approx(0.75, abs=0.03)


def test_pieces_of_a_text_belong_to_its_corpus() -> None:
    tokens = SimpleNamespace(lengths=np.array([10, 0, 3, 9]))
    stream = TextStream(table(0, 0, 0, 0, corpus=[1, 1, 0, 0]), tokens, 0, 6, 0, mix(1.0, 0.0))
    rows = {int(stream.pieces.row_P[piece]) for piece in [i for _, i in stream.drawn(0, 300)[0][0]]}
    assert rows == {2, 3} and stream.corpus_B.tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_without_a_mix_nothing_is_mixed() -> None:
    stream = SpeechStream(table(100, 200, 300, corpus=[0, 1, 0]), 5, 400)
    plain = Order(3, 5, "speech")
    assert [stream.order.index(slot) for slot in range(9)] == [plain.index(slot) for slot in range(9)]
    assert "corpora" not in stream.exposure(7)
