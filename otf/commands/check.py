"""otf-md check: whether an input file is sound, and what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.formula import Formula

from otf.build import build_code, build_device, initial_state
from otf.build_baseline import require_sound_baseline
from otf.build_cell import require_stress
from otf.build_respa import require_sound_fast
from otf.calculators.geometry import closest_contact
from otf.commands.forecast import forecast, in_words
from otf.commands.pulay import lines_of, measured
from otf.commands.sound_structures import sound_configuration, sound_structures
from otf.commands.sweep_reading import first_step_of_means
from otf.configuration import species_of
from otf.errors import InputError
from otf.kernels import load
from otf.settings import load_settings
from otf.settings.members import members_of
from otf.settings.wording import received
from otf.store.model_file import read_model

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from otf.configuration import Configuration, FloatArray
    from otf.settings import Settings
    from otf.settings.dynamics import Stage as StageSection

CLOSE = 0.75  # in sums of covalent radii; a bond stands near 1
FORECAST_MARGIN = 3.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", type=Path, help="the input file")
    parser.add_argument(
        "--pulay",
        action="store_true",
        help="call the reference twice, the second time at twice its cutoff, and say "
        "how much of the stress of the first structure is owed to the cutoff",
    )


def main(arguments: argparse.Namespace) -> int:
    """Print what the input means, or raise at what it cannot mean."""
    settings = load_settings(arguments.input)
    require_stages(settings, arguments.input)
    sweep_lines: list[str] = []
    if settings.sweep is not None:
        sweep_lines, settings = _of_sweep(settings)
    configuration = sound_configuration(settings)
    initial_state(settings)
    require_sound_reference(settings, configuration)
    require_sound_model(settings)
    require_sound_fast(settings, configuration)
    if settings.is_learning:
        require_sound_baseline(settings, configuration)
    for line in sweep_lines:
        print(f"{'sweep':<10} {line}")
    for word, line in description(settings, configuration):
        print(f"{word:<10} {line}")
    for line in warnings(settings, configuration):
        print(f"{'warning':<10} {line}")
    if not arguments.pulay:
        for line in pulay_warning(settings, arguments.input):
            print(f"{'warning':<10} {line}")
    else:
        found = measured(settings, configuration)
        for word, line in lines_of(found, noise=settings.regression.noise_stress):
            print(f"{word:<10} {line}")
    print(f"{arguments.input} is sound.")
    return 0


def _of_sweep(settings: Settings) -> tuple[list[str], Settings]:
    """Return what a sweep would do, and the settings of its first run."""
    assert settings.sweep is not None  # the caller asked
    sweep, members = settings.sweep, members_of(settings)
    for member in members:
        initial_state(member.settings)
    sound_structures(sweep, members)
    axes = {
        "structures": sweep.structures,
        "pressures (GPa)": sweep.pressures_GPa,
        "temperatures (K)": sweep.temperatures_K,
        "seeds": sweep.seeds,
    }
    factors = [
        f"{len(values)} {name}: {', '.join(map(str, values))}"
        for name, values in axes.items()
        if values
    ]
    steps = settings.dynamics.n_steps * len(members)
    how = "that learn one model together" if sweep.share_model else "each by itself"
    lines = [f"{len(members)} runs, {how}, {steps} steps in all", *factors]
    lines.append(
        f"means of steps {first_step_of_means(settings) + 1} to "
        f"{settings.dynamics.n_steps} of each"
    )
    lines.append(f"below, the first of them, {members[0].name}")
    return lines, members[0].settings


def require_stages(settings: Settings, name: Path) -> None:
    """Raise InputError when the input is one of two phases and not of a run."""
    if settings.coexistence is not None:
        raise InputError(
            f"{name} describes two phases in one cell: give it to 'otf-md coexistence "
            f"{name}', or remove [coexistence] (coexistence)"
        )


def require_sound_reference(settings: Settings, configuration: Configuration) -> None:
    """Import the calculator and hand it its arguments; nothing is calculated.

    Raises
    ------
    InputError
        When it is not there, refuses an argument or does not know an element.
    """
    if settings.is_learning and settings.reference is not None:
        code = build_code(settings.reference)
        require_stress(settings, code)
        code.require_elements(frozenset(species_of([configuration])))
        if settings.reference.python is None:
            code.build()


def require_sound_model(settings: Settings) -> None:
    """Read the finished model, if there is one.

    Raises
    ------
    StoreError
        When the file is none of ours, or damaged.
    """
    if settings.model_path is not None:
        read_model(settings.model_path)


def description(
    settings: Settings, configuration: Configuration
) -> Iterator[tuple[str, str]]:
    """Yield what a run would do, a word and a line each."""
    yield "structure", _structure_line(configuration)
    yield from _potential_lines(settings, configuration)
    yield from _dynamics_lines(settings)
    yield "device", load(build_device(settings, configuration)).name
    yield "output", str(settings.directory)


def warnings(settings: Settings, configuration: Configuration) -> Iterator[str]:
    """Yield what is possible but hardly meant, or good to know before a run."""
    contact = closest_contact(
        configuration.positions,
        configuration.cell,
        configuration.pbc,
        covalent_radii[configuration.numbers],
        within=CLOSE,
    )
    if contact is not None:
        i, j = contact.first, contact.second
        yield (
            f"atoms {i} and {j} are {contact.distance:.2f} A apart, "
            f"{contact.ratio:.2f} of the sum of their covalent radii: relax the "
            "structure first"
        )
    yield from _cell_warnings(settings, configuration)
    if settings.is_learning:
        yield from _learning_warnings(settings, configuration)
    elif unused := [
        f"[{name}]"
        for name in ("descriptor", "regression", "baseline")
        if settings.was_given(name)
    ]:
        yield f"{', '.join(unused)} is part of the finished model, not read from here"
    if settings.directory.exists() and any(settings.directory.iterdir()):
        yield (
            f"{settings.directory} holds a run already: use otf-md resume, or another "
            "directory under [output]"
        )


def pulay_warning(settings: Settings, name: Path) -> Iterator[str]:
    """Yield that a cell is about to follow the stress of a code with a cutoff."""
    if not settings.dynamics.moves_cell or not settings.is_learning:
        return
    assert settings.reference is not None  # the settings refuse to learn without one
    code = build_code(settings.reference)
    if code.raised is not None:
        yield (
            f"the cell follows the stress of {code.name}, which is off where the "
            "energy is not converged with the cutoff (Pulay stress): the cell comes "
            f"out too small; measure it with 'otf-md check --pulay {name}'"
        )


def _cell_warnings(settings: Settings, configuration: Configuration) -> Iterator[str]:
    pbc = configuration.pbc
    if not pbc.any():
        return
    cutoff = max(
        settings.descriptor.cutoff_three_body_A, settings.descriptor.cutoff_two_body_A
    )
    height = float(heights(configuration)[pbc].min())
    if height < cutoff:
        yield (
            f"the cell is {height:.2f} A wide, less than the cutoff of {cutoff:g} A: "
            "atoms see their own images; repeat the cell (structure.repeat)"
        )


def _learning_warnings(
    settings: Settings, configuration: Configuration
) -> Iterator[str]:
    limit = settings.limits.memory_GB
    sizes = forecast(settings, configuration)
    if limit is not None and sizes.memory > limit * 1e9:
        yield (
            f"the forecast of {in_words(sizes.memory)} exceeds memory_GB = {limit:g}: "
            "set max_references under [learning]"
        )
    if len(species_of([configuration])) > 3 and settings.descriptor.elements == "full":
        yield (
            "four elements and more make long descriptors: consider "
            'elements = "reduced" under [descriptor]'
        )
    if settings.reference is not None:
        code = build_code(settings.reference)
        if code.notice:
            yield code.notice


def heights(
    configuration: Configuration,
) -> FloatArray:
    """Return (3,) the distances in angstrom between opposite faces of the cell.

    The axes that are not periodic have no meaning.
    """
    from ase.geometry import complete_cell

    reciprocal = np.linalg.inv(complete_cell(configuration.cell)).T
    distances: FloatArray = 1.0 / np.linalg.norm(reciprocal, axis=1)
    return distances


def _structure_line(configuration: Configuration) -> str:
    formula = Formula.from_list(
        [chemical_symbols[z] for z in configuration.numbers]
    ).format("metal")
    n_periodic = int(configuration.pbc.sum())
    line = f"{formula}, {configuration.n_atoms} atoms"
    if n_periodic == 0:
        return f"{line}, not periodic"
    edges = " x ".join(f"{h:.2f}" for h in heights(configuration)[configuration.pbc])
    return f"{line}, periodic in {n_periodic} directions, {edges} A between faces"


def _potential_lines(
    settings: Settings, configuration: Configuration
) -> Iterator[tuple[str, str]]:
    if not settings.is_learning:
        yield "potential", f"{settings.model_path}, frozen: no reference is called"
        return
    if settings.reference is not None:
        code = build_code(settings.reference)
        yield "reference", f"{code.name} ({code.version})"
    yield "learning", _policy_line(settings)
    sizes = forecast(settings, configuration)
    yield (
        "forecast",
        f"about {sizes.n_labels} labels (up to {FORECAST_MARGIN:g} times as many when "
        f"the material changes), {sizes.n_references} local references",
    )
    yield (
        "",
        f"{sizes.n_rows} rows: {in_words(sizes.memory)} of memory, "
        f"{in_words(sizes.disk)} of disk",
    )


def _policy_line(settings: Settings) -> str:
    learning = settings.learning
    if learning.policy == "budget":
        return f"within {learning.budget_calls} reference calls"
    if learning.policy == "history":
        return "threshold from the history of the model's own deviations"
    return f"tolerated force error {learning.max_force_error_eV_per_A:g} eV/A"


def _dynamics_lines(settings: Settings) -> Iterator[tuple[str, str]]:
    dynamics = settings.dynamics
    names = [dynamics.ensemble, dynamics.thermostat_in_use]
    if dynamics.moves_cell:
        free = dynamics.cell
        names.append(dynamics.barostat if dynamics.ensemble == "NPT" else "")
        names.append(free if isinstance(free, str) else " ".join(free))
    how = ", ".join(name for name in names if name)
    picoseconds = dynamics.n_steps * dynamics.timestep_fs / 1000.0
    yield (
        "dynamics",
        f"{how}, {dynamics.n_steps} steps of "
        f"{dynamics.timestep_fs:g} fs = {picoseconds:g} ps, "
        f"starting at {dynamics.start_temperature:g} K",
    )
    if dynamics.respa is not None:
        n, fast = dynamics.respa.inner_steps, dynamics.respa.fast
        short = dynamics.timestep_fs / n
        yield "", f"{n} short steps of {short:g} fs in each, fast force: {fast}"
    for k, stage in enumerate(dynamics.stages, start=1):
        line = f"stage {k}: {stage.steps} steps"
        if dynamics.thermostat_in_use:
            start, end = stage.temperatures
            line += f" at {start:g} K" if start == end else f", {start:g} to {end:g} K"
        if dynamics.moves_cell:
            line += ", cell held" if stage.hold_cell else f", {_pressures(stage)}"
        yield "", line


def _pressures(stage: StageSection) -> str:
    """Return the pressures of a stage in words."""
    numbers = [
        received(value)
        for value in (stage.pressure_GPa, stage.pressure_end_GPa)
        if value is not None
    ]
    return " to ".join(dict.fromkeys(numbers)) + " GPa"
