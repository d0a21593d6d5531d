"""Models in files: saved with proof frames, and proven when they are loaded."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from otf.calculators.baseline import calculator_baseline
from otf.deploy.proof import DEFAULT, on_backend, proof_frames, prove
from otf.deploy.provenance import UNITS, now
from otf.deploy.tables import require_same, sampled
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.errors import StoreError
from otf.models.archive import posterior_from_arrays, posterior_to_arrays
from otf.store.model_file import read_model, write_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from otf.configuration import Configuration
    from otf.kernels import Device, RadialTable
    from otf.models.posterior import KernelPosterior
    from otf.store.model_file import ModelFile


def save_model(
    path: str | PathLike[str],
    model: KernelPosterior,
    *,
    proof: Sequence[Configuration],
    metadata: Mapping[str, object],
) -> None:
    """Write a fitted model with what it predicts for a few of the structures.

    Parameters
    ----------
    proof
        Structures to choose the proof frames from, evenly.
    metadata
        What the model was made of: plain JSON.

    Raises
    ------
    StoreError
        When the disk is full or fails.
    """
    write_model(
        path,
        {**posterior_to_arrays(model), **sampled(_tables(model))},
        metadata={
            "version": version("otf-md"),
            "date": now(),
            "units": UNITS,
            **metadata,
        },
        proof=[(c, model.predict(c)) for c in proof_frames(proof)],
    )


def load_model(
    path: str | PathLike[str], *, backend: Device = DEFAULT
) -> KernelPosterior:
    """Read a model and let it prove itself on the backend it will use.

    Raises
    ------
    StoreError
        When the file cannot be read, or the model does not find its values again.
    """
    path = Path(path)
    file = read_model(path)
    model = on_backend(model_of(file, path), backend)
    try:
        prove(model, file.proof, backend)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    return model


def model_of(file: ModelFile, path: Path) -> KernelPosterior:
    """Return the model of a file that was read, its tables compared, not yet proven.

    Raises
    ------
    StoreError
        When the file lacks a part of it, or a table is another here.
    """
    try:
        model = posterior_from_arrays(file.arrays, calculators=calculator_baseline)
        require_same(_tables(model), file.arrays)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"{path}: lacks an entry of a model ({error}); fit it again"
        ) from error
    return model


def _tables(model: KernelPosterior) -> dict[str, RadialTable]:
    descriptor = model.descriptor
    return descriptor.tables if isinstance(descriptor, PowerSpectrum) else {}
