"""A potential as a client of i-PI and of every driver that speaks its protocol.

References
----------
Y. Litman et al., J. Chem. Phys. 161, 062504 (2024), doi 10.1063/5.0215869; protocol:
M. Ceriotti, J. More, D. E. Manolopoulos, Comput. Phys. Commun. 185, 1019 (2014), doi
10.1016/j.cpc.2013.10.027.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.socketio import IPIProtocol, SocketClient

from otf.deploy.ase import OTFCalculator
from otf.errors import InputError, OTFError

if TYPE_CHECKING:
    import socket

    from ase import Atoms

    from otf.configuration import FloatArray
    from otf.potential import Potential, Prediction


class _Protocol(IPIProtocol):  # type: ignore[misc]
    """The protocol with the extra string that i-PI writes beside the forces."""

    extras = ""  # of the structure whose forces are sent next

    def __init__(self, socket: socket.socket, n_atoms: int) -> None:
        super().__init__(socket)
        self._n_atoms = n_atoms

    def recvposdata(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return cell, inverse cell and positions of as many atoms as are expected."""
        cell, inverse, positions = super().recvposdata()
        if len(positions) != self._n_atoms:
            raise InputError(
                f"the driver has {len(positions)} atoms, the structure file "
                f"{self._n_atoms}: give the structure the driver starts from"
            )
        return cell, inverse, positions

    def sendforce(
        self, energy: float, forces: FloatArray, virial: FloatArray, *_: object
    ) -> None:
        """Send energy, forces, virial and the extra string."""
        extras = np.frombuffer(self.extras.encode(), np.byte)
        super().sendforce(energy, forces, virial, extras)


class _Client(SocketClient):  # type: ignore[misc]
    """ASE's client; tells what the potential knows of each structure, too."""

    def calculate(
        self, atoms: Atoms, use_stress: bool
    ) -> tuple[float, FloatArray, FloatArray]:
        """Return energy, forces and virial of the structure the driver sent."""
        found = super().calculate(atoms, use_stress)
        self.protocol.extras = extras_of(atoms.calc.prediction)
        energy, forces, virial = found
        return energy, forces, virial


def serve(potential: Potential, atoms: Atoms, *, address: str | tuple[str, int]) -> int:
    """Answer a driver until it ends, and return the number of structures.

    Parameters
    ----------
    potential
        Asked for every structure; its clock counts them.
    atoms
        Elements in the order of the driver; positions and cell come from it.
    address
        Name of a Unix socket, that i-PI keeps as /tmp/ipi_NAME, or host and port.

    Raises
    ------
    InputError
        When nobody listens there, or the driver has another number of atoms.
    UntrustedError
        When the potential can say nothing about a structure.
    OTFError
        When the driver ends in the middle of a message.
    """
    atoms.calc = calculator = OTFCalculator(potential)
    try:
        if isinstance(address, str):
            client = _Client(unixsocket=address)
        else:
            client = _Client(host=address[0], port=address[1])
    except OSError as error:
        where = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        raise InputError(
            f"no driver listens at {where} ({error.strerror or error}): start i-PI "
            "first, with the same address in its ffsocket"
        ) from None
    client.protocol = _Protocol(client.protocol.socket, len(atoms))
    try:
        client.run(atoms, use_stress=bool(atoms.cell.rank == 3))
    except OSError as error:
        raise OTFError(
            f"the connection to the driver broke after {calculator.step} structures "
            f"({error.strerror or error}); see what the driver says"
        ) from None
    return calculator.step


def extras_of(prediction: Prediction) -> str:
    """Return what the model says of itself as JSON, the extra string of the protocol.

    Largest local deviation (eV) and spilling of all atoms, NaN where they were not
    evaluated: i-PI wants the same numbers of every structure.
    """
    known = prediction.uncertainty
    local, spilling = np.full(1, np.nan), np.full(1, np.nan)
    if known is not None:
        local, spilling = known.local, known.spilling
    return json.dumps(
        {"local_deviation_eV": float(local.max()), "spilling": float(spilling.max())}
    )
