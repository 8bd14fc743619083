import numpy as np

from encoders import seeds


def test_uniform_is_a_function_of_key_stream_and_index_alone():
    keys = [seeds.key(0, "item", i) for i in range(5)]
    packed = seeds.uniform(keys, "a", [3, 0, 4, 1, 2])
    assert len(packed) == 10 and packed.dtype == np.float64
    np.testing.assert_array_equal(packed[3:7], seeds.uniform([keys[2]], "a", [9])[:4])
    assert not np.isin(packed, seeds.uniform(keys, "b", [3, 0, 4, 1, 2])).any()


def test_uniform_looks_uniform_and_uncorrelated_between_keys_and_indices():
    draws = seeds.uniform(range(400), "a", [500] * 400).reshape(400, 500)  # even with consecutive keys
    assert 0 <= draws.min() and draws.max() < 1
    counts = np.histogram(draws, bins=64, range=(0, 1))[0]
    expected = draws.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 110  # chi-square with 63 degrees of freedom, p about 2e-4
    centred = draws - 0.5
    for shifted in (centred[1:] * centred[:-1], centred[:, 1:] * centred[:, :-1]):
        assert abs(shifted.mean() * 12) < 4 / np.sqrt(shifted.size)


def test_golden_values_never_change():
    np.testing.assert_allclose(seeds.uniform([1], "speech_mask", [2]), GOLDEN, rtol=0, atol=0)


GOLDEN = [0.02988823831898224, 0.5418650441384089]


def test_normal_is_standard_normal_and_a_function_of_key_and_index():
    keys = [seeds.key(0, "item", i) for i in range(40)]
    draws = seeds.normal(keys, "a", [5000] * 40)
    np.testing.assert_array_equal(draws[5000:10_000], seeds.normal([keys[1]], "a", [5000]))
    share = [np.mean(np.abs(draws) < z) for z in (0.5, 1, 2, 3)]
    np.testing.assert_allclose(share, [0.3829, 0.6827, 0.9545, 0.9973], atol=0.004)  # erf(z / sqrt 2)
    assert np.isfinite(draws).all() and abs(draws.mean()) < 0.01
