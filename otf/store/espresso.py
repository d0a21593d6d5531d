"""Self-consistent steps of Quantum ESPRESSO's pw.x output.

ASE reads these files too, but does not tell steps that did not converge and takes the
cell of a step from a fixed distance above its positions.

The energy is the total energy, of which the forces are the gradient: Ry. Forces are in
Ry/bohr, stress in Ry/bohr^3 with the sign of a pressure.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.store.labelled import (
    INCOMPLETE,
    NO_END,
    UNCONVERGED,
    Reading,
    labelled_frame,
    require_volume,
)
from otf.store.text import FileEndsError, element_of_label, log_lines_of, to_float
from otf.units import BOHR, KBAR, RYDBERG

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import FloatArray, IntArray
    from otf.store.labelled import LabelledFrame
    from otf.store.text import Lines

_T = TypeVar("_T")
_KBAR_PER_ATOMIC = RYDBERG / BOHR**3 / KBAR
_UNIT = re.compile(r"[({]\s*(\w+)(?:\s*=\s*([\d.]+))?\s*[)}]")


@dataclass
class _Labels:
    """What the file has said so far of the step that is under way."""

    line: int
    energy: float | None = None
    converged: bool = False
    forces: FloatArray | None = None
    stress: FloatArray | None = None


def is_espresso(head: bytes) -> bool:
    """Return whether a file begins as an output of pw.x does."""
    return b"Program PWSCF" in head[:4000]


def read_espresso(path: Path) -> Reading:
    """Return the self-consistent steps of an output of pw.x, or of several joined.

    Steps without "convergence has been achieved" count as not converged, a last step
    cut short as lost; neither is among the frames.

    Raises
    ------
    StoreError
        When the file is damaged or not of pw.x.
    """
    with log_lines_of(path) as lines:
        parser = _Parser(lines)
        with suppress(FileEndsError):  # in a step, which is then not among the frames
            for line in lines:
                parser.take(line)
        return parser.reading()


class _Parser:
    """Goes through the lines once; a step ends where new positions or runs begin."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.frames: list[LabelledFrame] = []
        self.left_out = {UNCONVERGED: 0, INCOMPLETE: 0}
        self.step: _Labels | None = None
        self.is_whole = True  # every run before this one had an end
        self._begin()

    def _begin(self) -> None:
        """Forget the run before."""
        self.alat: float | None = None  # angstrom
        self.n_atoms: int | None = None
        self.volume: float | None = None  # angstrom^3
        self.cell: FloatArray | None = None
        self.positions: FloatArray | None = None
        self.numbers: IntArray | None = None
        self.is_new = False  # positions since the last step
        self.done = False

    def take(self, line: str) -> None:
        """Take what one line says, and the table that follows it."""
        words = line.split()
        if "Program PWSCF" in line:
            self._close(is_last=True)
            self.is_whole = self.is_whole and (self.done or self.alat is None)
            self._begin()
        elif "JOB DONE" in line:
            self.done = True
        elif not self._structure(line, words):
            self._label(line, words)

    def _structure(self, line: str, words: list[str]) -> bool:
        """Take what a line says of the structure; return whether it does."""
        if "celldm(1)=" in line:  # alat, with more digits than its own line has
            self.alat = self.lines.floats(words[1:2], 1, "celldm(1)")[0] * BOHR
        elif "number of atoms/cell" in line:
            self.n_atoms = self.lines.count(words[-1], "number of atoms/cell")
        elif "unit-cell volume" in line:
            self._close()
            self.cell = None  # a new one follows
            self.volume = self._volume(line) * BOHR**3
        elif "crystal axes:" in line:
            self._crystal_axes()
        elif words[:2] == ["site", "n."]:
            self._sites(line)
        elif words[:1] == ["CELL_PARAMETERS"]:
            self._close()
            self._cell_parameters(line)
        elif words[:1] == ["ATOMIC_POSITIONS"]:
            self._close()
            self._atomic_positions(line)
        else:
            return False
        return True

    def _label(self, line: str, words: list[str]) -> None:
        if "Self-consistent Calculation" in line:
            self._start()
        elif words[:1] in (["!"], ["!!"]):  # !! after the loop of exact exchange
            self._open().energy = RYDBERG * self._quantity(words, before="Ry")
        elif "convergence has been achieved" in line:
            self._open().converged = True
        elif "convergence NOT achieved" in line:
            self._open().converged = False
        elif "Forces acting on atoms" in line:
            self._forces()
        elif words[:2] == ["total", "stress"]:
            self._stress(words)

    def _start(self) -> None:
        """Begin a step; exact exchange begins several times for one."""
        is_again = self.step is not None and self.step.forces is None
        if self.is_new:
            self._close()
        elif not is_again:
            raise self.lines.wrong("the positions of this step are lost")
        self.is_new = False
        self.step = _Labels(self.lines.number)

    def _open(self) -> _Labels:
        if self.step is None:
            raise self.lines.wrong("labels before 'Self-consistent Calculation'")
        return self.step

    # ------------------------------------------------------------------ the structure
    def _crystal_axes(self) -> None:
        rows = []
        for k in range(3):
            line = self.lines.take("crystal axes")
            name, _, rest = line.partition("=")
            if name.split() != [f"a({k + 1})"]:
                raise self.lines.wrong(f"expected the axis a({k + 1})")
            rows.append(self._vector(rest, f"a({k + 1})"))
        self.cell = np.array(rows) * self._known(self.alat, "celldm(1)")

    def _sites(self, line: str) -> None:
        if "(alat units)" not in line:  # the same sites in crystal axes follow
            return
        n_atoms = self._known(self.n_atoms, "number of atoms/cell")
        numbers, rows = [], []
        for k in range(n_atoms):
            line = self.lines.take(f"site {k + 1} of {n_atoms}")
            left, _, rest = line.partition("=")
            words = left.replace("(", " ( ").replace(")", " ) ").split()
            if len(words) < 3 or words[0] != f"{k + 1}" or "tau" not in words:
                raise self.lines.wrong(f"expected site {k + 1} of {n_atoms}")
            numbers.append(self._element(words[1]))
            rows.append(self._vector(rest, f"tau({k + 1})"))
        self.numbers = np.array(numbers, dtype=np.int64)
        self.is_new = True
        self.positions = np.array(rows) * self._known(self.alat, "celldm(1)")

    def _cell_parameters(self, line: str) -> None:
        rows = self.lines.table(3, 3, "CELL_PARAMETERS")
        self.cell = rows * self._unit(line)

    def _atomic_positions(self, line: str) -> None:
        n_atoms = self._known(self.n_atoms, "number of atoms/cell")
        numbers, rows = [], []
        for k in range(n_atoms):
            words = self.lines.take(f"atom {k + 1} of {n_atoms}").split()
            # Three flags follow where some coordinates are fixed.
            if len(words) not in (4, 7):
                raise self.lines.wrong(f"expected the position of atom {k + 1}")
            numbers.append(self._element(words[0]))
            rows.append(self.lines.floats(words[1:4], 3, "a position"))
        following = self.lines.next()
        if following is not None:
            if following.strip() and not following.startswith("End final"):
                raise self.lines.wrong(f"more than {n_atoms} positions")
            self.lines.back(following)
        if self.numbers is None or numbers != self.numbers.tolist():
            raise self.lines.wrong("these atoms are not those at the start of the file")
        table = np.array(rows)
        self.is_new = True
        if _UNIT.search(line) and "crystal" in line:
            self.positions = table @ self._known(self.cell, "cell")
        else:
            self.positions = table * self._unit(line)

    def _unit(self, line: str) -> float:
        """Return the unit of a card in angstrom."""
        match = _UNIT.search(line)
        if match is not None and match[1] == "angstrom":
            return 1.0
        if match is not None and match[1] == "bohr":
            return BOHR
        if match is not None and match[1] == "alat":
            if match[2] is not None:
                return BOHR * self.lines.floats([match[2]], 1, "alat")[0]
            return self._known(self.alat, "celldm(1)")
        raise self.lines.wrong("no unit this reader knows: angstrom, bohr, alat")

    # --------------------------------------------------------------------- the labels
    def _forces(self) -> None:
        step = self._open()
        n_atoms = self._known(self.n_atoms, "number of atoms/cell")
        if step.forces is not None:
            raise self.lines.wrong("a second table of forces in one step")
        rows = []
        for k in range(n_atoms):
            what = f"the force on atom {k + 1} of {n_atoms}"
            left, _, rest = self.lines.filled(what).partition("=")
            words = left.split()
            if words[:2] != ["atom", f"{k + 1}"] or words[-1] != "force":
                raise self.lines.wrong(f"expected {what}")
            rows.append(self.lines.floats(rest.split(), 3, what))
        step.forces = np.array(rows) * RYDBERG / BOHR

    def _stress(self, heading: list[str]) -> None:
        step = self._open()
        if step.stress is not None:
            raise self.lines.wrong("a second stress in one step")
        pressure = self.lines.floats(heading[-1:], 1, "P")[0]
        # Ry/bohr^3 on the left with 8 digits behind the point, kbar on the right
        table = self.lines.table(3, 6, "total stress")
        kbar = table[:, 3:]
        if (
            np.abs(kbar - kbar.T).max() > 0.02
            or np.abs(kbar - table[:, :3] * _KBAR_PER_ATOMIC).max() > 0.02
            or abs(np.trace(kbar) / 3.0 - pressure) > 0.02
        ):
            raise self.lines.wrong(
                "the stress is not symmetric, or differs between its units or from P"
            )
        step.stress = -table[:, :3] * RYDBERG / BOHR**3

    def _close(self, *, is_last: bool = False) -> None:
        """Make a frame of the step that is under way."""
        step, self.step = self.step, None
        if step is None:
            return
        if not step.converged:
            cut = is_last and not self.done and step.energy is None
            self.left_out[INCOMPLETE if cut else UNCONVERGED] += 1
            return
        where = f"{self.lines.path}, step from line {step.line}"
        lacks = step.energy is None or step.forces is None or self._lacks_stress(step)
        if lacks and is_last and not self.done:
            self.left_out[INCOMPLETE] += 1
            return
        if step.energy is None:
            raise StoreError(f"{where}: converged, but has no energy (a line with !)")
        if self.cell is None or self.positions is None or self.numbers is None:
            raise StoreError(f"{where}: has no cell or no positions")
        require_volume(self.cell, self._known(self.volume, "unit-cell volume"), where)
        c = Configuration(
            numbers=self.numbers,
            positions=self.positions,
            cell=self.cell,
            pbc=np.ones(3, dtype=np.bool_),
        )
        self.frames.append(
            labelled_frame(
                c, where, energy=step.energy, forces=step.forces, stress=step.stress
            )
        )

    def _lacks_stress(self, step: _Labels) -> bool:
        """Return whether a step has no stress, but the one before has."""
        if step.stress is not None or not self.frames:
            return False
        _, labels = self.frames[-1]
        return bool(labels.stress_mask.any())

    def reading(self) -> Reading:
        """Return all frames."""
        self._close(is_last=True)
        if not self.frames and not any(self.left_out.values()):
            raise StoreError(f"{self.lines.path}: holds no self-consistent step")
        notes = () if self.is_whole and self.done else (NO_END,)
        return Reading.of(self.frames, left_out=self.left_out, notes=notes)

    # ---------------------------------------------------------------------- the words
    def _known(self, value: _T | None, name: str) -> _T:
        if value is None:
            raise self.lines.wrong(f"'{name}' is expected before this line")
        return value

    def _element(self, label: str) -> int:
        number = element_of_label(label)
        if number is None:
            raise self.lines.wrong(f"{label!r} is no element")
        return number

    def _vector(self, text: str, what: str) -> list[float]:
        words = text.split()
        if len(words) != 5 or words[0] != "(" or words[-1] != ")":
            raise self.lines.wrong(f"{what} must be 3 numbers in brackets")
        return self.lines.floats(words[1:4], 3, what)

    def _quantity(self, words: list[str], *, before: str) -> float:
        """Return the number before a unit."""
        k = words.index(before) if before in words else 0
        if k == 0 or words[k - 2] != "=":
            raise self.lines.wrong(f"expected '= number {before}'")
        return self.lines.floats([words[k - 1]], 1, " ".join(words[: k - 2]))[0]

    def _volume(self, line: str) -> float:
        rest = line.partition("=")[2].split()
        if not rest or rest[1:2] not in (["(a.u.)^3"], ["a.u.^3"]):
            raise self.lines.wrong("expected '= number a.u.^3'")
        try:
            return to_float(rest[0])
        except ValueError as error:
            raise self.lines.wrong(f"unit-cell volume: {error}") from error
