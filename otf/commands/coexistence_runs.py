"""The runs behind a melting temperature: each begun, taken up again, or found ended."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.coexistence import BLOCKS, FEWEST_FRAMES, RATE_BLOCKS
from otf.configuration import Labels
from otf.errors import InputError, StoreError
from otf.progress import Progress
from otf.settings.continuing import changed_keys
from otf.settings.loading import parse_settings
from otf.settings.structures import first_configuration
from otf.settings.template import toml
from otf.store.checkpoint import load_newest
from otf.store.extxyz import write_frames
from otf.store.motion import read_motion
from otf.store.run_files import has_begun
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from otf.configuration import BoolArray, Configuration, FloatArray
    from otf.settings.coexistence import Coexistence
    from otf.settings.settings import Settings
    from otf.settings.system import Output

ROWS, FRAMES = 10, 100  # steps between two of them, where the input file is silent
HOTTER: Final = 2.5  # than the estimate is what melts
FEWEST_ATOMS: Final = 64
SEEDS: Final = 2**32
OF_DYNAMICS: Final = (
    "timestep_fs",
    "thermostat",
    "friction_per_ps",
    "time_constant_fs",
)
OF_CELL: Final = ("barostat_time_fs", "compressibility_per_GPa")


@dataclass(frozen=True)
class Plan:
    """One run, as the input file of its own says it.

    Attributes
    ----------
    name : of its folder
    dynamics : keys of [dynamics]
    stages : keys of each stage
    held : numbers of the atoms that do not move
    noise : what its random numbers are told apart by from those of other starts
    """

    name: str
    dynamics: Mapping[str, object]
    stages: Sequence[Mapping[str, object]]
    held: Sequence[int] = ()
    noise: int = 0

    @property
    def steps(self) -> int:
        """Return the steps of all stages."""
        return sum(int(str(stage["steps"])) for stage in self.stages)


@dataclass(frozen=True)
class Protocol:
    """The runs at one pressure.

    Attributes
    ----------
    settings : of the input file
    pressure : GPa
    estimate : of the melting temperature, K
    """

    settings: Settings
    pressure: float
    estimate: float

    @property
    def place(self) -> str:
        """Return the folder of the runs, below that of the input file."""
        return f"{self.settings.output.directory}/{self.pressure:g}GPa"

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Return where simulations start, K from low to high."""
        section = self._section
        n = 2 if section.method == "enthalpy" else section.temperatures
        around = np.linspace(1.0 - section.spread, 1.0 + section.spread, n)
        return tuple(float(round(self.estimate * x, 1)) for x in around)

    def crystal(self) -> Plan:
        """Return the crystal at the estimate, of which half the energy is kinetic."""
        cell: object = "fixed-angles"
        if self.settings.dynamics.was_given("cell"):
            cell = self.settings.dynamics.model_dump()["cell"]
        return Plan(
            "crystal",
            {
                **self._warmed("NPT"),
                "cell": cell,
                "initial_temperature_K": 2.0 * self.estimate,
            },
            [self._stage(self._section.crystal_steps, self.estimate)],
        )

    def liquid(self) -> Plan:
        """Return all of the crystal molten, which then takes the length it needs."""
        melting = [{**stage, "hold_cell": True} for stage in self._melting()]
        return Plan(
            "liquid",
            {
                **self._warmed("NPT"),
                "cell": ["zz"],
                "initial_temperature_K": self._hot,
            },
            [*melting, self._stage(self._section.crystal_steps, self.estimate)],
        )

    def melt(self, held: Sequence[int]) -> Plan:
        """Return half of the crystal heated and cooled while the other is held."""
        dynamics = {**self._warmed("NVT"), "initial_temperature_K": self._hot}
        return Plan("melt", dynamics, self._melting(), held)

    @property
    def starts(self) -> list[tuple[float, int]]:
        """Return temperature in K and replica of every simulation, in order."""
        replicas = range(self._section.replicas)
        return [(T, k) for T in self.temperatures for k in replicas]

    def join(self, temperature: float, replica: int) -> Plan:
        """Return both phases let go at a temperature."""
        return self._at("join", temperature, replica, self._section.join_steps)

    def judged(self, temperature: float, replica: int) -> Plan:
        """Return the run that is judged."""
        steps = self._section.steps
        if self._section.method == "velocity":
            return self._at("velocity", temperature, replica, steps)
        return Plan(
            f"enthalpy-{start_name(temperature, replica)}",
            {
                **self._given("timestep_fs", "barostat_time_fs"),
                "ensemble": "NPH",
                "cell": ["zz"],
                "initial_temperature_K": temperature,
            },
            [{"steps": steps, "pressure_GPa": self.pressure}],
            noise=self._noise(temperature, replica),
        )

    def plans(self) -> list[Plan]:
        """Return every run in order; who is held in that of melting is left open."""
        out = [self.crystal(), self.liquid(), self.melt(())]
        for start in self.starts:
            out += [self.join(*start), self.judged(*start)]
        return out

    @property
    def _section(self) -> Coexistence:
        section = self.settings.coexistence
        assert section is not None  # the command refuses an input without it
        return section

    @property
    def _hot(self) -> float:
        return self._section.melt_temperature_K or round(HOTTER * self.estimate, 1)

    def _melting(self) -> list[dict[str, object]]:
        """Return the stages that melt a crystal and cool the melt to the estimate."""
        steps = self._section.melt_steps
        hot: dict[str, object] = {"steps": steps, "temperature_K": self._hot}
        return [hot, {**hot, "temperature_end_K": self.estimate}]

    def _at(self, kind: str, temperature: float, replica: int, steps: int) -> Plan:
        return Plan(
            f"{kind}-{start_name(temperature, replica)}",
            {
                **self._warmed("NPT"),
                "cell": ["zz"],
                "initial_temperature_K": temperature,
            },
            [self._stage(steps, temperature)],
            noise=self._noise(temperature, replica),
        )

    def _noise(self, temperature: float, replica: int) -> int:
        """Return another number for every start, the same with more replicas.

        With the same noise starts above and below go through the same fluctuations, and
        their agreement says nothing.
        """
        temperatures = self.temperatures
        return 1 + temperatures.index(temperature) + replica * len(temperatures)

    def _stage(self, steps: int, temperature: float) -> dict[str, object]:
        return {
            "steps": steps,
            "temperature_K": temperature,
            "pressure_GPa": self.pressure,
        }

    def _warmed(self, ensemble: str) -> dict[str, object]:
        cell = OF_CELL if ensemble == "NPT" else ()
        return {**self._given(*OF_DYNAMICS, *cell), "ensemble": ensemble}

    def _given(self, *keys: str) -> dict[str, object]:
        dynamics = self.settings.dynamics
        plain = dynamics.model_dump(mode="json")
        return {key: plain[key] for key in keys if dynamics.was_given(key)}


