"""The reference of a run: one code, called with care, judged, timed and remembered."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np
from ase.calculators.calculator import BaseCalculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from otf.calculators.code import one_line
from otf.calculators.gate import Bounds, objection
from otf.calculators.geometry import SHORTEST_CONTACT, DistanceGate
from otf.configuration import Labels, masked_stress
from otf.errors import InputError, ReferenceFailure
from otf.potential import Untrusted

if TYPE_CHECKING:
    from ase import Atoms

    from otf.calculators.code import Calculator, Code
    from otf.configuration import Configuration, FloatArray

logger = logging.getLogger(__name__)

RETRIES = 2


class LabelBook(Protocol):
    """Labels already paid for."""

    def key(self, configuration: Configuration, fingerprint: str) -> str:
        """Return the name of a configuration under a reference."""
        ...

    def find(self, key: str) -> Labels | None:
        """Return the labels stored under this key, None when there are none."""
        ...

    def add(
        self, key: str, configuration: Configuration, labels: Labels, seconds: float
    ) -> None:
        """Store labels; they are safe on disk when this returns."""
        ...


class Suspect(Exception):  # noqa: N818 - caught here, never seen by a user
    """Labels came, but they cannot be believed."""


class Reference:
    """A reference calculator that gives trustworthy labels or says why not.

    Every label is computed from scratch, never from the wave functions of the label
    before, so that a resumed run gets the same numbers as one that was not stopped.

    Parameters
    ----------
    code
        Of :func:`otf.calculators.registry.make_calculator`.
    retries
        How often a failed call is repeated with a newly built calculator, each time
        one rung up the code's ladder of careful settings.
    bounds
        What labels must satisfy.
    shortest_contact
        Smallest distance that is computed at all, in sums of covalent radii.
    book
        A store of labels; those found there are not computed again.

    Attributes
    ----------
    n_calls, n_reused, n_retries : labels computed, labels found in the book, repeats
    last_attempts : calls the last label took, 0 when it was found
    last_seconds, total_seconds : wall time of the last label and of all of them
    """

    def __init__(
        self,
        code: Code,
        *,
        retries: int = RETRIES,
        bounds: Bounds | None = None,
        shortest_contact: float = SHORTEST_CONTACT,
        book: LabelBook | None = None,
    ) -> None:
        self.code = code
        self.n_calls = 0
        self.n_reused = 0
        self.n_retries = 0
        self.last_attempts = 0
        self.last_seconds = 0.0
        self.total_seconds = 0.0
        self._retries = retries
        self._bounds = bounds or Bounds()
        self._distances = DistanceGate(shortest_contact)
        self._book = book
        self._calculator: Calculator = None
        self._warned = False

    def fingerprint(self, configuration: Configuration | None = None) -> str:
        """Return what must be equal for labels to share a training set.

        Parameters
        ----------
        configuration
            Needed by codes without k points, whose energy scale depends on the number
            of atoms.
        """
        return self.code.fingerprint(
            None if configuration is None else configuration.n_atoms
        )

    def require(self, configuration: Configuration) -> None:
        """Check before a run what would otherwise fail at its first label.

        Raises
        ------
        InputError
            Elements without parameters, or arguments the code refuses.
        ReferenceFailure
            Atoms that overlap.
        """
        self.code.require_elements(frozenset(int(z) for z in configuration.numbers))
        self._require_geometry(configuration)
        self._calculator = self.code.build()

    def label(self, configuration: Configuration) -> Labels:
        """Return the labels of one configuration, from the book or computed.

        Raises
        ------
        ReferenceFailure
            When atoms overlap, or no trustworthy labels came after all retries.
        """
        key = ""
        if self._book is not None:
            key = self._book.key(configuration, self.fingerprint(configuration))
            known = self._book.find(key)
            if known is not None:
                self.n_reused += 1
                self.last_seconds, self.last_attempts = 0.0, 0
                return known
        self._require_geometry(configuration)
        self._warn_of_electrons(configuration)
        start = time.perf_counter()
        labels = self._climb(configuration)
        self.last_seconds = time.perf_counter() - start
        self.total_seconds += self.last_seconds
        self.n_calls += 1
        if self._book is not None:
            self._book.add(key, configuration, labels, self.last_seconds)
        return labels

    def close(self) -> None:
        """End the calculator and whatever process it holds."""
        calculator, self._calculator = self._calculator, None
        close = getattr(calculator, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:  # a dead shell cannot even say goodbye
            logger.debug("closing %s: %s", self.code.name, one_line(error))

    def _climb(self, configuration: Configuration) -> Labels:
        """Try, and try again with a new calculator one rung up the ladder."""
        reason = ""
        for attempt in range(self._retries + 1):
            self.last_attempts = attempt + 1
            if attempt:
                self.n_retries += 1
                logger.warning(
                    "reference %s failed (%s); retry %d of %d",
                    self.code.name,
                    reason,
                    attempt,
                    self._retries,
                )
            try:
                labels = self._call(configuration, attempt)
            except InputError:
                raise
            except Exception as error:  # codes raise whatever they like
                reason = self._reason(error)
                self.close()
                continue
            if attempt:
                self.close()  # the next label starts at the foot of the ladder
            return labels
        raise ReferenceFailure(
            f"reference {self.code.name!r} gave no trustworthy labels in "
            f"{self._retries + 1} attempts; the last: {reason}"
        )

    def _reason(self, error: Exception) -> str:
        """Return what is known of a failed call, in one line."""
        if isinstance(error, Suspect):
            return str(error)
        words = ""
        if self.code.output is not None and self._calculator is not None:
            words = self.code.output.last_words(self._calculator)
        return f"{one_line(error)}: {words}" if words else one_line(error)

    def _call(self, configuration: Configuration, attempt: int) -> Labels:
        """Run the code once and judge what it says."""
        if self._calculator is None:
            self._calculator = self.code.build(attempt)
        calculator = self._calculator
        self.code.prepare(calculator, configuration)
        log = self.code.output
        if log is not None:
            log.clear(calculator)
        results = evaluate(calculator, configuration.to_atoms())
        if log is not None and log.says_not_converged(calculator):
            raise Suspect(f"the SCF did not converge ({log.path(calculator)})")
        if getattr(calculator, "converged", None) is False:
            raise Suspect("the code says that its SCF did not converge")
        labels = to_labels(results, configuration)
        if (reason := objection(labels, configuration, self._bounds)) is not None:
            raise Suspect(reason)
        return labels

    def _require_geometry(self, configuration: Configuration) -> None:
        try:
            self._distances.require(configuration)
        except Untrusted as error:
            raise ReferenceFailure(f"no label: {error}") from error

    def _warn_of_electrons(self, configuration: Configuration) -> None:
        given = configuration.charge is not None or configuration.spin is not None
        if given and not self.code.takes_electrons and not self._warned:
            self._warned = True
            logger.warning(
                "charge and spin of the structure are handed to %r in atoms.info only; "
                "make sure that its arguments say the same ([reference.arguments])",
                self.code.name,
            )


def evaluate(calculator: Calculator, atoms: Atoms) -> dict[str, object]:
    """Return the results of one fresh calculation.

    All properties are asked for at once, because some codes would run a second time
    for each, and with every change reported, so that no calculator starts from the
    state of the call before.
    """
    stress = "stress" in calculator.implemented_properties and atoms.cell.rank == 3
    wanted = ["energy", "forces", *(["stress"] if stress else [])]
    if isinstance(calculator, BaseCalculator):
        calculator.results = {}
        calculator.calculate(atoms, wanted, list(all_changes))
        return dict(calculator.results)
    return {name: calculator.get_property(name, atoms) for name in wanted}


def to_labels(results: dict[str, object], configuration: Configuration) -> Labels:
    """Return labels in eV and angstrom; a stress that has no meaning is NaN.

    Forces of a smeared metal are the gradient of the free energy, so that is the
    energy taken where the code tells it.

    Raises
    ------
    Suspect
        When energy or forces are missing.
    """
    energy = results.get("free_energy", results.get("energy"))
    forces = results.get("forces")
    if energy is None or forces is None:
        raise Suspect(
            f"energy or forces are missing, got {', '.join(results) or 'none'}"
        )
    stress: FloatArray = np.full(6, np.nan)
    if results.get("stress") is not None:
        stress = np.asarray(results["stress"], dtype=np.float64)
        if stress.shape == (3, 3):
            stress = full_3x3_to_voigt_6_stress(stress)
    return Labels(
        energy=float(np.asarray(energy).item()),
        forces=np.array(forces, dtype=np.float64),
        stress=masked_stress(stress, configuration.pbc),
    )
