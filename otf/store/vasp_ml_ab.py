"""The training sets of VASP: ML_AB and ML_ABN, read and written.

A file is a sequence of sections: a line of stars or equals signs, a title, a line of
dashes, the content. Energies are in eV, forces in eV/angstrom. Stress is in kbar with
the sign of a pressure (positive under compression), in the order XX YY ZZ, XY YZ ZX.

References
----------
.. [1] VASP Wiki, ML_AB, https://www.vasp.at/wiki/index.php/ML_AB
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from otf.configuration import Configuration, Labels
from otf.errors import StoreError
from otf.store.disk import write_aside
from otf.store.labelled import Reading, labelled_frame, whole_labels
from otf.store.text import Lines, element_of_label, lines_of, to_float
from otf.units import KBAR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.configuration import FloatArray, IntArray
    from otf.store.labelled import LabelledFrame

N_CONFIGURATIONS = "The number of configurations"
TYPES = "The atom types in the data file"
CONFIGURATION = "Configuration num."
N_TYPES = "The number of atom types"
N_ATOMS = "The number of atoms"
ATOMS = "Atom types and atom numbers"
LATTICE = "Primitive lattice vectors (ang.)"
POSITIONS = "Atomic positions (ang.)"
ENERGY = "Total energy (eV)"
FORCES = "Forces (eV ang.^-1)"
STRESS = "Stress (kbar)"
NEEDED = (N_TYPES, N_ATOMS, ATOMS, LATTICE, POSITIONS, ENERGY, FORCES, STRESS)
CTIFOR = 0.02  # eV/angstrom, the threshold VASP starts from by default
STARS, EQUALS, DASHES = "*" * 50, "=" * 50, "-" * 50

# From the six numbers of the file, XX YY ZZ XY YZ ZX, to xx yy zz yz xz xy.
_TO_VOIGT = [0, 1, 2, 4, 5, 3]
_FROM_VOIGT = [0, 1, 2, 5, 3, 4]
_HEAD = re.compile(rb"\s*\d+\.\d+\s+Version\s*\n\s*\*{20,}")


@dataclass(frozen=True)
class Section:
    """A title and its content.

    Attributes
    ----------
    title : with single blanks
    line : number of the line of the title
    rows : numbers and words of the lines of the content that are not blank
    """

    title: str
    line: int
    rows: list[tuple[int, list[str]]]


def is_ml_ab(head: bytes) -> bool:
    """Return whether a file begins as an ML_AB does."""
    return _HEAD.match(head) is not None


def read_ml_ab(path: Path) -> Reading:
    """Return the configurations of an ML_AB file.

    Six stress numbers that are all exactly zero are what VASP and converters write
    where no stress was computed: the label is then missing.

    Raises
    ------
    StoreError
        When the file is no whole ML_AB.
    """
    with lines_of(path) as lines:
        version = lines.filled("the version").split()
        if len(version) != 2 or version[1] != "Version":
            raise lines.wrong("the first line must be such as '1.0 Version'")
        parser = _Parser(lines)
        expected, elements = parser.header()
        frames: list[LabelledFrame] = []
        while (title := parser.title) is not None:
            frames.append(parser.configuration(title, len(frames) + 1, elements))
    if len(frames) != expected:
        raise StoreError(
            f"{path}: says that it has {expected} configurations, but holds "
            f"{len(frames)}: it is cut short or joined from others; correct the number "
            "below 'The number of configurations'"
        )
    n_zero = sum(not labels.stress_mask.any() for _, labels in frames)
    notes = (f"{n_zero} stresses of zeros count as missing",) if n_zero else ()
    return Reading.of(frames, notes=notes)


class _Parser:
    """Goes through the sections; ``title`` is that of the configuration to come."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.title: Section | None = None

    def header(self) -> tuple[int, list[int]]:
        """Return the number of configurations and the atomic numbers of the types."""
        sections = self._sections(Section("header", 1, []))
        n = self._count(_needed(sections, N_CONFIGURATIONS, self.lines.path))
        types = _needed(sections, TYPES, self.lines.path)
        elements = [
            self._element(word, line) for line, words in types.rows for word in words
        ]
        known = sections.get("The maximum number of atom type")
        if known is not None and self._count(known) != len(elements):
            raise self._wrong(
                known.rows[0][0],
                f"{known.rows[0][1][0]} atom types, but {len(elements)} are named",
            )
        return n, elements

    def configuration(
        self, title: Section, number: int, elements: list[int]
    ) -> LabelledFrame:
        """Return the configuration below its title."""
        path = self.lines.path
        # Behind the title without a blank from 100 on in some files; stars where the
        # number is too wide for its field.
        name = title.title.removeprefix(CONFIGURATION).strip()
        if name.lstrip("0") != f"{number}" and set(name) != {"*"}:
            raise self._wrong(title.line, f"expected configuration {number} here")
        sections = self._sections(title)
        for name in NEEDED:
            _needed(sections, name, path, title)
        numbers = self._atoms(sections)
        if not set(numbers.tolist()) <= set(elements):
            raise self._wrong(
                sections[ATOMS].line, f"a type is not among those of '{TYPES}'"
            )
        n = len(numbers)
        where = f"{path}, configuration {number} (line {title.line})"
        stress = self._stress(sections[STRESS])
        return labelled_frame(
            Configuration(
                numbers=numbers,
                positions=self._table(sections[POSITIONS], n),
                cell=self._table(sections[LATTICE], 3),
                pbc=np.ones(3, dtype=np.bool_),
            ),
            where,
            energy=self._energy(sections[ENERGY]),
            forces=self._table(sections[FORCES], n),
            stress=stress if stress.any() else None,
        )

    def _sections(self, owner: Section) -> dict[str, Section]:
        """Return the sections up to the next configuration, by their titles."""
        found: dict[str, Section] = {}
        self.title = None
        while (section := self._section()) is not None:
            if section.title.startswith(CONFIGURATION):
                self.title = section
                break
            if section.title in found:
                raise self._wrong(
                    section.line,
                    f"'{section.title}' stands twice in what begins in line "
                    f"{owner.line}",
                )
            found[section.title] = section
        return found

    def _section(self) -> Section | None:
        for line in self.lines:
            if line.strip() and not _is_rule(line, "*="):
                break
        else:
            return None
        title = " ".join(line.split())
        number = self.lines.number
        if _is_rule(line, "-"):
            raise self.lines.wrong("a section has no title")
        below = self.lines.next()
        if title.startswith(CONFIGURATION):
            if below is None or not _is_rule(below, "="):
                raise self.lines.wrong(f"a line of = is expected below '{title}'")
            return Section(title, number, [])
        if below is None or not _is_rule(below, "-"):
            raise self.lines.wrong(f"a line of - is expected below '{title}'")
        return Section(title, number, self._content(title))

    def _content(self, title: str) -> list[tuple[int, list[str]]]:
        rows = []
        for line in self.lines:
            if _is_rule(line, "*="):
                break
            if _is_rule(line, "-") and title != STRESS:
                raise self.lines.wrong(
                    f"'{title}' goes on to another section without a line of = or *"
                )
            if line.strip():
                rows.append((self.lines.number, line.split()))
        return rows

    def _atoms(self, sections: dict[str, Section]) -> IntArray:
        """Return the atomic numbers of all atoms, block by block."""
        blocks = sections[ATOMS]
        n_types = self._count(sections[N_TYPES])
        if len(blocks.rows) != n_types:
            raise self._wrong(
                blocks.line, f"{n_types} atom types, but {len(blocks.rows)} lines"
            )
        numbers: list[int] = []
        for line, words in blocks.rows:
            if len(words) != 2 or not words[1].isdecimal() or len(words[1]) > 9:
                raise self._wrong(line, "an element and the number of its atoms")
            numbers += [self._element(words[0], line)] * int(words[1])
        n_atoms = self._count(sections[N_ATOMS])
        if len(numbers) != n_atoms:
            raise self._wrong(
                blocks.line, f"{n_atoms} atoms, but the types have {len(numbers)}"
            )
        return np.array(numbers, dtype=np.int64)

    def _stress(self, section: Section) -> FloatArray:
        """Return the stress, (6,) in the order and sign of ASE."""
        rows = section.rows
        heads = [" ".join(words) for _, words in rows]
        if len(rows) != 7 or (heads[0], heads[4]) != ("XX YY ZZ", "XY YZ ZX"):
            raise self._wrong(
                section.line,
                "stress must be 3 numbers below XX YY ZZ and 3 below XY YZ ZX",
            )
        if not all(_is_rule(heads[k], "-") for k in (1, 3, 5)):
            raise self._wrong(
                section.line, "the parts of a stress must stand between lines of -"
            )
        values = [self._floats(line, words, 3) for line, words in (rows[2], rows[6])]
        return -KBAR * np.concatenate(values)[_TO_VOIGT]

    def _energy(self, section: Section) -> float:
        if len(section.rows) != 1:
            raise self._wrong(section.line, "one energy is expected below")
        return float(self._floats(*section.rows[0], 1)[0])

    def _table(self, section: Section, n_rows: int) -> FloatArray:
        if len(section.rows) != n_rows:
            raise self._wrong(
                section.line,
                f"'{section.title}' has {len(section.rows)} lines, expected {n_rows}",
            )
        return np.array([self._floats(line, words, 3) for line, words in section.rows])

    def _count(self, section: Section) -> int:
        words = [word for _, row in section.rows for word in row]
        if len(words) != 1 or not words[0].isdecimal() or len(words[0]) > 9:
            raise self._wrong(
                section.line,
                f"a whole number is expected below '{section.title}'",
            )
        return int(words[0])

    def _floats(self, line: int, words: list[str], n: int) -> FloatArray:
        if len(words) != n:
            raise self._wrong(line, f"expected {n} numbers, got {len(words)} words")
        try:
            return np.array([to_float(word) for word in words])
        except ValueError as error:
            raise self._wrong(line, str(error)) from error

    def _element(self, word: str, line: int) -> int:
        number = element_of_label(word)
        if number is None:
            raise self._wrong(line, f"{word!r} is no element")
        return number

    def _wrong(self, line: int, reason: str) -> StoreError:
        return StoreError(f"{self.lines.path}, line {line}: {reason}")


