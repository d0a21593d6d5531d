"""Fit a whole data set at once, never holding the design matrix.

References are chosen over all atoms, then the rows of one structure after another are
folded into a triangular factor by Householder QR; Phi^T Phi is never formed, so small
singular values survive.

References
----------
G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., Johns Hopkins 2013, section
5.2.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict, Unpack

import numpy as np
from scipy.linalg.lapack import dtpqrt

from otf.configuration import masked_stress
from otf.errors import OTFError
from otf.models.basis import Basis
from otf.models.composition import ElementEnergies, fractions_of
from otf.models.design import Targets, raw_rows, weighted_rows
from otf.models.evidence import Spectrum
from otf.models.interface import KINDS, FitReport, PerKind
from otf.models.levels import level_shifts, on_one_level, unshifted
from otf.models.solvers import Problem
from otf.models.sparsify import pivoted_cholesky
from otf.models.training import is_forceful
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otf.configuration import Configuration, FloatArray, IntArray, Labels
    from otf.models.bayesian_linear import BayesianLinear
    from otf.models.levels import Unshifted
    from otf.models.references import References

    Frames = Sequence[tuple[Configuration, Labels]]
    Progress = Callable[[str, int, int], None]

_SCALE_FRAMES = 32
# A decomposition of fewer columns takes seconds on one thread, and the threads of the
# matrix library, which wait for each other, many times that on a busy machine.
_SMALL = 2000


class Block(NamedTuple):
    """What one structure gives to a fit by its labels of one kind.

    Attributes
    ----------
    frame : its number in the data set
    kind : energy, force or stress
    rows, labels : (r, m) and (r,), over their noise and times their weight
    """

    frame: int
    kind: str
    rows: FloatArray
    labels: FloatArray


class Watcher(Protocol):
    """Is shown what a fit is made of."""

    def begin(self, chosen: References, origins: IntArray) -> None:
        """See environments, the references of the model among them.

        ``origins`` are the frames they come from, (r,).
        """
        ...

    def add(self, block: Block) -> None:
        """See rows and labels, each once."""
        ...

    def end(self, problem: Problem) -> None:
        """See the regression on all of them."""
        ...


class Unwatched:
    """A watcher that does not look."""

    def begin(self, chosen: References, origins: IntArray) -> None:
        """Do nothing."""

    def add(self, block: Block) -> None:
        """Do nothing."""

    def end(self, problem: Problem) -> None:
        """Do nothing."""


class TriangularFactor:
    """R of a QR factorisation of [Phi | y] whose rows arrive in blocks.

    Parameters
    ----------
    n_columns
        Columns of Phi.
    """

    def __init__(self, n_columns: int) -> None:
        size = n_columns + 1
        # Fortran order: LAPACK then works in place.
        self._triangle = np.zeros((size, size), order="F")
        self._block = np.empty((max(size, 1024), size), order="F")
        self._filled = 0
        self.n_rows = 0
        self.square = 0.0

    def add(self, rows: FloatArray, labels: FloatArray) -> None:
        """Fold rows (r, m) with labels (r,) in."""
        self.n_rows += len(labels)
        self.square += float(labels @ labels)
        while len(labels):
            free = slice(self._filled, self._filled + len(labels))
            taken = len(self._block[free])
            self._block[free, :-1] = rows[:taken]
            self._block[free, -1] = labels[:taken]
            self._filled += taken
            rows, labels = rows[taken:], labels[taken:]
            if self._filled == len(self._block):
                self._fold()

    def _fold(self) -> None:
        if not self._filled:
            return
        self._block[self._filled :] = 0.0  # rows of zeros change nothing
        panel = min(64, len(self._triangle))
        self._triangle, self._block, _, info = dtpqrt(
            0, panel, self._triangle, self._block, overwrite_a=True, overwrite_b=True
        )
        self._filled = 0
        if info != 0:
            raise OTFError(f"the QR factorisation of the design rows failed ({info})")

    def finish(self) -> tuple[FloatArray, FloatArray, float]:
        """Return R (m, m), Q^T y (m,), and the norm of y outside the span of Phi."""
        self._fold()
        upper = np.triu(self._triangle)
        return upper[:-1, :-1], upper[:-1, -1], float(abs(upper[-1, -1]))


class Choices(TypedDict, total=False):
    """What ``solve_dataset`` lets one choose, by the same names."""

    n_references: int | None
    bound: float
    cur_epsilon: float | None
    levels: IntArray | None
    watcher: Watcher | None
    progress: Progress | None


def fit_dataset(
    model: BayesianLinear, frames: Frames, **choices: Unpack[Choices]
) -> FitReport:
    """Fit an empty model to a data set (``solve_dataset``), and measure its errors."""
    solve_dataset(model, frames, **choices)
    assert model.report is not None  # it was solved
    judged = comparable(model, frames, choices.get("levels"))
    model.report = replace(model.report, errors=prediction_errors(model, judged))
    return model.report


def solve_dataset(
    model: BayesianLinear,
    frames: Frames,
    *,
    n_references: int | None = 1000,
    bound: float = 1e-8,
    cur_epsilon: float | None = None,
    levels: IntArray | None = None,
    watcher: Watcher | None = None,
    progress: Progress | None = None,
) -> None:
    """Fit an empty model to a data set and leave it ready to predict.

    Nobody has looked at its errors: they are infinite in its report.

    Parameters
    ----------
    model
        Without any labelled structure; afterwards it predicts, but keeps no rows and
        cannot be extended.
    frames
        Structures with labels; missing labels are NaN.
    n_references
        Largest number of references of each species; None for no cap.
    bound
        Smallest spilling worth a reference.
    cur_epsilon
        When given, redundant references are dropped by CUR at this share of the
        largest eigenvalue.
    levels
        (F,) reference of every frame, 0 for the one the model predicts; energies of
        the others may be shifted by a constant for each species. None for one.
    watcher
        Is shown the references and all rows.
    progress
        Called with (stage, done, total).

    Raises
    ------
    OTFError
        When there are no frames or the model already holds some.
    """
    if not frames:
        raise OTFError("the data set to fit is empty")
    if model.is_fitted or model.n_frames:
        raise OTFError("a data set is fitted by an empty model, this one has learned")
    report, watch = progress or _silent, watcher or Unwatched()
    step = max(1, len(frames) // _SCALE_FRAMES)
    model.prepare([configuration for configuration, _ in frames[::step]])
    chosen, origins = _select(model, frames, n_references, bound, report)
    model.basis = Basis.of(chosen, model.options.jitter)
    if cur_epsilon is not None:
        model.drop_redundant(cur_epsilon, bound=1e-8)
    watch.begin(chosen, origins)
    targets = [Targets.of(c, labels, model.baseline) for c, labels in frames]
    elements = _elements(model, frames, targets, levels)
    with one_blas_thread():
        blocks = _row_blocks(model, frames, targets, elements, report)
        factor, n_lost = _gathered(model, frames, targets, levels, blocks, watch)
    report("solve", 0, 1)
    with one_blas_thread() if model.n_references <= _SMALL else nullcontext():
        problem = _problem(model, factor, frames, n_rows=factor.n_rows - n_lost)
        watch.end(problem)
        solution = model.solver.solve(problem)
        model.adopt(solution, elements)
    report("solve", 1, 1)
    fit = solution.fit
    model.report = FitReport(
        prior_precision=fit.prior_precision,
        noise_precision=fit.noise_precision,
        n_effective=fit.n_effective,
        iterations=fit.iterations,
        log_evidence=fit.log_evidence,
        clamps=fit.clamps,
        n_rows=factor.n_rows - n_lost,
        n_references=model.n_references,
        n_frames=len(frames),
        errors=PerKind(np.inf, np.inf, np.inf),
    )


def comparable(
    model: BayesianLinear, frames: Frames, levels: IntArray | None
) -> Frames:
    """Return frames with their energies on the level a fitted model predicts."""
    if levels is None:
        return frames
    species = model.descriptor.species
    shifts = level_shifts(model.predict, frames, levels, species)
    return on_one_level(frames, levels, shifts, species)


def prediction_errors(model: BayesianLinear, frames: Frames) -> PerKind:
    """Return RMSE of energy per atom, forces and stress; 0 for kinds without labels."""
    parts: dict[str, list[FloatArray]] = {kind: [] for kind in KINDS}
    with one_blas_thread():
        predictions = list(in_order(model.predict, [c for c, _ in frames]))
    for (configuration, labels), prediction in zip(frames, predictions, strict=True):
        energy = (prediction.energy - labels.energy) / configuration.n_atoms
        parts["energy"].append(np.array([energy]))
        parts["force"].append((prediction.forces - labels.forces).ravel())
        known = masked_stress(labels.stress, configuration.pbc)
        parts["stress"].append(prediction.stress - known)
    return PerKind(*(_root_mean_square(np.concatenate(parts[k])) for k in KINDS))


def _root_mean_square(difference: FloatArray) -> float:
    known = difference[np.isfinite(difference)]
    return float(np.sqrt((known**2).mean())) if len(known) else 0.0


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def _gathered(
    model: BayesianLinear,
    frames: Frames,
    targets: Sequence[Targets],
    levels: IntArray | None,
    blocks: Iterator[Block],
    watch: Watcher,
) -> tuple[TriangularFactor, int]:
    """Return the factor of all rows, and how many the shifts of levels have cost."""
    factor, kept = TriangularFactor(model.n_references), list[Block]()
    if levels is not None:
        blocks = _without_energies(blocks, kept)
    for block in blocks:
        factor.add(block.rows, block.labels)
        watch.add(block)
    if levels is None or not kept:
        return factor, 0
    energies = _unshifted(model, frames, targets, levels, kept)
    factor.add(energies.rows, energies.labels)
    for k, block in enumerate(kept):
        rows, labels = energies.rows[k : k + 1], energies.labels[k : k + 1]
        watch.add(block._replace(rows=rows, labels=labels))
    return factor, energies.n_lost


def _select(
    model: BayesianLinear,
    frames: Frames,
    n_references: int | None,
    bound: float,
    progress: Progress,
) -> tuple[References, IntArray]:
    """Choose references of every species by pivoted Cholesky over all atoms.

    The second are the frames they come from, (m,).
    """
    empty = model.current_basis.references
    parts = []
    for done, (configuration, _) in enumerate(frames):
        progress("describe", done, len(frames))
        parts.append(empty.like(model.describe(configuration)))
    pool = empty.joined(*parts)
    frame_of = np.repeat(np.arange(len(frames)), [p.n_references for p in parts])
    chosen, origins = empty, [np.empty(0, dtype=np.int64)]
    for one in np.unique(pool.species):
        progress("select", int(one), len(model.descriptor.species))
        rows = np.flatnonzero(pool.species == one)
        atoms = pool.subset(rows)
        index = pivoted_cholesky(
            atoms, bound=bound, limit=n_references or atoms.n_references
        )
        chosen = chosen.joined(atoms.subset(index))
        origins.append(frame_of[rows[index]])
    return chosen, np.concatenate(origins)


def _elements(
    model: BayesianLinear,
    frames: Frames,
    targets: Sequence[Targets],
    levels: IntArray | None,
) -> ElementEnergies:
    """Fit e0 to the energies of the level the model predicts."""
    known = [
        k
        for k, target in enumerate(targets)
        if len(target.energy) and (levels is None or levels[k] == 0)
    ]
    species = model.descriptor.species
    return ElementEnergies.fitted(
        species,
        fractions_of([frames[k][0] for k in known], species),
        np.array([targets[k].energy[0] for k in known]),
        model.isolated_energies,
    )


def _without_energies(blocks: Iterator[Block], kept: list[Block]) -> Iterator[Block]:
    """Yield all blocks but those of energies, which are kept back."""
    for block in blocks:
        if block.kind == "energy":
            kept.append(block)
        else:
            yield block


def _unshifted(
    model: BayesianLinear,
    frames: Frames,
    targets: Sequence[Targets],
    levels: IntArray,
    kept: Sequence[Block],
) -> Unshifted:
    """Return the rows of all energies with the shifts of levels integrated out."""
    known = [k for k, target in enumerate(targets) if len(target.energy)]
    return unshifted(
        np.concatenate([block.rows for block in kept]),
        np.concatenate([block.labels for block in kept]),
        levels[known],
        fractions_of([frames[k][0] for k in known], model.descriptor.species),
    )


def _row_blocks(
    model: BayesianLinear,
    frames: Frames,
    targets: Sequence[Targets],
    elements: ElementEnergies,
    progress: Progress,
) -> Iterator[Block]:
    """Yield what the structures give to the fit, one after another."""
    noise = model.training.noise
    references = model.current_basis.references

    def rows_of(
        item: tuple[Configuration, Targets],
    ) -> list[tuple[str, FloatArray, FloatArray]]:
        configuration, target = item
        raw = raw_rows(model.descriptor, references, model.describe(configuration))
        e0 = float(elements.per_atom(configuration).mean())
        return list(
            weighted_rows(target, raw, noise=noise, weights=model.weights, e0=e0)
        )

    items = zip([c for c, _ in frames], targets, strict=True)
    for done, blocks in enumerate(in_order(rows_of, items)):
        progress("rows", done, len(frames))
        for block in blocks:
            yield Block(done, *block)


def _problem(
    model: BayesianLinear, factor: TriangularFactor, frames: Frames, *, n_rows: int
) -> Problem:
    triangle, rotated, outside = factor.finish()
    # L^-T is upper triangular, so the transformed factor stays a triangle.
    triangle = model.prior.rows(model.current_basis, triangle)

    def residual_square(weights: FloatArray) -> float:
        left = rotated - triangle @ weights
        return float(left @ left) + outside**2

    def rows() -> tuple[FloatArray, FloatArray]:
        # The part of y outside the span stands in one row of zeros.
        nothing = np.zeros((1, len(triangle)))
        return np.vstack([triangle, nothing]), np.append(rotated, outside)

    def spectrum() -> Spectrum:
        return Spectrum.of_triangle(triangle, rotated, factor.square, n_rows)

    return Problem(
        spectrum=spectrum,
        posterior=lambda s_w, s_v: spectrum().posterior(s_w, s_v),
        residual_square=residual_square,
        rows=rows,
        n_rows=n_rows,
        n_forceful=sum(is_forceful(labels) for _, labels in frames),
        start=(1.0, 1.0),
    )