def start_name(temperature: float, replica: int) -> str:
    """Return what a simulation is called by: its temperature, and which it is there."""
    return f"{temperature:g}K" + (f"-{replica + 1}" if replica else "")


class RunStops(Exception):  # noqa: N818 - it is no error
    """A run was stopped and can be taken up again.

    Attributes
    ----------
    signal : its number, None where it was no signal
    """

    def __init__(self, signal: int | None) -> None:
        super().__init__("stopped")
        self.signal = signal


class Runs:
    """Carries out plans below the folder of the input file.

    Parameters
    ----------
    protocol
        They belong to.
    begun
        ``time.monotonic()`` when the command began; ``limits.walltime_h`` counts from
        there.
    """

    def __init__(self, protocol: Protocol, *, begun: float) -> None:
        self._protocol = protocol
        self._settings = protocol.settings
        self._begun = begun

    def folder(self, plan: Plan) -> RunFolder:
        """Return where the run of a plan lies."""
        place = self._settings.resolve(self._protocol.place)
        return RunFolder(place / plan.name)

    def carry_out(self, plan: Plan, start: Configuration) -> None:
        """Begin a run, take it up again, or find that it has ended.

        Raises
        ------
        InputError
            When the run was begun with another input.
        RunStops
            When it was stopped before its end.
        """
        folder, text = self.folder(plan), self._text(plan)
        if has_begun(folder):
            if changed_keys(folder.input.read_text(), text):
                raise InputError(
                    f"{folder.path}: this run was begun with other settings: restore "
                    "them, remove the folder, or take another output.directory"
                )
            if RunView.load(folder.path).finish is not None:
                return
        progress = Progress(self._settings.dynamics.timestep_fs)
        progress.note(f"{folder.path}: {plan.steps} steps")
        structure = folder.path.with_name(f"{plan.name}.extxyz")
        if not has_begun(folder):
            folder.path.parent.mkdir(parents=True, exist_ok=True)
            write_frames(structure, [(start, _unlabelled(start))])
        from otf.run import resume, run  # numba compiles on import

        settings = self._limited(
            parse_settings(text, name=plan.name, folder=self._settings.resolve("."))
        )
        outcome = (
            resume(folder, settings, progress)
            if has_begun(folder)
            else run(settings, text, progress)
        )
        if outcome.stopped is not None:
            raise RunStops(outcome.signal)

    def last(self, plan: Plan) -> Configuration:
        """Return where the atoms of a run ended."""
        folder = self.folder(plan)
        checkpoint = load_newest(folder)
        if checkpoint is None:
            raise StoreError(f"{folder.path}: the run has no checkpoint")
        return checkpoint.state.configuration

    def _limited(self, settings: Settings) -> Settings:
        """Return the settings with what is left of the walltime."""
        hours = self._settings.limits.walltime_h
        if hours is None:
            return settings
        left = max(hours - (time.monotonic() - self._begun) / 3600.0, 1e-9)
        limits = settings.limits.model_copy(update={"walltime_h": left})
        limited = settings.model_copy(update={"limits": limits})
        return limited.in_folder(self._settings.resolve("."))

    def _text(self, plan: Plan) -> str:
        """Return the input file of a run."""
        settings, place = self._settings, self._protocol.place
        output = settings.output
        tables: dict[str, dict[str, object]] = {
            "structure": {"file": f"{place}/{plan.name}.extxyz"},
            "potential": settings.potential.model_dump(mode="json", exclude_unset=True),
            "dynamics": dict(plan.dynamics),
            "output": {
                "directory": f"{place}/{plan.name}",
                "trajectory_interval": _or(output, "trajectory_interval", FRAMES),
                "thermo_interval": _or(output, "thermo_interval", ROWS),
                "checkpoint_interval": output.checkpoint_interval,
            },
        }
        if plan.held:
            tables["structure"]["fix_atoms"] = list(plan.held)
        if settings.structure.masses_amu:
            tables["structure"]["masses_amu"] = settings.structure.masses_amu
        title = f"{settings.title} {plan.name} {self._protocol.pressure:g} GPa".strip()
        lines = [
            f"title = {toml(title)}",
            f"seed = {(settings.seed + plan.noise) % SEEDS}",
            f"device = {toml(settings.device)}",
        ]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *_lines(table)]
        for stage in plan.stages:
            lines += ["", "[[dynamics.stages]]", *_lines(stage)]
        return "\n".join(lines) + "\n"


