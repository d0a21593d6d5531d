"""What keys of the input file may not say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.settings.sweep import sweep_contradictions

if TYPE_CHECKING:
    from otf.settings.baseline import Dispersion, Electrostatics
    from otf.settings.coexistence import Coexistence
    from otf.settings.dynamics import Dynamics, Stage
    from otf.settings.settings import Settings
    from otf.settings.system import Reference

GPAW = ("gpaw", "gpaw:GPAW")


def contradictions(settings: Settings) -> list[str]:
    """Return one line for each pair of keys that cannot stand together."""
    if settings.sweep is not None and settings.coexistence is not None:
        return [
            "[sweep] and [coexistence] are of two commands: remove one of them "
            "(coexistence)"
        ]
    if settings.sweep is not None:
        return sweep_contradictions(settings, settings.sweep) or contradictions(
            settings.combination(
                temperature=next(iter(settings.sweep.temperatures_K), None),
                pressure=next(iter(settings.sweep.pressures_GPa), None),
            )
        )
    return [
        *_who_answers(settings),
        *_reference(settings.reference),
        *_learning(settings),
        *_regression(settings),
        *_dispersion(settings.baseline.dispersion),
        *_charges(settings.baseline.electrostatics),
        *(
            _dynamics(settings.dynamics)
            if settings.coexistence is None
            else _coexistence(settings, settings.coexistence)
        ),
        *_stress(settings),
        *_respa(settings),
    ]


def _who_answers(settings: Settings) -> list[str]:
    if settings.is_learning:
        if settings.reference is None:
            return [
                "[reference] is missing: give the calculator to learn from, or a "
                "finished model under [potential] (reference.calculator)"
            ]
        given = [
            key
            for key in ("on_untrusted", "max_spilling", "check_interval")
            if settings.potential.was_given(key)
        ]
        return [
            f"{key} has no meaning without a model: add model, or remove it "
            f"(potential.{key})"
            for key in given
        ]
    if settings.was_given("learning"):
        return [
            "[learning] contradicts a finished model: remove [learning], or model "
            "under [potential] (potential.model)"
        ]
    return []


def _reference(reference: Reference | None) -> list[str]:
    if reference is None:
        return []
    lines = []
    elsewhere = reference.python is not None and reference.calculator not in GPAW
    if reference.restart != "scratch" and elsewhere:
        lines.append(
            'restart = "previous" is possible for gpaw only in another python: remove '
            "one of them (reference.restart)"
        )
    if reference.restart != "scratch" and reference.works_ahead:
        lines.append(
            'restart = "previous" needs one label after the other: remove it, or '
            "workers, latency_steps and executor (reference.restart)"
        )
    if reference.executor is None and reference.executor_arguments:
        lines.append(
            'executor_arguments need executor, "executorlib" or "dask" '
            "(reference.executor_arguments)"
        )
    if reference.workers > 1 and "directory" in reference.arguments:
        lines.append(
            f"the {reference.workers} workers would write into one directory: remove "
            "it, each gets a folder of its own (reference.arguments.directory)"
        )
    return lines


def _learning(settings: Settings) -> list[str]:
    learning = settings.learning
    lines = []
    if learning.policy == "budget":
        if learning.budget_calls is None:
            lines.append(
                'policy = "budget" needs budget_calls, the number of reference calls '
                "(learning.budget_calls)"
            )
        elif learning.budget_calls <= (n_rattles := len(learning.initial_rattles_A)):
            lines.append(
                f"budget_calls must exceed the {n_rattles} initial rattles, got "
                f"{learning.budget_calls} (learning.budget_calls)"
            )
    elif learning.budget_calls is not None:
        lines.append(
            'budget_calls needs policy = "budget", got policy = '
            f'"{learning.policy}" (learning.budget_calls)'
        )
    if learning.spilling_bound < learning.selection_bound:
        lines.append(
            f"max_spilling must be at least selection_bound = "
            f"{learning.selection_bound:g}, got {learning.spilling_bound:g} "
            f"(learning.max_spilling)"
        )
    return lines


def _regression(settings: Settings) -> list[str]:
    regression = settings.regression
    lines = []
    if regression.weight_energy == regression.weight_force == 0.0:
        lines.append(
            "weight_energy and weight_force are both 0: nothing would be learned "
            "(regression.weight_force)"
        )
    if regression.was_given("length") and regression.covariance != "gaussian":
        lines.append('length needs covariance = "gaussian" (regression.length)')
    if regression.was_given("exponent") and regression.covariance != "polynomial":
        lines.append('exponent needs covariance = "polynomial" (regression.exponent)')
    return lines


def _stress(settings: Settings) -> list[str]:
    """Return what a cell that moves, or does not, has to do with the stress."""
    if not settings.dynamics.moves_cell:
        if settings.learning.was_given("max_stress_error_GPa"):
            return [
                'max_stress_error_GPa needs ensemble = "NPT", got ensemble = '
                f'"{settings.dynamics.ensemble}" (learning.max_stress_error_GPa)'
            ]
        return []
    if not settings.is_learning:
        return []
    regression = settings.regression
    unlearned = [
        ("train_stress", regression.train_stress == "no"),
        ("weight_stress", regression.weight_stress == 0.0),
    ]
    return [
        f'ensemble = "{settings.dynamics.ensemble}" moves the cell by the stress, '
        f"which {key} = {getattr(regression, key)!r} leaves unlearned: remove it "
        f"(regression.{key})"
        for key, is_unlearned in unlearned
        if is_unlearned
    ]


def _respa(settings: Settings) -> list[str]:
    """Return what two time steps contradict."""
    respa, dynamics = settings.dynamics.respa, settings.dynamics
    if respa is None:
        return []
    lines = []
    if settings.coexistence is not None:
        lines.append(
            "respa does not go with [coexistence]: remove one of them (dynamics.respa)"
        )
    elif dynamics.moves_cell:
        lines.append(
            f'respa needs ensemble = "NVE" or "NVT", got ensemble = '
            f'"{dynamics.ensemble}": remove it (dynamics.respa)'
        )
    if settings.device in ("gpu", "gpu-mixed"):
        lines.append(
            f'respa moves the atoms on the processor, got device = "{settings.device}":'
            " remove one of them (dynamics.respa)"
        )
    known = settings.baseline
    forces = (known.electrostatics, known.dispersion, known.calculator)
    if respa.fast == "learned" and settings.is_learning:
        lines.append(
            'fast = "learned" needs a finished model, for one that learns is another '
            "from fit to fit: give it (potential.model)"
        )
    elif respa.fast == "baseline" and settings.is_learning and not any(forces):
        lines.append(
            'fast = "baseline" needs electrostatics, dispersion or a calculator under '
            "[baseline], or give the file of a cheaper model (dynamics.respa.fast)"
        )
    return lines


def _dispersion(dispersion: Dispersion | None) -> list[str]:
    if dispersion is None:
        return []
    lines = []
    if (dispersion.functional is None) == (not dispersion.parameters):
        lines.append(
            'dispersion needs either functional, such as "PBE", or parameters, such as '
            "{ s6 = 0.75 } (baseline.dispersion.functional)"
        )
    if dispersion.method != "D2":
        lines += [
            f'{key} belongs to method = "D2", got method = "{dispersion.method}" '
            f"(baseline.dispersion.{key})"
            for key in ("c6_eV_A6", "radii_A")
            if getattr(dispersion, key)
        ]
    return lines


def _charges(charges: Electrostatics | None) -> list[str]:
    if charges is None:
        return []
    return [
        f"widths_A names {symbol}, which has no charge: add it to charges_e "
        "(baseline.electrostatics.widths_A)"
        for symbol in charges.widths_A
        if symbol not in charges.charges_e
    ]


_OF_THE_PROTOCOL = (
    "stages",
    "ensemble",
    "initial_temperature_K",
    "barostat",
    "cell_friction_per_ps",
    "cell_mass_amu",
)


def _coexistence(settings: Settings, section: Coexistence) -> list[str]:
    """Return what [coexistence] contradicts; it sets the runs itself."""
    lines = [
        f"{key} contradicts [coexistence], which sets it: remove it (dynamics.{key})"
        for key in _OF_THE_PROTOCOL
        if settings.dynamics.was_given(key)
    ]
    if settings.dynamics.thermostat == "nose-hoover":
        lines.append(
            'thermostat = "nose-hoover" does not go with [coexistence]: take '
            '"langevin" or "csvr" (dynamics.thermostat)'
        )
    if settings.is_learning:
        lines.append(
            "[coexistence] needs a finished model, since two phases fill a cell too "
            "large for a reference: learn crystal and melt in small cells first, and "
            "give the model (potential.model)"
        )
    if settings.structure.fix_atoms:
        lines.append(
            "fix_atoms contradicts [coexistence], which holds and frees the crystal: "
            "remove it (structure.fix_atoms)"
        )
    n, given = len(section.pressures), len(section.estimates)
    if given != n:
        lines.append(
            f"{given} temperatures for {n} pressures: give one, or one for each "
            "(coexistence.temperature_K)"
        )
    if len(set(section.pressures)) < n:
        lines.append("a pressure is there twice: remove one (coexistence.pressure_GPa)")
    if section.was_given("temperatures") and section.method != "velocity":
        lines.append(
            'temperatures needs method = "velocity" (coexistence.temperatures)'
        )
    if section.method != "enthalpy" and section.was_given("equilibration_steps"):
        lines.append(
            'equilibration_steps needs method = "enthalpy" '
            "(coexistence.equilibration_steps)"
        )
    melting = section.melt_temperature_K
    hottest = max(section.estimates)
    if melting is not None and melting <= hottest:
        lines.append(
            f"melt_temperature_K must be above the estimate of {hottest:g} K, got "
            f"{melting:g} (coexistence.melt_temperature_K)"
        )
    return lines


_THERMOSTAT_KEYS = {
    "friction_per_ps": ("langevin",),
    "time_constant_fs": ("nose-hoover", "csvr"),
    "chain_length": ("nose-hoover",),
}
_BAROSTATS = ("cell-rescaling", "parrinello-rahman", "mtk")
_OF_EVERY_CELL = ("cell", "barostat_time_fs")  # with a thermostat or without
_BAROSTAT_KEYS = {
    "barostat": _BAROSTATS,
    "cell": _BAROSTATS,
    "barostat_time_fs": _BAROSTATS,
    "compressibility_per_GPa": ("cell-rescaling",),
    "cell_friction_per_ps": ("parrinello-rahman",),
    "cell_mass_amu": ("parrinello-rahman",),
}
_THERMOSTATS_OF_BAROSTATS = {
    "cell-rescaling": ("langevin", "csvr"),
    "parrinello-rahman": ("langevin",),
    "mtk": ("nose-hoover",),
}


def _dynamics(dynamics: Dynamics) -> list[str]:
    if not dynamics.stages:
        return [
            "there is nothing to do: add a [[dynamics.stages]] with steps "
            "(dynamics.stages)"
        ]
    free = dynamics.ensemble in ("NVE", "NPH")
    lines = _without_thermostat(dynamics) if free else _with_thermostat(dynamics)
    if dynamics.ensemble == "NPT":
        lines += _with_barostat(dynamics)
    elif dynamics.ensemble == "NPH":
        lines += _at_constant_enthalpy(dynamics)
    else:
        lines += _without_barostat(dynamics)
    lines += [
        f"temperature_end_K needs temperature_K beside it "
        f"(dynamics.stages[{k}].temperature_end_K)"
        for k, stage in enumerate(dynamics.stages)
        if stage.temperature_end_K is not None and stage.temperature_K is None
    ]
    return lines


def _without_thermostat(dynamics: Dynamics) -> list[str]:
    warmed = "NPT" if dynamics.moves_cell else "NVT"
    lines = [
        f'{key} contradicts ensemble = "{dynamics.ensemble}": remove it, or set '
        f'ensemble = "{warmed}" (dynamics.{key})'
        for key in ("thermostat", *_THERMOSTAT_KEYS)
        if dynamics.was_given(key)
    ]
    lines += [
        f'temperature_K contradicts ensemble = "{dynamics.ensemble}": give '
        "initial_temperature_K under [dynamics] instead "
        f"(dynamics.stages[{k}].temperature_K)"
        for k, stage in enumerate(dynamics.stages)
        if stage.temperature_K is not None
    ]
    return lines


def _with_thermostat(dynamics: Dynamics) -> list[str]:
    lines = [
        f"{key} belongs to thermostat = {' or '.join(map(repr, owners))}, got "
        f"thermostat = {dynamics.thermostat_in_use!r} (dynamics.{key})"
        for key, owners in _THERMOSTAT_KEYS.items()
        if dynamics.was_given(key) and dynamics.thermostat_in_use not in owners
    ]
    lines += [
        f'ensemble = "{dynamics.ensemble}" needs temperature_K '
        f"(dynamics.stages[{k}].temperature_K)"
        for k, stage in enumerate(dynamics.stages)
        if stage.temperature_K is None and stage.temperature_end_K is None
    ]
    return lines


def _without_barostat(dynamics: Dynamics) -> list[str]:
    lines = [
        f'{key} needs ensemble = "NPT", got ensemble = "{dynamics.ensemble}" '
        f"(dynamics.{key})"
        for key in _BAROSTAT_KEYS
        if dynamics.was_given(key)
    ]
    lines += [
        f'{key} needs ensemble = "NPT", got ensemble = "{dynamics.ensemble}" '
        f"(dynamics.stages[{k}].{key})"
        for k, stage in enumerate(dynamics.stages)
        for key in ("pressure_GPa", "pressure_end_GPa", "hold_cell")
        if stage.was_given(key)
    ]
    return lines


def _with_barostat(dynamics: Dynamics) -> list[str]:
    barostat = dynamics.barostat
    lines = [
        f"{key} belongs to barostat = {' or '.join(map(repr, owners))}, got "
        f"barostat = {barostat!r} (dynamics.{key})"
        for key, owners in _BAROSTAT_KEYS.items()
        if dynamics.was_given(key) and barostat not in owners
    ]
    partners = _THERMOSTATS_OF_BAROSTATS[barostat]
    if dynamics.was_given("thermostat") and dynamics.thermostat not in partners:
        lines.append(
            f"barostat = {barostat!r} goes with thermostat = "
            f"{' or '.join(map(repr, partners))}, got thermostat = "
            f"{dynamics.thermostat!r} (dynamics.thermostat)"
        )
    if dynamics.was_given("cell_mass_amu") and dynamics.was_given("barostat_time_fs"):
        lines.append(
            "cell_mass_amu and barostat_time_fs say the same: remove one of them "
            "(dynamics.cell_mass_amu)"
        )
    return lines + _pressures(dynamics, held="NVT")


def _at_constant_enthalpy(dynamics: Dynamics) -> list[str]:
    lines = [
        f'{key} contradicts ensemble = "NPH", whose cell has inertia and no '
        f'thermostat: remove it, or set ensemble = "NPT" (dynamics.{key})'
        for key in _BAROSTAT_KEYS
        if dynamics.was_given(key) and key not in _OF_EVERY_CELL
    ]
    if not dynamics.initial_temperature_K:
        lines.append(
            'ensemble = "NPH" needs initial_temperature_K above 0, of the first '
            "velocities and the inertia of the cell (dynamics.initial_temperature_K)"
        )
    return lines + _pressures(dynamics, held="NVE")


def _pressures(dynamics: Dynamics, *, held: str) -> list[str]:
    """Return what is wrong with the pressures; ``held``: the same with a fixed cell."""
    lines = []
    if all(stage.hold_cell for stage in dynamics.stages):
        lines.append(
            f'the cell is held in every stage: set ensemble = "{held}" '
            "(dynamics.ensemble)"
        )
    for k, stage in enumerate(dynamics.stages):
        lines += _pressure_of(stage, f"dynamics.stages[{k}]", dynamics)
    return lines


def _pressure_of(stage: Stage, place: str, dynamics: Dynamics) -> list[str]:
    """Return what is wrong with the pressure of one stage."""
    given = [
        key
        for key in ("pressure_GPa", "pressure_end_GPa")
        if getattr(stage, key) is not None
    ]
    if stage.hold_cell:
        return [
            f"{key} contradicts hold_cell: remove one of them ({place}.{key})"
            for key in given
        ]
    if "pressure_GPa" not in given:
        wants = given[0] if given else f'ensemble = "{dynamics.ensemble}"'
        beside = " beside it" if given else ", or hold_cell = true"
        return [f"{wants} needs pressure_GPa{beside} ({place}.pressure_GPa)"]
    lines = [
        f"{key} along x, y and z needs a cell whose edges change each for itself, got "
        f'cell = "isotropic": give one number, or cell = "orthorhombic" ({place}.{key})'
        for key in given
        if dynamics.cell == "isotropic" and len(set(_numbers(getattr(stage, key)))) > 1
    ]
    inertia = dynamics.ensemble == "NPT" and dynamics.barostat != "cell-rescaling"
    if inertia and 0.0 in stage.temperatures:
        lines.append(
            f"barostat = {dynamics.barostat!r} needs a temperature above 0 K: take "
            f'barostat = "cell-rescaling" ({place}.temperature_K)'
        )
    return lines


def _numbers(pressure: float | tuple[float, ...]) -> tuple[float, ...]:
    return pressure if isinstance(pressure, tuple) else (pressure,)
