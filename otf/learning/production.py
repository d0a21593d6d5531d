"""A finished model as a potential, with an eye on where it can be trusted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from otf.calculators.geometry import DistanceGate
from otf.models.archive import posterior_to_arrays
from otf.potential import Untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import Configuration, FloatArray
    from otf.models.posterior import KernelPosterior
    from otf.potential import Arrays, Prediction

logger = logging.getLogger(__name__)


class ProductionPotential:
    """Predict only; look at the spilling at an interval.

    Parameters
    ----------
    model
        Fitted.
    max_spilling
        Largest trusted spilling of any atom.
    check_interval
        Steps between two looks at it.
    stop
        Whether a larger one raises ``Untrusted`` or is counted in ``n_flagged`` and
        reported once.
    """

    def __init__(
        self,
        model: KernelPosterior,
        *,
        max_spilling: float = 2e-3,
        check_interval: int = 10,
        stop: bool = True,
    ) -> None:
        self.model = model
        self.max_spilling = max_spilling
        self.check_interval = check_interval
        self.stop = stop
        self.n_flagged = 0
        self.n_calls = 0  # of a reference: never
        self.generation = 0  # the model never changes
        self._gates: list[DistanceGate] = []  # one for each place in a batch

    @property
    def cutoff(self) -> float:
        """Return the largest cutoff in angstrom."""
        return self.model.descriptor.cutoff

    def predict(
        self,
        configurations: Sequence[Configuration],
        *,
        step: int,
        use_labels: bool = True,
    ) -> list[Prediction]:
        """Return a prediction for each configuration.

        Raises
        ------
        Untrusted
            When atoms overlap, or the spilling is too large and ``stop`` was asked for.
        """
        while len(self._gates) < len(configurations):
            self._gates.append(DistanceGate(backend=self.model.backend))
        for gate, c in zip(self._gates, configurations, strict=False):
            gate.require(c)
        looks = step % self.check_interval == 0
        found = self.model.predict_batch(configurations, measured=looks)
        if looks:
            for c, prediction in zip(configurations, found, strict=True):
                self._look(c, prediction, step)
        return found

    def _look(self, c: Configuration, prediction: Prediction, step: int) -> None:
        assert prediction.uncertainty is not None  # it was measured
        spilling = prediction.uncertainty.spilling
        backend = self.model.backend
        if not backend.watch.holds((spilling <= self.max_spilling).all()):
            self._flag(c, step, backend.host(spilling))

    def _flag(self, c: Configuration, step: int, spilling: FloatArray) -> None:
        found, allowed = spilling.max(), self.max_spilling
        text = (
            f"step {step}: the environment of atom {spilling.argmax()} is unknown to "
            f"the model (spilling {found:.2g}, allowed {allowed:.2g}, "
            "potential.max_spilling): learn there, or raise the bound"
        )
        if self.stop:
            raise Untrusted(c.moved(self.model.backend.host(c.positions)), text)
        self.n_flagged += 1
        if self.n_flagged == 1:
            logger.warning("%s; later ones are only counted", text)

    def model_arrays(self) -> Arrays:
        """Return the arrays of the model."""
        return posterior_to_arrays(self.model)

    def state(self) -> Arrays:
        """Return the count of flagged steps."""
        return {"n_flagged": np.array(self.n_flagged)}

    def restore(self, state: Arrays) -> None:
        """Take up the count of flagged steps."""
        self.n_flagged = int(state["n_flagged"])
