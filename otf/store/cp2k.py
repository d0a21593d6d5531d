"""Trajectories of CP2K: positions, and what lies beside them.

``PROJECT-pos-1.xyz`` has the positions (angstrom) and the energy of every step in
hartree, ``PROJECT-frc-1.xyz`` the forces in hartree/bohr, ``PROJECT-1.cell`` the cell
in angstrom. A cell that does not change may also come from ``PROJECT-1.restart``. Units
are those CP2K writes unless its input asks for others.

The main output, where it is given instead, names the project and says more: which SCF
cycles converged, and the stress (GPa, with the sign of a pressure). Of a run that
leaves no trajectory (ENERGY_FORCE), it has the atoms as well. The stress in
``PROJECT-1.stress`` is not used: in molecular dynamics it has the motion of the atoms.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.store.cp2k_geometry import PrintedGeometry
from otf.store.labelled import INCOMPLETE, UNCONVERGED, Reading, labelled_frame
from otf.store.text import FileEndsError, element_of_label, lines_of, log_lines_of
from otf.units import BOHR, GPA, HARTREE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otf.configuration import BoolArray, FloatArray, IntArray, Labels
    from otf.store.labelled import LabelledFrame
    from otf.store.text import Lines

UNMATCHED = "with another energy than the output"
_COMMENT = re.compile(
    r"\s*i\s*=\s*(\d{1,9}),(?:\s*time\s*=\s*[\d.]+,)?\s*E\s*=\s*(\S+)\s*"
)
_HEAD = re.compile(rb"\s*\d+\s*\n\s*i\s*=\s*\d+,[^\n]*E\s*=")
# What moves the cell, so that the one of the restart file is that of the last step.
_MOVES = re.compile(r"RUN_TYPE\s+CELL_OPT|ENSEMBLE\s+(?:NP|HYDRO|MSST)", re.IGNORECASE)
_CONVERGED = re.compile(r"SCF run converged in|outer SCF loop converged in")
_UNCONVERGED = re.compile(r"SCF run NOT converged|outer SCF loop FAILED to converge")
_STRESS = re.compile(
    r" STRESS\| Analytical stress tensor \[GPa\]| STRESS TENSOR \[GPa\]"
)
_FORCES = re.compile(r" ATOMIC FORCES in \[a\.u\.\]| FORCES\| Atomic forces \[hart")
_ATOMS = re.compile(r" MODULE \w+: ATOMIC COORDINATES IN ANGSTROM", re.IGNORECASE)
_SAME = 2e-10  # hartree; energies beside positions have ten digits behind the point


@dataclass(frozen=True, eq=False)
class _Step:
    """A step of an xyz file of CP2K: its energy in hartree and its table (n, 3)."""

    line: int
    energy: float
    numbers: IntArray
    table: FloatArray


@dataclass
class _Cycle:
    """An energy in the main output, in hartree, and what stands around it."""

    energy: float
    converged: bool | None
    forces: FloatArray | None = None  # (n, 3) hartree/bohr
    stress: FloatArray | None = None  # (3, 3) GPa


@dataclass(frozen=True, eq=False)
class _Cells:
    """The cells of a run: by step, or one for all."""

    pbc: BoolArray
    steps: dict[int, FloatArray]
    fixed: FloatArray | None = None


def is_cp2k_xyz(head: bytes) -> bool:
    """Return whether a file begins as an xyz file of CP2K does."""
    return _HEAD.match(head) is not None


def is_cp2k_output(head: bytes) -> bool:
    """Return whether a file begins as the main output of CP2K does."""
    return b"CP2K| version string" in head


def read_cp2k_xyz(path: Path) -> Reading:
    """Return the steps of a file of positions with the labels that lie beside it.

    Raises
    ------
    StoreError
        When a file is damaged, the cell is not there, or files do not match.
    """
    if "-pos-" not in path.name:
        raise StoreError(
            f"{path}: is no file of positions; give PROJECT-pos-1.xyz, beside which "
            "its forces and cells are found"
        )
    pairs, n_cut = _trajectory(path)
    frames = [frame for _, frame in pairs]
    notes = ("SCF convergence is not known: give the main output of CP2K instead",)
    return Reading.of(frames, left_out={INCOMPLETE: n_cut}, notes=notes)


def read_cp2k_output(path: Path) -> Reading:
    """Return the steps of a run, from its main output and the trajectory beside it.

    Steps whose SCF cycle did not converge are not among the frames.

    Raises
    ------
    StoreError
        When a file is damaged or missing, or files do not match.
    """
    output = _output(path)
    cycles = output.cycles
    positions = path.parent / f"{output.project}-pos-1.xyz"
    if output.is_single:
        return _single(path, output)
    if not positions.is_file():
        raise StoreError(
            f"{path}: {positions.name} is not beside it; a run of several structures "
            "has their positions there"
        )
    # The file has more digits than the output.
    has_forces = positions.with_name(f"{output.project}-frc-1.xyz").is_file()
    frames: list[LabelledFrame] = []
    pairs, n_cut = _trajectory(positions)
    left_out = {UNCONVERGED: 0, UNMATCHED: 0, INCOMPLETE: n_cut}
    at = 0
    for energy, (c, labels) in pairs:
        match = next(
            (k for k in range(at, len(cycles)) if _is_same(cycles[k].energy, energy)),
            None,
        )
        if match is None:
            left_out[UNMATCHED] += 1
            continue
        at = match + 1
        if not cycles[match].converged:
            left_out[UNCONVERGED] += 1
            continue
        where = f"{path}, energy {match + 1}"
        frames.append(_joined(c, labels, cycles[match], where, has_forces=has_forces))
    return Reading.of(frames, left_out=left_out)


def _single(path: Path, output: _Output) -> Reading:
    """Return the one structure of a run of ENERGY_FORCE."""
    left_out = {UNCONVERGED: 0, INCOMPLETE: 0}
    if not output.cycles:
        return Reading.of([], left_out={**left_out, INCOMPLETE: 1})
    cycle = output.cycles[-1]
    if not cycle.converged:
        return Reading.of([], left_out={**left_out, UNCONVERGED: 1})
    structure = output.geometry.configuration(str(path))
    nothing = labelled_frame(structure, str(path), energy=cycle.energy * HARTREE)
    frame = _joined(*nothing, cycle, str(path), has_forces=False)
    return Reading.of([frame], left_out=left_out)


def _joined(
    c: Configuration, labels: Labels, cycle: _Cycle, where: str, *, has_forces: bool
) -> LabelledFrame:
    """Return a frame of the trajectory with what the main output adds."""
    forces = labels.forces if labels.force_mask.all() else None
    if not has_forces and cycle.forces is not None:
        if len(cycle.forces) != c.n_atoms:
            raise StoreError(f"{where}: {len(cycle.forces)} forces, {c.n_atoms} atoms")
        forces = cycle.forces * HARTREE / BOHR
    stress = None if cycle.stress is None else -GPA * cycle.stress
    return labelled_frame(c, where, energy=labels.energy, forces=forces, stress=stress)


def _is_same(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME


# ---------------------------------------------------------------------- the trajectory
def _trajectory(path: Path) -> tuple[list[tuple[float, LabelledFrame]], int]:
    """Return energies as written, hartree, with frames, and how many are cut short.

    The files of a run that was killed end at different steps.
    """
    project, _, tail = path.name.rpartition("-pos-")
    stem = f"{project}-{tail.removesuffix('.gz').removesuffix('.xyz')}"
    steps, is_cut = _read_xyz(path)
    beside = path.with_name(f"{project}-frc-{tail}")
    forces, is_beside_cut = _read_xyz(beside) if beside.is_file() else ({}, False)
    cells = _read_cells(path.with_name(stem))
    ends = min(
        max(forces) if is_beside_cut else max(steps),
        max(steps) if cells.fixed is not None else max(cells.steps, default=-1),
    )
    frames, n_cut = [], int(is_cut)
    for number, step in steps.items():
        where = f"{path}, step {number} (line {step.line})"
        cell = cells.steps.get(number, cells.fixed)
        force = forces.get(number)
        if number > ends:
            n_cut += 1
            continue
        if cell is None:
            raise StoreError(f"{where}: {stem}.cell does not have this step")
        if force is not None and not (
            np.array_equal(force.numbers, step.numbers)
            and _is_same(force.energy, step.energy)
        ):
            raise StoreError(
                f"{where}: atoms or energy are not those of {beside.name}, line "
                f"{force.line}"
            )
        frame = labelled_frame(
            Configuration(step.numbers, step.table, cell, cells.pbc),
            where,
            energy=step.energy * HARTREE,
            forces=None if force is None else force.table * HARTREE / BOHR,
        )
        frames.append((step.energy, frame))
    return frames, n_cut


def _read_xyz(path: Path) -> tuple[dict[int, _Step], bool]:
    """Return the steps of a file by their numbers, and whether the last is cut."""
    steps: dict[int, _Step] = {}
    is_cut = True
    with log_lines_of(path) as lines, suppress(FileEndsError):
        for line in lines:
            n_atoms = lines.count(line.strip(), "the number of atoms")
            number, step = _xyz_step(lines, n_atoms)
            if number in steps:
                raise lines.wrong(f"step {number} stands twice: two runs in one file")
            if not n_atoms:
                raise lines.wrong("a step without atoms")
            steps[number] = step
        is_cut = lines.is_cut
    if not steps:
        raise StoreError(f"{path}: holds no frames")
    return steps, is_cut


def _xyz_step(lines: Lines, n_atoms: int) -> tuple[int, _Step]:
    match = _COMMENT.fullmatch(lines.take("the comment line"))
    if match is None:
        raise lines.wrong("expected a comment such as 'i = 0, time = 0.0, E = -1.0'")
    energy = lines.floats([match[2]], 1, "E")[0]
    first, numbers, rows = lines.number, [], []
    for k in range(n_atoms):
        words = lines.take(f"atom {k + 1} of {n_atoms}").split()
        number = element_of_label(words[0]) if words else None
        if number is None:
            raise lines.wrong(f"expected atom {k + 1} of {n_atoms}")
        numbers.append(number)
        rows.append(lines.floats(words[1:], 3, f"atom {k + 1}"))
    table = np.array(rows, dtype=np.float64).reshape(n_atoms, 3)
    return int(match[1]), _Step(first, energy, np.array(numbers, np.int64), table)


def _read_cells(stem: Path) -> _Cells:
    """Return the cells of a run from its cell file, or else its restart file."""
    path, restart = (stem.with_name(stem.name + end) for end in (".cell", ".restart"))
    moves, fixed, pbc = True, None, np.ones(3, dtype=np.bool_)
    if restart.is_file():
        moves, fixed, pbc = _read_restart(restart)
    if path.is_file():
        return _Cells(pbc, _read_cell_file(path))
    if moves or fixed is None:
        raise StoreError(
            f"{path}: is missing, and the cell moves or is not in {restart.name}: let "
            "CP2K write it (MOTION/PRINT/CELL)"
        )
    return _Cells(pbc, {}, fixed)


def _read_cell_file(path: Path) -> dict[int, FloatArray]:
    cells: dict[int, FloatArray] = {}
    with log_lines_of(path) as lines:
        for line in lines:
            if not line.strip() or line.startswith("#"):
                continue
            words = line.split()
            number = lines.count(words[0], "the step")
            row = lines.floats(words[1:], 11, "time, cell and volume")
            cell = np.array(row[1:10]).reshape(3, 3)
            volume = abs(float(np.linalg.det(cell)))
            if number in cells or abs(row[10] - volume) > 1e-6 + 1e-6 * volume:
                raise lines.wrong("a step twice, or a cell that has another volume")
            cells[number] = cell
    return cells


def _read_restart(path: Path) -> tuple[bool, FloatArray | None, BoolArray]:
    """Return whether the cell may move, the cell (angstrom), and where it repeats."""
    moves, inside, vectors, axes = False, False, {}, "XYZ"
    with lines_of(path) as lines:
        for line in lines:
            words = line.split()
            moves = moves or _MOVES.match(line.strip()) is not None
            if words[:1] == ["&CELL"]:
                inside = True
            elif words[:2] == ["&END", "CELL"]:
                inside = False
            elif inside and words and words[0] in "ABC":
                vectors[words[0]] = lines.floats(words[1:], 3, f"vector {words[0]}")
            elif inside and words[:1] == ["PERIODIC"]:
                axes = words[-1].upper()
    cell = np.array([vectors[k] for k in "ABC"]) if set(vectors) == set("ABC") else None
    return moves, cell, np.array([axis in axes for axis in "XYZ"])


# --------------------------------------------------------------------- the main output
class _Output:
    """Collects what the lines of a main output say, in their order."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.project = ""
        self.is_single = False
        self.geometry = PrintedGeometry()
        self.cycles: list[_Cycle] = []
        self._converged: bool | None = None

    def take(self, line: str) -> None:
        """Take what one line says, and the table that follows it."""
        if "GLOBAL| Project name" in line:
            self.project = line.split()[-1]
        elif "GLOBAL| Run type" in line:
            self.is_single = line.split()[-1] in ("ENERGY", "ENERGY_FORCE")
        elif self.is_single and line.startswith(" CELL| "):
            self.geometry.take_cell(self.lines, line)
        elif self.is_single and _ATOMS.match(line):
            self.geometry.take_atoms(self.lines)
        elif _CONVERGED.search(line):
            self._converged = True
        elif _UNCONVERGED.search(line):
            self._converged = False
        elif line.startswith(" ENERGY| Total FORCE_EVAL"):
            energy = self.lines.floats(line.split()[-1:], 1, "the energy")[0]
            self.cycles.append(_Cycle(energy, self._converged))
            self._converged = None
        elif _FORCES.match(line):
            self._last(lambda cycle: cycle.forces).forces = _forces(self.lines)
        elif _STRESS.match(line):
            self._last(lambda cycle: cycle.stress).stress = _stress(self.lines)

    def _last(self, known: Callable[[_Cycle], FloatArray | None]) -> _Cycle:
        """Return the last cycle, which must not have the label yet."""
        if not self.cycles or known(self.cycles[-1]) is not None:
            raise self.lines.wrong("a label twice, or before the first energy")
        return self.cycles[-1]


