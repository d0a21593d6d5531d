"""otf-md analyse vdos: vibrational density of states from velocities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.vibrations import PER_CM, vibrations
from otf.commands.analyses.inputs import PS, symbols
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.analyses.spectra import (
    SEEN,
    add_spectrum,
    folded,
    named,
    spectral_interval,
    spectral_motion,
)
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse

    from numpy.typing import ArrayLike

    from otf.analysis.vibrations import Vibrations
    from otf.configuration import FloatArray

LINE = "vibrational density of states and autocorrelation of velocities"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_spectrum(parser)


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return spectrum and correlation of the velocities.

    Raises
    ------
    InputError
        When velocities, times or frames are missing.
    """
    motion = spectral_motion(arguments)
    with named(arguments.trajectory):
        interval = spectral_interval(motion, arguments)
        found = vibrations(motion, interval, n_segments=arguments.segments)
    dos, spread = found.total
    moment, uncertainty = _mean_frequency(found.frequency, dos, spread)
    return Outcome(
        quantities=[
            Quantity("tallest peak", float(found.frequency[dos.argmax()]), unit="THz"),
            Quantity("mean frequency", moment, uncertainty, "THz"),
            Quantity("resolution", found.resolution, unit="THz"),
        ],
        tables={"dos": _spectrum(found), "vacf": _correlation(found)},
        panels=_panels(found),
        notes=folded(found.frequency, dos, interval),
    )


def _mean_frequency(
    frequency: FloatArray, dos: FloatArray, error: FloatArray
) -> tuple[float, float]:
    """Return the first moment and its error, bins taken as independent."""
    mean = float(frequency @ dos / dos.sum())
    spread = np.sqrt((((frequency - mean) * error) ** 2).sum()) / dos.sum()
    return mean, float(spread)


def _spectrum(found: Vibrations) -> dict[str, ArrayLike]:
    dos, error = found.total
    columns: dict[str, ArrayLike] = {
        "frequency_THz": found.frequency,
        "wavenumber_per_cm": PER_CM * found.frequency,
        "dos_per_THz": dos,
        "dos_error_per_THz": error,
    }
    for z, symbol in zip(found.dos, symbols(list(found.dos)), strict=True):
        columns[f"dos_{symbol}_per_THz"] = found.dos[z]
        columns[f"dos_{symbol}_error_per_THz"] = found.dos_error[z]
    return columns


def _correlation(found: Vibrations) -> dict[str, ArrayLike]:
    columns: dict[str, ArrayLike] = {"lag_ps": found.lags / PS}
    for z, symbol in zip(found.dos, symbols(list(found.dos)), strict=True):
        columns[f"vacf_{symbol}"] = found.correlation[z]
        columns[f"vacf_{symbol}_error"] = found.correlation_error[z]
    return columns


def _panels(found: Vibrations) -> list[Lines]:
    dos, error = found.total
    seen = np.flatnonzero(dos > SEEN * dos.max())
    end = min(len(dos), int(seen[-1] * 1.15) + 3)
    spectra = [Curve("all", found.frequency[:end], dos[:end], error[:end])]
    decays: list[Curve] = []
    for z, symbol in zip(found.dos, symbols(list(found.dos)), strict=True):
        y, e = found.dos[z][:end], found.dos_error[z][:end]
        if len(found.dos) > 1:
            spectra.append(Curve(symbol, found.frequency[:end], y, e))
        decays.append(
            Curve(
                symbol,
                found.lags / PS,
                found.correlation[z],
                found.correlation_error[z],
                color=len(decays) + (len(found.dos) > 1),
            )
        )
    return [
        Lines("frequency (THz)", "density of states (1/THz)", spectra, from_zero=True),
        Lines("lag (ps)", "autocorrelation of velocities", decays, horizontals=(0.0,)),
    ]