def _or(section: Output, key: str, default: int) -> int:
    return int(getattr(section, key)) if section.was_given(key) else default


def _lines(table: Mapping[str, object]) -> list[str]:
    return [f"{key} = {toml(value)}" for key, value in table.items()]


def _unlabelled(c: Configuration) -> Labels:
    return Labels(np.nan, np.full((c.n_atoms, 3), np.nan), np.full(6, np.nan))


# ------------------------------------------------------------------------ what it needs
def require_a_verdict(settings: Settings, section: Coexistence) -> None:
    """Raise InputError when the runs are too short for what will be asked of them."""
    output = settings.output
    if section.method == "enthalpy":
        every, needed = _or(output, "thermo_interval", ROWS), 2 * BLOCKS
        what, key = "temperatures", "thermo_interval"
        judged = section.steps - equilibration_of(section)
    else:
        every = _or(output, "trajectory_interval", FRAMES)
        needed, what, key = RATE_BLOCKS * FEWEST_FRAMES, "frames", "trajectory_interval"
        judged = section.steps
    found = max(judged, 0) // every
    if found < needed:
        raise InputError(
            f"{judged} steps that are judged and {key} = {every} give {found} {what}, "
            f"a verdict needs {needed}: give more steps (coexistence.steps)"
        )


def equilibration_of(section: Coexistence) -> int:
    """Return the steps of a run at constant enthalpy that are not judged."""
    steps = section.equilibration_steps
    return (section.steps + 1) // 2 if steps is None else steps


