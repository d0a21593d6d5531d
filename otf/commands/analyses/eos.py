"""otf-md analyse eos: equations of state, enthalpies, transition pressures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.eos import (
    FEWEST,
    EquationOfState,
    energies_of_volumes,
    fit_equation,
    transitions,
)
from otf.commands.analyses.inputs import (
    add_trajectory,
    motion_of,
    positive,
    require_periodic,
)
from otf.commands.analyses.outcome import Outcome, Quantity
from otf.commands.analyses.sources import (
    add_source,
    calculator_for,
    has_source,
    structure_of,
)
from otf.commands.fitting import count
from otf.errors import InputError
from otf.report.drawing import Curve, Lines
from otf.units import GPA

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.eos import Transition
    from otf.configuration import FloatArray

LINE = "energies against volume, enthalpies and transition pressures of phases"
VOLUMES: Final = (0.88, 1.06)
POINTS: Final = 13
CURVE: Final = 101
MISFIT: Final = 5e-4  # eV/atom; a smooth phase is fitted ten times better


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser, many=True)
    add_source(parser, required=False)
    parser.add_argument(
        "--volumes",
        nargs=2,
        type=positive,
        metavar=("FROM", "TO"),
        help="with a potential: volumes in units of that at rest (default: "
        f"{VOLUMES[0]} {VOLUMES[1]})",
    )
    parser.add_argument(
        "--points",
        type=count,
        help=f"with a potential: volumes in between (default: {POINTS})",
    )
    parser.add_argument(
        "--fixed-shape",
        action="store_true",
        help="with a potential: scale cell and atoms, without relaxing them at each "
        "volume",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return the equation of state of every file, and where they cross.

    Raises
    ------
    InputError
        When energies are missing, or no equation fits them.
    """
    paths: list[Path] = arguments.trajectory
    if not has_source(arguments) and (
        arguments.volumes or arguments.points or arguments.fixed_shape
    ):
        msg = (
            "--volumes, --points and --fixed-shape need a potential: give --model or "
            "--calculator"
        )
        raise InputError(msg)
    phases: dict[str, EquationOfState] = {}
    for path in paths:
        require_periodic(motion_of(path, arguments.frames), path, "a volume")
    read = _computed if has_source(arguments) else _stored
    for path, volumes, energies in read(arguments):
        try:
            phases[_name(path, paths)] = fit_equation(volumes, energies)
        except InputError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from error
    found: list[Transition] = []
    pressures = _pressures(phases)
    if len(phases) > 1:
        found = transitions(
            phases, lowest=float(pressures[0]), highest=float(pressures[-1])
        )
    return _outcome(phases, pressures, found)


def _name(path: Path, paths: Sequence[Path]) -> str:
    """Return the name of a file without its ending, all of it where two are alike."""
    alike = sum(other.stem == path.stem for other in paths)
    return path.stem if alike == 1 else str(path)


def _stored(
    arguments: argparse.Namespace,
) -> list[tuple[Path, FloatArray, FloatArray]]:
    out = []
    for path in arguments.trajectory:
        motion = motion_of(path, arguments.frames, fewest=FEWEST)
        if motion.energies is None:
            msg = (
                f"{path} holds no energies: label its structures, or let a potential "
                "compute them (--model or --calculator)"
            )
            raise InputError(msg)
        n = len(motion.numbers)
        out.append((path, motion.volumes / n, motion.energies / n))
    return out


def _computed(
    arguments: argparse.Namespace,
) -> list[tuple[Path, FloatArray, FloatArray]]:
    low, high = arguments.volumes or VOLUMES
    points = arguments.points or POINTS
    if not low < high:
        msg = f"--volumes go from a smaller to a larger one, got {low:g} {high:g}"
        raise InputError(msg)
    if points < FEWEST:
        msg = f"--points must be at least {FEWEST}, got {points}"
        raise InputError(msg)
    crystals = [structure_of(path, arguments.frames) for path in arguments.trajectory]
    compositions = {atoms.get_chemical_formula("reduce") for atoms in crystals}
    ratios = {_ratio(atoms.numbers.tolist()) for atoms in crystals}
    if len(ratios) > 1:
        names = ", ".join(sorted(compositions))
        msg = (
            f"phases of one composition have a transition pressure, but these are "
            f"{names}: give the files one by one"
        )
        raise InputError(msg)
    calculator = calculator_for(arguments, crystals)
    relative = np.linspace(low, high, points).tolist()
    out = []
    for path, atoms in zip(arguments.trajectory, crystals, strict=True):
        atoms.calc = calculator
        found = energies_of_volumes(
            atoms, relative=relative, shape=not arguments.fixed_shape
        )
        out.append((path, *found))
    return out