def _needed(
    sections: dict[str, Section], name: str, path: Path, owner: Section | None = None
) -> Section:
    if name in sections:
        return sections[name]
    place = (
        f"{path}: the header"
        if owner is None
        else f"{path}, line {owner.line}: {owner.title}"
    )
    raise StoreError(
        f"{place} has no section '{name}': a part of the file is lost, or it was not "
        "written for VASP"
    )


def _is_rule(line: str, signs: str) -> bool:
    text = line.strip()
    return len(text) >= 3 and len(set(text)) == 1 and text[0] in signs


# --------------------------------------------------------------------------- writing
def write_ml_ab(path: Path, frames: Sequence[LabelledFrame]) -> None:
    """Write configurations as an ML_AB file that VASP reads.

    VASP wants the atoms of an element together: elements come in the order in which
    they first occur, and their atoms keep theirs. Each element gets one basis set, its
    first atom, which ``ML_MODE = select`` replaces. A missing stress becomes zeros.

    Parameters
    ----------
    path
        An existing file is replaced.
    frames
        Periodic structures with energy and forces.

    Raises
    ------
    StoreError
        When the format cannot say what a frame holds, or the disk is full or fails.
    """
    ordered = [
        _by_element(c, labels, f"{path}, frame {k}")
        for k, (c, labels) in enumerate(frames)
    ]

    def write(handle: BinaryIO) -> None:
        handle.write(_header(ordered).encode())
        for k, (c, labels) in enumerate(ordered):
            handle.write(_body(k + 1, c, labels).encode())

    write_aside(path, write)


