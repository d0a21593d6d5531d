"""Any calculator as a baseline: the model learns what it lacks (delta-learning)."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import numpy as np

from otf.calculators.caller import CallFailed, InProcess
from otf.calculators.reference import to_labels
from otf.calculators.registry import (
    find_class,
    is_calculator_class,
    make_calculator,
    runs_commands,
)
from otf.configuration import masked_stress
from otf.errors import InputError, OTFError
from otf.models.baselines.archive import CALCULATOR
from otf.models.baselines.interface import BaselineValues

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otf.calculators.code import Code
    from otf.configuration import Configuration, Labels
    from otf.models.baselines.interface import Store


class CalculatorBaseline:
    """Energy, forces and stress of a calculator that knows part of the answer.

    Parameters
    ----------
    code
        Of :func:`otf.calculators.registry.make_calculator`.
    arguments
        What the user gave, for the model file.

    Raises
    ------
    InputError
        When the calculator refuses its arguments.
    """

    name = CALCULATOR

    def __init__(self, code: Code, arguments: Mapping[str, object]) -> None:
        self.code = code
        self.arguments = dict(arguments)
        self._caller = InProcess(code)
        self._caller.start()
        # Predictions are made on several threads, calculators have a state.
        self._lock = threading.Lock()

    def evaluate(self, configuration: Configuration) -> BaselineValues:
        """Return energies, forces and strain derivative; atoms share the energy.

        Raises
        ------
        InputError
            When the calculator gives no stress of a cell that has one.
        OTFError
            When the calculator fails.
        """
        labels = self._labels(configuration)
        # What has no meaning for this configuration is NaN as well, and drops out.
        missing = np.isnan(masked_stress(np.zeros(6), configuration.pbc))
        if not np.isfinite(labels.stress[~missing]).all():
            raise InputError(
                f"calculator {self.code.name!r} gives no stress, which a baseline of a "
                "periodic cell needs: take another (input file: "
                "[baseline.calculator] name)"
            )
        strain = np.nan_to_num(labels.stress) * configuration.volume
        return BaselineValues.shared(labels.energy, labels.forces, strain)

    def to_arrays(self) -> Store:
        """Return the name of the calculator and its arguments as JSON."""
        return {
            "calculator": np.array(self.code.name),
            "arguments": np.array(json.dumps(self.arguments)),
        }

    def _labels(self, configuration: Configuration) -> Labels:
        try:
            with self._lock:
                results = self._caller.call(configuration, 0)
            return to_labels(results, configuration)
        except CallFailed as error:
            raise OTFError(
                f"calculator {self.code.name!r} of the baseline failed: {error} "
                "(input file: [baseline.calculator])"
            ) from error


def calculator_baseline(
    name: str, arguments: Mapping[str, object]
) -> CalculatorBaseline:
    """Return a calculator as a baseline.

    Parameters
    ----------
    name
        As the registry knows it, or ``module:Class``.
    arguments
        Plain JSON.

    Raises
    ------
    InputError
        When it is not known, not installed, refuses its arguments or is none that a
        model file may name.
    """
    try:
        require_harmless(name, arguments)
        return CalculatorBaseline(make_calculator(name, arguments), arguments)
    except InputError as error:
        # Calculators name the section they usually stand in.
        text = str(error).replace(
            "[reference] calculator", "[baseline.calculator] name"
        )
        text = text.replace("[reference.arguments]", "[baseline.calculator.arguments]")
        raise InputError(text) from error


def require_harmless(name: str, arguments: Mapping[str, object]) -> None:
    """Refuse what would let a model file start a program.

    A model file names its calculator, and whoever loads it builds it. So it must be a
    class of calculators, not any function, and none that runs commands.

    Raises
    ------
    InputError
        Otherwise, before anything is called.
    """
    if "command" in arguments or runs_commands(name):
        raise InputError(
            f"calculator {name!r} runs a program on files, which is too slow for every "
            "step and nothing a model file may do: give a calculator that works in "
            "memory (input file: [baseline.calculator] name)"
        )
    if ":" in name and not is_calculator_class(find_class(name)):
        raise InputError(
            f"{name!r} is no class of ASE calculators: a baseline must be one, for a "
            "model file names it (input file: [baseline.calculator] name)"
        )