def first_crystal(settings: Settings) -> Configuration:
    """Return the crystal of the input file, which must have room for two phases.

    Raises
    ------
    InputError
        When it is not periodic, too small, or not longest along its third vector.
    """
    crystal = first_configuration(settings)
    if not crystal.pbc.all():
        raise InputError(
            "[coexistence] needs a crystal that is periodic in three directions "
            "(structure.file)"
        )
    if crystal.n_atoms < FEWEST_ATOMS:
        raise InputError(
            f"two phases need {FEWEST_ATOMS} atoms or more, got {crystal.n_atoms}: "
            "repeat the cell (structure.repeat)"
        )
    edges = np.linalg.norm(crystal.cell, axis=1)
    height = crystal.volume / float(
        np.linalg.norm(np.cross(crystal.cell[0], crystal.cell[1]))
    )
    if height < 2.0 * edges[:2].max():
        raise InputError(
            "the phases meet across the third cell vector, along which the cell must "
            f"be twice as long as along the others, got {edges[0]:.1f} x "
            f"{edges[1]:.1f} x {height:.1f} A: raise the third number "
            "(structure.repeat)"
        )
    return crystal


def along_third(c: Configuration) -> FloatArray:
    """Return the third fractional coordinates (n,), in [0, 1)."""
    s: FloatArray = np.mod(np.linalg.solve(c.cell.T, c.positions.T)[2] + 1e-6, 1.0)
    return s


def lower_half(crystal: Configuration) -> BoolArray:
    """Return which atoms (n,) of a perfect crystal are held while the others melt."""
    half: BoolArray = along_third(crystal) < 0.5
    return half


def at_mean_cell(c: Configuration, cell: FloatArray) -> Configuration:
    """Return atoms in another cell (3, 3), angstrom."""
    return replace(c, positions=c.positions @ np.linalg.solve(c.cell, cell), cell=cell)


def mean_cell(path: Path, share: float) -> FloatArray:
    """Return the mean cell (3, 3) of the last share of the frames of a run, A."""
    cells = read_motion(path).cells
    found: FloatArray = cells[-math.ceil(share * len(cells)) :].mean(axis=0)
    return found


def with_room(
    crystal: Configuration, held: BoolArray, liquid: FloatArray
) -> Configuration:
    """Return a crystal whose upper half has the length its melt will take.

    In the volume of the crystal a melt is under pressure or torn. Under pressure it
    melts at a higher temperature, and freezes on until the cell has given way.

    Parameters
    ----------
    crystal
        In its mean cell.
    held
        (n,) which atoms are of the lower half.
    liquid
        (3, 3) the cell of the same atoms molten, of the same first two vectors;
        angstrom.
    """
    a, b, c = crystal.cell
    s = np.linalg.solve(crystal.cell.T, crystal.positions.T).T
    # Atoms that vibrate across a border stay with their half.
    begin = np.where(held, -0.25, 0.25)
    third = begin + np.mod(s[:, 2] - begin, 1.0)
    middle, across = 0.5 * c, s[:, :2] @ np.stack([a, b])
    lower = across + third[:, None] * c
    upper = across + middle + (third[:, None] - 0.5) * liquid[2]
    return replace(
        crystal,
        positions=np.where(held[:, None], lower, upper),
        cell=np.stack([a, b, middle + 0.5 * liquid[2]]),
    )
