"""Units: eV, angstrom, amu, K inside; every conversion factor is written here once.

Time inside is ASE's: angstrom sqrt(amu/eV), about 10.18 fs.
"""

from typing import Final

from ase import units as _ase

FS: Final[float] = _ase.fs  # one femtosecond in internal time
KB: Final[float] = _ase.kB  # eV/K
GPA: Final[float] = _ase.GPa  # one gigapascal in eV/angstrom^3
COULOMB: Final[float] = _ase.Hartree * _ase.Bohr  # e^2/(4 pi eps0) in eV angstrom
BOHR: Final[float] = _ase.Bohr  # angstrom
HARTREE: Final[float] = _ase.Hartree  # eV
JOULE_PER_MOL: Final[float] = 1e-3 * _ase.kJ / _ase.mol  # eV
RYDBERG: Final[float] = _ase.Rydberg  # eV
KBAR: Final[float] = 0.1 * _ase.GPa  # one kilobar in eV/angstrom^3
