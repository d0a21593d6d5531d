"""Every kernel of a force step on a GPU: is it right, and how long does it take.

    python kernels_gpu.py [--device gpu] [--copies 16] [--references 1000] [--steps 20]

Diamond silicon displaced by 0.1 A, 8 x copies^3 atoms in one piece, the default
descriptor with random weights, exponent 4. Prints for every kernel, and for the two
matrix products beside them, the median time of a call, and how far its result is from
that of the numba kernels. With `--device cpu` these are timed by the same lines, which
needs no GPU.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
from floor import rattled_silicon

from otf.descriptors.radial import radial_table
from otf.kernels import Backend, Device, DeviceMissing, RadialTable, load
from otf.neighbors import NeighborList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TWO_BODY, THREE_BODY = radial_table(6.5, 12, 0, 0.5), radial_table(5.5, 8, 4, 0.5)
Stage = tuple[str, "Callable[[], object]"]


def stages(backend: Backend, copies: int, n_references: int) -> Iterator[Stage]:
    """Yield name and call of each stage of a step; a call returns what it made."""
    xp, kernels = backend.xp, backend.kernels
    pairs = NeighborList(6.5).pairs(rattled_silicon(copies, seed=1))
    rng, n = np.random.default_rng(2), len(pairs.first) - 1
    start, neighbor, vector, distance = (
        xp.asarray(x)
        for x in (pairs.first, pairs.neighbor, pairs.vector, pairs.distance)
    )
    species = xp.zeros_like(neighbor)
    two, three = (
        RadialTable(xp.asarray(t.values), t.cutoff) for t in (TWO_BODY, THREE_BODY)
    )
    geometry = start, species, vector, distance
    weights = xp.ones(5)
    c2 = kernels.expand(*geometry, two, 1)
    c3 = kernels.expand(*geometry, three, 1)
    features = kernels.spectrum_full(c3, weights)
    directions, _ = kernels.softened(features, 0.1)
    known = xp.asarray(rng.normal(size=(n_references, features.shape[1])))
    known /= xp.sqrt((known**2).sum(axis=1))[:, None]
    alpha = xp.asarray(rng.normal(size=n_references))
    k = directions @ known.T
    slope = xp.asarray(rng.normal(size=features.shape))
    gradient = xp.asarray(rng.normal(size=vector.shape))

    def pulled(table: RadialTable, c: object) -> object:
        out = xp.zeros_like(vector)
        kernels.add_pair_gradient(*geometry, table, c, out)
        return out

    def powers() -> object:
        return kernels.weighted_power(k.copy(), alpha, 4)

    def forces() -> object:
        out, strain = xp.zeros((n, 3)), xp.zeros(6)
        kernels.add_forces(0, start, neighbor, vector, gradient, out, strain)
        return out

    yield "expand, two-body", lambda: kernels.expand(*geometry, two, 1)
    yield "expand, three-body", lambda: kernels.expand(*geometry, three, 1)
    yield "spectrum_full", lambda: kernels.spectrum_full(c3, weights)
    yield "softened", lambda: kernels.softened(features, 0.1)[0]
    yield "product, u u_B", lambda: directions @ known.T
    yield "weighted_power, a copy", powers
    yield "product, dU/dk u_B", lambda: k @ known
    yield (
        "softened_gradient",
        lambda: kernels.softened_gradient(features, 0.1, slope, slope[:, 0]),
    )
    yield "adjoint_full", lambda: kernels.adjoint_full(c3, weights, slope)
    yield "add_pair_gradient, two-body", lambda: pulled(two, c2)
    yield "add_pair_gradient, three-body", lambda: pulled(three, c3)
    yield "add_forces", forces


def backend_of(device: Device) -> Backend:
    """Return a backend."""
    try:
        return load(device)
    except DeviceMissing as error:
        raise SystemExit(str(error)) from None


def seconds(backend: Backend, call: Callable[[], object], steps: int) -> float:
    """Return the median time of a call, waited for."""
    taken = []
    for _ in range(steps):
        begun = time.perf_counter()
        made = call()
        backend.wait()
        taken.append(time.perf_counter() - begun)
        del made
    return float(np.median(taken))


def main() -> None:
    """Print a line a stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("gpu", "gpu-mixed", "cpu"), default="gpu")
    parser.add_argument("--copies", type=int, default=16)
    parser.add_argument("--references", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    backend, cpu = backend_of(given.device), load("cpu")
    n_atoms = 8 * given.copies**3
    print(f"{n_atoms} atoms, {given.references} references, {given.device}")
    print(f"{'stage':32} {'us':>10} {'ns/atom':>10} {'deviation':>10}")
    size = given.copies, given.references
    for (name, call), (_, right) in zip(
        stages(backend, *size), stages(cpu, *size), strict=True
    ):
        made, expected = call(), right()
        made = made if backend.xp is np else backend.xp.asnumpy(made)
        deviation = np.abs(made - expected).max() / np.abs(expected).max()
        took = seconds(backend, call, given.steps)
        print(f"{name:32} {1e6 * took:10.1f} {1e9 * took / n_atoms:10.1f}", end="")
        print(f" {deviation:10.1e}")


if __name__ == "__main__":
    main()
