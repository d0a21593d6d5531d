"""The whole input file, and what its keys may not say together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from otf.settings.base import Section
from otf.settings.baseline import Baseline, Dispersion, Electrostatics
from otf.settings.dynamics import Dynamics
from otf.settings.model import Descriptor, Learning, Production, Regression
from otf.settings.system import Limits, Output, Reference, Structure


class Settings(Section):
    """Everything a run is told."""

    title: str = Field(default="", description="A line for the report.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=1,
        description="Seed of all random numbers.",
    )
    device: Literal["auto", "cpu", "gpu", "gpu-mixed"] = Field(
        default="auto",
        description="Where the atoms move; mixed: single pairs in single precision. "
        '"auto" takes a GPU, where there is one, for a thousand atoms and more.',
    )
    structure: Structure = Field(description="The atoms the run starts from.")
    reference: Reference | None = Field(
        default=None,
        description="The calculator that is learned; not needed with a finished model.",
    )
    potential: Production = Field(
        default_factory=Production,
        description="A finished model to run with.",
    )
    baseline: Baseline = Field(
        default_factory=Baseline,
        description="What is added to the learned energy.",
    )
    descriptor: Descriptor = Field(
        default_factory=Descriptor,
        description="How the neighbourhood of an atom becomes a vector.",
    )
    regression: Regression = Field(
        default_factory=Regression,
        description="How labels become a force field.",
    )
    learning: Learning = Field(
        default_factory=Learning,
        description="When the reference is called.",
    )
    dynamics: Dynamics = Field(
        default_factory=Dynamics,
        description="How the atoms move.",
    )
    output: Output = Field(
        default_factory=Output,
        description="What a run leaves.",
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="Where a run ends by itself.",
    )
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def in_folder(self, folder: Path) -> Settings:
        """Return the same settings with relative paths meant from this folder."""
        settings = self.model_copy()
        settings._folder = folder.resolve()
        return settings

    def resolve(self, path: str) -> Path:
        """Return the full path of one written in the input file."""
        return self._folder / Path(path).expanduser()

    @property
    def structure_path(self) -> Path:
        """Return the full path of the structure file."""
        return self.resolve(self.structure.file)

    @property
    def directory(self) -> Path:
        """Return the full path of the run folder."""
        return self.resolve(self.output.directory)

    @property
    def model_path(self) -> Path | None:
        """Return the full path of the finished model, None when the run learns."""
        return (
            None if self.potential.model is None else self.resolve(self.potential.model)
        )

    @property
    def is_learning(self) -> bool:
        """Return whether the run calls a reference."""
        return self.potential.model is None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if problems := contradictions(self):
            raise ValueError("\n".join(problems))
        return self


def contradictions(settings: Settings) -> list[str]:
    """Return one line for each pair of keys that cannot stand together."""
    return [
        *_who_answers(settings),
        *_reference(settings.reference),
        *_learning(settings),
        *_regression(settings),
        *_dispersion(settings.baseline.dispersion),
        *_charges(settings.baseline.electrostatics),
        *_dynamics(settings.dynamics),
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
    if reference.restart != "scratch" and reference.python is not None:
        lines.append(
            'restart = "previous" is not possible in another python: remove one of '
            "them (reference.restart)"
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


_THERMOSTAT_KEYS = {
    "friction_per_ps": ("langevin",),
    "time_constant_fs": ("nose-hoover", "csvr"),
    "chain_length": ("nose-hoover",),
}


def _dynamics(dynamics: Dynamics) -> list[str]:
    if not dynamics.stages:
        return [
            "there is nothing to do: add a [[dynamics.stages]] with steps "
            "(dynamics.stages)"
        ]
    lines = _without_thermostat(dynamics) if dynamics.ensemble == "NVE" else []
    if dynamics.ensemble == "NVT":
        lines += _with_thermostat(dynamics)
    lines += [
        f"temperature_end_K needs temperature_K beside it "
        f"(dynamics.stages[{k}].temperature_end_K)"
        for k, stage in enumerate(dynamics.stages)
        if stage.temperature_end_K is not None and stage.temperature_K is None
    ]
    return lines


def _without_thermostat(dynamics: Dynamics) -> list[str]:
    lines = [
        f'{key} contradicts ensemble = "NVE": remove it, or set ensemble = "NVT" '
        f"(dynamics.{key})"
        for key in ("thermostat", *_THERMOSTAT_KEYS)
        if dynamics.was_given(key)
    ]
    lines += [
        'temperature_K contradicts ensemble = "NVE": give initial_temperature_K under '
        f"[dynamics] instead (dynamics.stages[{k}].temperature_K)"
        for k, stage in enumerate(dynamics.stages)
        if stage.temperature_K is not None
    ]
    return lines


def _with_thermostat(dynamics: Dynamics) -> list[str]:
    lines = [
        f"{key} belongs to thermostat = {' or '.join(map(repr, owners))}, got "
        f"thermostat = {dynamics.thermostat!r} (dynamics.{key})"
        for key, owners in _THERMOSTAT_KEYS.items()
        if dynamics.was_given(key) and dynamics.thermostat not in owners
    ]
    lines += [
        f'ensemble = "NVT" needs temperature_K (dynamics.stages[{k}].temperature_K)'
        for k, stage in enumerate(dynamics.stages)
        if stage.temperature_K is None and stage.temperature_end_K is None
    ]
    return lines
