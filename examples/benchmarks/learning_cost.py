"""What learning costs: every part of a model update against the speed of the machine.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python learning_cost.py [--quick]

Stillinger-Weber silicon, 64 atoms, frames rattled by 0.03 to 0.3 angstrom in strained
cells, default descriptor. For each operation the smallest processor time of three is
printed beside its nominal number of floating-point operations, the time these take at
the DGEMM rate measured in the same run, and the ratio of both. Then the operations are
timed for several numbers of stored frames at one number of references, and the other
way round, and the exponents of a straight line through the logarithms are printed.
The rows of new frames and references are computed by the descriptor; they are timed on
lines of their own and not counted in the others.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.models import training
from otf.models.basis import Basis
from otf.models.bayesian_linear import BayesianLinear
from otf.models.design import raw_rows
from otf.models.interface import KINDS
from otf.models.rows import RowBlock
from otf.models.solvers import LinearRidge
from otf.models.sparsify import pivoted_cholesky

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otf.models.references import References

NEW = 10  # references appended or dropped at once
REPEATS = 3


@dataclass(frozen=True)
class Timing:
    """An operation: seconds of processor time, and 1e9 operations it stands for."""

    name: str
    seconds: float
    giga: float  # NaN where it is the descriptor's work


def frame(rng: np.random.Generator) -> tuple[Configuration, Labels]:
    """Return 64 labelled atoms, rattled in a strained cell."""
    crystal = bulk("Si", "diamond", a=5.43 * (1 + 0.03 * rng.normal()), cubic=True)
    c = Configuration.from_atoms(crystal.repeat(2))
    shift = rng.uniform(0.03, 0.3) * rng.normal(size=(c.n_atoms, 3))
    c = c.moved(c.positions + shift)
    energy, forces, virial = StillingerWeber().evaluate(c)
    return c, Labels(energy, forces, virial / c.volume)


def learned(
    n_frames: int, n_references: int
) -> tuple[BayesianLinear, list[References]]:
    """Return a model of so many frames and references, and atoms to append."""
    rng = np.random.default_rng(0)
    frames = [frame(rng) for _ in range(n_frames)]
    model = BayesianLinear(PowerSpectrum(species=(14,)))
    model.prepare([c for c, _ in frames[:8]])
    empty = model.current_basis.references
    # Always the same atoms to choose from, whatever the number of stored frames.
    rng = np.random.default_rng(1)
    pool = empty.joined(
        *(empty.like(model.describe(frame(rng)[0])) for _ in range(100))
    )
    chosen = pool.subset(
        pivoted_cholesky(pool, bound=1e-7, limit=n_references + NEW * REPEATS)
    )
    assert chosen.n_references == n_references + NEW * REPEATS
    first = chosen.subset(np.arange(n_references))
    model.basis = Basis.of(first, model.options.jitter)
    model.training.blocks = {kind: RowBlock(n_references) for kind in KINDS}
    nothing = [np.arange(0)] * n_frames
    model.extend(frames, nothing)
    model.fit_weights()
    later = [
        chosen.subset(n_references + NEW * k + np.arange(NEW)) for k in range(REPEATS)
    ]
    return model, later


def processor_time(work: Callable[[], object]) -> float:
    """Return the seconds a piece of work takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def least(work: Callable[[], object]) -> float:
    """Return the smallest of several times."""
    return min(processor_time(work) for _ in range(REPEATS))