def _by_element(c: Configuration, labels: Labels, where: str) -> LabelledFrame:
    """Return a frame that can be written, with the atoms of an element together."""
    whole = whole_labels(c, labels, where)
    if not c.pbc.all():
        raise StoreError(f"{where}: an ML_AB holds structures periodic in 3 directions")
    if whole.energy is None or whole.forces is None:
        raise StoreError(f"{where}: an ML_AB needs the energy and all forces")
    order = np.argsort([_blocks(c).index(z) for z in c.numbers], kind="stable")
    stress = np.zeros(6) if whole.stress is None else whole.stress
    return (
        Configuration(c.numbers[order], c.positions[order], c.cell, c.pbc),
        Labels(whole.energy, whole.forces[order], stress),
    )


def _blocks(c: Configuration) -> list[int]:
    """Return the elements in the order in which they first occur."""
    return list(dict.fromkeys(c.numbers.tolist()))


def _header(frames: Sequence[LabelledFrame]) -> str:
    from ase.data import atomic_masses, chemical_symbols

    counts = [np.bincount(c.numbers, minlength=119) for c, _ in frames]
    most = np.max(counts, axis=0)
    elements = np.flatnonzero(most)
    symbols = [chemical_symbols[z] for z in elements]
    parts = [
        (N_CONFIGURATIONS, f"{len(frames)}"),
        ("The maximum number of atom type", f"{len(elements)}"),
        (TYPES, _wrapped(symbols)),
        ("The maximum number of atoms per system", f"{max(map(sum, counts))}"),
        ("The maximum number of atoms per atom type", f"{most.max()}"),
        ("Reference atomic energy (eV)", _wrapped([f"{0.0:.16E}"] * len(elements))),
        ("Atomic mass", _wrapped([f"{atomic_masses[z]:.13f}" for z in elements])),
        ("The numbers of basis sets per atom type", _wrapped(["1"] * len(elements))),
    ]
    for z, symbol in zip(elements, symbols, strict=True):
        k = next(k for k, count in enumerate(counts) if count[z])
        atom = int(np.flatnonzero(frames[k][0].numbers == z)[0])
        parts.append((f"Basis set for {symbol}", f"{k + 1:11d}{atom + 1:7d}"))
    text = "".join(f"{STARS}\n     {t}\n{DASHES}\n     {body}\n" for t, body in parts)
    return f" 1.0 Version\n{text}{STARS}\n"


