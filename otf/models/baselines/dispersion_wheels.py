"""The dispersion corrections D3(BJ) and D4, by the programs of their authors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Self

import numpy as np

from otf.configuration import VOIGT
from otf.errors import InputError
from otf.models.baselines.interface import BaselineValues
from otf.threads import one_openmp_thread
from otf.units import BOHR, HARTREE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from otf.configuration import Configuration
    from otf.models.baselines.interface import Store
    from otf.potential import Arrays

_KEY = "(input file: [baseline.dispersion])"
_THREE_BODY = 40.0  # bohr, the programs' own cutoff of three-body terms
_FADE = 0.1  # of a cutoff, over which energies end
_HEAVIEST = 103  # beyond it the programs give zero and say nothing


class _Wheel:
    """What D3 and D4 have in common: one program each, told in bohr and Hartree.

    Parameters
    ----------
    functional
        Name of a density functional the program knows.
    parameters
        Of the damping function, instead of a functional.
    cutoff
        angstrom, where pairs end, smoothly; three-body terms end there too, or at 40
        bohr. None for the sharp cutoffs of the program, 60 and 40 bohr.

    Raises
    ------
    InputError
        When the program is not installed or does not know the functional.
    """

    name: str
    package: str
    damping: str  # class of its interface
    coordination: float  # bohr, the program's own cutoff of coordination numbers

    def __init__(
        self,
        functional: str | None = None,
        parameters: Mapping[str, float] | None = None,
        *,
        cutoff: float | None = None,
    ) -> None:
        self.functional = functional
        self.parameters = dict(parameters or {})
        self.cutoff = cutoff
        self._program = _interface(self.package)
        self._damping = self._make_damping()

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return energies, forces and strain derivative.

        The energy belongs to no atom: every one gets the same share.

        Raises
        ------
        InputError
            When the program has no parameters for an element.
        """
        heaviest = int(configuration.numbers.max(initial=0))
        if heaviest > _HEAVIEST:
            raise InputError(
                f"{self.package} has no parameters for atomic number {heaviest} {_KEY}"
            )
        periodic = bool(np.any(configuration.pbc))
        try:
            model = self._program.DispersionModel(
                numbers=configuration.numbers,
                positions=configuration.positions / BOHR,
                lattice=configuration.cell / BOHR if periodic else None,
                periodic=np.asarray(configuration.pbc) if periodic else None,
                **self._charge(configuration),
            )
            if self.cutoff is not None:
                model.set_realspace_cutoff(**self._cutoffs(self.cutoff / BOHR))
            with one_openmp_thread(self.package):
                found = model.get_dispersion(self._damping, grad=True)
        except RuntimeError as error:
            raise InputError(
                f"{self.package} cannot evaluate a structure: {error} {_KEY}"
            ) from error
        forces = -found["gradient"] * (HARTREE / BOHR)
        tensor = found["virial"] * HARTREE
        return BaselineValues.shared(
            float(found["energy"]) * HARTREE,
            forces,
            np.array([0.5 * (tensor[a, b] + tensor[b, a]) for a, b in VOIGT]),
        )

    def to_arrays(self) -> Store:
        """Return functional ("" for none), parameters and cutoff (0 for none)."""
        return {
            "functional": np.array(self.functional or ""),
            "parameters": np.array(sorted(self.parameters), dtype=np.str_),
            "values": np.array([self.parameters[k] for k in sorted(self.parameters)]),
            "cutoff": np.array(self.cutoff or 0.0),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the baseline that ``to_arrays`` took apart."""
        names = [str(name) for name in arrays["parameters"]]
        values = np.array(arrays["values"], np.float64).tolist()
        return cls(
            str(arrays["functional"]) or None,
            dict(zip(names, values, strict=True)),
            cutoff=float(arrays["cutoff"]) or None,
        )

    def _cutoffs(self, cutoff: float) -> dict[str, float]:
        """Return smooth cutoffs in bohr, by the programs' names."""
        return {
            "disp2": cutoff,
            "disp3": min(cutoff, _THREE_BODY),
            "cn": self.coordination,
            "width2": _FADE * cutoff,
            "width3": _FADE * min(cutoff, _THREE_BODY),
        }

    def _charge(self, configuration: Configuration) -> dict[str, float]:
        """Return what the program is told beyond the structure."""
        return {}

    def _make_damping(self) -> object:
        known: dict[str, object] = dict(self.parameters)
        if self.functional is not None:
            known["method"] = self.functional
        try:
            return getattr(self._program, self.damping)(**known)
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"{self.package} refuses its parameters: {error} {_KEY}"
            ) from error


class DispersionD3(_Wheel):
    """Dispersion D3 with rational damping, by the package dftd3.

    References
    ----------
    S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 132, 154104 (2010), doi
    10.1063/1.3382344; S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456
    (2011), doi 10.1002/jcc.21759.
    """

    name = "dispersion_d3"
    package = "dftd3"
    damping = "RationalDampingParam"
    coordination = 40.0


class DispersionD4(_Wheel):
    """Dispersion D4, which knows the charges of atoms, by the package dftd4.

    References
    ----------
    E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019), doi 10.1063/1.5090222;
    periodic systems: Phys. Chem. Chem. Phys. 22, 8499 (2020), doi 10.1039/D0CP00502A.
    """

    name = "dispersion_d4"
    package = "dftd4"
    damping = "DampingParam"
    coordination = 30.0

    def _charge(self, configuration: Configuration) -> dict[str, float]:
        return {"charge": configuration.charge or 0.0}


def _interface(package: str) -> ModuleType:
    try:
        return import_module(f"{package}.interface")
    except ImportError as error:
        raise InputError(
            f"{package} is not installed: pip install {package} {_KEY}"
        ) from error
