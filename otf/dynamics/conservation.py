"""The conserved quantity, and the ledger that keeps it so while models change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otf.configuration import FloatArray
    from otf.potential import ModelChange, Prediction
    from otf.state import State


def ledger(
    change: ModelChange, forces: FloatArray, velocities: FloatArray, timestep: float
) -> float:
    """Return the work in eV that a change of model does on the conserved quantity.

    Parameters
    ----------
    change
        Energies and forces of the old and the new model.
    forces
        (n, 3) eV/angstrom, those of the reference, which move the atoms.
    velocities
        (n, 3) angstrom/internal time at the same positions.
    timestep
        Internal time.

    Notes
    -----
    dU = U_after - U_before + dt v.(F_ref - (F_before + F_after)/2). The step that
    arrives ends with a half kick dt/2 F_ref where the old surface would have given
    dt/2 F_before, the next one starts with dt/2 F_ref where the new surface would give
    dt/2 F_after; each difference changes the kinetic energy by dt/2 v.dF + O(dt^2).
    """
    strangeness = forces - 0.5 * (change.forces_before + change.forces_after)
    return (
        change.energy_after
        - change.energy_before
        + timestep * float((velocities * strangeness).sum())
    )


def conserved_energy(state: State, prediction: Prediction) -> float:
    """Return K + U + heat - learning work in eV, constant but for an O(dt^2) error."""
    return (
        state.kinetic_energy
        + prediction.model_energy
        + state.heat
        - state.learning_work
    )
