import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from otf.kernels.cpu.lanes import filled, load, size_of, store, total


@njit
def _combined(a, b, size, out):
    at = 0
    n = len(size)
    for _ in range(a.size // n):
        x, y = load(a, at, size), load(b, at, size)
        z = 2.0 * x - y * 0.5
        z += x * y
        z -= filled(3.0, size)
        z *= y
        store(out, at, z)
        at += n
    return total(load(out, 0, size))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12, 17])
def test_arithmetic_is_that_of_numpy_to_the_last_bit(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(2, 4, n))
    out = np.empty_like(a)
    result = _combined(a, b, size_of(n), out)
    expected = (2.0 * a - b * 0.5 + a * b - 3.0) * b
    np.testing.assert_array_equal(out, expected)
    assert result == pytest.approx(expected[0].sum(), rel=1e-13)


def test_nothing_beside_a_row_is_written():
    out = np.zeros(10)

    @njit
    def write(out, size):
        store(out, 3, filled(1.0, size))

    write(out, size_of(5))
    np.testing.assert_array_equal(out, [0, 0, 0, 1, 1, 1, 1, 1, 0, 0])


def test_an_array_with_gaps_is_refused():
    a = np.zeros((4, 6))[:, ::2]
    with pytest.raises(TypingError):
        _combined(a, a, size_of(3), np.zeros((4, 3)))
