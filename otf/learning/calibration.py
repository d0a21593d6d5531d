"""Running calibration: what a posterior deviation is worth in eV/angstrom."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.configuration import BoolArray, FloatArray, IntArray
    from otf.potential import Arrays


# Of the largest deviation of a frame: what is smaller is zero by symmetry, and the rest
# is rounding. In a strained crystal half the components of the stress are so, and they
# would pull the geometric mean down to nothing.
SYMMETRIC = 1e-6


@dataclass(frozen=True, eq=False)
class _Frame:
    """Errors and deviations of the known force components of one labelled frame."""

    numbers: IntArray  # (c,), of the atom of each component
    errors: FloatArray  # (c,) eV/angstrom, absolute
    deviations: FloatArray  # (c,) eV/angstrom
    weight: float

    def of_species(self, z: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return errors, deviations and weights of one species."""
        known = self.numbers == z
        weights = np.full(np.count_nonzero(known), self.weight)
        return self.errors[known], self.deviations[known], weights


@dataclass(frozen=True)
class Law:
    """From the deviations of the atoms of one species in a frame to their errors.

    e_i = q s (sigma_i/s)^p, s the geometric mean of the sigma_i of the frame that are
    not zero by symmetry. Beyond the largest sigma_i/s that was ever seen beside its
    error nothing is known, and e_i goes on in proportion to sigma_i.

    Attributes
    ----------
    factor : q
    exponent : p, 1 for errors proportional to deviations
    largest : largest sigma_i/s
    """

    factor: float
    exponent: float = 1.0
    largest: float = np.inf

    def errors(self, deviations: FloatArray) -> FloatArray:
        """Return e_i of the deviations of one frame, (n,), both in eV/angstrom."""
        scale = _geometric_mean(deviations)
        seen = np.minimum(deviations / scale, self.largest)
        beyond = np.divide(
            deviations / scale, seen, out=np.ones_like(seen), where=seen > 0
        )
        power: FloatArray = seen**self.exponent
        return self.factor * scale * power * beyond


