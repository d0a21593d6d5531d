"""What a model file says of itself: what it was made from, where it may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.deploy.provenance import laws_of
from otf.learning.laws import LEFT_OUT, RUN, SELECTION
from otf.models.baselines.archive import names_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otf.deploy.proof import Check
    from otf.learning.laws import Laws
    from otf.potential import Arrays
    from otf.store.model_file import ModelFile

    Card = dict[str, object]

_DESCRIPTOR = {
    "cutoff_three_body": "cutoff_three_body_A",
    "n_max": "n_max",
    "l_max": "l_max",
    "cutoff_two_body": "cutoff_two_body_A",
    "n_max_two_body": "n_max_two_body",
    "sigma": "sigma_A",
    "two_body_weight": "two_body_weight",
    "self_terms": "self_terms",
    "angular_damping": "angular_damping",
}
_COVARIANCE_PARAMETER = {"polynomial": "zeta", "gaussian": "length"}
_ORIGINS = {
    RUN: "its run",
    SELECTION: "the labels of the selection",
    LEFT_OUT: "left-out frames",
}
# Ranges of the training data: title, digits, unit.
_RANGES = {
    "volume_A3_per_atom": ("volume", ".4g", "A^3/atom"),
    "pressure_GPa": ("pressure", ".3g", "GPa"),
    "energy_eV_per_atom": ("energy", ".6g", "eV/atom"),
    "temperature_K": ("temperature", "g", "K"),
    "distance_A": ("closest atoms", ".3g", "A"),
    "n_atoms": ("cells", "g", "atoms"),
}


def card_of(file: ModelFile) -> Card:
    """Return everything a model file says, as JSON holds it; its input is left as is.

    Files of the first versions say less; what they do not say is left out.
    """
    return {
        "format": file.form,
        **_of_arrays(file.arrays),
        **file.metadata,
        "n_proof_frames": len(file.proof),
    }


def lines_of(card: Card) -> Iterator[str]:
    """Yield the lines people read."""
    for name, text in _entries(card):
        if text:
            yield f"{name:<17} {text}"


def lines_of_checks(checks: Sequence[Check]) -> Iterator[str]:
    """Yield one line for each backend."""
    for check in checks:
        name = f"backend {check.backend}"
        if check.missing:
            yield f"{name:<17} not here: {check.missing}"
        elif check.refusal:
            yield f"{name:<17} refused"
        else:
            parts = [
                f"{d.quantity} within {d.size:.1e} {d.unit} (allowed {d.tolerance:.0e})"
                for d in check.deviations
            ]
            yield f"{name:<17} proven: {', '.join(parts)}"


def record_of_checks(checks: Sequence[Check]) -> Card:
    """Return what every backend made of the proof, as JSON holds it."""
    return {
        check.backend: {
            "available": not check.missing,
            "proven": bool(check.deviations),
            "reason": check.missing or check.refusal or None,
            "deviations": {
                d.quantity: {
                    "size": d.size,
                    "tolerance": d.tolerance,
                    "unit": d.unit,
                    "frame": d.frame,
                }
                for d in check.deviations
            },
        }
        for check in checks
    }


# ----------------------------------------------------------------------- the arrays
def _of_arrays(arrays: Arrays) -> Card:
    """Return what the arrays of a kernel model say; nothing for other arrays."""
    if "descriptor/species" not in arrays or "basis/species" not in arrays:
        return {}
    symbols = [chemical_symbols[int(z)] for z in arrays["descriptor/species"]]
    counts = np.bincount(
        np.asarray(arrays["basis/species"], np.int64), minlength=len(symbols)
    )
    name = str(arrays["basis/covariance/name"])
    descriptor = {
        key: np.asarray(arrays[f"descriptor/{stored}"]).item()
        for stored, key in _DESCRIPTOR.items()
        if f"descriptor/{stored}" in arrays
    }
    energies = [float(e) for e in arrays["element_energies"]]
    return {
        "species": symbols,
        "descriptor": {
            "name": str(arrays["descriptor/name"]),
            **descriptor,
            "elements": "reduced" if arrays["descriptor/elements_reduced"] else "full",
        },
        "covariance": {
            "name": name,
            _COVARIANCE_PARAMETER.get(name, "parameter"): float(
                arrays["basis/covariance/parameter"]
            ),
        },
        "baseline": " + ".join(_baselines(arrays)),
        "local_references": dict(zip(symbols, (int(k) for k in counts), strict=True)),
        "element_energies_eV": dict(zip(symbols, energies, strict=True)),
        "element_energies_determined": len(arrays["element_span"]) == len(symbols),
    }


def _baselines(arrays: Arrays) -> list[str]:
    start = "baseline/"
    return names_of(
        {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
    )


# ------------------------------------------------------------------------ the lines
def _entries(card: Card) -> Iterator[tuple[str, str]]:
    yield "title", _text(card.get("title"))
    yield "made", _made(card)
    yield "elements", _listed(card.get("species"))
    yield "descriptor", _descriptor(_table(card.get("descriptor")))
    yield "covariance", _covariance(_table(card.get("covariance")))
    yield "baseline", _text(card.get("baseline")).replace("_", " ")
    yield "local references", _pairs(card.get("local_references"))
    yield "e0", _element_energies(card)
    yield "trained on", _trained_on(card)
    yield "data", _text(card.get("dataset"))
    yield "reference", _text(card.get("reference")) or "not known"
    yield "labelled by", _text(card.get("reference_settings"))
    yield "mixed with", _mixed_with(card.get("mixed_references"))
    yield "training errors", _training_errors(card)
    yield "log evidence", _number(card.get("log_evidence"), ".6g")
    yield "clamps", _listed(card.get("clamps"))
    yield "verdict", _text(card.get("verdict"))
    yield from _ranges(_table(card.get("range")))
    yield "calibration", words_of_laws(laws_of(card))
    yield "versions", _pairs(card.get("versions"))
    yield "proof frames", _text(card.get("n_proof_frames"))


def _mixed_with(shifts: object) -> str:
    tables = map(_table, shifts) if isinstance(shifts, list) else ()
    return ", ".join(
        f"{_text(one.get('n_frames'))} labels of "
        f"{_text(one.get('reference')) or 'unknown'}, shifted by "
        f"{_pairs(one.get('shifts'))} eV an atom"
        for one in tables
    )


def _made(card: Card) -> str:
    parts = [f"format {card['format']}"]
    if "version" in card:
        command = f" {card['command']}" if "command" in card else ""
        parts.append(f"otf-md {card['version']}{command}")
    if "date" in card:
        parts.append(_text(card["date"]))
    return ", ".join(parts)


def _descriptor(table: Mapping[str, object]) -> str:
    if "cutoff_three_body_A" not in table:
        return _text(table.get("name")).replace("_", " ")
    parts = [
        f"three-body to {table['cutoff_three_body_A']} A, n_max {table['n_max']}, "
        f"l_max {table['l_max']}"
    ]
    if table["n_max_two_body"] and table["two_body_weight"]:
        parts.append(
            f"two-body to {table['cutoff_two_body_A']} A, n_max "
            f"{table['n_max_two_body']}, weight {table['two_body_weight']}"
        )
    parts.append(f"sigma {table['sigma_A']} A")
    if table["elements"] != "full":
        parts.append(f"elements {table['elements']}")
    return "; ".join(parts)


def _covariance(table: Mapping[str, object]) -> str:
    others = {k: v for k, v in table.items() if k != "name"}
    return ", ".join(filter(None, (_text(table.get("name")), _pairs(others))))


def _element_energies(card: Card) -> str:
    values = _table(card.get("element_energies_eV"))
    text = ", ".join(f"{k} {_number(v, '.4f')}" for k, v in values.items())
    if not text:
        return ""
    if card.get("element_energies_determined"):
        return f"{text} eV"
    return f"{text} eV, not determined by the compositions of the training data"


def _trained_on(card: Card) -> str:
    if "n_frames" not in card:
        return ""
    text = f"{card['n_frames']} structures"
    if names := _listed(card.get("data")):
        text += f" of {names}"
    if "stress_trained" in card:
        text += ", with stresses" if card["stress_trained"] else ", without stresses"
    return text


def _training_errors(card: Card) -> str:
    kinds = {
        "training_energy_rmse_meV_per_atom": ("energy", ".3g", "meV/atom"),
        "training_force_rmse_eV_per_A": ("force", ".3g", "eV/A"),
        "training_stress_rmse_GPa": ("stress", ".3g", "GPa"),
    }
    parts = [
        f"{name} {_number(card[key], digits)} {unit}"
        for key, (name, digits, unit) in kinds.items()
        if card.get(key) is not None
    ]
    return "RMSE " + ", ".join(parts) if parts else ""


def _ranges(table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    shares = [
        f"{symbol} {_span(limits, '.3g')}"
        for symbol, limits in _table(table.get("atomic_fraction")).items()
    ]
    yield "composition", ", ".join(shares)
    for key, (name, digits, unit) in _RANGES.items():
        if table.get(key) is not None:
            yield name, f"{_span(table[key], digits)} {unit}"
    force = table.get("force_component_eV_per_A")
    if isinstance(force, list):
        yield "force components", f"up to {_number(force[1], '.3g')} eV/A"


def words_of_laws(laws: Laws | None) -> str:
    """Return what the deviations of a model are worth and where that was found."""
    if laws is None:
        return (
            "none: deviations are those of the posterior, mostly several times smaller "
            "than the errors"
        )
    found = {f"forces of {chemical_symbols[z]}": law for z, law in laws.forces.items()}
    parts = [
        f"{name} q {law.factor:.3g}"
        + (f", p {law.exponent:.3g}" if law.exponent != 1.0 else "")
        for name, law in (
            found | {"energy": laws.energy, "stress": laws.stress}
        ).items()
        if law is not None
    ]
    unknown = "" if laws.energy else "; of energies none"
    return (
        f"by {origin_of(laws)}: {'; '.join(parts)}{unknown} (95 % of errors lie below "
        "q s (sigma/s)^p)"
    )


def origin_of(laws: Laws) -> str:
    """Return which labels the deviations of a model were compared with."""
    name = _ORIGINS.get(laws.origin, laws.origin)
    return f"{laws.n_frames} {name}" if laws.n_frames else name


def _span(limits: object, digits: str) -> str:
    if not isinstance(limits, list):
        return ""
    low, high = (_number(value, digits) for value in limits)
    return low if low == high else f"{low} to {high}"


def _pairs(table: object) -> str:
    return ", ".join(f"{k} {_text(v)}" for k, v in _table(table).items())


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else ""


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: object, digits: str) -> str:
    return f"{value:{digits}}" if isinstance(value, int | float) else ""
