"""Errors of predictions against labels, in the units papers quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray, Labels
    from otf.potential import Prediction

# Names of errors by kind, to be filled with mae, rmse or max, and what turns an error
# of the units inside into theirs.
NAMES: Final = {
    "energy": "energy_{}_meV_per_atom",
    "forces": "force_{}_eV_per_A",
    "stress": "stress_{}_GPa",
}
SCALES: Final = {"energy": 1e3, "forces": 1.0, "stress": 1.0 / GPA}


@dataclass(frozen=True)
class ErrorReport:
    """Mean absolute, root mean square and largest errors; None without known labels.

    Attributes
    ----------
    n_frames : frames compared
    energy_mae_meV_per_atom, energy_rmse_meV_per_atom : of energies per atom
    force_mae_eV_per_A, force_rmse_eV_per_A : of force components
    stress_mae_GPa, stress_rmse_GPa : of stress components
    energy_max_meV_per_atom, force_max_eV_per_A, stress_max_GPa : largest of each
    energy_mean_meV_per_atom : with its sign, prediction minus label: a difference of
        two phases in it shifts where they are in equilibrium
    """

    n_frames: int
    energy_mae_meV_per_atom: float | None  # noqa: N815 - units as users write them
    energy_rmse_meV_per_atom: float | None  # noqa: N815
    force_mae_eV_per_A: float | None  # noqa: N815
    force_rmse_eV_per_A: float | None  # noqa: N815
    stress_mae_GPa: float | None  # noqa: N815
    stress_rmse_GPa: float | None  # noqa: N815
    energy_max_meV_per_atom: float | None  # noqa: N815
    force_max_eV_per_A: float | None  # noqa: N815
    stress_max_GPa: float | None  # noqa: N815
    energy_mean_meV_per_atom: float | None = None  # noqa: N815


def error_report(
    predictions: Sequence[Prediction], labels: Sequence[Labels]
) -> ErrorReport:
    """Compare predictions with labels; missing labels (NaN) do not count."""
    pairs = list(zip(predictions, labels, strict=True))
    energy = [(p.energy - y.energy) / len(y.forces) for p, y in pairs]
    force = [(p.forces - y.forces).ravel() for p, y in pairs]
    stress = [p.stress - y.stress for p, y in pairs]
    return report_of_errors(
        len(pairs),
        energy=np.array(energy),
        forces=np.concatenate([np.empty(0), *force]),
        stress=np.concatenate([np.empty(0), *stress]),
    )


def report_of_errors(
    n_frames: int, *, energy: FloatArray, forces: FloatArray, stress: FloatArray
) -> ErrorReport:
    """Return the report of differences; those that are NaN do not count.

    Parameters
    ----------
    n_frames
        Frames compared.
    energy
        eV/atom.
    forces
        Components, eV/angstrom.
    stress
        Components, eV/angstrom^3.
    """
    e_mae, e_rmse, e_max = _measures(1000 * energy)
    f_mae, f_rmse, f_max = _measures(forces)
    s_mae, s_rmse, s_max = _measures(stress / GPA)
    known = 1000 * energy[np.isfinite(energy)]
    return ErrorReport(
        n_frames,
        e_mae,
        e_rmse,
        f_mae,
        f_rmse,
        s_mae,
        s_rmse,
        e_max,
        f_max,
        s_max,
        float(known.mean()) if known.size else None,
    )


def _measures(errors: FloatArray) -> tuple[float | None, float | None, float | None]:
    known = errors[np.isfinite(errors)]
    if not known.size:
        return None, None, None
    size = np.abs(known)
    return float(size.mean()), float(np.sqrt((known**2).mean())), float(size.max())
