"""The part of the input file that makes two time steps becomes a fast force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from otf.configuration import species_of
from otf.deploy.saved_model import load_model
from otf.dynamics.respa import ModelForces, Remembered
from otf.errors import InputError, StoreError
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.baselines.interface import NoBaseline
from otf.store.disk import explained, write_all, write_aside
from otf.testing import BaselinePotential

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import Configuration
    from otf.models.baselines.interface import Baseline
    from otf.models.posterior import KernelPosterior
    from otf.potential import Potential
    from otf.settings import Settings
    from otf.store.schema import RunFolder


def build_fast(
    settings: Settings,
    configuration: Configuration,
    baseline: Baseline,
    folder: RunFolder,
) -> Potential | None:
    """Return what gives the fast force of a run, None when there is one time step.

    Parameters
    ----------
    settings
        Of the input file.
    configuration
        The first structure.
    baseline
        Of the model of the run.
    folder
        Keeps a copy of the cheaper model, which a resumed run goes on with.

    Raises
    ------
    InputError
        When the baseline gives no force, or the cheaper model lacks an element.
    StoreError
        When the file of the cheaper model cannot be read, or the copy written.
    """
    respa = settings.dynamics.respa
    if respa is None:
        return None
    if respa.model is None:
        return Remembered(BaselinePotential(_with_forces(baseline)))
    if not folder.fast_model.exists():
        _copy(settings.resolve(respa.model), folder.fast_model)
    return Remembered(ModelForces(_of_elements(folder.fast_model, configuration)))


def require_sound_fast(settings: Settings, configuration: Configuration) -> None:
    """Read what gives the fast force, so that its mistakes are found before a run.

    Raises
    ------
    InputError
        When it cannot be read, gives no force or lacks an element.
    StoreError
        When the finished model of the run cannot be read.
    """
    respa = settings.dynamics.respa
    if respa is None:
        return
    if respa.model is not None:
        try:
            _of_elements(settings.resolve(respa.model), configuration)
        except StoreError as error:
            raise InputError(f"{error} (dynamics.respa.fast)") from error
    elif settings.model_path is not None:
        _with_forces(load_model(settings.model_path).baseline)


def _with_forces(baseline: Baseline) -> Baseline:
    if isinstance(baseline, NoBaseline | CoreRepulsion):
        raise InputError(
            "the finished model has no baseline that would give a fast force: give "
            "the file of a cheaper model (dynamics.respa.fast)"
        )
    return baseline


def _of_elements(path: Path, configuration: Configuration) -> KernelPosterior:
    model = load_model(path)
    missing = set(species_of([configuration])) - set(model.descriptor.species)
    if missing:
        raise InputError(
            f"{path} knows nothing of {chemical_symbols[min(missing)]}: give a model "
            "of all elements of the structure (dynamics.respa.fast)"
        )
    return model


def _copy(source: Path, target: Path) -> None:
    with explained(source):
        data = source.read_bytes()
    write_aside(target, lambda handle: write_all(handle.fileno(), data))
