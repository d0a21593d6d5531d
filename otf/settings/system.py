"""Sections on what is simulated and who gives the exact answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from otf.settings.base import Count, Element, Positive, Section, Text


class Structure(Section):
    """The atoms the run starts from."""

    file: Text = Field(
        description="Structure file of any format ASE reads, relative to the input.",
        examples=["POSCAR"],
    )
    format: Text | None = Field(
        default=None,
        description="ASE's name of the format, when the file name does not tell it.",
        examples=["vasp"],
    )
    index: int = Field(
        default=-1,
        description="Frame of a file with several; -1 is the last.",
    )
    repeat: Annotated[
        tuple[Count, ...], Field(strict=False, min_length=3, max_length=3)
    ] = Field(
        default=(1, 1, 1),
        description="Copies along the three cell vectors.",
    )
    rattle_A: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.0,
        description="Standard deviation of a random displacement of every atom.",
    )
    charge: float | None = Field(
        default=None,
        description="Total charge in e; without it what the structure file says, or 0.",
        examples=[0.0],
    )
    multiplicity: Count | None = Field(
        default=None,
        description="Spin multiplicity 2S + 1; without it what the file says.",
        examples=[1],
    )
    fix_atoms: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)
    ] = Field(
        default=(),
        description="Atoms that never move, counted from 0 after `repeat`.",
    )
    masses_amu: dict[Element, Positive] = Field(
        default={},
        description="Masses of elements in place of those of nature, such as "
        "{ H = 3.0 }: slower vibrations bear a longer time step, and averages over the "
        "configurations stay as they are.",
    )


class Reference(Section):
    """The calculator whose energies, forces and stresses are learned."""

    calculator: Text = Field(
        description='Name of a calculator, or "module:Class" of any ASE calculator.',
        examples=["module:Class"],
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=2,
        description="Further attempts when a calculation fails or does not converge.",
    )
    max_failures: Annotated[int, Field(ge=0)] = Field(
        default=5,
        description="Structures that may stay without labels, put aside in "
        "`quarantine`, before a run stops.",
    )
    second_opinion: bool = Field(
        default=True,
        description="Compute a label once more before it is believed, when energy or "
        "forces are far from what the model expects.",
    )
    time_limit_s: Positive | None = Field(
        default=None,
        description="Seconds one calculation may take. One that takes longer is ended "
        "with everything it started, and counts as failed.",
        examples=[3600.0],
    )
    start_limit_s: Positive = Field(
        default=300.0,
        description="Seconds the calculator may take to be imported and built, by each "
        "process of it.",
    )
    cache: Text | None = Field(
        default=None,
        description="Folder of labels all runs share, relative to the input file: a "
        "structure is never computed twice with the same settings, by whichever run.",
        examples=["~/labels"],
    )
    workers: Count = Field(
        default=1,
        description="Structures that are computed at the same time, each by a process "
        "of its own.",
    )
    latency_steps: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Steps after which the labels of a step that is not critical are "
        "taken in; the reference works beside the steps between. With 0 the run waits "
        "for every label.",
    )
    executor: Literal["executorlib", "dask"] | None = Field(
        default=None,
        description="Package that finds a place for the workers, on a cluster for "
        "instance; without it they are processes of this machine.",
        examples=["executorlib"],
    )
    executor_arguments: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Keyword arguments of the executor; `class` names one of "
        "executorlib, `cluster` one of Dask.",
    )
    python: Text | None = Field(
        default=None,
        description="Python interpreter of another environment that has ASE and the "
        'calculator, which is then named as "module:Class", or "gpaw".',
        examples=["/usr/bin/python3"],
    )
    kpoint_spacing_per_A: Positive | None = Field(
        default=None,
        description="Largest distance of k points along the reciprocal vectors, which "
        "contain 2 pi (as KSPACING of VASP; 2 pi times kpoint_mp_spacing of CASTEP): "
        "N_i = ceil(b_i / spacing), the Gamma point included. Without it the arguments "
        "set the k points.",
        examples=[0.25],
    )
    restart: Literal["scratch", "previous"] = Field(
        default="scratch",
        description="Electrons a call starts from: those of isolated atoms, or those "
        "of the last label (abinit, cp2k, espresso, gpaw, vasp) in the same cell.",
    )
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Keyword arguments of the calculator, passed on as they are.",
    )
    retry_arguments: Annotated[
        tuple[dict[str, JsonValue], ...], Field(strict=False)
    ] = Field(
        default=(),
        description="Changes of the arguments for the first, second, ... retry, such "
        "as [{ mixing_beta = 0.2 }]; the last one holds for all that follow. Some "
        "calculators have their own.",
    )

    @property
    def works_ahead(self) -> bool:
        """Return whether labels are computed beside other work, or beside others."""
        return self.workers > 1 or self.latency_steps > 0 or self.executor is not None


class Output(Section):
    """What a run leaves, and how often."""

    directory: Text = Field(
        default="run",
        description="Folder of the run, relative to the input file.",
    )
    trajectory_interval: Count = Field(
        default=10,
        description="Steps between two frames of the trajectory.",
    )
    thermo_interval: Count = Field(
        default=10,
        description="Steps between two lines of thermo.csv.",
    )
    checkpoint_interval: Count = Field(
        default=500,
        description="Steps between two checkpoints.",
    )


class Limits(Section):
    """Where a run ends by itself, with everything saved."""

    walltime_h: Positive | None = Field(
        default=None,
        description="Hours after which the run stops with a checkpoint.",
        examples=[23.5],
    )
    memory_GB: Positive | None = Field(
        default=None,
        description="Memory learning may take; the forecast of `check` is "
        "compared with it.",
        examples=[8.0],
    )
