"""otf-md analyse infrared: infrared absorption from velocities and charges."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from otf.analysis.infrared import infrared
from otf.analysis.vibrations import PER_CM
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.analyses.spectra import (
    SEEN,
    add_spectrum,
    folded,
    named,
    spectral_interval,
    spectral_motion,
)
from otf.errors import InputError
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from otf.analysis.infrared import Absorption
    from otf.store.motion import Motion

LINE = "infrared absorption of atoms with constant charges"
BANDS: Final = 12  # most that are told
NEUTRAL: Final = 1e-6  # e


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_spectrum(parser)
    parser.add_argument(
        "--charges",
        type=charge,
        nargs="+",
        required=True,
        metavar="ELEMENT=E",
        help="charge of every element in e, as in O=-0.82 H=0.41",
    )


def charge(text: str) -> tuple[int, float]:
    """Return atomic number and charge that a text like O=-0.8 means.

    Raises
    ------
    argparse.ArgumentTypeError
        When it means none.
    """
    symbol, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if atomic_numbers.get(symbol, 0) == 0 or not math.isfinite(value):
        msg = f"{text!r} is no element and charge, such as O=-0.82"
        raise argparse.ArgumentTypeError(msg)
    return int(atomic_numbers[symbol]), value


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return the spectrum and its bands.

    Raises
    ------
    InputError
        When velocities, times, frames or charges are missing.
    """
    motion = spectral_motion(arguments)
    charges = dict(arguments.charges)
    with named(arguments.trajectory):
        _require_charges(charges, motion)
        interval = spectral_interval(motion, arguments)
        found = infrared(motion, interval, charges, n_segments=arguments.segments)
    notes = folded(found.wavenumber / PER_CM, found.intensity, interval)
    whole = sum(charges[int(z)] for z in motion.numbers)
    if abs(whole) > NEUTRAL:
        notes.append(
            f"the charges of a cell sum to {whole:g} e; its dipole moment is the one "
            "about the centre of mass"
        )
    told = sorted(found.bands, key=lambda band: -band.intensity)[:BANDS]
    quantities = [
        Quantity("integrated absorption", found.total, found.total_error, "km/mol"),
        Quantity("temperature", found.temperature, unit="K"),
        Quantity("resolution", found.resolution, unit="1/cm"),
    ]
    for k, band in enumerate(sorted(told, key=lambda band: band.position), start=1):
        at, width = band.position, band.position_error
        quantities += [
            Quantity(f"band {k}", at, width, "1/cm"),
            Quantity(
                f"band {k}, intensity",
                band.intensity,
                band.intensity_error,
                "km/mol",
            ),
        ]
    return Outcome(
        quantities=quantities,
        tables={"infrared": _spectrum(found, motion)},
        panels=[_panel(found)],
        notes=notes,
    )


def _require_charges(charges: Mapping[int, float], motion: Motion) -> None:
    """Raise InputError when charges and elements of the atoms are not the same."""
    held = {int(z) for z in motion.numbers}
    for z in sorted(held - set(charges)):
        raise InputError(
            f"no charge is given for {chemical_symbols[z]}: add "
            f"{chemical_symbols[z]}=E to --charges"
        )
    for z in sorted(set(charges) - held):
        raise InputError(f"there is no {chemical_symbols[z]}: remove it from --charges")


def _spectrum(found: Absorption, motion: Motion) -> dict[str, ArrayLike]:
    columns: dict[str, ArrayLike] = {
        "wavenumber_per_cm": found.wavenumber,
        "intensity_km_per_mol_cm": found.intensity,
        "intensity_error_km_per_mol_cm": found.intensity_error,
    }
    if motion.pbc.all():
        # Times the refractive index, which constant charges do not tell.
        alpha, error = found.coefficient(float(motion.volumes.mean()))
        columns["n_alpha_per_cm"] = alpha
        columns["n_alpha_error_per_cm"] = error
    return columns


def _panel(found: Absorption) -> Lines:
    seen = np.flatnonzero(found.intensity > SEEN * found.intensity.max())
    end = min(len(found.intensity), int(seen[-1] * 1.15) + 3)
    curve = Curve(
        "",
        found.wavenumber[:end],
        found.intensity[:end],
        found.intensity_error[:end],
    )
    return Lines(
        "wavenumber (1/cm)", "absorption (km/mol per 1/cm)", [curve], from_zero=True
    )
