"""The deviations a model states beside its errors on labelled structures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import bdtrc, chdtr, ndtr, ndtri

from otf.analysis.held_out import KINDS, HeldOut, joined_scores, reliability_of
from otf.commands.model_card import origin_of
from otf.configuration import masked_stress
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otf.analysis.held_out import Reliability
    from otf.commands.dataset import Frame
    from otf.configuration import FloatArray
    from otf.learning.calibration import Law
    from otf.learning.laws import Laws
    from otf.models.posterior import KernelPosterior

    Progress = Callable[[str, int, int], None]

# Laws give what 95 % of the errors lie below: of normal errors, so many deviations.
SIGMAS = float(ndtri(0.975))
# Values of one kind that say the same once: a force, a stress, not their components.
_COMPONENTS: Final = {"energy": 1, "forces": 3, "stress": 6}
# When something is said: more than a tenth of the errors above two deviations, or
# errors of less than half of one; and by chance in less than one of a hundred cases.
_BEYOND, _HALF, _CHANCE = 0.1, 0.5, 0.01


@dataclass(frozen=True)
class Stated:
    """How the stated deviations of one kind compare with the errors.

    Attributes
    ----------
    calibrated : whether a law of the model makes them; else they are the posterior's
    n_values : labels compared
    score_rms : root mean square of error over deviation; 1 where deviations are right
    above_one, above_two : shares of the errors above one and two deviations; 0.317 and
        0.046 of normal errors
    factor : times which deviations would have to be for 95 % of the errors to lie below
        1.96 of them
    judgement : too small, too large, or empty
    """

    calibrated: bool
    n_values: int
    score_rms: float
    above_one: float
    above_two: float
    factor: float
    judgement: str


@dataclass(frozen=True)
class Statement:
    """What a model says of its errors, judged by those it makes.

    Attributes
    ----------
    laws : of the model
    n_frames, n_given : structures compared, and those there are
    kinds : energy, forces, stress; those with labels
    """

    laws: Laws | None
    n_frames: int
    n_given: int
    kinds: dict[str, Stated]


def statement_of(
    model: KernelPosterior,
    laws: Laws | None,
    frames: Sequence[Frame],
    *,
    limit: int,
    progress: Progress,
) -> Statement:
    """Compare stated deviations with the errors of at most ``limit`` structures.

    These are spread evenly over the given ones. Deviations are those of the posterior,
    without the noise of labels, through the laws of the model where it has any.
    """
    n = len(frames)
    chosen = np.unique(np.linspace(0, n - 1, min(n, limit)).astype(np.int64)).tolist()

    def one(k: int) -> HeldOut:
        return _beside(model, laws, frames[k], k)

    held: list[HeldOut] = []
    with one_blas_thread():
        for found in in_order(one, chosen):
            progress("deviations", len(held), len(chosen))
            held.append(found)
    kinds = {kind: _stated(held, kind, laws) for kind in KINDS}
    known = {kind: found for kind, found in kinds.items() if found is not None}
    return Statement(laws, len(chosen), n, known)


def _beside(model: KernelPosterior, laws: Laws | None, frame: Frame, k: int) -> HeldOut:
    c, labels = frame
    found, known = model.predict(c), model.force_uncertainty(c)
    assert known.forces is not None  # the exact form always has them
    assert known.energy is not None
    assert known.stress is not None
    forces = known.forces
    if laws is not None:
        forces = laws.force_errors(c.numbers, forces) / SIGMAS
    energy = _through(None if laws is None else laws.energy, np.array([known.energy]))
    return HeldOut(
        frame=k,
        energy=found.energy / c.n_atoms,
        label_energy=labels.energy / c.n_atoms,
        energy_deviation=float(energy[0]) / c.n_atoms,
        forces=found.forces,
        label_forces=labels.forces,
        force_deviations=forces,
        stress=found.stress,
        label_stress=masked_stress(labels.stress, c.pbc),
        stress_deviations=_through(None if laws is None else laws.stress, known.stress),
    )


def _through(law: Law | None, deviations: FloatArray) -> FloatArray:
    """Return deviations that are as large as errors, where a law knows."""
    return deviations if law is None else law.errors(deviations) / SIGMAS


def _stated(held: Sequence[HeldOut], kind: str, laws: Laws | None) -> Stated | None:
    found = reliability_of(held, kind)
    if found is None:
        return None
    has_law = (
        laws is not None
        and {
            "energy": laws.energy is not None,
            "forces": True,
            "stress": laws.stress is not None,
        }[kind]
    )
    quantile = float(np.quantile(np.abs(joined_scores(held, kind)), 0.95))
    return Stated(
        calibrated=has_law,
        n_values=found.n_values,
        score_rms=found.score_rms,
        above_one=1.0 - found.within[0],
        above_two=1.0 - found.within[1],
        factor=quantile / SIGMAS,
        judgement=judgement(found, found.n_values // _COMPONENTS[kind]),
    )


def judgement(found: Reliability, n_independent: int) -> str:
    """Return whether deviations are too small or too large, empty where neither.

    Long tails make the mean square large although most deviations are right, so the
    share of errors above two of them tells that they are too small, and the mean square
    that they are too large.
    """
    beyond, normal = 1.0 - found.within[1], 2.0 * float(ndtr(-2.0))
    at_least = round(beyond * n_independent)
    if beyond > _BEYOND and bdtrc(at_least - 1, n_independent, normal) < _CHANCE:
        return "too small"
    square = n_independent * found.score_rms**2
    if found.score_rms < _HALF and chdtr(n_independent, square) < _CHANCE:
        return "too large"
    return ""


def record_of(statement: Statement) -> dict[str, object]:
    """Return it as JSON holds it."""
    laws = statement.laws
    return {
        "calibration_origin": "none" if laws is None else laws.origin,
        "n_frames": statement.n_frames,
        **{kind: asdict(found) for kind, found in statement.kinds.items()},
    }


def lines_of(statement: Statement) -> Iterator[str]:
    """Yield the lines people read."""
    laws, n, given = statement.laws, statement.n_frames, statement.n_given
    how = (
        "of its posterior, not calibrated"
        if laws is None
        else f"calibrated by {origin_of(laws)}"
    )
    which = f"all {n}" if n == given else f"{n} of {given}"
    yield f"Deviations the model states ({how}) on {which} structures:"
    yield (
        f"{'':<16}{'RMS of error/deviation':>24}{'above one':>11}{'above two':>11}"
        f"{'times for 95 %':>16}"
    )
    for kind, found in statement.kinds.items():
        mark = "" if found.calibrated or laws is None else "*"
        yield (
            f"{kind + mark:<16}{found.score_rms:>24.2f}{found.above_one:>11.3f}"
            f"{found.above_two:>11.3f}{found.factor:>16.2f}"
        )
    one, two = (2.0 * float(ndtr(-k)) for k in (1.0, 2.0))
    yield f"{'normal errors':<16}{1.0:>24.2f}{one:>11.3f}{two:>11.3f}{1.0:>16.2f}"
    if laws is not None and not all(s.calibrated for s in statement.kinds.values()):
        yield "* of the posterior: the calibration of the model has none of this kind"
    yield _verdict(statement)


def _verdict(statement: Statement) -> str:
    """Return one line that says whether the deviations can be used here."""
    if not statement.kinds:
        return "No label of these structures has a deviation to be compared with."
    parts = [
        f"{kind} {found.judgement} ({found.factor:.3g} times as large would hold 95 % "
        "of the errors)"
        for kind, found in statement.kinds.items()
        if found.judgement
    ]
    if parts:
        return (
            f"The model's deviations are wrong on these structures: {'; '.join(parts)}."
        )
    return (
        "The model's deviations are about as large as its errors, as far as "
        f"{statement.n_frames} structures tell."
    )
