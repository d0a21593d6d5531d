"""Ask fitted models for structures they have not seen, or as if they had not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.analysis.held_out import HeldOut
from otf.configuration import masked_stress
from otf.models.leave_out import left_out
from otf.threads import in_order, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from otf.commands.dataset import Frame
    from otf.commands.stages import Stages
    from otf.models.bayesian_linear import BayesianLinear
    from otf.models.leave_out import LeftOut


def predicted_unseen(
    model: BayesianLinear,
    frames: Sequence[Frame],
    asked: Sequence[int],
    *,
    fitted: Container[int] = (),
    stages: Stages,
) -> list[LeftOut]:
    """Return what a model says of structures without their own labels.

    Parameters
    ----------
    frames
        Structures with labels.
    asked
        Those that are predicted.
    fitted
        Those the model was fitted to; each is left out for its own prediction.
    """

    def one(k: int) -> LeftOut:
        return left_out(model, *frames[k], fitted=k in fitted)

    out: list[LeftOut] = []
    with one_blas_thread():
        for result in in_order(one, asked):
            stages("predict", len(out), len(asked))
            out.append(result)
    return out


def held_out(
    frames: Sequence[Frame], asked: Iterable[int], found: Iterable[LeftOut]
) -> list[HeldOut]:
    """Put predictions beside their labels."""
    return [_beside(frames[k], k, one) for k, one in zip(asked, found, strict=True)]


def _beside(frame: Frame, k: int, one: LeftOut) -> HeldOut:
    configuration, labels = frame
    return HeldOut(
        frame=k,
        energy=one.energy,
        label_energy=labels.energy / configuration.n_atoms,
        energy_deviation=one.energy_deviation,
        forces=one.forces,
        label_forces=labels.forces,
        force_deviations=one.force_deviations,
        stress=one.stress,
        label_stress=masked_stress(labels.stress, configuration.pbc),
        stress_deviations=one.stress_deviations,
    )
