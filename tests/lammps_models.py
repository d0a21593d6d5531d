"""Models and structures that are small, and have all that LAMMPS might get wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from ase.data import covalent_radii

from otf.calculators.stillinger_weber import StillingerWeber
from otf.configuration import Configuration, Labels
from otf.deploy.saved_model import save_model
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.baselines.interface import NoBaseline
from otf.models.bayesian_linear import BayesianLinear

FACES = 0.25 * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
SHEAR = np.array([[0.0, 0.0, 0.0], [0.21, 0.0, 0.0], [-0.13, 0.17, 0.0]])


def diamond(seed, *, repeat=1, shear=0.0, rattle=0.1):
    """Return rattled silicon, about half of it named germanium, in a sheared cell."""
    rng = np.random.default_rng(seed)
    steps = np.indices([repeat] * 3).reshape(3, -1).T
    unit = np.vstack([FACES, FACES + 0.25])
    fractional = (unit + steps[:, None]).reshape(-1, 3) / repeat
    cell = 5.43 * repeat * (np.eye(3) + shear * SHEAR)
    n = len(fractional)
    return Configuration(
        numbers=np.where(rng.permutation(n) < n * (3 + seed % 3) // 8, 14, 32),
        positions=fractional @ cell + rattle * rng.normal(size=(n, 3)),
        cell=cell,
        pbc=np.ones(3, dtype=bool),
    )


def labelled(configuration):
    """Return a configuration with the labels of silicon, germanium bound by 1.3 eV."""
    silicon = replace(configuration, numbers=np.full(configuration.n_atoms, 14))
    energy, forces, virial = StillingerWeber().evaluate(silicon)
    energy -= 1.3 * np.count_nonzero(configuration.numbers == 32)
    return configuration, Labels(energy, forces, virial / configuration.volume)


@cache
def fitted(
    *, cutoff_two_body=5.0, cutoff_three_body=4.0, baseline=None, repulsive=True
):
    """Return a fitted model of two species with a repulsion at short distances."""
    descriptor = PowerSpectrum(
        species=(14, 32),
        cutoff_three_body=cutoff_three_body,
        cutoff_two_body=cutoff_two_body,
        n_max=4,
        l_max=3,
        n_max_two_body=5,
    )
    if baseline is None and repulsive:
        # Radii so large that it reaches all nearest neighbours.
        baseline = CoreRepulsion(1.6 * covalent_radii, [14, 32])
    model = BayesianLinear(descriptor, baseline=baseline or NoBaseline())
    model.extend([labelled(diamond(seed, shear=0.3 * seed)) for seed in range(8)])
    model.fit_weights()
    return model.fitted


def saved(path, model):
    """Write a model file and return where it is."""
    save_model(path, model, proof=[diamond(k) for k in range(5)], metadata={})
    return path
