"""Settings become parts: the one place where the input file meets the engine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.build_baseline import build_baseline, isolated_energies
from otf.build_cell import build_barostat, require_stress, with_movable_cell
from otf.build_pool import build_pool
from otf.calculators.baseline import calculator_baseline
from otf.calculators.caller import InProcess, introduced
from otf.calculators.electrons import ElectronShelf
from otf.calculators.foreign import foreign_code, try_import
from otf.calculators.reference import Reference
from otf.calculators.registry import IN_PROCESS, make_calculator
from otf.calculators.worker import Order, Worker
from otf.configuration import Configuration
from otf.deploy.proof import on_backend
from otf.deploy.saved_model import load_model
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.dynamics.registry import INTEGRATORS
from otf.dynamics.respa import Respa
from otf.dynamics.schedule import Schedule, Stage
from otf.dynamics.velocities import with_random_velocities, with_velocities
from otf.dynamics.verlet import Motion
from otf.errors import InputError, StoreError
from otf.kernels import DeviceMissing, load
from otf.learning.audit import Auditor
from otf.learning.calibration import Calibration
from otf.learning.energy import EnergyErrors
from otf.learning.judge import Judge
from otf.learning.policy import Budget, Calibrated, History, Policy, Rules
from otf.learning.potential import LearningOptions, LearningPotential
from otf.learning.production import ProductionPotential
from otf.learning.queue import under
from otf.learning.stress import StressErrors, StressTolerance
from otf.models.archive import model_from_arrays, posterior_from_arrays
from otf.models.bayesian_linear import BayesianLinear, ModelOptions
from otf.models.covariance import Covariance, Gaussian, Polynomial
from otf.models.interface import RowNoise, RowWeights
from otf.settings.start import starting_point
from otf.state import State
from otf.store.description import difference
from otf.store.formats import read_labelled
from otf.store.label_cache import LabelCache
from otf.store.schema import RunFolder
from otf.store.scratch import ScratchRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.calculators.caller import Caller
    from otf.calculators.code import Code
    from otf.calculators.executor import ReferencePool
    from otf.configuration import Configuration, FloatArray, Labels
    from otf.dynamics.sampler import Sampler
    from otf.kernels import Backend, Device
    from otf.learning.events import LearningLog
    from otf.models.posterior import KernelPosterior
    from otf.models.rows import Allocate
    from otf.potential import Potential, ReferenceCalculator
    from otf.settings.dynamics import Dynamics
    from otf.settings.settings import Settings
    from otf.settings.system import Reference as ReferenceSection
    from otf.store.checkpoint import Checkpoint

# Atoms that keep a GPU less busy than telling it what to do.
FEW_FOR_A_GPU = 1000
# An atom that crosses this share of the cutoff in one step has left the dynamics.
LARGEST_STEP = 0.2
# Of the labelled copies a run at constant pressure starts with.
START_STRAIN = 0.02


def build_descriptor(settings: Settings, species: Sequence[int]) -> PowerSpectrum:
    """Return the descriptor of the input file for these atomic numbers."""
    d = settings.descriptor
    return PowerSpectrum(
        species=tuple(species),
        cutoff_three_body=d.cutoff_three_body_A,
        n_max=d.n_max,
        l_max=d.l_max,
        cutoff_two_body=d.cutoff_two_body_A,
        n_max_two_body=d.n_max_two_body,
        sigma=d.sigma_A,
        two_body_weight=d.two_body_weight,
        self_terms=d.self_terms,
        angular_damping=d.angular_damping,
        elements=d.elements,
    )


def build_model(
    settings: Settings, species: Sequence[int], *, allocate: Allocate | None = None
) -> BayesianLinear:
    """Return an empty model for these atomic numbers; rows lie where that says."""
    r = settings.regression
    covariance: Covariance = (
        Gaussian(r.length) if r.covariance == "gaussian" else Polynomial(r.exponent)
    )
    stress = 0.0 if r.train_stress == "no" else r.weight_stress
    model = BayesianLinear(
        build_descriptor(settings, species),
        covariance=covariance,
        baseline=build_baseline(settings.baseline, species),
        noise=RowNoise(
            r.noise_energy_eV_per_atom, r.noise_force_eV_per_A, r.noise_stress
        ),
        weights=RowWeights(r.weight_energy, r.weight_force, stress),
        options=ModelOptions(
            prior=r.prior,
            jitter=r.jitter,
            selection_bound=settings.learning.selection_bound,
            max_references=settings.learning.max_references,
            cur_epsilon=settings.learning.cur_epsilon,
            noise_floor_force=r.noise_floor_force_eV_per_A,
            noise_floor_energy=r.noise_floor_energy_eV_per_atom,
        ),
        isolated_energies=isolated_energies(settings.baseline),
    )
    if allocate is not None:
        model.training.keep_rows_in(allocate)
    return model


def build_row_memory(settings: Settings, folder: RunFolder) -> ScratchRows:
    """Return where the rows of a run that learns in this folder are kept."""
    limit = settings.learning.row_memory_GB
    if limit is None:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return ScratchRows(folder.path, machine // 2)
    return ScratchRows(folder.path, int(limit * 1e9))


def build_policy(settings: Settings) -> Policy:
    """Return the policy of the input file."""
    learning = settings.learning
    if learning.policy == "history":
        return History()
    if learning.policy == "budget":
        calls = learning.budget_calls
        assert calls is not None  # the settings refuse a budget without calls
        return Budget(
            calls,
            settings.dynamics.n_steps,
            start=learning.max_force_error_eV_per_A,
        )
    return Calibrated(learning.max_force_error_eV_per_A)


def build_learning(
    settings: Settings,
    configuration: Configuration,
    reference: ReferenceCalculator,
    log: LearningLog,
    *,
    model: BayesianLinear,
) -> LearningPotential:
    """Return the potential of a run that learns."""
    learning = settings.learning
    assert settings.reference is not None  # the settings refuse to learn without one
    goal = learning.goal_force_rmse_eV_per_A or learning.max_force_error_eV_per_A
    planned = settings.dynamics.n_steps
    judge = Judge(
        model,
        policy=build_policy(settings),
        rules=Rules(
            selection_bound=learning.selection_bound,
            max_spilling=learning.spilling_bound,
            minimum_gap=learning.minimum_gap_steps,
            queue=learning.queue,
        ),
        calibration=Calibration(),
        energies=EnergyErrors(),
        stress=StressErrors(_stress_tolerance(settings)),
    )
    return LearningPotential(
        reference,
        judge,
        auditor=Auditor(planned, goal=goal, enabled=learning.audits),
        log=log,
        options=LearningOptions(
            rattles=tuple(learning.initial_rattles_A),
            seed=settings.seed,
            latency=learning.retrain_latency_steps,
            label_latency=settings.reference.latency_steps,
            max_failures=settings.reference.max_failures,
            second_opinion=settings.reference.second_opinion,
            device=build_device(settings, configuration),
            strain=START_STRAIN if settings.dynamics.moves_cell else 0.0,
        ),
    )


def _stress_tolerance(settings: Settings) -> StressTolerance | None:
    """Return what errors of the stress count for, None in a fixed cell."""
    if not settings.dynamics.moves_cell:
        return None
    learning = settings.learning
    return StressTolerance(learning.max_stress_error, learning.max_force_error_eV_per_A)


def build_schedule(settings: Settings) -> Schedule:
    """Return the stages of the input file."""
    return Schedule(
        tuple(
            Stage(s.steps, *s.temperatures, *(s.pressures or (None, None)))
            for s in settings.dynamics.stages
        )
    )


def build_device(settings: Settings, configuration: Configuration) -> Device:
    """Return where the atoms of the input file move.

    Raises
    ------
    InputError
        When it names a GPU that is not there.
    """
    wanted, lacking = settings.device, ""
    try:
        load("gpu" if wanted == "auto" else wanted)
    except DeviceMissing as error:
        lacking = str(error)
    if wanted != "auto":
        if lacking:
            raise InputError(f"{lacking} (input file: device)")
        return wanted
    few = configuration.n_atoms < FEW_FOR_A_GPU
    two_steps = settings.dynamics.respa is not None
    return "cpu" if lacking or few or two_steps else "gpu"


def build_sampler(
    settings: Settings,
    state: State,
    backend: Backend,
    *,
    cutoff: float,
    fast: Potential | None = None,
) -> Sampler:
    """Return the integrator of the input file, for a run that is at this state.

    The states it moves live on a backend.

    Parameters
    ----------
    settings, state, backend
        Of the run.
    cutoff
        angstrom, of the model.
    fast
        What gives the force of the short steps, where the input file wants two.
    """
    dynamics = settings.dynamics
    motion = Motion(
        timestep=dynamics.timestep,
        largest_displacement=LARGEST_STEP * cutoff,
        watch=backend.watch,
    )
    if dynamics.respa is not None and fast is not None:
        n = dynamics.respa.inner_steps
        short = replace(motion, timestep=motion.timestep / n)
        inner = _build_thermostat(dynamics, short, state.configuration, backend)
        return Respa(motion=motion, inner=inner, fast=fast, inner_steps=n)
    sampler = _build_thermostat(dynamics, motion, state.configuration, backend)
    if dynamics.moves_cell:
        return build_barostat(dynamics, sampler, state.first_cell, backend.xp)
    return sampler


def _build_thermostat(
    dynamics: Dynamics, motion: Motion, configuration: Configuration, backend: Backend
) -> Sampler:
    thermostat, noise = dynamics.thermostat_in_use, backend.kernels.normal
    if not thermostat:
        return INTEGRATORS["verlet"](motion)
    if thermostat == "langevin":
        friction = _friction_of_atoms(dynamics.friction, configuration)
        if not isinstance(friction, float):
            friction = backend.here(friction)
        return INTEGRATORS["langevin"](motion, friction, noise, backend.xp)
    if thermostat == "nose-hoover":
        return INTEGRATORS["nose_hoover"](
            motion, dynamics.time_constant, dynamics.chain_length
        )
    return INTEGRATORS["rescaling"](motion, dynamics.time_constant, noise)


def _friction_of_atoms(
    friction: float | dict[int, float], configuration: Configuration
) -> float | FloatArray:
    if not isinstance(friction, dict):
        return friction
    missing = set(configuration.numbers.tolist()) - set(friction)
    if missing:
        raise InputError(
            f"the friction of atomic number {min(missing)} is missing "
            "(dynamics.friction_per_ps)"
        )
    return np.array([friction[int(z)] for z in configuration.numbers])


def build_reference(
    settings: Settings, *, watch: Callable[[int, int], None] | None = None
) -> Reference | ReferencePool | None:
    """Return the reference of the input file, None for a run that does not learn.

    Parameters
    ----------
    watch
        Called with the labels that have arrived and those asked for, while somebody
        waits for several.

    Raises
    ------
    InputError
        When the calculator or the executor is not known or refuses its arguments.
    """
    if not settings.is_learning or settings.reference is None:
        return None
    section, directory = settings.reference, RunFolder(settings.directory).reference
    code = build_code(section, directory)
    require_stress(settings, code)
    cache = _cache(settings)
    if section.works_ahead:
        order = _order(section, code, directory)
        return build_pool(section, code, order, cache=cache, watch=watch)
    caller = _caller(section, code, directory)
    code = introduced(code, caller)
    return Reference(
        code,
        caller=caller,
        retries=section.retries,
        shelf=_shelf(section, code),
        cache=cache,
    )


def _cache(settings: Settings) -> LabelCache | None:
    """Return the labels all runs share, None when the input file names no folder.

    Raises
    ------
    InputError
        When the folder cannot be used.
    """
    assert settings.reference is not None  # the caller has it
    if settings.reference.cache is None:
        return None
    try:
        return LabelCache(settings.resolve(settings.reference.cache))
    except StoreError as error:
        raise InputError(f"{error} (input file: [reference] cache)") from error


def build_code(section: ReferenceSection, directory: Path | None = None) -> Code:
    """Return the reference code of the input file; nothing is run yet.

    Raises
    ------
    InputError
        When the calculator is not known or refuses its arguments.
    """
    if section.python is not None:
        return foreign_code(
            section.calculator,
            section.arguments,
            section.python,
            directory=directory,
            ladder=section.retry_arguments,
            kpoint_spacing=section.kpoint_spacing_per_A,
            limit=section.start_limit_s,
        )
    module, colon, _ = section.calculator.partition(":")
    if colon and module not in sys.modules:
        # It may hang or crash, which this process must not.
        try_import(module, limit=section.start_limit_s)
    return make_calculator(
        section.calculator,
        section.arguments,
        directory=directory,
        ladder=section.retry_arguments,
        kpoint_spacing=section.kpoint_spacing_per_A,
        restart=section.restart == "previous",
    )


def _shelf(section: ReferenceSection, code: Code) -> ElectronShelf | None:
    """Return where electrons are kept, None where they are in no file."""
    if section.restart == "scratch" or not code.electrons:
        return None
    return ElectronShelf(Path(str(code.arguments["directory"])), code.electrons)


def _caller(section: ReferenceSection, code: Code, directory: Path) -> Caller:
    """Return a process for the code, or this one for the potentials of the tests."""
    if code.name in IN_PROCESS and section.time_limit_s is None:
        return InProcess(code)
    return Worker(
        _order(section, code, directory),
        time_limit=section.time_limit_s,
        start_limit=section.start_limit_s,
    )


def _order(section: ReferenceSection, code: Code, directory: Path) -> Order:
    """Return what a process builds."""
    order = Order(
        section.calculator,
        section.arguments,
        directory=directory,
        ladder=section.retry_arguments,
        kpoint_spacing=section.kpoint_spacing_per_A,
        restart=section.restart == "previous",
    )
    if section.python is not None:  # whose far end knows nothing of ours
        order = replace(
            order,
            calculator=code.name,
            arguments=code.arguments,
            ladder=code.ladder,
            python=section.python,
            kpoint_spacing=None,
        )
    return order


def initial_state(settings: Settings) -> State:
    """Return the first state: velocities of the file, else Maxwell-Boltzmann."""
    start = starting_point(settings)
    state = State(
        configuration=start.configuration,
        momenta=np.zeros((start.configuration.n_atoms, 3)),
        masses=start.masses,
        free=start.free,
        step=0,
        time=0.0,
        seed=settings.seed,
    )
    wanted = settings.dynamics.initial_temperature_K
    if start.velocities is not None and wanted is None:
        state = with_velocities(state, start.velocities)
    else:
        state = with_random_velocities(state, settings.dynamics.start_temperature)
    return with_movable_cell(settings, state)


def build_production(settings: Settings, device: Device) -> ProductionPotential:
    """Return the frozen model the input file names, on a device.

    Raises
    ------
    StoreError
        When the model file cannot be read or does not prove itself.
    """
    assert settings.model_path is not None  # the caller asked is_learning
    return _production(settings, load_model(settings.model_path, backend=device))


def restored_production(
    settings: Settings, checkpoint: Checkpoint, device: Device
) -> ProductionPotential:
    """Return the frozen model of a checkpoint, on a device."""
    model = posterior_from_arrays(checkpoint.model, calculators=calculator_baseline)
    potential = _production(settings, on_backend(model, device))
    potential.restore(under(checkpoint.potential, "potential"))
    return potential


def _production(settings: Settings, model: KernelPosterior) -> ProductionPotential:
    section = settings.potential
    return ProductionPotential(
        model,
        max_spilling=section.max_spilling,
        check_interval=section.check_interval,
        stop=section.on_untrusted == "stop",
    )


def restored_learning(
    settings: Settings,
    configuration: Configuration,
    reference: ReferenceCalculator,
    log: LearningLog,
    checkpoint: Checkpoint,
    *,
    allocate: Allocate | None = None,
) -> LearningPotential:
    """Return the learning potential of a checkpoint."""
    model = model_from_arrays(
        checkpoint.model, calculators=calculator_baseline, allocate=allocate
    )
    potential = build_learning(settings, configuration, reference, log, model=model)
    potential.restore(under(checkpoint.potential, "potential"))
    return potential


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """Labels a run starts from.

    Attributes
    ----------
    frames : structures with their labels
    references : for each the fingerprint of the calculator that labelled it where that
        is another than that of the run, empty otherwise
    descriptions : what these fingerprints stand for, as far as known
    """

    frames: list[tuple[Configuration, Labels]] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)


def known_labels(settings: Settings, fingerprint: str, description: str) -> KnownLabels:
    """Return the labels of earlier runs and files the input file starts from.

    Parameters
    ----------
    settings
        Of the input file.
    fingerprint, description
        Of the reference of the run.

    Raises
    ------
    InputError
        When one had another reference and they are not to be mixed.
    StoreError
        When one cannot be read.
    """
    known = KnownLabels()
    for name in settings.learning.start_from:
        path = settings.resolve(name)
        reading = read_labelled(path)
        # A file need not say who labelled it.
        foreign = sorted(set(reading.fingerprints) - {"", fingerprint})
        for mark in () if settings.learning.mix_references else foreign:
            found = difference(reading.descriptions.get(mark, ""), description)
            raise InputError(
                f"{path} was labelled by another reference or other arguments"
                f"{f' ({found})' if found else ''}; energies of two references do not "
                "mix: take other labels, or let each reference have energies of the "
                "elements of its own with learning.mix_references = true "
                "(learning.start_from)"
            )
        known.descriptions.update(reading.descriptions)
        known.frames.extend(reading.frames)
        known.references.extend(
            mark if mark in foreign else "" for mark in reading.fingerprints
        )
    return known
