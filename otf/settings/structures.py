"""Reads the first structure of a run, and refuses what cannot be simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration
from otf.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from otf.configuration import BoolArray
    from otf.settings.settings import Settings


def first_configuration(settings: Settings) -> Configuration:
    """Return the structure of the input file: read, repeated, rattled, charged.

    Raises
    ------
    InputError
        When the file cannot be read, or holds no structure that can be simulated.
    """
    section = settings.structure
    atoms = read_atoms(
        settings.structure_path, index=section.index, file_format=section.format
    )
    configuration = Configuration.from_atoms(atoms.repeat(section.repeat))
    if section.rattle_A > 0.0:
        noise = np.random.default_rng(settings.seed).normal(
            scale=section.rattle_A, size=configuration.positions.shape
        )
        noise[~movable(settings, configuration)] = 0.0
        configuration = configuration.moved(configuration.positions + noise)
    if section.charge is not None:
        configuration = replace(configuration, charge=section.charge)
    if section.multiplicity is not None:
        configuration = replace(configuration, spin=section.multiplicity)
    return configuration


def movable(settings: Settings, configuration: Configuration) -> BoolArray:
    """Return (n, 3), False where the input file fixes a coordinate.

    Raises
    ------
    InputError
        When an atom to be fixed does not exist.
    """
    free = np.ones((configuration.n_atoms, 3), dtype=np.bool_)
    for atom in settings.structure.fix_atoms:
        if atom >= configuration.n_atoms:
            msg = (
                f"fix_atoms counts from 0 to {configuration.n_atoms - 1}, got {atom} "
                "(structure.fix_atoms)"
            )
            raise InputError(msg)
        free[atom] = False
    return free


def read_atoms(path: Path, *, index: int = -1, file_format: str | None = None) -> Atoms:
    """Return one frame of a structure file.

    Raises
    ------
    InputError
        When it cannot be read, or holds no structure that can be simulated.
    """
    from ase.io import read

    try:
        if path.stat().st_size == 0 and path.is_file():
            msg = f"{path} is empty (structure.file)"
            raise InputError(msg)
        atoms = read(path, index=index, format=file_format)
    except (IndexError, StopIteration):
        msg = f"{path} has no frame {index} (structure.index)"
        raise InputError(msg) from None
    except InputError:
        raise
    except Exception as error:
        # Each of ASE's readers fails in its own way on a file it does not understand.
        raise InputError(_why_unreadable(path, error)) from None
    _require_sense(atoms, path)
    return atoms


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path} cannot be read: {error.strerror} (structure.file)"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return (
        f"{path} holds no structure ASE can read, {reason[:120]}; give a format, or a "
        "file such as .xyz, .cif or POSCAR (structure.file)"
    )


def _require_sense(atoms: Atoms, path: Path) -> None:
    if len(atoms) == 0:
        msg = f"{path} holds no atoms (structure.file)"
        raise InputError(msg)
    if (unknown := np.flatnonzero(atoms.numbers < 1)).size:
        msg = f"atom {unknown[0]} of {path} is of no chemical element (structure.file)"
        raise InputError(msg)
    finite = np.isfinite(atoms.positions).all(axis=1)
    if not finite.all():
        atom = int(np.flatnonzero(~finite)[0])
        msg = f"atom {atom} of {path} has a position that is no number (structure.file)"
        raise InputError(msg)
    vectors = atoms.cell[atoms.pbc]
    if not np.isfinite(atoms.cell[:]).all() or (
        len(vectors) and np.linalg.matrix_rank(vectors, tol=1e-3) < len(vectors)
    ):
        msg = (
            f"{path} is periodic, but its cell vectors are zero, parallel or no "
            "numbers; give a cell, or set pbc to false (structure.file)"
        )
        raise InputError(msg)
