"""Counter-based random numbers: the definition, in NumPy.

A number is a pure function of (seed, stream, step, index); nothing is carried along, so
that a resumed run, another number of threads or another backend draws the same noise.

One block of Philox4x32-10 [1]_ has the key (seed mod 2^32, seed >> 32) and the
counter (block, step mod 2^32, step >> 32, stream). Its four words w0..w3 make two
64-bit numbers w0 + 2^32 w1 and w2 + 2^32 w3, the top 53 bits of which are two
uniforms; a pair of uniforms makes two normal numbers by Box and Muller [2]_. Block b
fills the entries 2b and 2b + 1. ``uniform`` and ``normal`` share the blocks: use
different streams for independent draws of both.

References
----------
.. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Proc. SC'11, 16 (2011),
   doi 10.1145/2063384.2063405.
.. [2] G. E. P. Box, M. E. Muller, Ann. Math. Stat. 29, 610 (1958),
   doi 10.1214/aoms/1177706645.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
UNIT = 2.0**-53


def check_key(seed: int, stream: int, step: int, n: int) -> None:
    """Refuse what does not fit into the counter, since wrapped numbers would repeat.

    Raises
    ------
    ValueError
        When seed or step leave [0, 2^64), stream leaves [0, 2^32) or n is negative.
    """
    for name, value, bits in (
        ("seed", seed, 64),
        ("stream", stream, 32),
        ("step", step, 64),
    ):
        if not 0 <= value < 2**bits:
            raise ValueError(f"{name} must lie in [0, 2^{bits}), got {value}")
    if not 0 <= n <= 2**33:
        raise ValueError(f"n must lie in [0, 2^33], got {n}")


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Return Philox4x32-10 of counters (4, blocks), 32-bit words held in 64 bits."""
    c0, c1, c2, c3 = counter
    for i in range(ROUNDS):
        # The key goes up by the Weyl constants before every round but the first.
        k0, k1 = (np.uint64((k + i * w) & LOW) for k, w in zip(key, WEYL, strict=True))
        p0 = np.uint64(MULTIPLIERS[0]) * c0
        p1 = np.uint64(MULTIPLIERS[1]) * c2
        high0, high1 = p0 >> np.uint64(32), p1 >> np.uint64(32)
        c0, c1 = high1 ^ c1 ^ k0, p1 & np.uint64(LOW)
        c2, c3 = high0 ^ c3 ^ k1, p0 & np.uint64(LOW)
    return np.stack((c0, c1, c2, c3))


def _integers(seed: int, stream: int, step: int, n: int) -> Words:
    """Return (2, blocks), the top 53 bits of both 64-bit numbers of every block."""
    check_key(seed, stream, step, n)
    block = np.arange((n + 1) // 2, dtype=np.uint64)
    words = (block, step & LOW, step >> 32, stream)
    counter = np.stack([np.full_like(block, w) for w in words])
    w = philox(counter, (seed & LOW, seed >> 32))
    return (w[::2] | (w[1::2] << np.uint64(32))) >> np.uint64(11)


def uniform(seed: int, stream: int, step: int, n: int) -> NDArray[np.float64]:
    """Return (n,) numbers in [0, 1), multiples of 2^-53.

    Parameters
    ----------
    seed
        The 64-bit key.
    stream
        32 bits; independent numbers at equal seed and step.
    step
        64 bits; the clock of the sampler.
    n
        How many; the first m of n numbers do not depend on n.

    Raises
    ------
    ValueError
        When an argument does not fit into its bits.
    """
    pairs = _integers(seed, stream, step, n).T.astype(np.float64)
    return (pairs * UNIT).reshape(-1)[:n]


def normal(seed: int, stream: int, step: int, n: int) -> NDArray[np.float64]:
    """Return (n,) independent normal numbers of mean 0 and variance 1.

    Notes
    -----
    With integers a, b of 53 bits: r = sqrt(-2 ln((a + 1)/2^53)), phi = 2 pi b/2^53, and
    the pair is (r cos phi, r sin phi). No number exceeds sqrt(106 ln 2) = 8.57.
    Arguments and errors are those of ``uniform``.
    """
    a, b = _integers(seed, stream, step, n)
    radius = np.sqrt(-2.0 * np.log((a + np.uint64(1)) * UNIT))
    angle = (2.0 * np.pi) * (b * UNIT)
    pairs = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    return pairs.reshape(-1)[:n]
