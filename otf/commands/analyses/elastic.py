"""otf-md analyse elastic: elastic constants, at rest or from a fluctuating cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.averages import mean_of
from otf.analysis.elastic import (
    STRAIN,
    fluctuation_elasticity,
    static_elasticity,
)
from otf.analysis.thermal import temperatures
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
from otf.errors import InputError
from otf.report.drawing import Curve, Lines
from otf.units import GPA

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import ArrayLike

    from otf.analysis.elastic import ElasticConstants, StaticElasticity
    from otf.configuration import FloatArray

LINE = "elastic constants, from strains of a crystal or from a cell that fluctuates"
LARGEST_STRAIN: Final = 0.05
FEWEST_FRAMES: Final = 50
STEPS: Final = 10  # of the curve that shows convergence
NAMES: Final = ("xx", "yy", "zz", "yz", "xz", "xy")
SEEN: Final = 0.05  # GPa; smaller constants are zero by symmetry


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_trajectory(parser)
    add_source(parser, required=False)
    parser.add_argument(
        "--strain",
        type=positive,
        help="with a potential: largest strain of the last frame's crystal (default: "
        f"{STRAIN})",
    )
    parser.add_argument(
        "--clamped",
        action="store_true",
        help="with a potential: atoms follow the strain and do not relax under it",
    )
    parser.add_argument(
        "--temperature-K",
        type=positive,
        metavar="T",
        help="without a potential: of the trajectory (default: that of its velocities)",
    )


def analyse(arguments: argparse.Namespace) -> Outcome:
    """Return elastic constants.

    Raises
    ------
    InputError
        When an option belongs to the other way, or the system is not periodic.
    """
    if has_source(arguments):
        if arguments.temperature_K is not None:
            msg = "--temperature-K belongs to a trajectory: leave --model out, or it"
            raise InputError(msg)
        return _static(arguments)
    if arguments.strain is not None or arguments.clamped:
        msg = "--strain and --clamped need a potential: give --model or --calculator"
        raise InputError(msg)
    return _fluctuations(arguments)


def _static(arguments: argparse.Namespace) -> Outcome:
    path: Path = arguments.trajectory
    strain = STRAIN if arguments.strain is None else arguments.strain
    if strain > LARGEST_STRAIN:
        msg = f"--strain must be at most {LARGEST_STRAIN}, got {strain:g}"
        raise InputError(msg)
    atoms = structure_of(path, arguments.frames)
    require_periodic(motion_of(path, arguments.frames), path, "an elastic matrix")
    atoms.calc = calculator_for(arguments, [atoms])
    found = static_elasticity(atoms, strain=strain, clamped=arguments.clamped)
    six = found.atoms.cell.cellpar()
    quantities = [
        Quantity(name, float(value), unit=unit)
        for name, value, unit in zip(
            ("a", "b", "c", "alpha", "beta", "gamma"),
            six,
            ["Å"] * 3 + ["°"] * 3,
            strict=True,
        )
    ]
    quantities += _constants(found.constants)
    notes = _stability(found.constants)
    if arguments.clamped:
        notes.append("clamped: atoms did not relax under strain")
    return Outcome(
        quantities,
        {"matrix": _matrix(found.constants), "stress": _stresses(found)},
        [_stress_panel(found)],
        notes=notes,
    )


def _fluctuations(arguments: argparse.Namespace) -> Outcome:
    path: Path = arguments.trajectory
    motion = motion_of(path, arguments.frames, fewest=FEWEST_FRAMES)
    require_periodic(motion, path, "an elastic matrix")
    temperature = arguments.temperature_K
    if temperature is None:
        measured = temperatures(motion)
        if measured is None:
            msg = (
                f"{path} has no velocities, so its temperature is not known: give "
                "--temperature-K"
            )
            raise InputError(msg)
        temperature = mean_of(measured).value
    try:
        found = fluctuation_elasticity(motion.cells, temperature)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    bulk = found.bulk_modulus
    quantities = [
        Quantity("temperature", temperature, unit="K"),
        Quantity("bulk modulus of volume", bulk.value / GPA, bulk.error / GPA, "GPa"),
    ]
    tables: dict[str, dict[str, ArrayLike]] = {}
    notes = []
    if found.constants is None:
        notes.append(
            f"the cell varies in {found.freedom} of 6 ways, so only the bulk modulus "
            "can be had; the matrix needs a cell that is free in all"
        )
    else:
        quantities += _constants(found.constants)
        tables["matrix"] = _matrix(found.constants)
        notes += _stability(found.constants)
    convergence, panel = _convergence(motion.cells, temperature)
    tables["convergence"] = convergence
    return Outcome(quantities, tables, [panel], notes=notes)


def _constants(constants: ElasticConstants) -> list[Quantity]:
    out = []
    for i in range(6):
        for j in range(i, 6):
            value = constants.matrix[i, j] / GPA
            error = constants.error[i, j] / GPA
            if abs(value) > max(SEEN, 2.0 * error):
                out.append(Quantity(f"C{i + 1}{j + 1}", value, error, "GPa"))
    moduli = constants.moduli()
    for name in ("bulk", "shear", "Young"):
        m = moduli[name]
        word = f"{name}'s modulus" if name == "Young" else f"{name} modulus"
        out.append(Quantity(word, m.value / GPA, m.error / GPA, "GPa"))
    for name, word in (("Poisson", "Poisson's ratio"), ("anisotropy", "anisotropy")):
        out.append(Quantity(word, moduli[name].value, moduli[name].error))
    return out


def _stability(constants: ElasticConstants) -> list[str]:
    if constants.is_stable:
        return []
    return ["a strain lowers the energy: this structure is mechanically unstable"]


def _matrix(constants: ElasticConstants) -> dict[str, ArrayLike]:
    columns: dict[str, ArrayLike] = {"component": list(NAMES)}
    for j, name in enumerate(NAMES):
        columns[f"C_{name}_GPa"] = constants.matrix[:, j] / GPA
        columns[f"C_{name}_error_GPa"] = constants.error[:, j] / GPA
    return columns


def _stresses(found: StaticElasticity) -> dict[str, ArrayLike]:
    flat = found.stresses.reshape(-1, 6) / GPA
    columns: dict[str, ArrayLike] = {
        "strained": np.repeat(NAMES, len(found.strains)),
        "strain": np.tile(found.strains, 6),
    }
    columns |= {f"stress_{name}_GPa": flat[:, j] for j, name in enumerate(NAMES)}
    return columns


def _stress_panel(found: StaticElasticity) -> Lines:
    curves = []
    line = np.array([found.strains[0], found.strains[-1]])
    for j, name in enumerate(NAMES):
        points = found.stresses[j, :, j] / GPA
        slope = found.constants.matrix[j, j] / GPA
        curves.append(Curve(name, found.strains, points, form="points", color=j))
        curves.append(Curve("", line, slope * line + found.residual[j] / GPA, color=j))
    return Lines("strain", "stress of the same component (GPa)", curves)


def _convergence(
    cells: FloatArray, temperature: float
) -> tuple[dict[str, ArrayLike], Lines]:
    """Return what ever longer parts of the trajectory give."""
    lengths = np.linspace(len(cells) / STEPS, len(cells), STEPS).astype(int)
    parts = [fluctuation_elasticity(cells[:n], temperature) for n in lengths]
    traces: dict[str, tuple[list[float], list[float]]] = {
        "bulk modulus": (
            [p.bulk_modulus.value / GPA for p in parts],
            [p.bulk_modulus.error / GPA for p in parts],
        )
    }
    for k, name in ((0, "C11"), (3, "C44")):
        if all(p.constants is not None for p in parts):
            traces[name] = (
                [p.constants.matrix[k, k] / GPA for p in parts if p.constants],
                [p.constants.error[k, k] / GPA for p in parts if p.constants],
            )
    columns: dict[str, ArrayLike] = {"frames": lengths}
    curves = []
    for name, (value, error) in traces.items():
        columns[f"{name.replace(' ', '_')}_GPa"] = np.array(value)
        columns[f"{name.replace(' ', '_')}_error_GPa"] = np.array(error)
        curves.append(
            Curve(name, lengths, np.array(value), np.array(error), form="points")
        )
    return columns, Lines("frames used", "modulus (GPa)", curves, from_zero=True)
