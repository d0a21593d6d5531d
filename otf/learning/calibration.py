"""Running calibration: what a posterior deviation is worth in eV/angstrom."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otf.configuration import FloatArray, IntArray
    from otf.potential import Arrays


@dataclass(frozen=True, eq=False)
class _Frame:
    """Ratios of true error to deviation for the components of one labelled frame."""

    numbers: IntArray  # (c,), of the atom of each known component
    ratios: FloatArray  # (c,)
    weight: float


class Calibration:
    """Quantile of |F_true - F_predicted| / sigma of every species over recent frames.

    True errors of a finite basis are mostly misfit, which the posterior does not see;
    the quantile q_z turns the deviation sigma_i of an atom into e_i = q_z sigma_i, the
    bound below which 95 % of the true errors of its force components lie. It is meant
    per component, like sigma_i and the force errors that papers quote. Frames that the
    decision asked for are late and biased, so audits count more.

    Parameters
    ----------
    quantile
        Share of errors below e_i.
    start
        q_z until ``minimum_frames`` frames of the species are known; after that a lower
        quantile takes over in the measure that the window fills.
    bounds
        Limits of q_z.
    window
        Frames that are remembered.
    audit_weight
        How many ordinary frames an audit counts for.
    """

    def __init__(
        self,
        *,
        quantile: float = 0.95,
        start: float = 10.0,
        bounds: tuple[float, float] = (1.0, 30.0),
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
        self._factors: dict[int, float] = {}

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
        known = np.isfinite(errors) & (deviations > 0)[:, None]
        atom = np.nonzero(known)[0]
        ratios = np.abs(errors[known]) / deviations[atom]
        weight = self.audit_weight if audit else 1.0
        self._frames.append(_Frame(numbers[atom], ratios, weight))
        self._factors = {
            int(z): self._factor_of(int(z))
            for frame in self._frames
            for z in np.unique(frame.numbers)
        }

    def factors(self, numbers: IntArray) -> FloatArray:
        """Return q_z of every atom, (n,)."""
        out = np.full(len(numbers), self.start)
        for z, factor in self._factors.items():
            out[numbers == z] = factor
        return out

    def _factor_of(self, z: int) -> float:
        frames = [f for f in self._frames if np.any(f.numbers == z)]
        if len(frames) < self.minimum_frames:
            return self.start
        ratios = np.concatenate([f.ratios[f.numbers == z] for f in frames])
        weights = np.concatenate(
            [np.full(np.count_nonzero(f.numbers == z), f.weight) for f in frames]
        )
        q = np.quantile(ratios, self.quantile, weights=weights, method="inverted_cdf")
        if q < self.start:  # the first frames are calm and few: do not trust them yet
            share = len(frames) / (self._frames.maxlen or 1)
            q = share * q + (1.0 - share) * self.start
        return float(np.clip(q, *self.bounds))

    def state(self) -> Arrays:
        """Return all remembered frames."""
        sizes = np.array([len(f.ratios) for f in self._frames], dtype=np.int64)
        empty = np.empty(0)
        return {
            "sizes": sizes,
            "weights": np.array([f.weight for f in self._frames]),
            "numbers": np.concatenate(
                [np.empty(0, np.int64), *(f.numbers for f in self._frames)]
            ),
            "ratios": np.concatenate([empty, *(f.ratios for f in self._frames)]),
        }

    def restore(self, state: Arrays) -> None:
        """Take up the frames of another instance."""
        self._frames.clear()
        ends = np.cumsum(state["sizes"])
        for end, size, weight in zip(
            ends, state["sizes"], state["weights"], strict=True
        ):
            part = slice(int(end - size), int(end))
            self._frames.append(
                _Frame(
                    np.array(state["numbers"][part], np.int64),
                    np.array(state["ratios"][part], np.float64),
                    float(weight),
                )
            )
        self._factors = {
            int(z): self._factor_of(int(z))
            for frame in self._frames
            for z in np.unique(frame.numbers)
        }
