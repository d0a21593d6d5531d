"""The whole input file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from otf.settings.base import Section
from otf.settings.baseline import Baseline
from otf.settings.coexistence import Coexistence
from otf.settings.contradictions import contradictions
from otf.settings.dynamics import Dynamics
from otf.settings.model import Descriptor, Learning, Production, Regression
from otf.settings.sweep import Sweep
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
    coexistence: Coexistence | None = Field(
        default=None,
        description="Crystal and melt in one cell.",
    )
    output: Output = Field(
        default_factory=Output,
        description="What a run leaves.",
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="Where a run ends by itself.",
    )
    sweep: Sweep | None = Field(
        default=None,
        description="What is varied from run to run.",
    )
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def in_folder(self, folder: Path) -> Settings:
        """Return the same settings with relative paths meant from this folder."""
        settings = self.model_copy()
        settings._folder = folder.resolve()
        return settings

    def in_directory(self, directory: str) -> Settings:
        """Return the same settings with another folder of the run."""
        return self._with("output", directory=directory)

    def combination(
        self,
        *,
        structure: str | None = None,
        pressure: float | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Settings:
        """Return the settings of one run of a sweep.

        Parameters
        ----------
        structure
            Its file.
        pressure, temperature
            GPa and K, of the stages that leave them out.
        seed
            Of all random numbers. None of any keeps what the input file says.
        """
        settings = self.model_copy(update={"sweep": None})
        if seed is not None:
            settings = settings.model_copy(update={"seed": seed})
        if structure is not None:
            settings = settings._with("structure", file=structure)
        stages = list(self.dynamics.stages)
        for k, stage in enumerate(self.dynamics.stages):
            given: dict[str, float] = {}
            if temperature is not None and stage.temperature_K is None:
                given["temperature_K"] = temperature
            if pressure is not None and stage.takes_pressure:
                given["pressure_GPa"] = pressure
            if given:
                stages[k] = stage.model_copy(update=given)
        return settings._with("dynamics", stages=tuple(stages))

    def _with(self, section: str, **values: object) -> Settings:
        changed = getattr(self, section).model_copy(update=values)
        return self.model_copy(update={section: changed})

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
