"""What a prediction is worth: the screen of every step, and exact deviations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import masked_stress
from otf.learning.expectation import MINIMUM_FRAMES, Expectation
from otf.learning.laws import Laws
from otf.learning.policy import Assessment, Reason
from otf.learning.screen import Screen

if TYPE_CHECKING:
    from otf.configuration import Configuration, FloatArray, IntArray
    from otf.descriptors.interface import Environments
    from otf.learning.calibration import Calibration
    from otf.learning.energy import EnergyErrors
    from otf.learning.events import Decision
    from otf.learning.policy import Policy, Rules
    from otf.learning.stress import StressErrors
    from otf.models.bayesian_linear import BayesianLinear
    from otf.potential import Prediction, Uncertainty


# Fewer atoms than this are not worth a choice among them; of more a fourth is chosen.
FEW = 32
SHARE = 4
# Of the threshold: where e is expected beyond it by the chosen, all are looked at.
NEAR = 0.95


class Judge:
    """Errors of predictions as the model knows them, corrected by labels seen so far.

    Parameters
    ----------
    model
        Whose posterior is asked.
    policy
        Whose threshold errors are compared with.
    rules
        When the exact deviations are worth their cost.
    calibration, energies, stress
        Of forces, of total energies and of the stress; walkers that learn together
        share them.
    """

    def __init__(
        self,
        model: BayesianLinear,
        *,
        policy: Policy,
        rules: Rules,
        calibration: Calibration,
        energies: EnergyErrors,
        stress: StressErrors,
    ) -> None:
        self.model = model
        self.policy = policy
        self.rules = rules
        self.calibration = calibration
        self.energies = energies
        self.stress = stress
        self.screen = Screen(rules)

    def beside(self) -> Judge:
        """Return the judge of another walker: all is shared but the screen."""
        return Judge(
            self.model,
            policy=self.policy,
            rules=self.rules,
            calibration=self.calibration,
            energies=self.energies,
            stress=self.stress,
        )

    def expected(self, prediction: Prediction) -> Prediction:
        """Return a screened prediction with the error its screen lets one expect."""
        known = screen_of(prediction)
        return replace(
            prediction, uncertainty=replace(known, error=self.screen.expects(known))
        )

    def uncertainty(
        self, c: Configuration, screen: Uncertainty, *, step: int, since_label: int
    ) -> Uncertainty:
        """Return the screen; where it flags, better measures, then the exact ones.

        The exact ones of the atoms that know least come first; where these let one
        expect an e below the threshold they are enough.
        """
        flags = self.screen.flags
        if not flags(screen, step=step, since_label=since_label):
            return replace(screen, error=self.screen.expects(screen))
        known, environments = screen, self.model.describe(c)
        if screen.spilling.max(initial=0.0) > self.rules.max_spilling:
            # It is an upper bound, and not seldom a loose one.
            known = self.model.local_uncertainty(environments)
            if not flags(known, step=step, since_label=since_label):
                return replace(known, error=self.screen.expects(screen))
        if c.n_atoms <= FEW:
            return self.exact(c, environments)
        near, few = NEAR * self.policy.threshold, _least_known(c, screen)
        if self.screen.expects(screen) < near:
            of_few = self._exact_of(c, environments, few, known)
            if of_few.error is not None and of_few.error < near:
                return of_few
        exact = self.exact(c, environments)
        if exact.forces is not None and exact.errors is not None:
            largest = self._errors(c.numbers[few], exact.forces[few]).max()
            self.screen.learn_few(float(largest), float(exact.errors.max()))
        return exact

    def _exact_of(
        self,
        c: Configuration,
        environments: Environments,
        few: IntArray,
        known: Uncertainty,
    ) -> Uncertainty:
        """Return exact measures with the e some atoms (k,) let one expect of all.

        They are those that know least: of the others ``known`` is what is known, and
        their deviations are no larger.
        """
        exact = self.model.force_uncertainty(
            c, environments, few, with_stress=self.stress.counts
        )
        assert exact.forces is not None
        errors = self._errors(c.numbers[few], exact.forces) * self.screen.all_over_few
        local = np.minimum(known.local, exact.local.max())
        spilling = known.spilling.copy()
        local[few], spilling[few] = exact.local, exact.spilling
        return replace(
            exact,
            local=local,
            spilling=spilling,
            forces=None,
            error=self._error(errors, exact),
        )

    def exact(
        self, c: Configuration, environments: Environments | None = None
    ) -> Uncertainty:
        """Return the exact deviations with their calibrated errors e_i."""
        exact = self.model.force_uncertainty(c, environments)
        if exact.forces is None:
            return exact
        errors = self._errors(c.numbers, exact.forces)
        return replace(exact, errors=errors, error=self._error(errors, exact))

    def _errors(self, numbers: IntArray, deviations: FloatArray) -> FloatArray:
        """Return e_i of deviations (k,) of atoms, both in eV/angstrom."""
        if self.policy.calibrated:
            return self.calibration.errors(numbers, deviations)
        return deviations

    def _error(self, errors: FloatArray, exact: Uncertainty) -> float:
        """Return e, the largest e_i or what the stress counts."""
        return max(float(errors.max(initial=0.0)), self._of_stress(exact))

    def assess(
        self, uncertainty: Uncertainty, screen: Uncertainty, step: int
    ) -> Assessment:
        """Return what is compared with the threshold; the screen learns from it."""
        errors, threshold = uncertainty.errors, self.policy.threshold
        is_exact = uncertainty.energy is not None
        assessment = Assessment(
            errors,
            uncertainty.spilling,
            threshold,
            self._of_stress(uncertainty),
            uncertainty.error if is_exact and errors is None else None,
        )
        if is_exact:
            self.screen.learn(
                uncertainty,
                cheap=screen,
                error=assessment.error,
                threshold=threshold,
                step=step,
            )
        return assessment

    def laws(self) -> Laws:
        """Return what the deviations of the model are worth."""
        return Laws.of_calibration(
            self.calibration,
            self.model.descriptor.species,
            energy=self.energies.law(),
            stress=self.stress.law(),
        )

    def expectation(self, c: Configuration, before: Prediction) -> Expectation | None:
        """Return what the model expects of a label, None where it is no judge."""
        known = before.uncertainty
        if known is None or known.forces is None:
            return None
        if self.model.n_frames < MINIMUM_FRAMES or self.model.composition_warning(c):
            return None
        errors = self.calibration.errors(c.numbers, known.forces)
        return Expectation.of(before, errors, self.model.training.noise)

    def learn(self, decision: Decision) -> IntArray | None:
        """Calibrate with a labelled prediction.

        Returns
        -------
        IntArray or None
            Atoms it offers as local references; None where all are offered, since
            nothing was known of their errors.
        """
        before, labels = decision.before, decision.labels
        if before is None or before.uncertainty is None:
            return None
        known = before.uncertainty
        assert known.forces is not None  # labelled steps are evaluated exactly
        audit = decision.reason is Reason.AUDIT
        self.calibration.add(
            decision.configuration.numbers,
            labels.forces - before.forces,
            known.forces,
            audit=audit,
        )
        self.energies.learn(labels.energy - before.energy, known.energy, audit=audit)
        stress = masked_stress(labels.stress, decision.configuration.pbc)
        self.stress.learn(stress - before.stress, known.stress, audit=audit)
        assessment = Assessment(known.errors, known.spilling, decision.threshold)
        return np.flatnonzero(assessment.candidates(self.rules))

    def _of_stress(self, exact: Uncertainty) -> float:
        """Return what the error of the stress counts for, in eV/angstrom."""
        return self.stress.counted(exact.stress, self.policy)


def _least_known(c: Configuration, screen: Uncertainty) -> IntArray:
    """Return the fourth of the atoms of every species with the largest deviations."""
    order = np.argsort(-screen.local, kind="stable")
    species = [order[c.numbers[order] == z] for z in np.unique(c.numbers)]
    return np.sort(np.concatenate([x[: -(-len(x) // SHARE)] for x in species]))


def screen_of(prediction: Prediction) -> Uncertainty:
    """Return the uncertainty of a prediction that was screened."""
    assert prediction.uncertainty is not None  # it was screened
    return prediction.uncertainty
