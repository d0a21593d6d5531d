"""The part of the input file that makes two time steps becomes a fast force."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from otf.configuration import species_of
from otf.deploy.saved_model import load_model
from otf.dynamics.respa import ModelForces, Remembered
from otf.errors import InputError, StoreError
from otf.models.baselines.alone import BaselinePotential
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.baselines.interface import NoBaseline
from otf.models.posterior import KernelPosterior
from otf.store.disk import explained, write_all, write_aside

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import Configuration
    from otf.models.baselines.interface import Baseline
    from otf.models.bayesian_linear import BayesianLinear
    from otf.potential import Potential
    from otf.settings import Settings
    from otf.store.schema import RunFolder


def build_fast(
    settings: Settings,
    configuration: Configuration,
    model: BayesianLinear | KernelPosterior,
    folder: RunFolder,
) -> Potential | None:
    """Return what gives the fast force of a run, None when there is one time step.

    Parameters
    ----------
    settings
        Of the input file.
    configuration
        The first structure.
    model
        Of the run.
    folder
        Keeps a copy of a cheaper model, which a resumed run goes on with.

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
        _require_two_parts(model.baseline)
        if respa.fast == "baseline":
            return Remembered(BaselinePotential(model.baseline))
        assert isinstance(model, KernelPosterior)  # the settings refuse to learn
        return Remembered(ModelForces(replace(model, baseline=NoBaseline())))
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
        _require_two_parts(load_model(settings.model_path).baseline)


def _require_two_parts(baseline: Baseline) -> None:
    # The repulsion of nuclei is no part of the motion of atoms that are bound.
    if isinstance(baseline, NoBaseline | CoreRepulsion):
        raise InputError(
            "the finished model has no baseline, and its force no two parts: give "
            "the file of a cheaper model (dynamics.respa.fast)"
        )


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