class Calibration:
    """What deviations were worth in the last labelled frames, for every species.

    True errors of a finite basis are mostly misfit, which the posterior does not see.
    From frame to frame deviations and errors rise and fall together, but among the
    atoms of a liquid they hardly do: the largest deviation is far above the mean, its
    error is not. So the slope p of log |error| against log sigma within frames is
    fitted too, and the factor q is the quantile of |error| / (s (sigma/s)^p): 95 % of
    the true errors of force components lie below e. Errors are meant per component,
    like sigma_i and the force errors that papers quote. Frames that the decision asked
    for are late and biased, so audits count more.

    Parameters
    ----------
    quantile
        Share of errors below e_i.
    start
        q until ``minimum_frames`` frames of the species are known, with p = 1; after
        that what is found takes over in the measure that the window fills, a larger q
        at once.
    bounds
        Limits of q.
    window
        Frames that are remembered.
    audit_weight
        How many ordinary frames an audit counts for.
    """

    exponents = (0.3, 1.0)

    def __init__(
        self,
        *,
        quantile: float = 0.95,
        start: float = 10.0,
        bounds: tuple[float, float] = (1.0, 100.0),
        window: int = 20,
        minimum_frames: int = 3,
        audit_weight: float = 5.0,
    ) -> None:
        self.quantile = quantile
        self.start = start
        self.bounds = bounds
        self.minimum_frames = minimum_frames
        self.audit_weight = audit_weight
        self._frames: deque[_Frame] = deque(maxlen=window)
        self._laws: dict[int, Law] = {}  # of these frames, found when asked for

    def add(
        self,
        numbers: IntArray,
        errors: FloatArray,
        deviations: FloatArray,
        *,
        audit: bool,
    ) -> None:
        """Take in a labelled frame.

        Parameters
        ----------
        numbers
            (n,) atomic numbers.
        errors
            (n, 3) eV/angstrom, F_true - F_predicted, NaN where there is no label.
        deviations
            (n,) eV/angstrom, sigma_i before the frame was learned.
        audit
            Whether the frame was chosen by the clock and not by the decision.
        """
        known = np.isfinite(errors) & _is_there(deviations)[:, None]
        atom = np.nonzero(known)[0]
        weight = self.audit_weight if audit else 1.0
        self._frames.append(
            _Frame(numbers[atom], np.abs(errors[known]), deviations[atom], weight)
        )
        self._laws = {}

    def errors(self, numbers: IntArray, deviations: FloatArray) -> FloatArray:
        """Return e_i (n,) in eV/angstrom of atoms with deviations sigma_i (n,)."""
        out = np.empty(len(numbers))
        for z in np.unique(numbers):
            law = self.law(int(z))
            out[numbers == z] = law.errors(deviations[numbers == z])
        return out

    def law(self, z: int) -> Law:
        """Return the law of a species."""
        if z not in self._laws:
            self._laws[z] = self._law_of(z)
        return self._laws[z]

    def known_law(self, z: int) -> Law | None:
        """Return the law of a species, None where too few frames have it."""
        seen = sum(bool(np.any(f.numbers == z)) for f in self._frames)
        return self.law(z) if seen >= self.minimum_frames else None

    def _law_of(self, z: int) -> Law:
        parts = [f.of_species(z) for f in self._frames if np.any(f.numbers == z)]
        if len(parts) < self.minimum_frames:
            return Law(self.start)
        scales = [_geometric_mean(deviations) for _, deviations, _ in parts]
        errors = np.concatenate(
            [e / s for (e, _, _), s in zip(parts, scales, strict=True)]
        )
        spread = np.concatenate(
            [d / s for (_, d, _), s in zip(parts, scales, strict=True)]
        )
        weights = np.concatenate([w for _, _, w in parts])
        share = len(parts) / (self._frames.maxlen or 1)
        slope = _slope_within(parts)
        exponent = 1.0 - share * (1.0 - float(np.clip(slope, *self.exponents)))
        ratios = errors / spread**exponent
        q = float(
            np.quantile(ratios, self.quantile, weights=weights, method="inverted_cdf")
        )
        if q < self.start:  # the first frames are calm and few
            q = share * q + (1.0 - share) * self.start
        q = float(np.clip(q, *self.bounds))
        return Law(q, exponent, float(spread.max()))

    def state(self) -> Arrays:
        """Return all remembered frames."""
        frames = list(self._frames)
        return {
            "sizes": np.array([len(f.errors) for f in frames], dtype=np.int64),
            "weights": np.array([f.weight for f in frames]),
            "numbers": np.concatenate(
                [np.empty(0, np.int64), *(f.numbers for f in frames)]
            ),
            "errors": np.concatenate([np.empty(0), *(f.errors for f in frames)]),
            "deviations": np.concatenate(
                [np.empty(0), *(f.deviations for f in frames)]
            ),
        }

    def restore(self, state: Arrays) -> None:
        """Take up the frames of another instance; of older versions there are none."""
        if "sizes" not in state:
            return
        self._frames.clear()
        ends = np.cumsum(state["sizes"])
        for end, size, weight in zip(
            ends, state["sizes"], state["weights"], strict=True
        ):
            part = slice(int(end - size), int(end))
            self._frames.append(
                _Frame(
                    np.array(state["numbers"][part], np.int64),
                    np.array(state["errors"][part], np.float64),
                    np.array(state["deviations"][part], np.float64),
                    float(weight),
                )
            )
        self._laws = {}


def _is_there(deviations: FloatArray) -> BoolArray:
    """Return (n,), False where symmetry leaves no deviation."""
    found: BoolArray = deviations > SYMMETRIC * deviations.max(initial=0.0)
    return found


def _geometric_mean(deviations: FloatArray) -> float:
    """Return exp <log sigma> over what is not zero, 1 without anything."""
    positive = deviations[_is_there(deviations)]
    return float(np.exp(np.log(positive).mean())) if positive.size else 1.0


def _slope_within(parts: Sequence[tuple[FloatArray, FloatArray, FloatArray]]) -> float:
    """Return the slope of log |error| against log sigma within frames; 1 without."""
    products = squares = 0.0
    for errors, deviations, weights in parts:
        known = errors > 0
        if not known.any():
            continue
        x, y = np.log(deviations[known]), np.log(errors[known])
        x, y = x - x.mean(), y - y.mean()
        products += float(weights[known] @ (x * y))
        squares += float(weights[known] @ x**2)
    return products / squares if squares > 0.0 else 1.0
