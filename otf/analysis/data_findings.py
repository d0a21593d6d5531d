"""One-line findings about a data set, the gravest first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from otf.analysis.outliers import (
    CLOSE,
    UNBALANCED,
    energy_outliers,
    force_outliers,
    too_close,
    unbalanced,
)
from otf.analysis.stress_conventions import ORDERS, RIGHT, SCALES
from otf.analysis.stress_verdict import OPEN, UNEXPLAINED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otf.analysis.examination import Examination, StressCheck
    from otf.configuration import BoolArray

WRONG: Final = "wrong"
LOOK: Final = "look"
NOTE: Final = "note"
GOOD: Final = "good"
LEVELS: Final = (WRONG, LOOK, NOTE, GOOD)


@dataclass(frozen=True)
class Finding:
    """One sentence about a data set.

    Attributes
    ----------
    level : ``wrong`` for labels that cannot be right, ``look`` for what deserves a
        look, ``note``, ``good``
    text : the sentence, without a full stop
    frames : index of the structures it is about
    """

    level: str
    text: str
    frames: tuple[int, ...] = ()


def findings(data: Examination) -> list[Finding]:
    """Return all findings, the gravest first."""
    found = [*_of_stress(data), *_of_model(data), *_of_duplicates(data), *_plain(data)]
    return sorted(found, key=lambda one: LEVELS.index(one.level))


# ------------------------------------------------------------------------ of stress
def _of_stress(data: Examination) -> Iterator[Finding]:
    if data.zero_stress.any():
        yield _finding(
            LOOK, "{} a stress of exactly zero, which is none", data.zero_stress
        )
    if data.model is None:
        why = data.why_no_model
        yield Finding(NOTE, f"labels were not compared with a model: {why}")
        return
    check = data.model.stress
    if check is None:
        if not data.missing["stress"].all():
            yield Finding(NOTE, "too few stresses to tell sign, unit and order of them")
        return
    yield from _conventions(data, check)
    yield from _offset(check)


def _conventions(data: Examination, check: StressCheck) -> Iterator[Finding]:
    verdict, n = check.verdict, check.verdict.n_frames
    groups: dict[str, list[int]] = {}
    for k in range(n):
        groups.setdefault(verdict.name_of(k), []).append(int(check.frames[k]))
    usual = (RIGHT, OPEN, UNEXPLAINED)
    wrong = [name for name in groups if name not in usual]
    for name in sorted(wrong, key=lambda name: -len(groups[name])):
        frames = tuple(groups[name])
        where = _share(len(frames), n) + _of_groups(data, frames)
        yield Finding(WRONG, f"stress: {name} {where}", frames)
    yield from _open(check, tuple(groups.get(OPEN, ())))
    if not wrong:
        told = (verdict.scales == 0).sum(), (verdict.orders == 0).sum()
        yield Finding(
            GOOD,
            f"stress: sign and unit are right in {told[0]} of {n} structures, the "
            f"order of shear components in {told[1]}; the others are too small or too "
            "symmetric to tell",
        )
    if UNEXPLAINED in groups:
        frames = tuple(groups[UNEXPLAINED])
        yield Finding(LOOK, f"stress: {UNEXPLAINED} {_share(len(frames), n)}", frames)


def _open(check: StressCheck, frames: tuple[int, ...]) -> Iterator[Finding]:
    """Yield what structures that tell nothing share with a set that is wrong."""
    verdict = check.verdict
    names = (SCALES[verdict.set_scale].name, ORDERS[verdict.set_order].name)
    mistakes = ", ".join(name for name in names if name != RIGHT)
    if mistakes and frames:
        more = _share(len(frames), verdict.n_frames)
        yield Finding(
            LOOK,
            f"stress: probably {mistakes} {more} more, "
            "too small or too symmetric to tell on their own",
            frames,
        )


def _offset(check: StressCheck) -> Iterator[Finding]:
    if not check.offset_is_determined:
        yield Finding(
            NOTE,
            "stress: volumes vary too little to tell a constant offset of stresses",
        )
    elif check.offset_is_significant:
        yield Finding(
            WRONG,
            f"stress: a constant isotropic offset of {check.offset_GPa:+.2f} GPa "
            f"against the energies (scatter {check.offset_scatter_GPa:.2f} GPa), as of "
            "too small a plane-wave basis",
        )


# ------------------------------------------------------------------- of energy, force
def _of_model(data: Examination) -> Iterator[Finding]:
    if data.model is None:
        return
    m = data.model
    energies = m.contradicted_energies
    forces = m.contradicted_forces
    if energies.any():
        worst = int(np.nanargmax(np.abs(m.energy_scores)))
        yield _finding(
            LOOK,
            "energy: {} one that the other structures do not expect, at worst by "
            f"{1e3 * m.energy_errors[worst]:+.1f} meV/atom",
            energies,
        )
    if forces.any():
        worst = int(np.nanargmax(m.force_scores))
        yield _finding(
            LOOK,
            "forces: {} some that the other structures do not expect, at worst by "
            f"{m.force_errors[worst]:.2f} eV/A on atom {m.force_atoms[worst]}",
            forces,
        )
    if not energies.any() and not forces.any():
        yield Finding(GOOD, "energies and forces are those the other structures expect")


# --------------------------------------------------------------------- of the frames
def _of_duplicates(data: Examination) -> Iterator[Finding]:
    differing = [g for g in data.duplicates if g.differing]
    if differing:
        labels = sorted({name for g in differing for name in g.differing})
        frames = tuple(k for g in differing for k in g.members)
        yield Finding(
            WRONG,
            f"{_occur(len(differing))} more than once with different labels "
            f"({', '.join(labels)})",
            frames,
        )
    alike = [g for g in data.duplicates if not g.differing]
    if alike:
        frames = tuple(k for g in alike for k in g.members)
        yield Finding(
            NOTE,
            f"{_occur(len(alike))} more than once with the same labels, up to rotation "
            f"and reflection ({len(frames) - len(alike)} to spare)",
            frames,
        )


def _plain(data: Examination) -> Iterator[Finding]:
    if data.n_labellers > 1:
        yield Finding(
            WRONG,
            f"labels come from {data.n_labellers} references, whose energies do not "
            "mix",
        )
    close = too_close(data.facts)
    if close.any():
        ratios = [f.contact.ratio if f.contact else np.inf for f in data.facts]
        nearest = data.facts[int(np.argmin(ratios))].contact
        assert nearest is not None  # it is among those too close
        yield _finding(
            LOOK,
            f"{{}} atoms nearer than {CLOSE:g} of the sum of their covalent radii, at "
            f"worst {nearest.distance:.2f} A",
            close,
        )
    checks = (
        ("{} an energy per atom far from the rest", energy_outliers(data.facts)),
        ("{} a force far larger than the rest", force_outliers(data.facts)),
        (
            f"{{}} forces whose sum exceeds {UNBALANCED:g} eV/A per atom",
            unbalanced(data.facts),
        ),
    )
    for text, mask in checks:
        if mask.any():
            yield _finding(LOOK, text, mask)
    for kind, mask in data.missing.items():
        if mask.all():
            yield Finding(NOTE, f"no structure has {_LABEL[kind]}")
        elif mask.any():
            yield _finding(LOOK, f"{{}} no {kind}", mask)


_LABEL: Final = {"energy": "an energy", "forces": "forces", "stress": "a stress"}


def _finding(level: str, text: str, mask: BoolArray) -> Finding:
    frames = tuple(int(k) for k in np.flatnonzero(mask))
    have = "structure has" if len(frames) == 1 else "structures have"
    return Finding(level, text.format(f"{len(frames)} {have}"), frames)


def _occur(count: int) -> str:
    return "1 structure occurs" if count == 1 else f"{count} structures occur"


def _of_groups(data: Examination, frames: Sequence[int]) -> str:
    """Return how many of every ``config_type`` these are, where there are several."""
    whole = Counter(place.group for place in data.places)
    if len(whole) == 1:
        return ""
    counts = Counter(data.places[k].group for k in frames)
    parts = [
        f"{group or 'no config_type'} {count} of {whole[group]}"
        for group, count in counts.most_common()
    ]
    return f" ({', '.join(parts)})"


def _share(count: int, of: int) -> str:
    if count == of:
        return f"in all {of} structures"
    return f"in {count} of {of} structures"


def of_level(found: Sequence[Finding], level: str) -> list[Finding]:
    """Return the findings of one level."""
    return [one for one in found if one.level == level]
