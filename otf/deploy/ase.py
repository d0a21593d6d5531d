"""The ASE calculator: any potential, also a learning one, in any ASE algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from otf.configuration import Configuration
from otf.errors import OTFError
from otf.potential import Untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from otf.potential import Potential, Prediction


class UntrustedError(OTFError, CalculationFailed):  # type: ignore[misc]
    """A configuration nothing can be said about, met in a driver without roll-back."""


class OTFCalculator(Calculator):  # type: ignore[misc]
    """Energy, forces and stress of a potential.

    Parameters
    ----------
    potential
        Frozen or learning.
    use_labels
        Whether a reference step returns the labels. True suits molecular dynamics;
        False, the re-trained model, everything that compares energies: relaxations,
        line searches, nudged elastic bands, Monte Carlo.
    first_step
        The clock at the first new configuration; every further one counts up by one.

    Attributes
    ----------
    step : the clock at the next new configuration
    prediction : the last prediction with its uncertainty, None before the first

    Notes
    -----
    ASE's drivers know no change of model: after a re-training the energy jumps, and
    ``prediction.surface`` grows. Stress is given for cells that have a volume.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "stress",
    ]

    def __init__(
        self, potential: Potential, *, use_labels: bool = False, first_step: int = 0
    ) -> None:
        super().__init__()
        self.potential = potential
        self.use_labels = use_labels
        self.step = first_step
        self.prediction: Prediction | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Ask the potential once; ASE calls this for new configurations only.

        Raises
        ------
        UntrustedError
            When the potential can say nothing about the configuration.
        """
        super().calculate(atoms, properties, system_changes)
        configuration = Configuration.from_atoms(self.atoms)
        try:
            prediction = self.potential.predict(
                [configuration], step=self.step, use_labels=self.use_labels
            )[0]
        except Untrusted as untrusted:
            raise UntrustedError(
                f"step {self.step}: {untrusted.reason} (this driver cannot roll back: "
                "start again from an earlier frame with shorter steps, "
                "or let otf-md run the dynamics)"
            ) from None
        self.step += 1
        self.prediction = prediction
        self.results = {
            "energy": prediction.energy,
            "free_energy": prediction.energy,
            "forces": prediction.forces,
        }
        if configuration.volume > 0.0:
            self.results["stress"] = prediction.stress
