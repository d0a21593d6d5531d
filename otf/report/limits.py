"""Whether the calibration of a run was free to widen its error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from otf.learning.calibration import Calibration
from otf.learning.queue import under

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.store.checkpoint import Checkpoint

STATE = "potential/calibration"  # of a checkpoint


def factors_at_their_limit(checkpoint: Checkpoint | None) -> Mapping[str, float]:
    """Return the species whose error bars could not become wider, and the factor.

    The calibration is that of the last checkpoint; see
    :class:`otf.learning.calibration.Calibration`.
    """
    state = {} if checkpoint is None else under(checkpoint.potential, STATE)
    if "sizes" not in state:  # of a run that does not learn
        return {}
    calibration = Calibration()
    calibration.restore(state)
    largest = calibration.bounds[1]
    return {
        chemical_symbols[z]: largest
        for z in np.unique(state["numbers"]).astype(int)
        if calibration.law(int(z)).factor >= largest
    }