class WithoutRows:
    """Within it the descriptor's part of an update is done beforehand, not timed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._compute = training.raw_rows

    def __enter__(self) -> WithoutRows:
        def timed(*arguments):
            begun = time.process_time()
            out = self._compute(*arguments)
            self.seconds += time.process_time() - begun
            return out

        training.raw_rows = timed
        return self

    def __exit__(self, *_: object) -> None:
        training.raw_rows = self._compute


def update_time(work: Callable[[], object]) -> float:
    """Return the seconds of a piece of work without those of the descriptor."""
    with WithoutRows() as rows:
        total = processor_time(work)
    return total - rows.seconds


def timings(n_frames: int, n_references: int) -> Iterator[Timing]:
    """Yield the timings of every operation at one size."""
    model, later = learned(n_frames, n_references)
    rng = np.random.default_rng(2)
    m = n_references
    new = [frame(rng) for _ in range(REPEATS)]
    environments = model.describe(new[0][0])
    references = model.current_basis.references
    rows = least(lambda: raw_rows(model.descriptor, references, environments))
    yield Timing("rows of one frame (descriptor)", rows, np.nan)
    few = references.subset(np.arange(NEW))
    rows = least(
        lambda: [
            raw_rows(model.descriptor, few, f.environments(model.descriptor))
            for f in model.training.frames
        ]
    )
    yield Timing(f"columns of {NEW} references (descriptor)", rows, np.nan)
    one = min(update_time(lambda f=f: model.extend([f], [np.arange(0)])) for f in new)
    r, total = 3 * 64 + 7, model.training.n_rows
    yield Timing("append one frame", one, 2.0 * r * m**2 * 1e-9)
    check = least(lambda: _check_again(model))
    yield Timing("is any reference redundant?", check, (1 / 3 + 1) * m**3 * 1e-9)
    evidence, model.solver = model.solver, LinearRidge(1.0)
    held = least(model.fit_weights)
    # Cholesky factor, its inverse, and the root of the covariance; then the screen.
    k = min(m, model.options.screen_references)
    screen = 0.0 if k == m else m**3 / 3 + 3.0 * m * k**2 + 2 * m**2 * k
    solve = (1 / 3 + 1 / 3 + 1) * m**3
    yield Timing("fit, precisions held", held, (solve + screen) * 1e-9)
    model.solver = evidence
    fit = least(model.fit_weights)
    yield Timing("fit, with the evidence", fit, (9 * m**3 + m**3 + screen) * 1e-9)
    grown = min(
        update_time(lambda part=part: model.append_references(part)) for part in later
    )
    flops = 4.0 * total * m * NEW
    yield Timing(f"append {NEW} references", grown, flops * 1e-9)
    m = model.n_references
    dropped = np.sort(rng.choice(m, NEW, replace=False))
    drop = processor_time(lambda: model.drop_references(dropped))
    m -= int(dropped.min())
    flops = total * m**2 + 2.0 * m**3 + 8 / 3 * m**3
    yield Timing(f"drop {NEW} references", drop, flops * 1e-9)


def _check_again(model: BayesianLinear) -> None:
    model._independent = (None, 0.0)
    assert model.drop_redundant(1e-13) == 0


def dgemm_rate() -> float:
    """Return 1e9 floating-point operations per second of a square product."""
    a = np.random.default_rng(0).normal(size=(1000, 1000))
    return 2.0 / min(processor_time(lambda: a @ a) for _ in range(10))


def print_table(found: list[Timing], rate: float) -> None:
    """Print seconds beside those at the DGEMM rate."""
    print(f"{'operation':<42}{'CPU s':>9}{'GFLOP':>9}{'at DGEMM':>10}{'ratio':>7}")
    for t in found:
        line = f"{t.name:<42}{t.seconds:9.4f}"
        if np.isfinite(t.giga):
            ideal = t.giga / rate
            line += f"{t.giga:9.3f}{ideal:10.4f}{t.seconds / ideal:7.1f}"
        print(line)


def print_exponents(
    sizes: list[int], by_size: list[list[Timing]], quantity: str
) -> None:
    """Print the exponents of the growth with a quantity."""
    print(f"\nexponents with the number of {quantity}, {sizes}")
    for row in zip(*by_size, strict=True):
        slope = np.polyfit(np.log(sizes), np.log([t.seconds for t in row]), 1)[0]
        seconds = "".join(f"{t.seconds:9.4f}" for t in row)
        print(f"{row[0].name:<42}{slope:6.2f}  {seconds}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    quick = parser.parse_args().quick
    frames, references = (
        ([10, 20], [100, 200])
        if quick
        else (
            [50, 100, 200],
            [250, 500, 1000],
        )
    )
    rate = dgemm_rate()
    print(f"DGEMM of order 1000: {rate:.1f} GFLOP/s")
    largest = list(timings(frames[-1], references[-1]))
    print(f"{frames[-1]} frames of 64 atoms, {references[-1]} references")
    print_table(largest, rate)
    fewer = [list(timings(n, references[-1])) for n in frames[:-1]]
    print_exponents(frames, [*fewer, largest], "structures")
    smaller = [list(timings(frames[-1], m)) for m in references[:-1]]
    print_exponents(references, [*smaller, largest], "references")


if __name__ == "__main__":
    main()
