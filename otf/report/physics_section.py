"""The chapter on the physics: traces, stages, pair distributions, the lattice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.lattice import SETTLED, expansion
from otf.analysis.run_means import RunMeans
from otf.errors import InputError
from otf.report.elements import gallery, note, section, sentences, table
from otf.report.frames import configurations_of
from otf.report.motion_plots import motion_drawings, varies
from otf.report.phases import in_words
from otf.report.physics import drift, lattice_of, part_means
from otf.report.rdf import rdf_of_frames
from otf.report.structure_plots import lattice_drawings, rdf_drawings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otf.analysis.averages import Mean
    from otf.report.parts import Part
    from otf.report.physics import Lattice
    from otf.report.rdf import Rdf
    from otf.report.ways import Motion
    from otf.store.frames import Frame, System
    from otf.store.run_reader import RunView

MOST_CURVES = 5  # of g(r)
MOST_PAIRS = 10
FEWEST_POINTS = 3  # that make a straight line worth drawing
UNLIKELY = 0.01  # probability below which a straight line is not believed
END = 5  # a run without stages is compared by its first and its last part of so many
TRACES = (
    "Thick lines are means over a fiftieth of the run. Amber: ramps; numbers: stages. "
    "The work of every change of the model is taken out of the conserved quantity, so "
    "it should stay flat: a steady slope means that the time step is too long or the "
    "thermostat too coarse, a jump that a change of the model was felt."
)
LATTICE = "Full points: held stages. Open points: ramps, where the cell lags behind."


def physics_section(view: RunView, motion: Motion) -> str:
    """Return the chapter."""
    parts, frames = motion.parts, motion.frames
    configuration = view.start.configuration
    n_atoms = 1 if configuration is None else configuration.n_atoms
    lattice = None
    missing = {"phases": motion.why}
    if varies(view.thermo["volume_A3"]):
        try:
            lattice = lattice_of(view, parts, frames)
        except InputError as error:
            missing["the lattice over temperature"] = str(error)
    means, missing["means of stages"] = means_of(view, parts, n_atoms)
    rdfs = rdfs_of(parts, motion.system, frames)
    traces = motion_drawings(view, n_atoms, parts)
    pairs = rdf_drawings(rdfs)
    lines = [
        drift_finding(view, n_atoms),
        *lattice_findings(lattice),
        *left_out(missing),
    ]
    chapter = [
        sentences(lines),
        gallery(traces),
        note(TRACES) if traces else "",
        stages_table(view, motion, means),
        gallery(lattice_drawings(lattice, n_atoms)) if lattice else "",
        note(LATTICE) if lattice else "",
        gallery(pairs[:MOST_PAIRS]),
        note(pairs_reading(pairs)),
    ]
    return section("physics", "The physics", chapter)


def means_of(
    view: RunView, parts: Sequence[Part], n_atoms: int
) -> tuple[list[RunMeans], str]:
    """Return the means of every part, and why they are left out, empty if not."""
    try:
        return [part_means(view, part, n_atoms=n_atoms) for part in parts], ""
    except InputError as error:
        return [RunMeans() for _ in parts], str(error)


def left_out(missing: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for every reason, empty ones apart, with all that it left out."""
    for reason in dict.fromkeys(filter(None, missing.values())):
        names = [name for name, why in missing.items() if why == reason]
        yield f"Left out, {' and '.join(names)}: {reason}."


def stages_table(view: RunView, motion: Motion, means: Sequence[RunMeans]) -> str:
    """Return the table of stages with the means of those that are held."""
    if not len(view.thermo["step"]):
        return ""
    labelled = np.array([d.step for d in view.decisions if d.labelled], np.float64)
    rows = [
        (
            part.number,
            part.last - part.first,
            int(part.holds(labelled).sum()),
            with_error(m.temperature_K, 1),
            with_error(m.pressure_GPa, 3),
            with_error(m.energy_eV_per_atom, 4),
            with_error(m.volume_A3_per_atom, 3),
            in_words(phase),
            (part.name or "the whole run") + (", ramp" if part.ramp else ""),
        )
        for part, m, phase in zip(motion.parts, means, motion.phases, strict=True)
    ]
    header = (
        "stage",
        "steps",
        "labels",
        "T (K)",
        "P (GPa)",
        "E (eV/atom)",
        "V (Å³/atom)",
        "phase at the end",
        "",
    )
    return table(
        "Stages",
        header,
        rows,
        note="Means of held stages without their first fifth; standard errors count "
        "correlated rows once.",
    )


def with_error(mean: Mean, decimals: int) -> str:
    """Return a mean with its standard error, a dash for an unknown one."""
    if not np.isfinite(mean.value):
        return "–"
    if not np.isfinite(mean.error) or mean.error == 0.0:
        return f"{mean.value:.{decimals}f}"
    places = max(decimals, int(np.ceil(-np.log10(mean.error))))
    return f"{mean.value:.{places}f} ± {mean.error:.{places}f}"


def drift_finding(view: RunView, n_atoms: int) -> str:
    """Return the drift of the conserved quantity in words."""
    found = drift(view, n_atoms=n_atoms)
    if found is None:
        return ""
    return (
        f"The conserved quantity drifts by {found.value:.2g} ± {found.error:.1g} "
        "meV/atom/ps."
    )


def lattice_findings(lattice: Lattice | None) -> Iterator[str]:
    """Yield the thermal expansion, where there are temperatures to compare."""
    if lattice is None:
        return
    for number in lattice.unsettled:
        yield (
            f"The volume of stage {number} has not settled: its halves differ by more "
            f"than {SETTLED:g} standard errors."
        )
    held = [p for p, ramp in zip(lattice.points, lattice.ramp, strict=True) if not ramp]
    points, what = held, "held stages"
    if len(held) < FEWEST_POINTS:
        points, what = list(lattice.points), "points"
    if len(points) < FEWEST_POINTS:
        return
    found = expansion(points, "volume")
    text = (
        f"Volume expansion (1/V) dV/dT = {found.coefficient:.2e} ± {found.error:.0e} "
        f"1/K from {len(points)} {what} around {found.temperature:.0f} K, by a "
        "straight line"
    )
    if found.probability < UNLIKELY:
        text += (
            "; the points scatter more than their errors allow (probability "
            f"{found.probability:.0e}), so the true error is larger"
        )
    yield text + "."


def rdfs_of(
    parts: Sequence[Part], system: System | None, frames: Sequence[Sequence[Frame]]
) -> dict[str, list[Rdf]]:
    """Return g(r) of some stages, or of the beginning and the end of a single one."""
    if len(parts) == 1:
        (some,) = frames
        n = len(some) // END
        groups = {"beginning": some[:n], "end": some[len(some) - n :]} if n else {}
    else:
        chosen = np.unique(np.linspace(0, len(parts) - 1, MOST_CURVES).round())
        groups = {
            f"stage {parts[k].number}": frames[k] for k in chosen.astype(int).tolist()
        }
    found = {
        name: rdf_of_frames(configurations_of(system, group))
        for name, group in groups.items()
        if group
    }
    return {name: rdfs for name, rdfs in found.items() if rdfs}


def pairs_reading(pairs: Sequence[object]) -> str:
    """Return how to read g(r)."""
    if not pairs:
        return ""
    more = len(pairs) - MOST_PAIRS
    left_out = f" {more} more pairs are left out." if more > 0 else ""
    return (
        "Pair distributions, with standard errors as bands. Sharp separate peaks "
        "belong to a solid, a first peak with ripples that die out around 1 to a "
        "liquid. Weight below the first peak would mean atoms closer than they can be."
        f"{left_out}"
    )