def _output(path: Path) -> _Output:
    """Return what a main output says."""
    with log_lines_of(path) as lines:
        output = _Output(lines)
        with suppress(FileEndsError):
            for line in lines:
                output.take(line)
    if not output.project:
        raise StoreError(f"{path}: does not name its project")
    cycles = output.cycles
    if all(cycle.converged is None for cycle in cycles):  # no method that iterates
        output.cycles = [replace(cycle, converged=True) for cycle in cycles]
    return output


def _forces(lines: Lines) -> FloatArray:
    """Return a table of forces, (n, 3) hartree/bohr; it ends with their sum."""
    rows: list[list[float]] = []
    heading = [w for w in _without_mark(lines.filled("the forces")) if w != "#"]
    n_before = heading.index("x") if "x" in heading else 0
    if heading[:1] != ["atom"] or heading[n_before : n_before + 3] != ["x", "y", "z"]:
        raise lines.wrong("expected the axes x y z above the forces")
    for line in lines:
        words = _without_mark(line)
        if words[:1] == ["sum"]:
            break
        if words and words[0] != f"{len(rows) + 1}":
            raise lines.wrong(f"expected the force on atom {len(rows) + 1}")
        if words:
            rows.append(lines.floats(words[n_before : n_before + 3], 3, "a force"))
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _stress(lines: Lines) -> FloatArray:
    heading = _without_mark(lines.filled("the stress"))
    if heading != ["x", "y", "z"]:
        raise lines.wrong("expected the axes x y z above the stress")
    rows = []
    for axis in "xyz":
        words = _without_mark(lines.take("the stress"))
        if words[:1] != [axis]:
            raise lines.wrong(f"expected the row {axis} of the stress")
        rows.append(lines.floats(words[1:], 3, "the stress"))
    return np.array(rows)


def _without_mark(line: str) -> list[str]:
    """Return the words of a line; newer versions mark those of a table."""
    return re.sub(r"^ (?:stress|forces)\|", "", line.lower()).split()
