"""Ionic steps of VASP's OUTCAR.

ASE reads these files too, but does not tell steps whose electrons did not converge.

The energy is the final TOTEN of a step, of which the forces are the gradient. Stress is
the line "in kB": kbar, with the sign of a pressure, in the order XX YY ZZ XY YZ ZX.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration
from otf.errors import StoreError
from otf.store.labelled import (
    INCOMPLETE,
    NO_END,
    UNCONVERGED,
    Reading,
    labelled_frame,
    require_alike,
    require_volume,
)
from otf.store.text import FileEndsError, element_of, element_of_label, log_lines_of
from otf.units import KBAR

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import FloatArray, IntArray
    from otf.store.labelled import LabelledFrame
    from otf.store.text import Lines

PREDICTED = "predicted by VASP's own force field"
BARE = "without positions and forces (NWRITE = 0)"
_TO_VOIGT = [0, 1, 2, 4, 5, 3]
_ELEMENT = re.compile(r"\s*VRHFIN\s*=\s*([A-Za-z]+)\s*:")
_ITERATION = re.compile(r"-- Iteration\s+\d+\(\s*(\d+)\)\s+--")
# Fortran leaves no blank before the sign of a number that fills its field.
_GLUED = re.compile(r"(?<=\d)-(?=\d)")
_END = "General timing and accounting informations"


@dataclass
class _Step:
    """What the file has said so far of the step that is under way."""

    line: int = 0
    n_iterations: int = 0
    converged: bool = False
    predicted: bool = False
    stress_announced: bool = False
    stress: FloatArray | None = None
    volume: float | None = None
    cell: FloatArray | None = None
    positions: FloatArray | None = None
    forces: FloatArray | None = None


def is_outcar(head: bytes) -> bool:
    """Return whether a file begins as an OUTCAR does."""
    return re.match(rb"\s*vasp\.\d", head) is not None


def read_outcar(path: Path) -> Reading:
    """Return the ionic steps of an OUTCAR.

    Steps that do not say "aborting loop because EDIFF is reached", or took NELM
    iterations, count as not converged, a last step cut short as lost; neither is among
    the frames, and neither are predictions of VASP's own force field.

    Raises
    ------
    StoreError
        When the file is damaged or none of VASP's.
    """
    with log_lines_of(path) as lines:
        parser = _Parser(lines)
        with suppress(FileEndsError):  # in a step, which is then not among the frames
            for line in lines:
                parser.take(line)
        return parser.reading()


class _Parser:
    """Goes through the lines once."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.elements: list[int] = []
        self.potentials: list[list[str]] = []
        self.most: int | None = None
        self.n_atoms: int | None = None
        self.counts: list[int] | None = None
        self.step = _Step()
        self.frames: list[LabelledFrame] = []
        self.left_out = {UNCONVERGED: 0, PREDICTED: 0, BARE: 0, INCOMPLETE: 0}
        self.n_steps = 0
        self.ended = False

    def take(self, line: str) -> None:
        """Take what one line says, and the table that follows it."""
        if "VRHFIN" in line:
            self._element(line)
        elif " POTCAR:" in line:
            self.potentials.append(line.split()[1:])
        elif "ions per type =" in line and self.counts is None:
            words = line.split("=")[1].split()
            self.counts = [self.lines.count(word, "ions per type") for word in words]
        elif "NIONS =" in line and self.n_atoms is None:
            self.n_atoms = self.lines.count(line.split("=")[-1].strip(), "NIONS")
        elif "NELM   =" in line and self.most is None:
            words = line.replace(";", " ").split()
            self.most = self.lines.count(words[2], "NELM")
        elif _END in line:
            self.ended = True
        else:
            self._in_step(line)

    def _in_step(self, line: str) -> None:
        step = self.step
        if "Iteration" in line and (match := _ITERATION.search(line)):
            step.n_iterations = int(match[1])
        elif "aborting loop because EDIFF is reached" in line:
            # VASP 5 says so also of the last iteration that NELM allows
            step.converged = step.n_iterations < self._most_iterations()
        elif "FORCE on cell =-STRESS" in line:
            step.stress_announced = True
        elif line.lstrip().startswith("in kB "):
            self._stress(line)
        elif "volume of cell" in line:
            step.volume = self._one(line.split(":")[-1], "volume of cell")
        elif "direct lattice vectors" in line:
            # The three vectors stand before those of the reciprocal lattice.
            step.cell = self._rows(3, 6, "direct lattice vectors")[:, :3]
        elif "POSITION" in line and "TOTAL-FORCE (eV/Angst)" in line:
            self._table(line)
        elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            self._energy()

    def _element(self, line: str) -> None:
        match = _ELEMENT.match(line)
        number = None if match is None else element_of(match[1])
        if number is None:
            raise self.lines.wrong("VRHFIN names no element")
        self.elements.append(number)

    def _stress(self, line: str) -> None:
        if not self.step.stress_announced or self.step.stress is not None:
            raise self.lines.wrong("a stress without its heading, or a second one")
        words = _GLUED.sub(" -", line).split()[2:]
        kbar = np.array(self.lines.floats(words, 6, "stress in kB"))
        self.step.stress = -KBAR * kbar[_TO_VOIGT]

    def _table(self, line: str) -> None:
        if self.step.positions is not None:
            raise self.lines.wrong("a second table of forces before an energy")
        numbers = self._numbers()
        # Forces without a correction for dispersion may follow those with it.
        n_tables = line.count("FORCE")
        self._rule()
        table = self._rows(
            len(numbers), 6, "position and force", n_more=3 * (n_tables - 1)
        )
        self._rule()
        self.step.line = self.lines.number
        self.step.predicted = "(ML)" in line
        self.step.positions, self.step.forces = table[:, :3], table[:, 3:]

    def _rule(self) -> None:
        line = self.lines.take("a line of -").strip()
        if len(line) < 20 or set(line) != {"-"}:
            raise self.lines.wrong("a line of - is expected around the forces")

    def _energy(self) -> None:
        """Take the energy of a step, which is the last that matters of it."""
        line = self.lines.take("a line of -")
        line = self.lines.take("TOTEN")
        is_prediction = "ML TOTEN" in line
        if "TOTEN" not in line or not line.rstrip().endswith("eV"):
            raise self.lines.wrong("expected the energy TOTEN of the step")
        energy = self._one(line.split("=")[-1].removesuffix("eV"), "TOTEN")
        step, self.step = self.step, _Step()
        self.n_steps += 1
        if step.positions is None:
            self.left_out[BARE] += 1
        elif step.predicted or is_prediction:
            self.left_out[PREDICTED] += 1
        elif not step.converged:
            self.left_out[UNCONVERGED] += 1
        else:
            self.frames.append(self._frame(step, energy))

    def _frame(self, step: _Step, energy: float) -> LabelledFrame:
        where = f"{self.lines.path}, ionic step {self.n_steps} (line {step.line})"
        if step.cell is None or step.volume is None or step.positions is None:
            raise StoreError(f"{where}: has no cell with its volume")
        require_volume(step.cell, step.volume, where)
        if step.stress_announced and step.stress is None:
            raise StoreError(f"{where}: the line 'in kB' of its stress is lost")
        return labelled_frame(
            Configuration(
                numbers=self._numbers(),
                positions=step.positions,
                cell=step.cell,
                pbc=np.ones(3, dtype=np.bool_),
            ),
            where,
            energy=energy,
            forces=step.forces,
            stress=step.stress,
        )

    def _numbers(self) -> IntArray:
        """Return the atomic numbers of all atoms."""
        elements = self.elements or self._named_by_potentials()
        if self.counts is None or len(self.counts) != len(elements):
            raise self.lines.wrong(
                f"{len(elements)} potentials, but 'ions per type' has "
                f"{len(self.counts or [])} numbers: read vasprun.xml instead"
            )
        if sum(self.counts) != self.n_atoms or not self.n_atoms:
            raise self.lines.wrong(
                f"NIONS is {self.n_atoms}, but 'ions per type' has {sum(self.counts)}"
            )
        return np.repeat(np.array(elements, dtype=np.int64), self.counts)

    def _named_by_potentials(self) -> list[int]:
        """Return the elements of the POTCAR lines, each of which stands twice.

        With NWRITE = 0 there are no lines VRHFIN.
        """
        half = self.potentials[: len(self.potentials) // 2]
        elements = []
        for words in half:
            number = element_of_label(words[1]) if len(words) > 1 else None
            if number is None:
                raise self.lines.wrong(f"POTCAR: {' '.join(words)} names no element")
            elements.append(number)
        if len(self.potentials) != 2 * len(half):
            raise self.lines.wrong("the lines POTCAR do not stand twice each")
        return elements

    def _most_iterations(self) -> int:
        if self.most is None:
            raise self.lines.wrong("NELM is expected before this line")
        return self.most

    def _one(self, text: str, what: str) -> float:
        return self.lines.floats(text.split(), 1, what)[0]

    def _rows(
        self, n_rows: int, n_columns: int, what: str, *, n_more: int = 0
    ) -> FloatArray:
        """Return the next lines as numbers; more columns may follow that are not."""
        rows = []
        for _ in range(n_rows):
            words = _GLUED.sub(" -", self.lines.take(what)).split()
            if len(words) != n_columns + n_more:
                raise self.lines.wrong(
                    f"{what} must be {n_columns + n_more} numbers, got {len(words)} "
                    "words"
                )
            rows.append(self.lines.floats(words[:n_columns], n_columns, what))
        return np.array(rows, dtype=np.float64)

    def reading(self) -> Reading:
        """Return all frames."""
        path = self.lines.path
        if self.ended and (self.step.positions is not None or self.step.converged):
            raise StoreError(f"{path}: the last step has no energy or no forces")
        if not self.ended and (
            self.step.positions is not None or self.step.n_iterations
        ):
            self.left_out[INCOMPLETE] = 1
        if not self.n_steps and not self.left_out[INCOMPLETE]:
            raise StoreError(f"{path}: holds no ionic step")
        require_alike(self.frames, path)
        notes = () if self.ended else (NO_END,)
        return Reading.of(self.frames, left_out=self.left_out, notes=notes)
