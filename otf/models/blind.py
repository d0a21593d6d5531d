"""What a fit to a data set says of its parts when each is left out in turn.

The fit itself goes on undisturbed: while its rows pass by, the normal equations of a
part are kept, and those of the fit less these are the regression without it. So nothing
is described or chosen twice. A part takes along the references that come from it: a fit
that knows an environment is not surprised by it, whatever labels it lacks. Precisions
and energies of the elements stay those of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg.blas import dsyrk

from otf.models.evidence import GramSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otf.configuration import Configuration, FloatArray, IntArray, Labels
    from otf.models.basis import Basis
    from otf.models.batch import Block
    from otf.models.bayesian_linear import BayesianLinear
    from otf.models.evidence import Posterior
    from otf.models.references import References
    from otf.models.solvers import Problem

    Frames = Sequence[tuple[Configuration, Labels]]
    Progress = Callable[[str, int, int], None]

PARTS = 5
STRETCHES = 4  # of consecutive frames in every part
FEWEST = 10  # frames; two in every part
ENOUGH = 100  # frames left out; with so many in fewer parts others are not
# What is compared: frames, and of their atoms some, since a row costs m^2.
FRAMES, ATOMS = 300, 1200
ATOMS_OF_FRAME = 16  # of every species: enough for the mean of their deviations
_BATCH = 1024  # rows that are whitened together
_NEVER = -1  # the part of frames that are not left out


@dataclass(frozen=True, eq=False)
class BlindFrame:
    """Errors of a frame, and deviations without noise, of a fit that had not seen it.

    Attributes
    ----------
    frame : its number in the data set
    numbers : (a,) of the atoms that were compared
    force_errors : (a, 3) eV/angstrom, label minus prediction
    force_deviations : (a,) eV/angstrom, sqrt(tr C_i/3)
    energy_error, energy_deviation : (1,) eV/atom; (0,) without a label or its weight
    stress_errors, stress_deviations : (s,) eV/angstrom^3, components that are known
    """

    frame: int
    numbers: IntArray
    force_errors: FloatArray
    force_deviations: FloatArray
    energy_error: FloatArray
    energy_deviation: FloatArray
    stress_errors: FloatArray
    stress_deviations: FloatArray


class _Rest(NamedTuple):
    """The fit to all parts but one.

    Attributes
    ----------
    basis : of the references that come from them
    kept : (m',) their places among all
    posterior : of the weights
    """

    basis: Basis
    kept: IntArray
    posterior: Posterior


def parts_of(n_frames: int) -> list[IntArray]:
    """Return the frames of every part: stretches of neighbours, evenly interleaved.

    There must be as many frames as parts. Frames of a trajectory resemble those before
    and after them: a single one that is left out has been seen all the same, of a
    stretch only the ends have.
    """
    stretches = np.array_split(np.arange(n_frames), min(PARTS * STRETCHES, n_frames))
    return [np.concatenate(stretches[k::PARTS]) for k in range(PARTS)]


class BlindParts:
    """Normal equations of parts of a data set, and rows of frames to judge by.

    Parameters
    ----------
    model
        That is about to be fitted.
    frames
        All of the data set, at least ``FEWEST``.
    """

    def __init__(self, model: BayesianLinear, frames: Frames) -> None:
        self._model = model
        self._configurations = [configuration for configuration, _ in frames]
        self._part = np.full(len(frames), _NEVER)
        for k, members in enumerate(parts_of(len(frames))):
            if k * len(frames) < PARTS * ENOUGH:
                self._part[members] = k
        self._atoms = _sampled_atoms(
            self._configurations, np.flatnonzero(self._part != _NEVER)
        )
        self._whole = np.empty((0, 0)), np.empty(0)
        self._parts: dict[int, tuple[FloatArray, FloatArray]] = {}
        self._waiting: list[tuple[FloatArray, FloatArray]] = []
        self._open = _NEVER  # the part they are of
        self._kept: dict[tuple[int, str], tuple[FloatArray, FloatArray]] = {}
        self._origins = np.empty(0, dtype=np.int64)

    def begin(self, chosen: References, origins: IntArray) -> None:
        """Take note of the frames that the references of the model come from."""
        frames = dict(zip(map(bytes, chosen.directions), origins.tolist(), strict=True))
        kept = self._model.current_basis.references
        self._origins = np.array([frames[bytes(row)] for row in kept.directions])

    def add(self, block: Block) -> None:
        """Take rows and labels as the fit takes them.

        A frame whose forces are known in part is fitted, but not judged by them.
        """
        frame, kind, rows, labels = block
        part = int(self._part[frame])
        if part == _NEVER:
            return
        if part != self._open or sum(len(y) for _, y in self._waiting) >= _BATCH:
            self._fold()
            self._open = part
        self._waiting.append((rows, labels))
        if frame not in self._atoms:
            return
        if kind != "force":
            self._kept[frame, kind] = rows.copy(), labels.copy()
        elif len(labels) == 3 * self._configurations[frame].n_atoms:
            chosen = (3 * self._atoms[frame][:, None] + np.arange(3)).ravel()
            if len(chosen):
                self._kept[frame, kind] = rows[chosen], labels[chosen]

    def _fold(self) -> None:
        """Add the rows that wait to the normal equations of their part."""
        if not self._waiting:
            return
        rows = np.concatenate([rows for rows, _ in self._waiting])
        labels = np.concatenate([labels for _, labels in self._waiting])
        self._waiting = []
        rows = self._model.prior.rows(self._model.current_basis, rows)
        m = rows.shape[1]
        if self._open not in self._parts:
            self._parts[self._open] = np.zeros((m, m), order="F"), np.zeros(m)
        gram, projection = self._parts[self._open]
        self._parts[self._open] = _added(gram, rows), projection + rows.T @ labels

    def end(self, problem: Problem) -> None:
        """Take the normal equations of the fit."""
        self._fold()
        rows, labels = problem.rows()
        m = rows.shape[1]
        self._whole = _added(np.zeros((m, m), order="F"), rows), rows.T @ labels

    def judged(self, progress: Progress) -> list[BlindFrame]:
        """Return what every frame's labels are off by, once the model is fitted.

        Notes
        -----
        With G and b the normal equations of the fit, G_k and b_k those of part k, and T
        the columns that rotate whitened rows to a basis without its references, the
        part is predicted with the weights s_v S T^T (b - b_k), where
        S^-1 = s_v T^T (G - G_k) T + s_w.
        """
        out = []
        for done, part in enumerate(self._parts):
            progress("calibrate", done, len(self._parts))
            rest = self._without(part)
            members = [k for k in self._atoms if self._part[k] == part]
            out += [self._of_frame(k, rest) for k in members]
        return sorted(out, key=lambda one: one.frame)

    def _without(self, part: int) -> _Rest:
        model, report = self._model, self._model.report
        assert report is not None  # set by the fit
        (whole, all_labels), (own, labels) = self._whole, self._parts[part]
        lower = whole - own
        gram, projection = lower + np.tril(lower, -1).T, all_labels - labels
        dropped = np.flatnonzero(self._part[self._origins] == part)
        basis, rotation = model.current_basis.without(dropped)
        turn = model.prior.rotation(dropped, rotation)
        # Of the labels themselves only their projection says anything of weights.
        system = GramSystem(turn.T @ gram @ turn, turn.T @ projection, 0.0, 0)
        posterior = system.posterior(report.prior_precision, report.noise_precision)
        kept = np.setdiff1d(np.arange(len(self._origins)), dropped)
        return _Rest(basis, kept, posterior)

    def _of_frame(self, frame: int, rest: _Rest) -> BlindFrame:
        found = dict(self._compared(frame, rest))
        nothing = np.empty(0), np.empty(0)
        errors, deviations = found.get("force", nothing)
        energy, stress = found.get("energy", nothing), found.get("stress", nothing)
        numbers = self._configurations[frame].numbers[self._atoms[frame]]
        return BlindFrame(
            frame=frame,
            numbers=numbers[: len(errors) // 3],
            force_errors=errors.reshape(-1, 3),
            force_deviations=np.sqrt((deviations.reshape(-1, 3) ** 2).mean(axis=1)),
            energy_error=energy[0],
            energy_deviation=energy[1],
            stress_errors=stress[0],
            stress_deviations=stress[1],
        )

    def _compared(
        self, frame: int, rest: _Rest
    ) -> Iterator[tuple[str, tuple[FloatArray, FloatArray]]]:
        """Yield kind, errors and deviations in plain units."""
        model, posterior = self._model, rest.posterior
        for kind in ("energy", "force", "stress"):
            if (frame, kind) not in self._kept:
                continue
            rows, labels = self._kept[frame, kind]
            rows = model.prior.rows(rest.basis, rows[:, rest.kept])
            unit = model.training.noise.of(kind) / model.weights.of(kind)
            spread = rows @ posterior.root
            yield (
                kind,
                (
                    unit * (labels - rows @ posterior.weights),
                    unit * np.sqrt(np.einsum("ij,ij->i", spread, spread)),
                ),
            )


def _added(gram: FloatArray, rows: FloatArray) -> FloatArray:
    """Return a Gram matrix, its lower triangle in LAPACK's order, with rows added."""
    return np.asarray(
        dsyrk(
            1.0,
            np.asfortranarray(rows.T),
            beta=1.0,
            c=gram,
            lower=True,
            overwrite_c=True,
        )
    )


def _sampled_atoms(
    configurations: Sequence[Configuration], left_out: IntArray
) -> dict[int, IntArray]:
    """Return the atoms to compare of every left-out frame that is compared.

    Frames are spread evenly, and so are those of them whose forces count; there the
    atoms of every species are drawn by lot.
    """
    generator = np.random.default_rng(0)
    n = len(left_out)
    chosen = np.unique(np.linspace(0, n - 1, min(n, FRAMES)).astype(np.int64))
    frames = left_out[chosen]
    out = {int(k): np.empty(0, dtype=np.int64) for k in frames}
    drawn = {k: _drawn(configurations[k].numbers, generator) for k in out}
    share = min(1.0, ATOMS / max(sum(map(len, drawn.values())), 1))
    # A frame counts where the running sum of shares passes a whole number.
    passed = np.floor(share * np.arange(len(frames) + 1) + 0.5 * share)
    for k, (before, after) in zip(out, pairwise(passed), strict=True):
        if after > before or share == 1.0:
            out[k] = drawn[k]
    return out


def _drawn(numbers: IntArray, generator: np.random.Generator) -> IntArray:
    """Return at most ``ATOMS_OF_FRAME`` atoms of every species, sorted."""
    parts = [np.flatnonzero(numbers == z) for z in np.unique(numbers)]
    chosen = [
        atoms
        if len(atoms) <= ATOMS_OF_FRAME
        else generator.choice(atoms, ATOMS_OF_FRAME, replace=False)
        for atoms in parts
    ]
    return np.sort(np.concatenate(chosen))
