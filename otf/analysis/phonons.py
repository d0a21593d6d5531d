"""Phonons of a crystal by finite displacements, through phonopy.

References
----------
.. [1] A. Togo, L. Chaput, T. Tadano, I. Tanaka, Implementation strategies in phonopy
   and phono3py, J. Phys.: Condens. Matter 35, 353001 (2023),
   doi 10.1088/1361-648X/acd831.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from ase import Atoms, units
from ase.cell import Cell
from ase.dft.kpoints import parse_path_string

from otf.analysis.libraries import library
from otf.errors import InputError
from otf.units import KB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import FloatArray

DISPLACEMENT: Final = 0.01  # angstrom
SHORTEST: Final = 10.0  # angstrom, edges of the supercell
MESH: Final = 60.0  # angstrom, 2 pi over the distance of points of the zone, about
POINTS: Final = 40  # of a path for a reciprocal angstrom
PITCH: Final = 1.0 / 300.0  # of the highest frequency, in the density of states
IMAGINARY: Final = -0.02  # THz, below the noise of three translations
QUANTUM: Final = 1e12 * units._hplanck / units._e  # eV of one terahertz


class _Phonopy(Protocol):
    """What of phonopy is used."""

    def run_qpoints(self, q_points: object) -> _Frequencies:
        """Return frequencies at points of the zone."""

    def run_mesh(self, mesh: float, *, is_gamma_center: bool) -> _Mesh:
        """Return frequencies on a mesh."""

    def run_total_dos(
        self, *, freq_min: float, freq_max: float, freq_pitch: float
    ) -> _Density:
        """Return the density of states of that mesh."""


class _Frequencies(Protocol):
    frequencies: FloatArray


class _Mesh(Protocol):
    frequencies: FloatArray
    weights: FloatArray


class _Density(Protocol):
    frequency_points: FloatArray
    dos: FloatArray


@dataclass(frozen=True, eq=False)
class Bands:
    """Frequencies along lines of the Brillouin zone.

    Attributes
    ----------
    lines : name of first and last point of every line
    distance : (k,) of every line, 1/angstrom without 2 pi, that add up
    frequency, error : (k, 3 n) of every line, THz, negative where imaginary
    """

    lines: Sequence[tuple[str, str]]
    distance: Sequence[FloatArray]
    frequency: Sequence[FloatArray]
    error: Sequence[FloatArray]


@dataclass(frozen=True, eq=False)
class Phonons:
    """Phonons of a primitive cell of n atoms.

    Attributes
    ----------
    gamma, gamma_error : (3 n,) THz at the centre of the zone
    sum_rule : largest of the three acoustic frequencies there before forces constants
        were made to obey translations, THz
    bands : along the usual lines of the lattice
    dos_frequency, dos, dos_error : (l,) THz and 1/THz; the density holds 3 n
    highest, highest_error : largest frequency of the mesh, THz
    lowest : smallest frequency of mesh and lines, THz, negative where imaginary
    zero_point, zero_point_error : energy, eV per atom; NaN with imaginary modes
    mesh_frequency, mesh_weight : (q, 3 n) THz, (q,)
    n_atoms : n
    n_displacements : supercells whose forces were computed
    supercell : how often the given cell was repeated
    """

    gamma: FloatArray
    gamma_error: FloatArray
    sum_rule: float
    bands: Bands
    dos_frequency: FloatArray
    dos: FloatArray
    dos_error: FloatArray
    highest: float
    highest_error: float
    lowest: float
    zero_point: float
    zero_point_error: float
    mesh_frequency: FloatArray
    mesh_weight: FloatArray
    n_atoms: int
    n_displacements: int
    supercell: tuple[int, int, int]

    @property
    def is_stable(self) -> bool:
        """Return whether no frequency is imaginary."""
        return self.lowest > IMAGINARY

    def heat_capacity(self, temperature: FloatArray) -> FloatArray:
        """Return the harmonic heat capacity (t,), k_B/atom, at temperatures (t,), K."""
        real = np.maximum(self.mesh_frequency, 1e-3)
        x = QUANTUM * real / (KB * np.asarray(temperature)[:, None, None])
        modes = (x / 2.0 / np.sinh(np.minimum(x / 2.0, 300.0))) ** 2
        mean = np.einsum("tqm,q->t", modes, self.mesh_weight) / self.mesh_weight.sum()
        return np.asarray(mean / self.n_atoms, dtype=np.float64)


def supercell_of(atoms: Atoms, *, shortest: float = SHORTEST) -> tuple[int, int, int]:
    """Return how often each vector must be repeated to be this long, angstrom."""
    a, b, c = np.ceil(shortest / atoms.cell.lengths() - 1e-6).astype(int).tolist()
    return a, b, c


def phonons(
    atoms: Atoms,
    *,
    supercell: tuple[int, int, int] | None = None,
    displacement: float = DISPLACEMENT,
) -> Phonons:
    """Return the phonons of a crystal at rest.

    Parameters
    ----------
    atoms
        A unit cell, relaxed, with a calculator.
    supercell
        How often it is repeated along each vector; to 10 angstrom when None. Forces
        must have died away over half of it.
    displacement
        Of one atom to both sides, angstrom.

    Raises
    ------
    InputError
        When phonopy is not installed, or the lattice has no usual lines.

    Notes
    -----
    Everything is computed for this displacement and for twice of it; errors are a third
    of the difference, which is what is left of second order in the displacement.
    """
    repeat = supercell or supercell_of(atoms)
    near, sum_rule, count = _force_constants(atoms, repeat, displacement)
    far, _, more = _force_constants(atoms, repeat, 2.0 * displacement)
    primitive = Cell(near.primitive.cell)  # type: ignore[attr-defined]
    n_atoms = len(near.primitive)  # type: ignore[attr-defined]
    lines, points, distances = _lines(primitive)
    branches, errors = [], []
    for q in points:
        value, error = _pair(near, far, q)
        branches.append(value)
        errors.append(error)
    meshes = [p.run_mesh(MESH, is_gamma_center=True) for p in (near, far)]
    mesh, weights = np.array(meshes[0].frequencies), np.array(meshes[0].weights)
    other = np.array(meshes[1].frequencies)
    lowest = min(float(mesh.min()), *(float(b.min()) for b in branches))
    highest = float(mesh.max())
    low, high = min(0.0, 1.05 * lowest), 1.05 * max(highest, 0.01)
    densities = [
        p.run_total_dos(freq_min=low, freq_max=high, freq_pitch=PITCH * (high - low))
        for p in (near, far)
    ]
    gamma, gamma_error = _pair(near, far, [[0.0, 0.0, 0.0]])
    energies = [_zero_point(f, weights) / n_atoms for f in (mesh, other)]
    return Phonons(
        gamma=gamma[0],
        gamma_error=gamma_error[0],
        sum_rule=sum_rule,
        bands=Bands(lines, distances, branches, errors),
        dos_frequency=np.array(densities[0].frequency_points),
        dos=np.array(densities[0].dos),
        dos_error=np.abs(np.array(densities[1].dos) - np.array(densities[0].dos)) / 3.0,
        highest=highest,
        highest_error=abs(float(other.max()) - highest) / 3.0,
        lowest=lowest,
        zero_point=energies[0] if lowest > IMAGINARY else float("nan"),
        zero_point_error=abs(energies[1] - energies[0]) / 3.0,
        mesh_frequency=mesh,
        mesh_weight=weights,
        n_atoms=n_atoms,
        n_displacements=count + more,
        supercell=repeat,
    )


def _force_constants(
    atoms: Atoms, repeat: tuple[int, int, int], displacement: float
) -> tuple[_Phonopy, float, int]:
    """Return phonopy with force constants, and what made them.

    The second value is the largest acoustic frequency at the centre of the zone before
    they were made to obey translations, the third the number of supercells.
    """
    phonopy = library("phonopy")
    cells = library("phonopy.structure.cells")
    cell = library("phonopy.structure.atoms").PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell[:],
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    found = phonopy.Phonopy(
        cell,
        np.diag(repeat),
        primitive_matrix=cells.guess_primitive_matrix(cell),
        log_level=0,
    )
    found.generate_displacements(distance=displacement, is_plusminus=True)
    forces = []
    for one in found.supercells_with_displacements:
        moved = Atoms(
            numbers=one.numbers,
            cell=one.cell,
            scaled_positions=one.scaled_positions,
            pbc=True,
        )
        moved.calc = atoms.calc
        forces.append(moved.get_forces())
    found.forces = forces
    found.produce_force_constants()
    sum_rule = _acoustic(found)
    found.symmetrize_force_constants(show_drift=False)
    return found, sum_rule, len(forces)


def _pair(
    near: _Phonopy, far: _Phonopy, points: object
) -> tuple[FloatArray, FloatArray]:
    """Return frequencies (q, 3 n), THz, and their errors."""
    one = np.array(near.run_qpoints(points).frequencies)
    two = np.array(far.run_qpoints(points).frequencies)
    return one, np.abs(two - one) / 3.0


def _acoustic(found: _Phonopy) -> float:
    frequencies = found.run_qpoints([[0.0, 0.0, 0.0]]).frequencies[0]
    return float(np.sort(np.abs(frequencies))[2])


def _zero_point(frequency: FloatArray, weights: FloatArray) -> float:
    """Return the zero-point energy of a primitive cell, eV."""
    sums = 0.5 * QUANTUM * np.maximum(frequency, 0.0).sum(axis=1)
    return float(sums @ weights / weights.sum())


def _lines(
    cell: Cell,
) -> tuple[list[tuple[str, str]], list[FloatArray], list[FloatArray]]:
    """Return names, points (k, 3) and distances (k,) of the lines of a lattice."""
    try:
        path = cell.bandpath(npoints=2)
    except RuntimeError as error:
        msg = f"the primitive cell has no usual path through its zone ({error})"
        raise InputError(msg) from error
    reciprocal = cell.reciprocal()[:]
    names, points, distances, start = [], [], [], 0.0
    for stretch in parse_path_string(path.path):
        for one, other in pairwise(stretch):
            a, b = path.special_points[one], path.special_points[other]
            length = float(np.linalg.norm((b - a) @ reciprocal))
            n = max(3, int(POINTS * length * 2.0 * np.pi))
            t = np.linspace(0.0, 1.0, n)[:, None]
            names.append((str(one), str(other)))
            points.append(np.asarray(a + t * (b - a), dtype=np.float64))
            distances.append(np.asarray(start + t[:, 0] * length, dtype=np.float64))
            start += length
    return names, points, distances
