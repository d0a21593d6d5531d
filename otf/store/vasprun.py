"""Ionic steps of VASP's vasprun.xml.

ASE reads these files too, but puts zeros where a line of forces or positions is lost,
and does not tell steps whose electrons did not converge.

The energy is ``e_fr_energy``, of which the forces are the gradient, less the term P V
that VASP adds when PSTRESS is set. Stress is in kbar with the sign of a pressure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.parsers import expat

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
from otf.store.outcar import PREDICTED
from otf.store.text import element_of, open_bytes, to_float
from otf.units import KBAR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from otf.configuration import FloatArray, IntArray
    from otf.store.labelled import LabelledFrame

# A file of a run that goes on or was killed ends in the middle of an element.
_CUT = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
}


def is_vasprun(head: bytes) -> bool:
    """Return whether a file begins as a vasprun.xml does."""
    return head.lstrip().startswith((b"<?xml", b"<modeling")) and b"<modeling" in head


def read_vasprun(path: Path) -> Reading:
    """Return the ionic steps of a vasprun.xml.

    Steps that took NELM electronic iterations count as not converged, a last step cut
    short as lost, and steps without electrons as predictions of a force field. None of
    these is among the frames.

    Raises
    ------
    StoreError
        When the file is damaged or none of VASP's.
    """
    steps = _Steps(path)
    with open_bytes(path) as handle:
        for element in _closed(handle, steps):
            steps.take(element)
    return steps.reading()


class _Steps:
    """Collects what the elements of the file say, in their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers: IntArray | None = None
        self.most_iterations: int | None = None
        self.external: float = 0.0  # eV/angstrom^3
        self.frames: list[LabelledFrame] = []
        self.left_out = {UNCONVERGED: 0, PREDICTED: 0, INCOMPLETE: 0}
        self.n_steps = 0
        self.n_opened = 0
        self.is_cut = False

    @property
    def where(self) -> str:
        """Return file and step, for errors."""
        return f"{self.path}, ionic step {self.n_steps + 1}"

    def take(self, element: ElementTree.Element) -> None:
        """Take what a closed element says."""
        if element.tag == "atominfo":
            self.numbers = self._atoms(element)
        elif element.tag == "parameters":
            self._parameters(element)
        elif element.tag == "calculation":
            self._step(element)
            self.n_steps += 1

    def reading(self) -> Reading:
        """Return all frames."""
        self.left_out[INCOMPLETE] = self.n_opened - self.n_steps
        if not self.n_opened:
            raise StoreError(f"{self.path}: holds no ionic step")
        require_alike(self.frames, self.path)
        notes = (NO_END,) if self.is_cut else ()
        return Reading.of(self.frames, left_out=self.left_out, notes=notes)

    def _atoms(self, element: ElementTree.Element) -> IntArray:
        rows = element.findall("array[@name='atoms']/set/rc")
        symbols = [(row.findtext("c") or "").strip() for row in rows]
        numbers = [element_of(symbol) for symbol in symbols]
        for symbol, number in zip(symbols, numbers, strict=True):
            if number is None:
                raise StoreError(f"{self.path}: {symbol!r} is no element (atominfo)")
        said = (element.findtext("atoms") or "").strip()
        if said != f"{len(numbers)}" or not numbers:
            raise StoreError(
                f"{self.path}: atominfo says {said!r} atoms, but names {len(numbers)}"
            )
        return np.array(numbers, dtype=np.int64)

    def _parameters(self, element: ElementTree.Element) -> None:
        values: dict[str | None, str] = {}
        for i in element.iter("i"):
            # the first counts: that of response functions has the same name
            values.setdefault(i.get("name"), (i.text or "").strip())
        most = values.get("NELM", "")
        if not most.isdecimal() or len(most) > 9:
            raise StoreError(f"{self.path}: parameters have no whole number NELM")
        self.most_iterations = int(most)
        external = values.get("PSTRESS")
        if external is not None:
            self.external = KBAR * self._float(external, "PSTRESS")

    def _step(self, step: ElementTree.Element) -> None:
        if self.numbers is None or self.most_iterations is None:
            raise StoreError(f"{self.path}: has no atominfo or no parameters")
        n_iterations = len(step.findall("scstep"))
        if n_iterations == 0:
            self.left_out[PREDICTED] += 1
            return
        if n_iterations >= self.most_iterations:
            self.left_out[UNCONVERGED] += 1
            return
        n = len(self.numbers)
        cell = self._needed(step, "structure/crystal/varray[@name='basis']", 3)
        scaled = self._needed(step, "structure/varray[@name='positions']", n)
        said = step.findtext("structure/crystal/i[@name='volume']")
        if said is not None:
            require_volume(cell, self._float(said, "volume"), self.where)
        energy = step.findtext("energy/i[@name='e_fr_energy']")
        if energy is None:
            raise StoreError(f"{self.where}: has no e_fr_energy")
        work = self.external * abs(float(np.linalg.det(cell)))
        forces = self._array(step, "varray[@name='forces']", n)
        stress = self._array(step, "varray[@name='stress']", 3)
        self._require_named(step, (forces is not None) + (stress is not None))
        self.frames.append(
            labelled_frame(
                Configuration(
                    numbers=self.numbers,
                    positions=scaled @ cell,
                    cell=cell,
                    pbc=np.ones(3, dtype=np.bool_),
                ),
                self.where,
                energy=self._float(energy, "e_fr_energy") - work,
                forces=forces,
                stress=None if stress is None else -KBAR * stress,
            )
        )

    def _require_named(self, step: ElementTree.Element, n_labels: int) -> None:
        """Raise when a label may be hidden in an array whose name is damaged."""
        names = [array.get("name") for array in step.findall("varray")]
        if n_labels < 2 and len(names) > n_labels:
            strange = set(names) - {"forces", "stress"}
            raise StoreError(
                f"{self.where}: holds an array {strange}, and lacks forces or stress"
            )

    def _needed(self, step: ElementTree.Element, place: str, n_rows: int) -> FloatArray:
        array = self._array(step, place, n_rows)
        if array is None:
            raise StoreError(f"{self.where}: has no {place}")
        return array

    def _array(
        self, step: ElementTree.Element, place: str, n_rows: int
    ) -> FloatArray | None:
        """Return the vectors of an array, (n_rows, 3); None when it is not there."""
        found = step.findall(place)
        if not found:
            return None
        rows = [(v.text or "").split() for v in found[0].findall("v")]
        name = found[0].get("name")
        if len(found) > 1 or len(rows) != n_rows or any(len(row) != 3 for row in rows):
            raise StoreError(
                f"{self.where}: {name} must be {n_rows} lines of 3 numbers once"
            )
        return np.array([[self._float(w, name) for w in row] for row in rows])

    def _float(self, word: str, name: str | None) -> float:
        try:
            return to_float(word.strip())
        except ValueError as error:
            raise StoreError(f"{self.where}: {name}: {error}") from error


def _closed(handle: BinaryIO, steps: _Steps) -> Iterator[ElementTree.Element]:
    """Yield the elements that matter when they end, and free them afterwards."""
    try:
        for event, element in ElementTree.iterparse(handle, events=("start", "end")):
            if event == "start":
                steps.n_opened += element.tag == "calculation"
                continue
            yield element
            if element.tag in ("calculation", "eigenvalues", "dos"):
                element.clear()
    except ElementTree.ParseError as error:
        if error.code not in _CUT:
            raise StoreError(f"{steps.path}: is damaged ({error})") from error
        steps.is_cut = True
    except (LookupError, ValueError) as error:  # an encoding Python does not know
        raise StoreError(f"{steps.path}: cannot be read ({error})") from error
