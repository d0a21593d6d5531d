"""Errors of predictions against labels, in the units papers quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray, Labels
    from otf.potential import Prediction


@dataclass(frozen=True)
class ErrorReport:
    """Mean absolute and root mean square errors; None where no label was known.

    Attributes
    ----------
    n_frames : frames compared
    energy_mae_meV_per_atom, energy_rmse_meV_per_atom : of energies per atom
    force_mae_eV_per_A, force_rmse_eV_per_A : of force components
    stress_mae_GPa, stress_rmse_GPa : of stress components
    """

    n_frames: int
    energy_mae_meV_per_atom: float | None  # noqa: N815 - units as users write them
    energy_rmse_meV_per_atom: float | None  # noqa: N815
    force_mae_eV_per_A: float | None  # noqa: N815
    force_rmse_eV_per_A: float | None  # noqa: N815
    stress_mae_GPa: float | None  # noqa: N815
    stress_rmse_GPa: float | None  # noqa: N815


def error_report(
    predictions: Sequence[Prediction], labels: Sequence[Labels]
) -> ErrorReport:
    """Compare predictions with labels; missing labels (NaN) do not count."""
    pairs = list(zip(predictions, labels, strict=True))
    energy = [(p.energy - y.energy) / len(y.forces) for p, y in pairs]
    force = [(p.forces - y.forces).ravel() for p, y in pairs]
    stress = [p.stress - y.stress for p, y in pairs]
    e_mae, e_rmse = _mae_rmse(np.array(energy) * 1000)
    f_mae, f_rmse = _mae_rmse(np.concatenate([np.empty(0), *force]))
    s_mae, s_rmse = _mae_rmse(np.concatenate([np.empty(0), *stress]) / GPA)
    return ErrorReport(len(pairs), e_mae, e_rmse, f_mae, f_rmse, s_mae, s_rmse)


def _mae_rmse(errors: FloatArray) -> tuple[float | None, float | None]:
    known = errors[np.isfinite(errors)]
    if not known.size:
        return None, None
    return float(np.abs(known).mean()), float(np.sqrt((known**2).mean()))