def _ratio(numbers: Sequence[int]) -> tuple[tuple[int, float], ...]:
    return tuple((z, numbers.count(z) / len(numbers)) for z in sorted(set(numbers)))


def _pressures(phases: Mapping[str, EquationOfState]) -> FloatArray:
    """Return pressures that all fitted ranges hold, from zero or below."""
    highest = min(float(e.pressure(e.volumes).max()) for e in phases.values())
    lowest = max(float(e.pressure(e.volumes).min()) for e in phases.values())
    lowest = min(lowest, 0.0)
    return np.linspace(lowest, max(highest, 0.01 * GPA), CURVE)


def _outcome(
    phases: Mapping[str, EquationOfState],
    pressures: FloatArray,
    found: Sequence[Transition],
) -> Outcome:
    quantities, notes = [], []
    for name, e in phases.items():
        for k, (word, scale, unit) in enumerate(
            [
                ("energy", 1.0, "eV/atom"),
                ("bulk modulus", 1.0 / GPA, "GPa"),
                ("its derivative", 1.0, ""),
                ("volume", 1.0, "Å³/atom"),
            ]
        ):
            mean = e.parameter(k)
            quantities.append(
                Quantity(f"{name} {word}", scale * mean.value, scale * mean.error, unit)
            )
        quantities.append(Quantity(f"{name} misfit", 1e3 * e.rms, unit="meV/atom"))
        v0 = float(e.parameters[3])
        if not e.volumes.min() < v0 < e.volumes.max():
            notes.append(f"the volume of {name} at rest lies outside those fitted")
        if e.rms > MISFIT:
            notes.append(
                f"the equation misses the energies of {name} by {1e3 * e.rms:.2g} meV: "
                "take volumes nearer to where it is needed"
            )
    for t in found:
        quantities.append(
            Quantity(
                f"{t.below} to {t.above}",
                t.pressure.value / GPA,
                t.pressure.error / GPA,
                "GPa",
            )
        )
        if not t.is_within:
            notes.append(
                f"{t.below} to {t.above}: a volume lies outside those fitted, so its "
                "pressure is extrapolated"
            )
    if len(phases) > 1 and not found:
        notes.append(
            f"no transition between {pressures[0] / GPA:.1f} and "
            f"{pressures[-1] / GPA:.1f} GPa, where all phases were fitted; smaller "
            "volumes reach farther"
        )
    energies = {
        "phase": np.repeat(list(phases), [len(e.volumes) for e in phases.values()]),
        "volume_A3_per_atom": np.concatenate([e.volumes for e in phases.values()]),
        "energy_eV_per_atom": np.concatenate([e.energies for e in phases.values()]),
    }
    heights = {
        name: np.array([e.enthalpy(float(p)) for p in pressures])
        for name, e in phases.items()
    }
    errors = {
        name: np.array([e.enthalpy_error(float(p)) for p in pressures])
        for name, e in phases.items()
    }
    columns: dict[str, ArrayLike] = {"pressure_GPa": pressures / GPA}
    for name in phases:
        columns[f"enthalpy_{name}_eV_per_atom"] = heights[name]
        columns[f"enthalpy_{name}_error"] = errors[name]
    panels = [_energy_panel(phases)]
    if len(phases) > 1:
        panels.append(_enthalpy_panel(pressures, heights, errors, found))
    return Outcome(
        quantities, {"energy": energies, "enthalpy": columns}, panels, notes=notes
    )


def _energy_panel(phases: Mapping[str, EquationOfState]) -> Lines:
    curves = []
    for k, (name, e) in enumerate(phases.items()):
        line = np.linspace(e.volumes.min(), e.volumes.max(), CURVE)
        curves.append(Curve(name, e.volumes, e.energies, form="points", color=k))
        curves.append(Curve("", line, e.energy(line), color=k))
    return Lines("volume (Å³/atom)", "energy (eV/atom)", curves)


def _enthalpy_panel(
    pressures: FloatArray,
    heights: Mapping[str, FloatArray],
    errors: Mapping[str, FloatArray],
    found: Sequence[Transition],
) -> Lines:
    first = next(iter(heights))
    curves = [
        Curve(name, pressures / GPA, 1e3 * (h - heights[first]), 1e3 * errors[name])
        for name, h in heights.items()
    ]
    return Lines(
        "pressure (GPa)",
        f"enthalpy above {first} (meV/atom)",
        curves,
        verticals={t.pressure.value / GPA: f"{t.above}" for t in found},
    )
