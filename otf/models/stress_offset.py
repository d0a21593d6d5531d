"""Check whether the stresses of a data set agree with its energies.

Stresses of a plane-wave calculation with too small a basis carry a constant isotropic
offset against the derivative of its energies (the Pulay stress): a regression cannot
then satisfy energies, forces and stresses together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.models.batch import solve_dataset
from otf.models.bayesian_linear import BayesianLinear
from otf.models.interface import RowWeights
from otf.units import GPA

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.models.batch import Frames

# Fewest frames, and smallest relative spread of the volume per atom, that let energies
# and forces determine a pressure.
MINIMUM_FRAMES = 10
VOLUME_SPREAD = 0.01


@dataclass(frozen=True)
class StressOffset:
    """Mean difference of labelled and energy-derived isotropic stress.

    Attributes
    ----------
    offset : eV/angstrom^3, labelled minus derived, the median over frames
    scatter : eV/angstrom^3, robust standard deviation over frames
    n_frames : frames compared
    is_determined : whether the frames vary enough in volume to say anything
    is_significant : whether the stresses contradict the energies
    """

    offset: float
    scatter: float
    n_frames: int
    is_determined: bool
    is_significant: bool

    @property
    def message(self) -> str:
        """Return one line for the user."""
        if not self.is_determined:
            return (
                "the structures vary too little in volume to check stresses against "
                "energies"
            )
        found = (
            f"stresses differ from the derivative of the energies by "
            f"{self.offset / GPA:+.2f} GPa (scatter {self.scatter / GPA:.2f} GPa, "
            f"{self.n_frames} structures)"
        )
        if not self.is_significant:
            return f"{found}: consistent"
        return (
            f"{found}: a constant isotropic offset, as of too small a plane-wave "
            f"basis; stresses are left out of the fit unless asked for"
        )


def stress_energy_offset(
    model: BayesianLinear,
    frames: Frames,
    *,
    n_references: int = 300,
    max_frames: int = 100,
) -> StressOffset:
    """Compare stresses with those of a fit to energies and forces alone.

    Parameters
    ----------
    model
        Empty; its settings are used, itself is not changed.
    frames
        Training structures with labels.
    n_references
        Of the fit, for each species.
    max_frames
        Frames are thinned evenly to at most this many.

    Notes
    -----
    The offset is the median over frames of the difference of the isotropic parts, its
    scatter 1.4826 times the median absolute deviation. It counts as significant beyond
    twice the scatter of one frame and twice the noise scale of stresses.
    """
    known = [
        (configuration, labels)
        for configuration, labels in frames
        if configuration.pbc.all() and np.isfinite(labels.stress[:3]).all()
    ]
    if len(known) < MINIMUM_FRAMES or not volumes_vary(known):
        return StressOffset(0.0, 0.0, len(known), False, False)
    step = -(-len(known) // max_frames)
    sample = known[::step]
    probe = BayesianLinear(
        model.descriptor,
        covariance=model.covariance,
        baseline=model.baseline,
        noise=model.training.noise,
        weights=RowWeights(model.weights.energy, model.weights.force, 0.0),
        options=model.options,
        isolated_energies=model.isolated_energies,
    )
    solve_dataset(probe, sample, n_references=n_references)
    difference = np.array(
        [
            (labels.stress - probe.predict(configuration).stress)[:3].mean()
            for configuration, labels in sample
        ]
    )
    return judge_offset(difference, probe.training.noise.stress)


def volumes_vary(frames: Frames) -> bool:
    """Return whether energies and forces can determine a pressure."""
    volumes = np.array([c.volume / c.n_atoms for c, _ in frames])
    return bool(np.ptp(volumes) > VOLUME_SPREAD * np.median(volumes))


def judge_offset(difference: FloatArray, noise: float) -> StressOffset:
    """Return what differences of isotropic stresses say.

    Parameters
    ----------
    difference
        (F,) eV/angstrom^3, labelled minus derived.
    noise
        eV/angstrom^3, the scale of stress rows.
    """
    offset = float(np.median(difference))
    scatter = 1.4826 * float(np.median(np.abs(difference - offset)))
    return StressOffset(
        offset=offset,
        scatter=scatter,
        n_frames=len(difference),
        is_determined=True,
        is_significant=abs(offset) > 2.0 * max(scatter, noise),
    )
