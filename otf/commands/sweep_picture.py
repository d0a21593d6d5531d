"""The picture of a sweep: a map of phases, or volume and energy along what varies."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.run_means import over_replicas
from otf.commands.sweep_results import common_phase, replicas_of
from otf.report.drawing import Curve, Lines
from otf.report.phase_map import PhaseMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.analysis.averages import Mean
    from otf.commands.sweep_results import Result
    from otf.report.drawing import Panel
    from otf.settings.members import Member

Group = tuple["Member", "list[Result]"]
_Y = {
    "volume_A3_per_atom": "volume (Å³/atom)",
    "energy_eV_per_atom": "potential energy (eV/atom)",
}


def panels_of(results: Sequence[Result]) -> list[Panel]:
    """Return what is drawn: nothing where neither temperature nor pressure varies."""
    groups = [
        (member, [r for r in group if r.end.finished])
        for member, group in replicas_of(results)
    ]
    groups = [(member, group) for member, group in groups if group]
    temperatures = {m.temperature_K for m, _ in groups}
    pressures = {m.pressure_GPa for m, _ in groups}
    if len(temperatures) > 1 and len(pressures) > 1:
        return _maps(groups)
    if len(temperatures) > 1:
        return _lines(groups, "temperature_K", "temperature (K)")
    if len(pressures) > 1:
        return _lines(groups, "pressure_GPa", "pressure (GPa)")
    return []


def _maps(groups: Sequence[Group]) -> list[Panel]:
    """Return a map for each structure the runs started from."""
    found = {
        (m.structure, m.temperature_K, m.pressure_GPa): (*common_phase(g), len(g))
        for m, g in groups
    }
    palette = list(dict.fromkeys(name for name, _, _ in found.values() if name))
    maps: list[Panel] = []
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


def _lines(groups: Sequence[Group], axis: str, label: str) -> list[Panel]:
    """Return volume and energy, a colour for each start and phase."""
    series: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for member, group in groups:
        series[member.structure, common_phase(group)[0]].append((member, group))
    panels: list[Panel] = []
    for quantity, y_label in _Y.items():
        curves = []
        for (structure, phase), members in series.items():
            x = np.array([getattr(m, axis) for m, _ in members], dtype=np.float64)
            means = [_mean(group, quantity) for _, group in members]
            y = np.array([m.value for m in means])
            error = np.array([m.error for m in means])
            start = f"from {structure}" if structure else ""
            name = ": ".join(word for word in (start, phase) if word)
            curves.append(Curve(name, x, y, error, form="points"))
        if any(np.isfinite(curve.y).any() for curve in curves):
            panels.append(Lines(label, y_label, curves))
    return panels


def _mean(group: Sequence[Result], quantity: str) -> Mean:
    means = (
        group[0].means if len(group) == 1 else over_replicas([r.means for r in group])
    )
    found: Mean = getattr(means, quantity)
    return found
