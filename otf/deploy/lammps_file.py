"""The file of pair_style mliap unified: our model file in a pickle without data.

LAMMPS unpickles the file it is given. The pickle names one function of this module and
hands it the bytes of a model file, which is read and proven as any other.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from ase.data import chemical_symbols
from ase.io.lammpsdata import write_lammps_data

from otf.deploy.lammps import LammpsModel, errors_in_one_line
from otf.deploy.lammps_spilling import SpillingLog
from otf.deploy.saved_model import model_of
from otf.errors import InputError, StoreError
from otf.neighbors import complete_cell
from otf.store.disk import write_aside
from otf.store.model_file import read_model_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from otf.configuration import Configuration
    from otf.store.model_file import ModelFile

# LAMMPS hands files that are named so to PyTorch.
TORCH = (".pt", ".pth")
# Readable by every Python LAMMPS builds with.
PROTOCOL = 4

Opened = tuple[bytes, str, int, str]


@dataclass(frozen=True)
class LammpsFile:
    """What the pickle stands for; it is opened to a model.

    Attributes
    ----------
    content : bytes of a model file
    name : of the file, for messages
    spilling_every : evaluations between two lines on the spilling, 0 for none
    spilling_file : where to
    """

    content: bytes
    name: str
    spilling_every: int = 0
    spilling_file: str = ""

    def __reduce__(self) -> tuple[Callable[..., LammpsModel], Opened]:
        """Name the function that opens it, and what it needs."""
        given = self.content, self.name, self.spilling_every, self.spilling_file
        return open_model, given

    def write(self, path: Path) -> None:
        """Write the file LAMMPS loads.

        Raises
        ------
        InputError
            When LAMMPS would take a file of that name for another kind.
        StoreError
            When the disk is full or fails; an older file then stands.
        """
        require_name(path)
        data = pickle.dumps(self, protocol=PROTOCOL)
        write_aside(path, lambda handle: _write(handle, data))


def _write(handle: BinaryIO, data: bytes) -> None:
    handle.write(data)


def require_name(path: Path) -> None:
    """Refuse names that LAMMPS does not unpickle.

    Raises
    ------
    InputError
        For those of PyTorch.
    """
    if path.suffix in TORCH:
        msg = (
            f"{path}: LAMMPS hands files named *{path.suffix} to PyTorch; give the "
            "output another name, such as *.mliap"
        )
        raise InputError(msg)


def open_model(
    content: bytes, name: str, spilling_every: int, spilling_file: str
) -> LammpsModel:
    """Return the model LAMMPS will call, after it has given its proof again.

    Pickles name this function: what it is called and takes stays.

    Raises
    ------
    StoreError
        When the model is damaged, or does not find its values again.
    """
    with errors_in_one_line():
        path = Path(name)
        file = read_model_bytes(content, path)
        model = model_of(file, path)
        spilling = None
        if spilling_every:
            spilling = SpillingLog(Path(spilling_file), spilling_every)
        try:
            return LammpsModel(model, proof=file.proof, spilling=spilling)
        except StoreError as error:
            raise StoreError(f"{path}: {error}") from error


def write_example(path: Path, *, model: Path, data: Path, file: ModelFile) -> None:
    """Write an input of LAMMPS that runs a proof frame with the model.

    Parameters
    ----------
    path
        The input.
    model, data
        Files it names: of the model and of atoms. The latter is written as well.
    file
        The model.

    Raises
    ------
    StoreError
        When the disk is full or fails.
    """
    configuration, _ = file.proof[0]
    species = np.asarray(file.arrays["descriptor/species"])
    symbols = [chemical_symbols[z] for z in species]
    text = _input(configuration, symbols, model=model.name, data=data.name)
    write_aside(path, lambda handle: _write(handle, text.encode()))
    buffer = io.StringIO()
    atoms = configuration.to_atoms()
    atoms.cell = complete_cell(configuration)
    write_lammps_data(buffer, atoms, specorder=symbols, masses=True)
    write_aside(data, lambda handle: _write(handle, buffer.getvalue().encode()))


def _input(
    configuration: Configuration, symbols: list[str], *, model: str, data: str
) -> str:
    # Atoms of a molecule may leave the box it was given.
    boundary = " ".join("p" if one else "s" for one in configuration.pbc)
    return f"""\
# Written by otf-md export lammps. The names after pair_coeff * * are the elements of
# the atom types 1, 2, ... of the data file; name them in the order of your own.
units           metal
atom_style      atomic
boundary        {boundary}
newton          on
read_data       {data}

pair_style      mliap unified {model} 0
pair_coeff      * * {" ".join(symbols)}

neighbor        2.0 bin
timestep        0.001
thermo          10
velocity        all create 300.0 4928459
fix             move all nve
run             100
"""
