"""How much of a stress is owed to the cutoff of the plane waves (Pulay stress).

The analytic stress is that of a fixed number of plane waves. Where the energy is not
converged with the cutoff, the stress is off by a tension that is nearly the same for
all structures of a material, and a free cell becomes too small.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from otf.build import build_code, build_reference
from otf.errors import InputError
from otf.units import GPA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otf.configuration import Configuration, FloatArray
    from otf.potential import ReferenceCalculator
    from otf.settings import Settings

RAISED = 2.0  # times the cutoff: silicon keeps a tenth of its Pulay stress there


@dataclass(frozen=True, eq=False)
class PulayStress:
    """Stresses of one structure at two cutoffs.

    Attributes
    ----------
    given, raised : (6,) at the user's cutoff and at the larger one, eV/angstrom^3
    """

    given: FloatArray
    raised: FloatArray

    @property
    def mean(self) -> float:
        """Return the mean of the diagonal of the difference, eV/angstrom^3."""
        return float(np.mean((self.given - self.raised)[:3]))

    @property
    def largest(self) -> float:
        """Return the largest difference of a component, eV/angstrom^3."""
        return float(np.abs(self.given - self.raised).max())


def pulay_stress(
    given: ReferenceCalculator,
    raised: ReferenceCalculator,
    configuration: Configuration,
) -> PulayStress:
    """Return the stresses of a structure at both cutoffs.

    Raises
    ------
    InputError
        When the reference gives no stress of this structure.
    ReferenceFailure
        When a call fails.
    """
    stresses = [one.label(configuration).stress for one in (given, raised)]
    if not np.isfinite(stresses).all():
        raise InputError(
            "the reference gives no stress of the first structure, so there is no "
            "Pulay stress to measure (structure.file)"
        )
    return PulayStress(*stresses)


def with_raised_cutoff(settings: Settings) -> Settings:
    """Return the settings with the cutoff of the reference raised.

    Raises
    ------
    InputError
        When the run has no reference, or its arguments no cutoff.
    """
    section = settings.reference
    if not settings.is_learning or section is None:
        raise InputError(
            "a run with a finished model calls no reference, so there is no Pulay "
            "stress to measure (potential.model)"
        )
    code = build_code(section)
    arguments = None
    if code.raised is not None:
        arguments = code.raised(section.arguments, RAISED)
    if arguments is None:
        raise InputError(
            f"no cutoff of calculator {section.calculator!r} is known: Pulay stress is "
            "measured for ecutwfc of espresso, ecut of abinit, encut of vasp, "
            'mode = { name = "pw", ecut = ... } of gpaw and cutoff of cp2k '
            "(input file: [reference.arguments])"
        )
    changed = section.model_copy(update={"arguments": arguments})
    return settings.model_copy(update={"reference": changed})


def measured(settings: Settings, configuration: Configuration) -> PulayStress:
    """Call the reference at both cutoffs, in a folder that goes with the answer.

    Raises
    ------
    InputError, ReferenceFailure
        See :func:`with_raised_cutoff` and :func:`pulay_stress`.
    """
    both = {"given": settings, "raised": with_raised_cutoff(settings)}
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="otf-pulay-")))
        references = []
        for name, one in both.items():
            output = one.output.model_copy(update={"directory": str(place / name)})
            reference = build_reference(one.model_copy(update={"output": output}))
            assert reference is not None  # else there were no cutoff to raise
            stack.callback(reference.close)
            references.append(reference)
        return pulay_stress(references[0], references[1], configuration)


def lines_of(found: PulayStress, *, noise: float) -> Iterator[tuple[str, str]]:
    """Yield what was found and whether it matters, a word and a line each.

    Parameters
    ----------
    found
        The stresses.
    noise
        Stress the regression takes for noise, eV/angstrom^3.
    """
    trace = [float(np.mean(s[:3])) / GPA for s in (found.given, found.raised)]
    yield (
        "pulay",
        f"mean stress {trace[0]:+.3f} GPa at the cutoff given, {trace[1]:+.3f} GPa at "
        f"{RAISED:g} times it: Pulay stress {found.mean / GPA:+.3f} GPa, largest "
        f"component {found.largest / GPA:.3f} GPa",
    )
    if found.largest > noise:
        yield (
            "",
            f"this matters: it exceeds the {noise / GPA:g} GPa taken for noise "
            "(regression.noise_stress_GPa); raise the cutoff, or learn no stress "
            '(regression.train_stress = "no") and keep the cell fixed',
        )
    else:
        yield (
            "",
            f"this is below the {noise / GPA:g} GPa taken for noise "
            "(regression.noise_stress_GPa): the stress may be learned",
        )
