"""Baselines as named arrays, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

import numpy as np

from otf.errors import StoreError
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.baselines.dispersion_d2 import DispersionD2
from otf.models.baselines.dispersion_wheels import DispersionD3, DispersionD4
from otf.models.baselines.fixed_charges import FixedCharges
from otf.models.baselines.interface import (
    CompositeBaseline,
    NoBaseline,
    StorableBaseline,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otf.models.baselines.interface import Baseline, Store
    from otf.potential import Arrays

COMPOSITE = "composite"
EXTERNAL = "external"
CALCULATOR = "calculator"


class MakeCalculatorBaseline(Protocol):
    """Builds the baseline of a calculator, which models know by its name only."""

    def __call__(self, name: str, arguments: Mapping[str, object]) -> Baseline:
        """Return a baseline of this calculator with these keyword arguments."""
        ...


_KNOWN: dict[str, Callable[[Arrays], Baseline]] = {
    CoreRepulsion.name: CoreRepulsion.from_arrays,
    FixedCharges.name: FixedCharges.from_arrays,
    DispersionD2.name: DispersionD2.from_arrays,
    DispersionD3.name: DispersionD3.from_arrays,
    DispersionD4.name: DispersionD4.from_arrays,
}


def baseline_to_arrays(baseline: Baseline) -> Store:
    """Return a baseline as arrays; of one nobody knows, that there is one."""
    if isinstance(baseline, CompositeBaseline):
        out: Store = {
            "name": np.array(COMPOSITE),
            "n_parts": np.array(len(baseline.parts)),
        }
        for k, part in enumerate(baseline.parts):
            arrays = baseline_to_arrays(part)
            out |= {f"{k}/{key}": value for key, value in arrays.items()}
        return out
    if isinstance(baseline, StorableBaseline):
        return {"name": np.array(baseline.name), **baseline.to_arrays()}
    return {"name": np.array(EXTERNAL)}


def baseline_from_arrays(
    arrays: Arrays, calculators: MakeCalculatorBaseline | None = None
) -> Baseline:
    """Return the baseline that ``baseline_to_arrays`` took apart.

    Parameters
    ----------
    arrays
        With the name of the baseline.
    calculators
        Needed only where a calculator is, or is part of, the baseline.

    Raises
    ------
    StoreError
        When the baseline is one that was given as an object, or a calculator is needed.
    InputError
        When the program it needs is not installed.
    """
    name = str(arrays["name"])
    if name == NoBaseline.name:
        return NoBaseline()
    if name == COMPOSITE:
        return CompositeBaseline(
            [
                baseline_from_arrays(part_of(arrays, k), calculators)
                for k in range(int(arrays["n_parts"]))
            ]
        )
    if name == CALCULATOR and calculators is not None:
        arguments = json.loads(str(arrays["arguments"]))
        return calculators(str(arrays["calculator"]), arguments)
    if name in _KNOWN:
        return _KNOWN[name](arrays)
    raise StoreError(
        "the model was made with a baseline of its own: give the same one to load it"
    )


def part_of(arrays: Arrays, k: int) -> Store:
    """Return the arrays of one part of a composite."""
    start = f"{k}/"
    return {
        key.removeprefix(start): np.asarray(value)
        for key, value in arrays.items()
        if key.startswith(start)
    }


def names_of(arrays: Arrays) -> list[str]:
    """Return the names of all parts of a stored baseline, for people."""
    name = str(arrays["name"])
    if name == COMPOSITE:
        count = int(arrays["n_parts"])
        return [n for k in range(count) for n in names_of(part_of(arrays, k))]
    if name == CALCULATOR:
        return [f"calculator {arrays['calculator']}"]
    return [name]
