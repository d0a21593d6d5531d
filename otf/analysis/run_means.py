"""Means of a run with their errors, and those over replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.averages import Mean, mean_of
from otf.store.thermo import read_thermo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otf.configuration import BoolArray, FloatArray
    from otf.store.schema import RunFolder

UNKNOWN = Mean(math.nan, math.nan, 0.0)


@dataclass(frozen=True)
class RunMeans:
    """Means of one run, or over replicas, each with its standard error.

    Attributes
    ----------
    temperature_K, pressure_GPa : of the atoms
    volume_A3_per_atom : of the cell
    energy_eV_per_atom : potential energy
    """

    temperature_K: Mean = UNKNOWN  # noqa: N815 - units as users write them
    pressure_GPa: Mean = UNKNOWN  # noqa: N815
    volume_A3_per_atom: Mean = UNKNOWN  # noqa: N815
    energy_eV_per_atom: Mean = UNKNOWN  # noqa: N815


QUANTITIES = tuple(field.name for field in fields(RunMeans))


def means_of_run(folder: RunFolder, *, first_step: int, n_atoms: int) -> RunMeans:
    """Return the means of the rows of ``thermo.csv`` after a step.

    Parameters
    ----------
    folder
        Of the run.
    first_step
        Rows up to this step, itself included, are left out.
    n_atoms
        Energy and volume are per atom.

    Notes
    -----
    The standard error counts correlated rows by their statistical inefficiency
    (:mod:`otf.analysis.averages`). What is unknown is NaN.

    Raises
    ------
    StoreError
        When there is no table, or it is damaged.
    """
    table = read_thermo(folder.thermo)
    return means_of_rows(table, table["step"] > first_step, n_atoms=n_atoms)


def means_of_rows(
    table: Mapping[str, FloatArray], rows: BoolArray, *, n_atoms: int
) -> RunMeans:
    """Return the means of some rows of a table, with errors as in `means_of_run`.

    Parameters
    ----------
    table
        Columns (r,) by name.
    rows
        (r,) which of them count.
    n_atoms
        Energy and volume are per atom.
    """
    return RunMeans(
        _mean(table["temperature_K"][rows]),
        _mean(table["pressure_GPa"][rows]),
        _mean(table["volume_A3"][rows] / n_atoms),
        _mean(table["potential_eV"][rows] / n_atoms),
    )


def over_replicas(replicas: Sequence[RunMeans]) -> RunMeans:
    """Return the means over runs that differ in their seeds alone.

    Notes
    -----
    The standard error is that of the scatter of the replicas, sd / sqrt(n), whatever
    the runs say of their own; NaN for one replica. Replicas without a value do not
    count.
    """
    means = {}
    for name in QUANTITIES:
        values = np.array([getattr(replica, name).value for replica in replicas])
        known = values[np.isfinite(values)]
        n = len(known)
        spread = float(np.std(known, ddof=1)) if n > 1 else math.nan
        value = float(known.mean()) if n else math.nan
        means[name] = Mean(value, spread / math.sqrt(n) if n else math.nan, float(n))
    return RunMeans(**means)


def _mean(series: FloatArray) -> Mean:
    if not len(series) or not np.isfinite(series).all():
        return UNKNOWN
    # What is held constant varies by rounding, which is no error.
    if np.ptp(series) <= 1e-10 * float(np.abs(series).max()):
        return Mean(float(series[0]), 0.0, float(len(series)))
    return mean_of(series)
