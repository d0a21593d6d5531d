"""Counter-based random numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from otf.kernels import noise as reference
from otf.kernels.cpu import noise as cpu

# tests/kat_vectors of Random123, the lines "philox4x32 10": counter, key, words.
KNOWN = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
SEED = 0x299F31D0A4093822
BACKENDS = pytest.mark.parametrize("backend", [reference, cpu], ids=["numpy", "numba"])


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter, key, expected):
    columns = np.array(words(counter), dtype=np.uint64)[:, None]
    found = reference.philox(columns, tuple(words(key)))
    assert found[:, 0].tolist() == words(expected)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_numba_block_gives_the_published_words(counter, key, expected):
    c, k, w = words(counter), words(key), words(expected)
    arguments = (k[0] | k[1] << 32, c[3], c[1] | c[2] << 32, c[0])
    found = cpu._block(*(np.uint64(value) for value in arguments))
    assert found == ((w[0] | w[1] << 32) >> 11, (w[2] | w[3] << 32) >> 11)


@BACKENDS
def test_first_uniforms_are_the_words_of_the_zero_counter(backend):
    w = words(KNOWN[0][2])
    expected = [((w[i] | w[i + 1] << 32) >> 11) / 2**53 for i in (0, 2)]
    assert backend.uniform(0, 0, 0, 2).tolist() == expected


@BACKENDS
def test_first_normals_are_box_muller_of_the_first_uniforms(backend):
    u, v = backend.uniform(SEED, 3, 5, 2)
    radius, angle = np.sqrt(-2.0 * np.log(u + 2.0**-53)), 2.0 * np.pi * v
    expected = [radius * np.cos(angle), radius * np.sin(angle)]
    np.testing.assert_allclose(backend.normal(SEED, 3, 5, 2), expected, atol=1e-15)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100_001])
def test_numba_uniforms_equal_numpy_to_the_bit(n):
    arguments = (SEED, 2**31 + 5, 2**40 + 3, n)
    assert (reference.uniform(*arguments) == cpu.uniform(*arguments)).all()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100_001])
def test_numba_normals_equal_numpy_to_the_last_digit(n):
    arguments = (SEED, 2**31 + 5, 2**40 + 3, n)
    difference = reference.normal(*arguments) - cpu.normal(*arguments)
    assert np.abs(difference).max(initial=0.0) <= 1e-15


@BACKENDS
def test_first_numbers_do_not_depend_on_how_many_are_drawn(backend):
    assert (backend.normal(1, 2, 3, 7) == backend.normal(1, 2, 3, 1000)[:7]).all()


@BACKENDS
@pytest.mark.parametrize(
    "other", [(8, 1, 5), (7 + 2**32, 1, 5), (7, 2, 5), (7, 1, 6), (7, 1, 5 + 2**32)]
)
def test_every_bit_of_seed_stream_and_step_changes_all_numbers(backend, other):
    n = 10_000
    here, there = backend.normal(7, 1, 5, n), backend.normal(*other, n)
    assert not (here == there).any()
    assert abs(np.corrcoef(here, there)[0, 1]) < 4.0 / n**0.5


def test_numbers_do_not_depend_on_threads():
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda step: cpu.normal(SEED, 0, step, 999), range(40)))
    assert all(
        (drawn[step] == cpu.normal(SEED, 0, step, 999)).all() for step in range(40)
    )


def check_normal(numbers: np.ndarray) -> None:
    assert stats.kstest(numbers, "norm").pvalue > 1e-4
    pairs = numbers[::2] ** 2 + numbers[1::2] ** 2
    assert stats.kstest(pairs, "chi2", args=(2,)).pvalue > 1e-4
    for lag in (1, 2, 3):
        products = numbers[lag:] * numbers[:-lag]
        assert abs(products.mean()) < 4.0 / len(products) ** 0.5


def test_normals_are_normal_and_independent():
    check_normal(reference.normal(SEED, 0, 1, 1_000_000))


@pytest.mark.parametrize("mutant", ["radius", "angle", "twice"])
def test_check_of_normality_rejects(mutant):
    u, v = reference.uniform(SEED, 0, 1, 1_000_000).reshape(-1, 2).T
    u = 1.0 - u
    radius = np.sqrt(-2.0 * np.log(u)) if mutant != "radius" else np.sqrt(-np.log(u))
    angle = 2.0 * np.pi * (v if mutant != "angle" else 0.98 * v)
    second = np.sin if mutant != "twice" else np.cos
    numbers = np.stack((radius * np.cos(angle), radius * second(angle)), axis=1)
    with pytest.raises(AssertionError):
        check_normal(numbers.reshape(-1))


def test_uniforms_fill_the_unit_interval():
    numbers = reference.uniform(SEED, 0, 1, 1_000_000)
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4


@BACKENDS
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1, 0, 0, 1), "seed"),
        ((2**64, 0, 0, 1), "seed"),
        ((0, 2**32, 0, 1), "stream"),
        ((0, 0, -1, 1), "step"),
        ((0, 0, 0, -1), "n"),
    ],
)
def test_what_does_not_fit_the_counter_is_refused(backend, arguments, name):
    with pytest.raises(ValueError, match=f"^{name} must lie in"):
        backend.normal(*arguments)
