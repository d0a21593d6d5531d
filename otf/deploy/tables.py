"""Samples of the radial tables, which are rebuilt and not stored.

A model file holds the parameters of the tables alone. A library or a version that makes
another table of the same parameters would change every prediction, so a few values go
with the model. They are taken at distances and not at nodes: a finer table of the same
functions is the same table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.errors import StoreError
from otf.kernels import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from otf.configuration import FloatArray
    from otf.kernels import RadialTable
    from otf.potential import Arrays

    Tables = dict[str, RadialTable]

SAMPLES = 12
# Of the largest value. Splines and quadratures of good tables differ by 1e-11.
TOLERANCE = 1e-9
_GROUP = "tables"


def sampled(tables: Tables) -> dict[str, NDArray[np.generic]]:
    """Return distances and the values there of every table, as named arrays."""
    out: dict[str, NDArray[np.generic]] = {}
    for name, table in tables.items():
        distance = table.cutoff * (np.arange(SAMPLES) + 0.618) / SAMPLES
        out[f"{_GROUP}/{name}/distance"] = distance
        out[f"{_GROUP}/{name}/values"] = values_at(distance, table)
    return out


def require_same(tables: Tables, arrays: Arrays) -> None:
    """Compare tables with the samples of a model file, where it has any.

    Raises
    ------
    StoreError
        When a table differs; names the part, the distance and by how much.
    """
    for name, table in tables.items():
        wanted = arrays.get(f"{_GROUP}/{name}/values")
        if wanted is None:
            continue
        distance = np.asarray(arrays[f"{_GROUP}/{name}/distance"], dtype=np.float64)
        found = values_at(distance, table)
        if found.shape != wanted.shape:
            raise StoreError(
                f"the radial table of the {name} part has other functions than the "
                f"file says ({found.shape[1:]}, expected {wanted.shape[1:]}): fit the "
                "model again"
            )
        values = np.asarray(wanted, dtype=np.float64)
        off = np.abs(found - values).max(axis=(1, 2)) / np.abs(values).max()
        worst = int(np.argmax(off))
        if not off[worst] <= TOLERANCE:
            raise StoreError(
                f"the radial table of the {name} part, rebuilt from its parameters, is "
                f"not that of the model: at {distance[worst]:.3f} A it is off by "
                f"{off[worst]:.3g} of the largest value, allowed are {TOLERANCE:.3g}; "
                "load it with the version that saved it, or fit it again"
            )


def values_at(distance: FloatArray, table: RadialTable) -> FloatArray:
    """Return h_nl(r) Y_l0(z) of every distance, (k, l_max + 1, n_max).

    Notes
    -----
    The coefficients of atoms with one neighbour each on the z axis, where Y_lm vanishes
    for m other than 0.
    """
    k = len(distance)
    vector = np.zeros((k, 3))
    vector[:, 2] = distance
    coefficients: FloatArray = load("reference").kernels.expand(
        np.arange(k + 1), np.zeros(k, dtype=np.int64), vector, distance, table, 1
    )
    orders = np.arange(table.values.shape[2])
    return coefficients[:, 0, orders**2 + orders]
