"""The potential every sampler sees, whether it is learning, learned or exact."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from otf.errors import OTFError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from otf.configuration import Configuration, FloatArray, Labels

    Arrays = Mapping[str, NDArray[np.generic]]
    # Makes an array of one device, or a number, of one of another.
    Convert = Callable[[Any], Any]
    # Says in one line why labels are suspect, None when they are not.
    Doubt = Callable[[Labels], str | None]
    Answer = Callable[[], Labels]  # waits; raises what ``ReferenceCalculator`` raises


_Part = TypeVar("_Part", "Uncertainty | None", "ModelChange | None")


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What the model thinks of its own prediction.

    Attributes
    ----------
    local : (n,) eV, deviation of every atom's own energy
    spilling : (n,) in [0, 1], share of an environment the references do not span
    forces : (n,) eV/angstrom, sqrt(tr C_i / 3) of the force covariance; None when not
        all were computed
    energy : eV, deviation of the total energy; None when only the cheap measures were
        computed
    stress : (6,) eV/angstrom^3; None as the energy
    errors : (n,) eV/angstrom, calibrated force errors e_i: 95 % of the true errors lie
        below; None where ``forces`` is, or where nothing calibrates them
    error : eV/angstrom, e, the largest of ``errors``; where these were not evaluated,
        that of some atoms, or what the screen of a learning potential expects; None
        where nobody knows
    """

    local: FloatArray
    spilling: FloatArray
    forces: FloatArray | None = None
    energy: float | None = None
    stress: FloatArray | None = None
    errors: FloatArray | None = None
    error: float | None = None


@dataclass(frozen=True, eq=False)
class ModelChange:
    """Energy, forces and stress of the old and the new model at the same positions."""

    energy_before: float
    energy_after: float
    forces_before: FloatArray
    forces_after: FloatArray
    stress_before: FloatArray | None = None
    stress_after: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energy (eV), forces (n, 3) eV/angstrom and stress (6,) eV/angstrom^3.

    ``surface`` grows whenever energies are no longer comparable with earlier ones.
    ``labelled`` says that forces are those of the reference; then ``energy`` is the
    label too. ``change`` holds the values of the old and the new model where a step was
    labelled or the model was fitted again.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray
    surface: int = 0
    labelled: bool = False
    change: ModelChange | None = None
    uncertainty: Uncertainty | None = None

    @property
    def model_energy(self) -> float:
        """Return the energy on the surface the next step starts from, in eV."""
        return self.energy if self.change is None else self.change.energy_after

    def of(self, convert: Convert) -> Prediction:
        """Return the same, of what ``convert`` makes of all arrays; energies: floats.

        While a GPU works an energy may be an array of no axes.
        """
        return replace(
            self,
            energy=float(convert(self.energy)),
            forces=convert(self.forces),
            stress=convert(self.stress),
            change=_of(self.change, convert),
            uncertainty=_of(self.uncertainty, convert),
        )


def _of(part: _Part, convert: Convert) -> _Part:
    """Return a part with all its arrays converted; None stays."""
    if part is None:
        return part
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return replace(
        part,
        **{
            name: convert(value)
            for name, value in values.items()
            if value is not None and not isinstance(value, float)
        },
    )


class Untrusted(OTFError):  # noqa: N818 - an exception of flow, named as in the docs
    """A configuration no prediction and no label can be trusted for."""

    def __init__(self, configuration: Configuration, reason: str) -> None:
        super().__init__(reason)
        self.configuration = configuration
        self.reason = reason


class Potential(Protocol):
    """Anything that gives energies, forces and stress."""

    def predict(
        self,
        configurations: Sequence[Configuration],
        *,
        step: int,
        use_labels: bool = True,
    ) -> list[Prediction]:
        """Return one prediction per configuration.

        Parameters
        ----------
        configurations
            A batch: beads, walkers, replicas, or one.
        step
            The sampler's clock; a frozen potential ignores it.
        use_labels
            Whether a reference step returns the labels (molecular dynamics) or the
            re-trained model (whatever compares energies).

        Raises
        ------
        Untrusted
            When a configuration is unphysical.
        """
        ...

    def state(self) -> Arrays:
        """Return everything a later ``restore`` needs, as named arrays."""
        ...

    def restore(self, state: Arrays) -> None:
        """Take up the state another instance returned."""
        ...


class Memoryless:
    """A potential that is a function of the configuration alone; a base for such."""

    def of(self, configuration: Configuration) -> Prediction:
        """Return the prediction of one configuration."""
        raise NotImplementedError

    def predict(
        self,
        configurations: Sequence[Configuration],
        *,
        step: int,
        use_labels: bool = True,
    ) -> list[Prediction]:
        """Return one prediction per configuration, whatever the clock."""
        return [self.of(c) for c in configurations]

    def state(self) -> Arrays:
        """Return nothing: there is nothing to remember."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Take up nothing."""


class ReferenceCalculator(Protocol):
    """The exact answer: a DFT code, or whatever stands in for it."""

    def label(
        self, configuration: Configuration, *, doubt: Doubt | None = None
    ) -> Labels:
        """Return the labels of one configuration.

        Parameters
        ----------
        configuration
            The question.
        doubt
            Labels it doubts are computed once more before they are believed.

        Raises
        ------
        ReferenceFailure
            When no trustworthy labels came after all retries.
        """
        ...

    def fingerprint(self, configuration: Configuration) -> str:
        """Return what must be equal for labels to share a training set."""
        ...

    def description(self, configuration: Configuration) -> str:
        """Return what the fingerprint stands for, in one line of words."""
        ...

    def close(self) -> None:
        """End whatever process it holds."""
        ...


@runtime_checkable
class WorksAhead(Protocol):
    """A reference that computes several structures while others are thought about."""

    def begin(
        self,
        configuration: Configuration,
        *,
        doubt: Doubt | None = None,
        urgent: bool = False,
    ) -> Answer:
        """Have a configuration labelled, and return what waits for its labels.

        Parameters
        ----------
        configuration
            The question.
        doubt
            See ``ReferenceCalculator.label``.
        urgent
            Whether somebody waits for it now: it goes before all that have not begun.
        """
        ...