def _body(number: int, c: Configuration, labels: Labels) -> str:
    from ase.data import chemical_symbols

    elements = _blocks(c)
    blocks = [
        f"{chemical_symbols[z]:<2s} {np.count_nonzero(c.numbers == z):6d}"
        for z in elements
    ]
    kbar = (-labels.stress / KBAR)[_FROM_VOIGT]
    parts = [
        ("System name", "otf-md"),
        (N_TYPES, f"{len(elements)}"),
        (N_ATOMS, f"{c.n_atoms}"),
        (ATOMS, "\n     ".join(blocks)),
        ("CTIFOR", f"{CTIFOR:.15E}"),
        (LATTICE, _rows(c.cell)),
        (POSITIONS, _rows(c.positions)),
        (ENERGY, f"{labels.energy:.16E}"),
        (FORCES, _rows(labels.forces)),
    ]
    # Titles after the first two of a configuration stand between equals signs, as in
    # the files of VASP; only the block of types is set off by stars.
    text = "".join(
        f"{STARS if t == ATOMS else EQUALS}\n     {t}\n{DASHES}\n     {body}\n"
        for t, body in parts
    )
    return (
        f"     {CONFIGURATION} {number:6d}\n{text}"
        f"{EQUALS}\n     {STRESS}\n{DASHES}\n     XX YY ZZ\n{DASHES}\n"
        f"     {_words(kbar[:3])}\n{DASHES}\n     XY YZ ZX\n{DASHES}\n"
        f"     {_words(kbar[3:])}\n{STARS}\n"
    )


def _wrapped(words: Sequence[str]) -> str:
    """Return words three to a line, as VASP writes and expects them."""
    lines = [words[k : k + 3] for k in range(0, len(words), 3)]
    return "\n     ".join(" ".join(line) for line in lines)


def _rows(table: FloatArray) -> str:
    return "\n     ".join(map(_words, table))


def _words(row: FloatArray) -> str:
    return " ".join(f"{x:.16E}" for x in row.tolist())
