"""Labels beside the run: asked for at one step, taken in at a later one.

Which step that is follows from the input alone, and the run waits there for a label
that is late, so the trajectory does not depend on the speed of the reference.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration
from otf.learning.expectation import Expectation
from otf.learning.policy import Reason
from otf.learning.queue import under
from otf.potential import Prediction, Uncertainty, WorksAhead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otf.potential import Answer, Arrays, Doubt, ReferenceCalculator


def ask(
    reference: ReferenceCalculator,
    configuration: Configuration,
    doubt: Doubt | None = None,
    *,
    urgent: bool = False,
) -> Answer:
    """Return what gives the labels; a reference that works ahead begins at once.

    It begins with what is urgent: that somebody waits for. The labels do not depend on
    it, and neither does the order in which they are learned.
    """
    if isinstance(reference, WorksAhead):
        return reference.begin(configuration, doubt=doubt, urgent=urgent)
    return partial(reference.label, configuration, doubt=doubt)


@dataclass(frozen=True, eq=False)
class PendingLabel:
    """A structure whose labels are under way, and what was known when it was sent.

    Attributes
    ----------
    step : the sampler's clock when it was sent
    due : the step at which its labels are taken in
    reason : why the reference was called
    threshold : t in eV/angstrom
    configuration : the structure
    before : prediction when it was sent, with its exact uncertainty
    expected : what the model expected of the labels, None where it was no judge
    """

    step: int
    due: int
    reason: Reason
    threshold: float
    configuration: Configuration
    before: Prediction
    expected: Expectation | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything as named arrays."""
        out = {
            "clock": np.array([self.step, self.due]),
            "reason": np.array(self.reason.value),
            "threshold": np.array(self.threshold),
        }
        parts = {
            "configuration": self.configuration.to_arrays(),
            "before": _known_fields(self.before),
            "uncertainty": _known_fields(self.before.uncertainty),
        }
        if self.expected is not None:
            parts["expected"] = _known_fields(self.expected)
        for name, part in parts.items():
            out |= {f"{name}/{key}": np.asarray(value) for key, value in part.items()}
        return out

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PendingLabel:
        """Return what ``to_arrays`` took apart."""
        step, due = (int(x) for x in arrays["clock"])
        before = under(arrays, "before")
        known, expected = (
            {
                name: np.array(value) if value.ndim else float(value)
                for name, value in under(arrays, part).items()
            }
            for part in ("uncertainty", "expected")
        )
        return cls(
            step=step,
            due=due,
            reason=Reason(str(arrays["reason"])),
            threshold=float(arrays["threshold"]),
            configuration=Configuration.from_arrays(under(arrays, "configuration")),
            before=Prediction(
                energy=float(before["energy"]),
                forces=np.array(before["forces"]),
                stress=np.array(before["stress"]),
                uncertainty=Uncertainty(**known),  # type: ignore[arg-type]
            ),
            expected=Expectation(**expected) if expected else None,  # type: ignore[arg-type]
        )


def _known_fields(
    part: Prediction | Uncertainty | Expectation | None,
) -> dict[str, np.ndarray]:
    """Return the numbers a prediction, an uncertainty or an expectation has."""
    assert part is not None  # nothing is sent without an uncertainty
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {
        name: np.asarray(value)
        for name, value in values.items()
        if isinstance(value, float | np.ndarray)
    }


class LabelsUnderWay:
    """Structures in the order they were sent, and what waits for their labels.

    Parameters
    ----------
    ask
        Has a structure labelled; also those of a state that is taken up, of which the
        labels may have arrived long ago.
    """

    def __init__(
        self, ask: Callable[[Configuration, Expectation | None], Answer]
    ) -> None:
        self._ask = ask
        self._entries: deque[tuple[PendingLabel, Answer]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def is_due(self, step: int) -> bool:
        """Return whether any labels are due at a step."""
        return any(pending.due <= step for pending, _ in self._entries)

    def send(self, pending: PendingLabel) -> None:
        """Have a structure labelled."""
        answer = self._ask(pending.configuration, pending.expected)
        self._entries.append((pending, answer))

    def due(self, step: int | None = None) -> Iterator[tuple[PendingLabel, Answer]]:
        """Yield and forget those due at a step, or all, in the order they were sent."""
        while self._entries and (step is None or self._entries[0][0].due <= step):
            yield self._entries.popleft()

    @property
    def answers(self) -> list[Answer]:
        """Return what waits for the labels; nothing is forgotten."""
        return [answer for _, answer in self._entries]

    def state(self) -> Arrays:
        """Return all structures with what was known of them."""
        return {
            f"{k}/{name}": value
            for k, (pending, _) in enumerate(self._entries)
            for name, value in pending.to_arrays().items()
        }

    def restore(self, state: Arrays) -> None:
        """Take up the structures of another instance and have them labelled."""
        self._entries.clear()
        while entry := under(state, str(len(self._entries))):
            self.send(PendingLabel.from_arrays(entry))
