"""The examination of a data set in lines for people, and in JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.data_findings import NOTE
from otf.analysis.examination import compositions, named
from otf.analysis.outliers import energy_outliers, force_outliers, too_close, unbalanced
from otf.analysis.stress_conventions import ORDERS, SCALES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otf.analysis.data_findings import Finding
    from otf.analysis.examination import Examination, StressCheck
    from otf.configuration import FloatArray

HEAD = (
    f"{'composition':<14}{'structures':>10}{'atoms':>10}{'A^3/atom':>16}{'g/cm^3':>16}"
    f"{'energy, eV/atom':>22}"
)
PLACES = 8  # file and frame numbers of a finding on the terminal
BINS = 40


def summary(data: Examination, found: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines people read."""
    yield HEAD
    for one in compositions(data):
        yield (
            f"{one.formula[:14]:<14}{one.n_frames:>10}{_span(one.atoms, '.0f'):>10}"
            f"{_span(one.volumes, '.2f'):>16}{_span(one.densities, '.3f'):>16}"
            f"{_span(one.energies, '.4f'):>22}"
        )
    for finding in found:
        yield f"{finding.level}: {finding.text}"
        is_part = 0 < len(finding.frames) < data.n_frames
        if is_part and finding.level != NOTE:
            yield f"  {named(data.places, finding.frames, limit=PLACES)}"


def _span(values: tuple[float, float] | None, form: str) -> str:
    if values is None:
        return "-"
    low, high = (f"{value:{form}}" for value in values)
    return low if low == high else f"{low}..{high}"


def as_json(data: Examination, found: Sequence[Finding]) -> str:
    """Return everything as JSON; what is not known is null."""
    out = {
        "n_frames": data.n_frames,
        "n_atoms": sum(f.n_atoms for f in data.facts),
        "n_labelling_references": data.n_labellers,
        "missing": {kind: int(mask.sum()) for kind, mask in data.missing.items()},
        "compositions": [
            {
                "formula": one.formula,
                "n_frames": one.n_frames,
                "atoms": one.atoms,
                "volume_A3_per_atom": one.volumes,
                "density_g_per_cm3": one.densities,
                "energy_eV_per_atom": one.energies,
            }
            for one in compositions(data)
        ],
        "largest_force_eV_per_A": _histogram([f.largest_force for f in data.facts]),
        "stress_GPa": _histogram(np.ravel([f.stress for f in data.facts])),
        "findings": [
            {
                "level": one.level,
                "text": one.text,
                "frames": [
                    {"file": data.places[k].file, "frame": data.places[k].frame}
                    for k in one.frames
                ],
            }
            for one in found
        ],
        "duplicates": [
            {"members": group.members, "differing": group.differing}
            for group in data.duplicates
        ],
        "model": _model(data),
        "frames": _frames(data),
    }
    return json.dumps(out, indent=2)


def _histogram(values: FloatArray | Sequence[float]) -> dict[str, list[float]] | None:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    counts, edges = np.histogram(known, bins=BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _model(data: Examination) -> dict[str, object] | None:
    model = data.model
    if model is None:
        return None
    return {
        "n_fitted": model.n_fitted,
        "n_local_references": model.n_references,
        "stress": None if model.stress is None else _stress(model.stress),
    }


def _stress(check: StressCheck) -> dict[str, object]:
    verdict = check.verdict
    return {
        "scale_of_the_set": SCALES[verdict.set_scale].name,
        "order_of_the_set": ORDERS[verdict.set_order].name,
        "offset_GPa": check.offset_GPa,
        "offset_scatter_GPa": check.offset_scatter_GPa,
        "offset_is_determined": check.offset_is_determined,
        "offset_is_significant": check.offset_is_significant,
        "deviation_factors": verdict.inflation,
    }


def _frames(data: Examination) -> list[dict[str, object]]:
    """Return every number of every structure."""
    outliers = {
        "energy_is_far": energy_outliers(data.facts),
        "force_is_far": force_outliers(data.facts),
        "forces_are_unbalanced": unbalanced(data.facts),
        "atoms_are_too_close": too_close(data.facts),
    }
    stresses = _stresses(data)
    out = []
    for k, (place, facts) in enumerate(zip(data.places, data.facts, strict=True)):
        one: dict[str, object] = {
            "file": place.file,
            "frame": place.frame,
            "config_type": place.group,
            "formula": facts.formula,
            "n_atoms": facts.n_atoms,
            "volume_A3_per_atom": _number(facts.volume),
            "density_g_per_cm3": _number(facts.density),
            "energy_eV_per_atom": _number(facts.energy),
            "largest_force_eV_per_A": _number(facts.largest_force),
            "net_force_eV_per_A_per_atom": _number(facts.net_force),
            "stress_GPa": [_number(x) for x in facts.stress],
            "nearest_atoms": None if facts.contact is None else facts.contact.atoms,
            "nearest_distance_A": None
            if facts.contact is None
            else facts.contact.distance,
            **{name: bool(mask[k]) for name, mask in outliers.items()},
        }
        if data.model is not None:
            one |= {
                "energy_error_eV_per_atom": _number(data.model.energy_errors[k]),
                "energy_score": _number(data.model.energy_scores[k]),
                "force_error_eV_per_A": _number(data.model.force_errors[k]),
                "force_score": _number(data.model.force_scores[k]),
                "force_error_atom": int(data.model.force_atoms[k]),
            }
        out.append(one | stresses.get(k, {}))
    return out


def _stresses(data: Examination) -> dict[int, dict[str, object]]:
    """Return what is known of the stress of every structure that has been compared."""
    if data.model is None or data.model.stress is None:
        return {}
    check = data.model.stress
    verdict = check.verdict
    return {
        int(k): {
            "implied_stress_GPa": check.implied[at].tolist(),
            "implied_stress_deviation_GPa": check.deviation[at].tolist(),
            "stress_verdict": verdict.name_of(at),
            "scale_probability": float(verdict.scale_probabilities[at].max()),
            "order_probability": float(verdict.order_probabilities[at].max()),
            "stress_misfit": float(verdict.misfit[at]),
        }
        for at, k in enumerate(check.frames)
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
