"""otf-md analyse phonons: bands and density of states of a crystal at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.phonons import DISPLACEMENT, SHORTEST, phonons
from otf.analysis.relaxing import relax_cell
from otf.commands.analyses.inputs import (
    add_trajectory,
    motion_of,
    positive,
    require_periodic,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.analyses.sources import add_source, calculator_for, structure_of
from otf.commands.fitting import count
from otf.errors import InputError
from otf.report.drawing import Curve, Lines

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.phonons import Phonons

LINE = "phonon bands and density of states of a crystal, through phonopy"
FMAX: Final = 1e-5  # eV/angstrom
ROOM: Final = 300.0  # K
NOISE: Final = 0.05  # THz: acoustic frequencies at the centre that need a word
LARGEST: Final = 0.2  # angstrom


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser)
    add_source(parser)
    parser.add_argument(
        "--supercell",
        nargs=3,
        type=count,
        metavar=("NA", "NB", "NC"),
        help="how often the cell of the last frame is repeated (default: to "
        f"{SHORTEST:g} angstrom)",
    )
    parser.add_argument(
        "--displacement-A",
        type=positive,
        default=DISPLACEMENT,
        metavar="D",
        help=f"of an atom; twice of it gives the errors (default: {DISPLACEMENT})",
    )
    parser.add_argument(
        "--keep-cell",
        action="store_true",
        help="take cell and positions as they are, instead of relaxing them first",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return bands and density of states.

    Raises
    ------
    InputError
        When the system is not periodic, or phonopy is not installed.
    """
    path: Path = arguments.trajectory
    if arguments.displacement_A > LARGEST:
        msg = f"--displacement-A must be at most {LARGEST}, got it larger"
        raise InputError(msg)
    require_periodic(motion_of(path, arguments.frames), path, "a phonon")
    atoms = structure_of(path, arguments.frames)
    atoms.calc = calculator_for(arguments, [atoms])
    if not arguments.keep_cell:
        relax_cell(atoms, fmax=FMAX)
    found = phonons(
        atoms,
        supercell=arguments.supercell and tuple(arguments.supercell),
        displacement=arguments.displacement_A,
    )
    quantities = [
        Quantity("highest frequency", found.highest, found.highest_error, "THz"),
        Quantity("lowest frequency", found.lowest, unit="THz"),
    ]
    optic = found.gamma[3:]
    quantities += [
        Quantity(f"frequency {k + 4} at Gamma", float(f), float(e), "THz")
        for k, (f, e) in enumerate(zip(optic, found.gamma_error[3:], strict=True))
    ]
    quantities.append(Quantity("acoustic sum rule off by", found.sum_rule, unit="THz"))
    if found.is_stable:
        quantities.append(
            Quantity(
                "zero-point energy",
                1e3 * found.zero_point,
                1e3 * found.zero_point_error,
                "meV/atom",
            )
        )
        capacity = float(found.heat_capacity(np.array([ROOM]))[0])
        quantities.append(
            Quantity(f"heat capacity at {ROOM:.0f} K", capacity, unit="k_B/atom")
        )
    return Outcome(
        quantities,
        {"bands": _bands(found), "dos": _density(found)},
        _panels(found),
        notes=_notes(found),
    )


def _notes(found: Phonons) -> list[str]:
    n = " x ".join(str(k) for k in found.supercell)
    notes = [f"forces of {found.n_displacements} displaced supercells, {n}"]
    if not found.is_stable:
        notes.append(
            f"frequencies down to {found.lowest:.2f} THz are imaginary: the crystal is "
            "no minimum of this potential, or the supercell is too small"
        )
    if found.sum_rule > NOISE:
        notes.append(
            "translations cost energy before that was mended: forces are noisy, or the "
            "potential does not keep the centre of mass at rest"
        )
    return notes


def _bands(found: Phonons) -> dict[str, ArrayLike]:
    b = found.bands
    names = [f"{one}-{other}" for one, other in b.lines]
    columns: dict[str, ArrayLike] = {
        "line": np.repeat(names, [len(d) for d in b.distance]),
        "distance_per_A": np.concatenate(b.distance),
    }
    frequency, error = np.concatenate(b.frequency), np.concatenate(b.error)
    for k in range(frequency.shape[1]):
        columns[f"branch_{k + 1}_THz"] = frequency[:, k]
        columns[f"branch_{k + 1}_error_THz"] = error[:, k]
    return columns


def _density(found: Phonons) -> dict[str, ArrayLike]:
    return {
        "frequency_THz": found.dos_frequency,
        "dos_per_THz": found.dos,
        "dos_error_per_THz": found.dos_error,
    }


def _panels(found: Phonons) -> list[Lines]:
    b = found.bands
    curves = [
        Curve("", distance, f[:, k], e[:, k], color=0)
        for distance, f, e in zip(b.distance, b.frequency, b.error, strict=True)
        for k in range(f.shape[1])
    ]
    places, names = [0.0], [_letter(b.lines[0][0])]
    for (one, other), distance in zip(b.lines, b.distance, strict=True):
        if _letter(one) != names[-1].rpartition("|")[2]:
            names[-1] += f"|{_letter(one)}"  # the path jumps here
        places.append(float(distance[-1]))
        names.append(_letter(other))
    bands = Lines(
        "",
        "frequency (THz)",
        curves,
        x_ticks=(places, names),
        horizontals=(0.0,),
        verticals=dict.fromkeys(places[1:-1], ""),
    )
    density = Curve("", found.dos_frequency, found.dos, found.dos_error)
    return [
        bands,
        Lines(
            "frequency (THz)", "density of states (1/THz)", [density], from_zero=True
        ),
    ]


def _letter(name: str) -> str:
    return "Γ" if name == "G" else name
