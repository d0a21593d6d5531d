"""The proof of a model: frames it must give again, on every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from otf.deploy.lammps import as_lammps_predicts
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import InputError, StoreError
from otf.kernels import Device, load
from otf.learning.bootstrap import rattled
from otf.store.model_file import Tolerances, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import Configuration
    from otf.models.posterior import KernelPosterior
    from otf.potential import Prediction
    from otf.store.model_file import Deviation, Proof

Way = Device | Literal["lammps"]

BACKENDS: tuple[Device, ...] = ("reference", "cpu", "gpu", "gpu-mixed")
WAYS: tuple[Way, ...] = (*BACKENDS, "lammps")
DEFAULT: Device = "cpu"
# What pairs in single precision leave: a tenth of what labels are converged to.
MIXED = Tolerances(energy=1e-6, forces=2e-5, stress=1e-6)
FEWEST, MOST = 5, 8
RATTLE = 0.05  # angstrom, of the copies that fill up a small proof


@dataclass(frozen=True)
class Check:
    """What one backend made of the proof.

    Attributes
    ----------
    backend : its name, or that of the program that might call the model
    missing : why it cannot be used here, empty when it can
    deviations : of each quantity the largest; empty when it was not tried or refused
    refusal : one line, empty when it gives the proof again
    """

    backend: str
    missing: str = ""
    deviations: tuple[Deviation, ...] = ()
    refusal: str = ""


def proof_frames(structures: Sequence[Configuration]) -> list[Configuration]:
    """Return 5 to 8 structures, evenly chosen; few are filled up with rattled copies.

    Copies need no labels: a proof is what the model says, right or wrong.
    """
    if not structures:
        return []
    count = min(len(structures), MOST)
    places = np.linspace(0, len(structures) - 1, count).round().astype(int)
    chosen = [structures[k] for k in places]
    for k in range(FEWEST - count):
        chosen.append(rattled(chosen[k], RATTLE, seed=0, index=k))
    return chosen


def on_backend(model: KernelPosterior, backend: Device) -> KernelPosterior:
    """Return the model with its kernels on another backend.

    A descriptor that is none of this package stays where it is.
    """
    if not isinstance(model.descriptor, PowerSpectrum):
        return model
    return model.on(backend)


def prove(
    model: KernelPosterior,
    proof: Proof,
    backend: Way,
    *,
    predicted: Callable[[], None] = lambda: None,
) -> list[Deviation]:
    """Predict the proof on a backend and compare.

    Parameters
    ----------
    backend
        Or the program through whose arrays the model is asked.
    predicted
        Called before every frame.

    Raises
    ------
    StoreError
        When a value disagrees; names backend, quantity, frame, size and tolerance.
    """
    if backend == "lammps":
        answer = as_lammps_predicts(model)
    else:
        answer = on_backend(model, backend).predict

    def predict(configuration: Configuration) -> Prediction:
        predicted()
        return answer(configuration)

    tolerances = MIXED if backend == "gpu-mixed" else None
    return verify(predict, proof, backend=backend, tolerances=tolerances)


def prove_everywhere(
    model: KernelPosterior,
    proof: Proof,
    *,
    progress: Callable[[str, int, int], None],
) -> list[Check]:
    """Let the model prove itself on every backend of this machine, and for LAMMPS."""
    checks = []
    usable: dict[Way, str] = {name: _missing(name) for name in BACKENDS}
    usable["lammps"] = _lacking(model)
    total = len(proof) * sum(not reason for reason in usable.values())
    done = 0

    def predicted() -> None:
        nonlocal done
        progress("prove", done, total)
        done += 1

    for name, reason in usable.items():
        if reason:
            checks.append(Check(name, missing=reason))
            continue
        try:
            found = prove(model, proof, name, predicted=predicted)
        except StoreError as error:
            checks.append(Check(name, refusal=str(error)))
        else:
            checks.append(Check(name, deviations=tuple(found)))
    return checks


def _missing(backend: Device) -> str:
    """Return why a backend cannot be used here, empty when it can."""
    try:
        load(backend)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return (str(error) or type(error).__name__).splitlines()[0]
    return ""


def _lacking(model: KernelPosterior) -> str:
    """Return why LAMMPS cannot call a model, empty when it can."""
    try:
        model.require_pairs()
    except InputError as error:
        return str(error)
    return ""
