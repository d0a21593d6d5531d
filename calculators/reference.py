"""The reference of a run: one code, called with care, judged, timed and remembered."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from otf.calculators.caller import CallFailed, InProcess
from otf.calculators.gate import Bounds, agree, objection
from otf.calculators.geometry import SHORTEST_CONTACT, DistanceGate
from otf.calculators.serving import one_line
from otf.configuration import Labels, masked_stress
from otf.errors import ReferenceFailure, StoreError
from otf.potential import Untrusted
from otf.store.entries import Label
from otf.store.labels import label_key

if TYPE_CHECKING:
    from otf.calculators.caller import Caller
    from otf.calculators.code import Code
    from otf.calculators.electrons import ElectronShelf
    from otf.configuration import Configuration, FloatArray
    from otf.potential import Doubt
    from otf.store.label_cache import LabelCache, Remembered

logger = logging.getLogger(__name__)

RETRIES = 2


class LabelBook(Protocol):
    """Labels already paid for, by the keys of :func:`otf.store.labels.label_key`."""

    @property
    def last_key(self) -> str | None:
        """Return the key of the label added last, in this process or before."""
        ...

    def find(self, key: str) -> Labels | None:
        """Return the labels stored under this key, None when there are none."""
        ...

    def add(
        self,
        key: str,
        configuration: Configuration,
        labels: Labels,
        seconds: float,
        *,
        cached: bool = False,
        doubt: str = "",
    ) -> None:
        """Store labels; they are safe on disk when this returns.

        Parameters
        ----------
        key
            Of the configuration.
        configuration, labels
            Question and answer.
        seconds
            The answer took.
        cached
            Whether it was found in the cache of all runs.
        doubt
            Why the first answer was not believed, and what came of it.
        """
        ...


class Reference:
    """A reference calculator that gives trustworthy labels or says why not.

    Every label is computed from atoms, or from the electrons of the last label in the
    book, never from whatever the code has left: a resumed run gets the same numbers as
    one that was not stopped. The exception is a code that follows (see ``Code``):
    its first label in a new process starts from atoms, and is the same within the
    convergence of its SCF cycle.

    Parameters
    ----------
    code
        Of :func:`otf.calculators.registry.make_calculator`.
    caller
        Runs it; the default does so in this process.
    retries
        How often a failed call is repeated with a newly built calculator, each time
        one rung up the code's ladder of careful settings.
    bounds
        What labels must satisfy.
    shortest_contact
        Smallest distance that is computed at all, in sums of covalent radii.
    book
        A store of labels; those found there are not computed again.
    shelf
        Keeps the electrons of the last label in the book; None to start from atoms.
    cache
        Labels all runs share; those found there go into the book.

    Attributes
    ----------
    n_calls, n_retries : labels computed, repeats
    n_reused, n_cached : labels found in the book, in the cache
    n_doubted : labels that were computed once more
    last_attempts : calls the last label took, 0 when it was found
    last_seconds, total_seconds : wall time of the last label and of all of them
    """

    def __init__(
        self,
        code: Code,
        *,
        caller: Caller | None = None,
        retries: int = RETRIES,
        bounds: Bounds | None = None,
        shortest_contact: float = SHORTEST_CONTACT,
        book: LabelBook | None = None,
        shelf: ElectronShelf | None = None,
        cache: LabelCache | None = None,
    ) -> None:
        self.code = code
        self.n_calls = 0
        self.n_reused = 0
        self.n_cached = 0
        self.n_retries = 0
        self.n_doubted = 0
        self.last_attempts = 0
        self.last_seconds = 0.0
        self.total_seconds = 0.0
        self._retries = retries
        self._bounds = bounds or Bounds()
        self._distances = DistanceGate(shortest_contact)
        self._book = book
        self._shelf = shelf
        self._cache = cache
        self._caller = caller or InProcess(code)
        self._warned = False

    def keep_labels_in(self, book: LabelBook) -> None:
        """Store labels there from now on, and take those it has."""
        self._book = book

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

    def description(self, configuration: Configuration | None = None) -> str:
        """Return what the fingerprint stands for, in one line of words."""
        return self.code.description(
            None if configuration is None else configuration.n_atoms
        )

    def require(self, configuration: Configuration) -> None:
        """Check before a run what would otherwise fail at its first label.

        Raises
        ------
        InputError
            Elements without parameters, or arguments the code refuses.
        ReferenceFailure
            Atoms that overlap, or a code that does not start.
        """
        self.code.require_elements(frozenset(int(z) for z in configuration.numbers))
        self._require_geometry(configuration)
        try:
            self._caller.start()
        except CallFailed as error:
            raise ReferenceFailure(
                f"reference {self.code.name!r} does not start: {error}"
            ) from error

    def label(
        self, configuration: Configuration, *, doubt: Doubt | None = None
    ) -> Labels:
        """Return the labels of one configuration: known, or computed.

        Parameters
        ----------
        configuration
            The question.
        doubt
            Labels it doubts are computed once more, by a new calculator one rung up
            the ladder. When the second agree with the first, these are believed; when
            they do not and are not doubted themselves, the second are.

        Raises
        ------
        ReferenceFailure
            When atoms overlap, no trustworthy labels came after all retries, or two
            that are both doubted disagree.
        """
        key = label_key(configuration, self.fingerprint(configuration))
        self.last_seconds, self.last_attempts = 0.0, 0
        written = None if self._book is None else self._book.find(key)
        if written is not None:
            self.n_reused += 1
            return written
        found = None if self._cache is None else self._cache.find(key)
        if found is not None and not _is_doubted(found, doubt):
            self.n_cached += 1
            if self._book is not None:
                self._book.add(key, configuration, found.labels, 0.0, cached=True)
            return found.labels
        self._require_geometry(configuration)
        self._warn_of_electrons(configuration)
        start = time.perf_counter()
        first = self._climb(configuration) if found is None else found.labels
        labels, history = self._judged(configuration, first, doubt)
        if self._shelf is not None and self._book is not None:
            self._shelf.keep(key, configuration)
        self.last_seconds = time.perf_counter() - start
        self.total_seconds += self.last_seconds
        self.n_calls += 1
        # The book last: what a kill between the two leaves is found in the cache.
        self._share(key, configuration, labels, history)
        if self._book is not None:
            self._book.add(key, configuration, labels, self.last_seconds, doubt=history)
            if self._shelf is not None:
                self._shelf.forget_others(key)
        return labels

    def _judged(
        self, configuration: Configuration, first: Labels, doubt: Doubt | None
    ) -> tuple[Labels, str]:
        """Return labels to believe, and what was doubted on the way to them.

        Raises
        ------
        ReferenceFailure
            When there are none.
        """
        reason = None if doubt is None else doubt(first)
        if doubt is None or reason is None:
            return first, ""
        self.n_doubted += 1
        logger.warning("reference %s: %s; computed once more", self.code.name, reason)
        self.close()
        try:
            second = self._climb(configuration, rung=max(1, self.last_attempts))
        except ReferenceFailure as error:
            raise ReferenceFailure(f"{reason}; computed once more: {error}") from error
        if agree(first, second):
            return first, f"{reason}; a second calculation agreed"
        again = doubt(second)
        if again is None:
            return second, f"{reason}; a second calculation was taken instead"
        raise ReferenceFailure(
            f"no label: {reason}; in a second calculation, which disagrees, {again}"
        )

    def _share(
        self, key: str, configuration: Configuration, labels: Labels, doubt: str
    ) -> None:
        """Put labels into the cache; a cache that fails costs no label."""
        if self._cache is None:
            return
        label = Label(
            configuration=configuration,
            labels=labels,
            fingerprint=self.fingerprint(configuration),
            key=key,
            seconds=self.last_seconds,
            attempts=self.last_attempts,
            doubt=doubt,
        )
        try:
            self._cache.add(label, self.description(configuration))
        except StoreError as error:
            logger.warning("no labels are put into the cache any more: %s", error)
            self._cache = None

    def close(self) -> None:
        """End the calculator and whatever process it holds."""
        self._caller.close()

    def _climb(self, configuration: Configuration, rung: int = 0) -> Labels:
        """Try, and try again with a new calculator one rung up the ladder."""
        reason = ""
        for attempt in range(self._retries + 1):
            self.last_attempts += 1
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
                return self._call(configuration, rung + attempt)
            except CallFailed as error:
                reason = str(error)
                self.close()
        raise ReferenceFailure(
            f"reference {self.code.name!r} gave no trustworthy labels in "
            f"{self._retries + 1} attempts; the last: {reason}"
        )

    def _call(self, configuration: Configuration, attempt: int) -> Labels:
        """Run the code once and judge what it says."""
        if self._shelf is not None:
            # A retry starts from atoms: the electrons may be what went wrong.
            last = None if attempt or self._book is None else self._book.last_key
            self._shelf.lay_out(last, configuration)
        results = self._caller.call(configuration, attempt)
        labels = to_labels(results, configuration)
        if (reason := objection(labels, configuration, self._bounds)) is not None:
            raise CallFailed(reason)
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


def _is_doubted(found: Remembered, doubt: Doubt | None) -> bool:
    return not (found.confirmed or doubt is None or doubt(found.labels) is None)


def to_labels(results: dict[str, object], configuration: Configuration) -> Labels:
    """Return labels in eV and angstrom; a stress that has no meaning is NaN.

    Forces of a smeared metal are the gradient of the free energy, so that is the
    energy taken where the code tells it.

    Raises
    ------
    CallFailed
        When energy or forces are missing or no numbers.
    """
    energy = results.get("free_energy", results.get("energy"))
    forces, stress = results.get("forces"), results.get("stress")
    if energy is None or forces is None:
        raise CallFailed(
            f"energy or forces are missing, got {', '.join(results) or 'none'}"
        )
    try:
        return Labels(
            energy=float(np.asarray(energy, dtype=np.float64).item()),
            forces=np.array(forces, dtype=np.float64),
            stress=_stress(stress, configuration),
        )
    except (TypeError, ValueError) as error:
        raise CallFailed(f"results that are no numbers: {one_line(error)}") from error


def _stress(stress: object, configuration: Configuration) -> FloatArray:
    """Return the (6,) stress, NaN where there is none or it has no meaning."""
    if stress is None:
        return np.full(6, np.nan)
    voigt = np.asarray(stress, dtype=np.float64)
    if voigt.shape == (3, 3):
        voigt = full_3x3_to_voigt_6_stress(voigt)
    if voigt.shape != (6,):
        raise ValueError(f"a stress of shape {voigt.shape}")
    return masked_stress(voigt, configuration.pbc)
