"""The guard of a step: an atom that flies is reported, never integrated on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.potential import Untrusted

if TYPE_CHECKING:
    from otf.configuration import Configuration, FloatArray
    from otf.kernels.watch import Watch


def check_displacement(
    configuration: Configuration,
    displacements: FloatArray,
    largest: float,
    watch: Watch,
) -> None:
    """Refuse a step in which an atom moves too far.

    Parameters
    ----------
    configuration
        Where the atoms would be after the step.
    displacements
        (n, 3) angstrom, made in this step.
    largest
        angstrom, what is tolerated: a fraction of the cutoff.
    watch
        Looks at the longest.

    Raises
    ------
    Untrusted
        When an atom moves by ``largest`` or more, or to no finite place.
    """
    squares = (displacements**2).sum(axis=1)
    # "not <" instead of ">=": a displacement that is not a number must not pass.
    if not watch.holds(squares.max() < largest**2):
        longest = float(squares.max()) ** 0.5
        atom = int(squares.argmax())
        raise Untrusted(
            configuration,
            f"atom {atom} moves by {longest:.3g} A in one step, "
            f"the limit is {largest:.3g} A: "
            "lower the time step or the temperature, or look at the forces",
        )
