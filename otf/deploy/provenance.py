"""What a model was made from and where it may be trusted: plain JSON in its file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.configuration import masked_stress, species_of
from otf.learning.calibration import Law
from otf.learning.laws import NONE, RUN, Laws
from otf.neighbors import NeighborList
from otf.store.labels import dataset_key
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import Configuration, FloatArray, Labels
    from otf.models.interface import FitReport

    Frames = Sequence[tuple[Configuration, Labels]]
    Record = dict[str, object]

# The units of all numbers whose name does not say its own.
UNITS = {
    "length": "angstrom",
    "energy": "eV",
    "force": "eV/angstrom",
    "stress": "eV/angstrom^3, tension positive, xx yy zz yz xz xy",
}
# Distances beyond this are no news of how close atoms came.
CLOSE = 4.0


def now() -> str:
    """Return the present time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def record_of_data(
    frames: Frames,
    *,
    reference: str,
    description: str = "",
    temperatures: Sequence[float] = (),
) -> Record:
    """Return what a model was trained on, and the ranges it covers.

    Parameters
    ----------
    reference
        Fingerprint of the calculator, empty when unknown.
    description
        What it stands for, empty when unknown.
    temperatures
        In K, of the dynamics that made the frames; empty when unknown.
    """
    structures = [configuration for configuration, _ in frames]
    labels = [one for _, one in frames]
    n_atoms = np.array([c.n_atoms for c in structures])
    volumes = np.array([_volume(c) for c in structures])
    pressures = [
        -masked_stress(one.stress, c.pbc)[:3].mean() / GPA
        for c, one in zip(structures, labels, strict=True)
    ]
    forces = np.concatenate([np.empty(0), *(one.forces.ravel() for one in labels)])
    return {
        "dataset": dataset_key(frames),
        "n_frames": len(frames),
        "n_atoms_labelled": int(n_atoms.sum()),
        "reference": reference or None,
        "reference_settings": description or None,
        "range": {
            "atomic_fraction": _fractions(structures),
            "n_atoms": [int(n_atoms.min()), int(n_atoms.max())],
            "volume_A3_per_atom": _range(volumes / n_atoms),
            "pressure_GPa": _range(pressures),
            "energy_eV_per_atom": _range([one.energy for one in labels] / n_atoms),
            "force_component_eV_per_A": _range(np.abs(forces)),
            "distance_A": _range(_shortest(structures)),
            "temperature_K": _range(temperatures),
        },
    }


def record_of_fit(report: FitReport) -> Record:
    """Return size, errors and evidence of a fit; None for kinds without labels."""
    errors = report.errors
    return {
        "n_local_references": report.n_references,
        "n_rows": report.n_rows,
        "n_effective": _number(report.n_effective),
        "prior_precision": _number(report.prior_precision),
        "noise_precision": _number(report.noise_precision),
        "log_evidence": _number(report.log_evidence),
        "clamps": list(report.clamps),
        "training_energy_rmse_meV_per_atom": 1000.0 * errors.energy or None,
        "training_force_rmse_eV_per_A": errors.force or None,
        "training_stress_rmse_GPa": errors.stress / GPA or None,
    }


def record_of_laws(laws: Laws | None) -> Record:
    """Return the laws from deviations to errors with their origin; None is none."""
    if laws is None:
        return {"calibration": None, "calibration_origin": NONE}
    return {
        "calibration": {
            chemical_symbols[z]: _record_of_law(law) for z, law in laws.forces.items()
        },
        "calibration_origin": laws.origin,
        "calibration_frames": laws.n_frames or None,
        "calibration_energy": laws.energy and _record_of_law(laws.energy),
        "calibration_stress": laws.stress and _record_of_law(laws.stress),
    }


def _record_of_law(law: Law) -> Record:
    return {
        "factor": law.factor,
        "exponent": law.exponent,
        "largest": _number(law.largest),
    }


def laws_of(metadata: Mapping[str, object]) -> Laws | None:
    """Return the laws a model file carries; None where there are none.

    Files of the first versions say nothing of the origin: only runs had laws.
    """
    record = metadata.get("calibration")
    if not isinstance(record, dict):
        return None
    count = metadata.get("calibration_frames")
    return Laws(
        {chemical_symbols.index(k): _law_of(law) for k, law in record.items()},
        _known_law(metadata.get("calibration_energy")),
        _known_law(metadata.get("calibration_stress")),
        str(metadata.get("calibration_origin", RUN)),
        count if isinstance(count, int) else 0,
    )


def _known_law(record: object) -> Law | None:
    return _law_of(record) if isinstance(record, dict) else None


def _law_of(record: Mapping[str, float | None]) -> Law:
    factor, exponent = record["factor"], record["exponent"]
    assert factor is not None  # both are written as numbers
    assert exponent is not None
    largest = record["largest"]
    return Law(float(factor), float(exponent), np.inf if largest is None else largest)


def _fractions(structures: Sequence[Configuration]) -> dict[str, list[float]]:
    """Return the smallest and largest atomic fraction of every element."""
    out = {}
    for z in species_of(structures):
        shares = [float(np.mean(c.numbers == z)) for c in structures]
        out[chemical_symbols[z]] = [min(shares), max(shares)]
    return out


def _volume(configuration: Configuration) -> float:
    """Return the volume in angstrom^3, NaN where the cell does not bound the atoms."""
    return configuration.volume if configuration.pbc.all() else np.nan


def _shortest(structures: Sequence[Configuration]) -> list[float]:
    """Return the shortest distance of every structure, NaN where none is close."""
    neighbors = NeighborList(CLOSE)
    out = []
    for configuration in structures:
        distance = neighbors.pairs(configuration).distance
        out.append(float(distance.min()) if len(distance) else np.nan)
    return out


def _range(values: Sequence[float] | FloatArray) -> list[float] | None:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return [float(known.min()), float(known.max())] if len(known) else None


def _number(value: float) -> float | None:
    """Return what JSON can hold."""
    return float(value) if np.isfinite(value) else None
