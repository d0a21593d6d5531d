"""Pictures of a sweep: maps of phases, and means along what varies."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.run_means import over_replicas
from otf.commands.sweep_results import common_phase, replicas_of
from otf.report.drawing import Curve, Lines
from otf.report.phase_map import PhaseMap
from otf.report.sweep_view import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.analysis.averages import Mean
    from otf.commands.sweep_results import Result
    from otf.report.drawing import Panel
    from otf.settings.members import Member

Group = tuple["Member", "list[Result]"]
_AXES = {"temperature_K": "temperature (K)", "pressure_GPa": "pressure (GPa)"}
_Y = {
    "pressure_GPa": "pressure (GPa)",
    "volume_A3_per_atom": "volume (Å³/atom)",
    "energy_eV_per_atom": "potential energy (eV/atom)",
}


def panels_of(results: Sequence[Result]) -> list[Panel]:
    """Return what is drawn: nothing where neither temperature nor pressure varies."""
    groups = _finished(results)
    varied = _varied(groups)
    if len(varied) == 2:
        return [*_maps(groups)]
    return [line for axis in varied for line in _lines(groups, axis, _start_and_phase)]


def pictures_of(results: Sequence[Result]) -> list[list[Picture]]:
    """Return the same for a page in rows, with the means beside or below maps."""
    groups = _finished(results)
    varied = _varied(groups)
    name = _start_and_pressure if len(varied) == 2 else _start_and_phase
    means = [
        _picture(line, axis)
        for axis in varied[:1]
        for line in _lines(groups, axis, name)
    ]
    if len(varied) < 2:
        return [means]
    maps = [
        Picture(
            ", ".join(word for word in ("Phases", found.title) if word),
            f"Map of {len(found.phases)} phases over temperature and pressure: "
            f"{_counted(found)}.",
            replace(found, title=""),
        )
        for found in _maps(groups)
    ]
    return [maps + means] if len(maps) == 1 else [maps, means]


def _finished(results: Sequence[Result]) -> list[Group]:
    groups = [
        (member, [r for r in group if r.end.finished])
        for member, group in replicas_of(results)
    ]
    return [(member, group) for member, group in groups if group]


def _varied(groups: Sequence[Group]) -> list[str]:
    """Return the axes along which there is something to draw."""
    return [a for a in _AXES if len({getattr(m, a) for m, _ in groups}) > 1]


def _counted(found: PhaseMap) -> str:
    counts = Counter(found.phases.values()).most_common()
    return ", ".join(f"{name} at {count}" for name, count in counts) or "none is known"


def _picture(line: Lines, axis: str) -> Picture:
    quantity, word = (text.partition(" (")[0] for text in (line.y_label, _AXES[axis]))
    y = np.concatenate([curve.y for curve in line.curves])
    alt = (
        f"{line.y_label} over {line.x_label}: {len(y)} points with standard errors, "
        f"from {np.nanmin(y):.5g} to {np.nanmax(y):.5g}."
    )
    return Picture(f"{quantity} over {word}".capitalize(), alt.capitalize(), line)


def _maps(groups: Sequence[Group]) -> list[PhaseMap]:
    """Return a map for each structure the runs started from."""
    found = {
        (m.structure, m.temperature_K, m.pressure_GPa): (*common_phase(g), len(g))
        for m, g in groups
    }
    palette = list(dict.fromkeys(name for name, _, _ in found.values() if name))
    maps = []
    for structure in dict.fromkeys(m.structure for m, _ in groups):
        mine = {
            (float(t or 0.0), float(p or 0.0)): value
            for (s, t, p), value in found.items()
            if s == structure
        }
        maps.append(
            PhaseMap(
                f"started from {structure}" if structure else "",
                sorted({t for t, _ in mine}),
                sorted({p for _, p in mine}),
                {place: name for place, (name, _, _) in mine.items() if name},
                {
                    place: f"{of_it} of {n}"
                    for place, (_, of_it, n) in mine.items()
                    if 0 < of_it < n
                },
                palette,
            )
        )
    return maps


def _lines(
    groups: Sequence[Group], axis: str, name: Callable[[Group], str]
) -> list[Lines]:
    """Return means along an axis, a colour for each name."""
    series: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        series[name(group)].append(group)
    panels = []
    for quantity in _quantities(groups):
        curves = []
        for label, members in series.items():
            x = np.array([getattr(m, axis) for m, _ in members], dtype=np.float64)
            means = [_mean(group, quantity) for _, group in members]
            y = np.array([m.value for m in means])
            error = np.array([m.error for m in means])
            curves.append(Curve(label, x, y, error, form="points"))
        if any(np.isfinite(curve.y).any() for curve in curves):
            panels.append(Lines(_AXES[axis], _Y[quantity], curves))
    return panels


def _quantities(groups: Sequence[Group]) -> tuple[str, str]:
    """Return what is drawn: the energy, and pressure or volume, as the cells move."""
    volumes = [r.means.volume_A3_per_atom for _, group in groups for r in group]
    fixed = all(volume.error == 0.0 for volume in volumes)
    return "pressure_GPa" if fixed else "volume_A3_per_atom", "energy_eV_per_atom"


def _start_and_phase(group: Group) -> str:
    return ": ".join(w for w in (_start(group[0]), common_phase(group[1])[0]) if w)


def _start_and_pressure(group: Group) -> str:
    return ": ".join(
        w for w in (_start(group[0]), f"{group[0].pressure_GPa:g} GPa") if w
    )


def _start(member: Member) -> str:
    return f"from {member.structure}" if member.structure else ""


def _mean(group: Sequence[Result], quantity: str) -> Mean:
    means = (
        group[0].means if len(group) == 1 else over_replicas([r.means for r in group])
    )
    found: Mean = getattr(means, quantity)
    return found
