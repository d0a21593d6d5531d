from dataclasses import replace

import numpy as np
import pytest
from scipy.special import (
    eval_legendre,
    roots_legendre,
    sph_harm_y,
)

from otf.configuration import Configuration
from otf.descriptors.power_spectrum import PowerSpectrum
from otf.descriptors.radial import (
    basis,
    radial_functions,
)
from otf.errors import InputError
from otf.kernels import load
from otf.testing import derivative, strained

SMALL = {
    "cutoff_three_body": 3.8,
    "n_max": 4,
    "l_max": 3,
    "cutoff_two_body": 4.4,
    "n_max_two_body": 5,
}
NO_CELL = np.zeros((3, 3))


def derivatives(d, c, gradient):
    """Return forces and strain derivative of a function with dU/dX, (n, q)."""
    return d.evaluate(c, lambda atoms, _: gradient[atoms])


def make(numbers, positions, cell=NO_CELL, pbc=(0, 0, 0)):
    return Configuration(
        np.array(numbers),
        np.array(positions, dtype=float),
        np.array(cell, dtype=float),
        np.array(pbc, dtype=bool),
    )


def crystal(numbers, scaled, cell, pbc=(1, 1, 1), *, rattle=0.15, seed=0):
    noise = np.random.default_rng(seed).normal(scale=rattle, size=(len(numbers), 3))
    return make(numbers, np.array(scaled) @ np.array(cell) + noise, cell, pbc)


PEROVSKITE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
SKEWED = [[3.9, 0.2, -0.1], [0.8, 4.1, 0.3], [-0.5, 0.4, 3.7]]

SYSTEMS = {
    "dimer": make([14, 14], [[0.1, 0.2, 0.3], [1.3, 1.9, -0.4]]),
    "trimer of two species": make(
        [8, 14, 8], [[0, 0, 0], [1.2, 0.9, 0.3], [-1, 1.4, 2]]
    ),
    "molecule of three species": crystal(
        [8, 14, 22, 8, 22, 14],
        np.random.default_rng(1).uniform(0, 1, (6, 3)),
        4.0 * np.eye(3),
        (0, 0, 0),
    ),
    "one atom in a cell smaller than the cutoff": make(
        [14],
        [[0.2, 0.1, 0.4]],
        [[2.5, 0.3, 0.1], [0, 2.7, -0.4], [0.5, 0, 2.6]],
        (1,) * 3,
    ),
    "triclinic perovskite": crystal([22, 14, 8, 8, 8], PEROVSKITE, SKEWED),
    "slab": crystal([22, 14, 8, 8, 8], PEROVSKITE, SKEWED, (1, 1, 0), seed=3),
    "wire without two cell vectors": crystal(
        [14, 8, 8],
        np.random.default_rng(5).uniform(0, 1, (3, 3)),
        np.diag([3.0, 3.0, 3.4]),
        (0, 0, 1),
    ),
}
SYSTEMS["wire without two cell vectors"] = replace(
    SYSTEMS["wire without two cell vectors"], cell=np.diag([0.0, 0.0, 3.4])
)
FORMS = {
    "full": {},
    "reduced": {"elements": "reduced"},
    "without self terms": {"self_terms": False},
    "reduced without self terms": {"elements": "reduced", "self_terms": False},
    "damped": {"angular_damping": 0.002},
    "three-body alone": {"n_max_two_body": 0},
    "two-body alone": {"two_body_weight": 1.0},
    "three-body farther": {"cutoff_three_body": 4.6},
}


@pytest.fixture(params=SYSTEMS)
def system(request):
    return SYSTEMS[request.param]


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def descriptor(system, **options):
    # the two scale factors differ, so that a confusion of the parts shows
    species = tuple(np.unique(system.numbers).tolist())
    options = SMALL | {"scale_two_body": 0.7, "scale_three_body": 1.3} | options
    return PowerSpectrum(species=species, **options)


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q


# ------------------------------------------------------------------------- the formula


def test_features_equal_those_of_the_broadened_density():
    """Coefficients by quadrature over a ball, features by their printed formula."""
    c = SYSTEMS["trimer of two species"]
    d = descriptor(c, scale_two_body=1.0, scale_three_body=1.0)
    atom, around = 1, [0, 2]

    def coefficients(cutoff, n_max, l_max):
        x, wx = roots_legendre(90)
        s, ws = 0.5 * cutoff * (x + 1), 0.5 * cutoff * wx
        phi = 2 * np.pi * np.arange(90) / 90
        sine = np.sqrt(1 - x**2)[:, None]
        unit = np.stack(
            [sine * np.cos(phi), sine * np.sin(phi), x[:, None] + 0 * phi], axis=-1
        )
        density = np.zeros((len(s), len(x), len(phi)))
        for j in around:
            v = c.positions[j] - c.positions[atom]
            cut = 0.5 * (1 + np.cos(np.pi * np.linalg.norm(v) / cutoff))
            square = ((s[:, None, None, None] * unit - v) ** 2).sum(axis=-1)
            density += cut * np.exp(-2 * square) / (np.pi / 2) ** 1.5  # sigma 0.5
        out = []
        for order in range(l_max + 1):
            chi = basis(s, cutoff, n_max, order) * ws * s**2
            radial = np.tensordot(chi, density, 1) * wx[:, None] * 2 * np.pi / 90
            for m in range(-order, order + 1):
                # scipy has the Condon-Shortley sign
                z = sph_harm_y(order, abs(m), np.arccos(x)[:, None], phi) * (-1) ** m
                y = (z.imag if m < 0 else z.real) * (np.sqrt(2) if m else 1.0)
                out.append((radial * y).sum(axis=(1, 2)))
        return np.array(out)

    two = coefficients(d.cutoff_two_body, d.n_max_two_body, 0)[0]
    three = coefficients(d.cutoff_three_body, d.n_max, d.l_max)
    features = d.describe(c).features[atom]
    # both neighbours are oxygen, the first species
    np.testing.assert_allclose(
        features[: d.n_two_body], [*two, *np.zeros(5)], atol=1e-9
    )
    expected = []
    for order in range(d.l_max + 1):
        x = three[order**2 : (order + 1) ** 2]
        p = np.sqrt(8 * np.pi**2 / (2 * order + 1)) * x.T @ x
        for a in range(2 * d.n_max):
            for b in range(a, 2 * d.n_max):
                root = 1.0 if a == b else np.sqrt(2.0)
                expected.append(root * p[a, b] if b < d.n_max else 0.0)
    np.testing.assert_allclose(features[d.n_two_body :], expected, atol=1e-8)


@pytest.mark.parametrize("elements", ["full", "reduced"])
def test_without_self_terms_only_pairs_of_different_neighbours_count(elements):
    """The double sum over j != k by the addition theorem, with h from the integral."""
    c = SYSTEMS["triclinic perovskite"]
    d = descriptor(c, self_terms=False, n_max_two_body=0, elements=elements)
    d = replace(d, n_max=3, l_max=2, scale_three_body=1.0)
    environment = d.describe(c)
    pairs = environment.geometry.pairs
    atom = 2
    part = slice(pairs.first[atom], pairs.first[atom + 1])
    unit = pairs.vector[part] / pairs.distance[part][:, None]
    h = radial_functions(pairs.distance[part], 3.8, 3, 2, 0.5)[:, 0]
    kind = environment.species[pairs.neighbor[part]]
    spectrum = np.zeros((3, 3, 3, 3, 3))  # l, J, n, J', n'
    for j in range(len(h)):
        for k in range(len(h)):
            if j == k:
                continue
            cosine = unit[j] @ unit[k]
            for order in range(3):
                f = (2 * order + 1) / (4 * np.pi) * eval_legendre(order, cosine)
                f *= np.sqrt(8 * np.pi**2 / (2 * order + 1))
                product = f * np.outer(h[j, order], h[k, order])
                spectrum[order, kind[j], :, kind[k], :] += product
    if elements == "full":
        a, b = np.triu_indices(9)
        root = np.where(a == b, 1.0, np.sqrt(2.0))
        expected = root * spectrum.reshape(3, 9, 9)[:, a, b]
    else:
        expected = spectrum.sum(axis=3)
    np.testing.assert_allclose(
        environment.features[atom], expected.ravel(), rtol=0, atol=1e-10
    )


def test_damping_divides_every_order_by_its_printed_factor():
    c = SYSTEMS["triclinic perovskite"]
    plain, damped = descriptor(c), descriptor(c, angular_damping=0.002)
    x, y = (d.describe(c).features[:, d.n_two_body :] for d in (plain, damped))
    order = np.repeat(np.arange(4), x.shape[1] // 4)
    eta = 1 / (1 + 0.002 * (order * (order + 1.0)) ** 2)
    np.testing.assert_allclose(y, x * eta, rtol=1e-14)


def test_reduced_and_full_elements_agree_for_one_species():
    c = replace(SYSTEMS["triclinic perovskite"], numbers=np.full(5, 14))
    for self_terms in (True, False):
        full = descriptor(c, self_terms=self_terms).describe(c).features
        reduced = descriptor(c, self_terms=self_terms, elements="reduced")
        x = reduced.describe(c).features
        np.testing.assert_allclose(x @ x.T, full @ full.T, rtol=1e-12)


def test_reduced_elements_grow_linearly_with_the_number_of_species():
    def count(n):
        return PowerSpectrum(
            species=tuple(range(1, n + 1)), elements="reduced"
        ).n_features

    assert count(6) == 6 * count(1)


def test_number_of_features_is_that_of_the_formula(form):
    c = SYSTEMS["triclinic perovskite"]
    d = descriptor(c, **form)
    assert d.describe(c).features.shape == (5, d.n_features)
    if form == {}:
        assert d.n_features == 3 * 5 + 4 * 12 * 13 // 2


# ------------------------------------------------------------------------- invariances


def test_features_do_not_change_when_everything_turns(system, form):
    d, q = descriptor(system, **form), rotation(7)
    turned = replace(system, positions=system.positions @ q, cell=system.cell @ q)
    close(d.describe(turned).features, d.describe(system).features)


def test_features_do_not_change_when_everything_moves(system):
    d = descriptor(system)
    moved = system.moved(system.positions + np.array([0.3, -1.7, 2.9]))
    close(d.describe(moved).features, d.describe(system).features)


def test_features_follow_a_permutation_of_the_atoms(system):
    d = descriptor(system)
    order = np.random.default_rng(3).permutation(system.n_atoms)
    permuted = replace(
        system, numbers=system.numbers[order], positions=system.positions[order]
    )
    close(d.describe(permuted).features, d.describe(system).features[order])


def test_features_do_not_change_when_an_atom_is_replaced_by_its_image(system):
    d = descriptor(system)
    positions = system.positions.copy()
    positions[0] += (system.pbc * [1, -2, 3]) @ system.cell
    close(d.describe(system.moved(positions)).features, d.describe(system).features)


@pytest.mark.parametrize("name", [k for k, c in SYSTEMS.items() if c.pbc.any()])
def test_a_supercell_has_the_same_environments(name):
    system = SYSTEMS[name]
    d, axis = descriptor(system), int(np.flatnonzero(system.pbc)[0])
    cell = system.cell.copy()
    cell[axis] *= 2
    positions = np.concatenate([system.positions, system.positions + system.cell[axis]])
    numbers = np.tile(system.numbers, 2)
    twice = Configuration(numbers, positions, cell, system.pbc)
    one = d.describe(system).features
    close(d.describe(twice).features, np.concatenate([one, one]))


def close(got, expected):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * scale)


# --------------------------------------------------------------------------- gradients


def check_gradients(system, energy, forces, strain, *, tolerance=1e-7):
    """Compare with fourth-order central differences along random directions."""
    directions = np.random.default_rng(11).normal(size=(4, system.n_atoms, 3))
    scale = np.abs(forces).max()
    for direction in directions:
        direction /= np.abs(direction).max()
        slope = derivative(
            lambda x, d=direction: energy(system.moved(system.positions + x * d)), 1e-3
        )
        assert -(forces * direction).sum() == pytest.approx(
            slope, abs=tolerance * max(scale, 1e-3)
        )
    # a strain of this size moves a neighbour at the cutoff by some 1e-3 angstrom
    for value, unit in zip(strain, np.eye(6), strict=True):
        slope = derivative(lambda x, u=unit: energy(strained(system, x * u)), 2e-4)
        assert value == pytest.approx(slope, abs=tolerance * np.abs(strain).max())


def test_forces_and_strain_derivative_are_those_of_any_function(system, form):
    d = descriptor(system, **form)
    environments = d.describe(system)
    gradient = np.random.default_rng(2).normal(size=environments.features.shape)
    forces, strain = derivatives(d, system, gradient)

    def energy(c):
        return (gradient * d.describe(c).features).sum()

    check_gradients(system, energy, forces, strain)


def without_the_own_force(d, c, gradient):
    """Centres push their neighbours and are not pushed back."""
    forces, strain = derivatives(d, c, gradient)
    forces = np.zeros_like(forces)
    for atom in range(c.n_atoms):
        alone = (np.arange(c.n_atoms) == atom)[:, None]
        part, _ = derivatives(d, c, alone * gradient)
        part[atom] = 0.0
        forces += part
    return forces, strain


def altered(change):
    """Return the derivatives with forces and strain derivative changed."""
    return lambda d, c, gradient: change(*derivatives(d, c, gradient))


@pytest.mark.parametrize(
    "mutant",
    [
        altered(lambda f, s: (f, s * [1, 1, 1, 0.5, 0.5, 0.5])),
        altered(lambda f, s: (f, s * [1, 1, 1, 1, -1, 1])),
        altered(lambda f, s: (f, s[[0, 1, 2, 5, 4, 3]])),
        altered(lambda f, s: (f, -s)),
        altered(lambda f, s: (-f, s)),
        altered(lambda f, s: (f + 1e-6 * np.abs(f).max(), s)),
        without_the_own_force,
    ],
    ids=[
        "half the shear",
        "sign of xz",
        "order of Voigt",
        "pressure for stress",
        "gradient for forces",
        "the whole is pulled",
        "no own force",
    ],
)
def test_check_of_the_gradients_rejects(mutant):
    c = SYSTEMS["triclinic perovskite"]
    d = descriptor(c)
    gradient = np.random.default_rng(2).normal(size=(c.n_atoms, d.n_features))

    def energy(c):
        return (gradient * d.describe(c).features).sum()

    check_gradients(c, energy, *derivatives(d, c, gradient))
    with pytest.raises(AssertionError):
        check_gradients(c, energy, *mutant(d, c, gradient))


def test_forces_are_right_with_the_default_parameters():
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3) / 2
    c = crystal([14] * 8, grid, 5.0 * np.eye(3), seed=4)
    d = PowerSpectrum(species=(14,)).scaled_to([c])
    e = d.describe(c)
    # the second derivative jumps at the cutoffs: no pair may cross them in a difference
    distance = e.geometry.pairs.distance
    assert np.abs(distance - 5.5).min() > 5e-3
    assert np.abs(distance - 6.5).min() > 5e-3
    gradient = np.random.default_rng(3).normal(size=e.features.shape)
    forces, strain = derivatives(d, c, gradient)

    def energy(c):
        return (gradient * d.describe(c).features).sum()

    check_gradients(c, energy, forces, strain)


def references_of(d, system, m, seed=4):
    """Return features and species of m environments of rattled copies."""
    rng = np.random.default_rng(seed)
    features, species = [], []
    while len(features) < m:
        moved = system.moved(
            system.positions + rng.normal(scale=0.2, size=system.positions.shape)
        )
        e = d.describe(moved)
        features.extend(e.features)
        species.extend(e.species)
    return np.array(features[:m]), np.array(species[:m])


def test_rows_are_the_gradient_of_functions_of_the_scalar_products(system, form):
    """f_B = (X_B . X)^2 / 2 + s_B (X . X)^2 / 4 over atoms of the species of B."""
    d = descriptor(system, **form)
    references, kinds = references_of(d, system, 7)
    s = np.linspace(-1.0, 1.0, 7)
    environments = d.describe(system)
    x = environments.features
    alpha = x @ references.T
    gamma = (x * x).sum(axis=1)[:, None] * s
    forces, strain = d.gradient_rows(environments, references, kinds, alpha, gamma)
    assert forces.shape == (3 * system.n_atoms, 7)
    assert strain.shape == (6, 7)
    weights = np.random.default_rng(6).normal(size=7)

    def energy(c):
        e = d.describe(c)
        same = e.species[:, None] == kinds
        x = e.features
        f = (x @ references.T) ** 2 / 2 + s * (x * x).sum(axis=1)[:, None] ** 2 / 4
        return ((f * same) @ weights).sum()

    check_gradients(system, energy, (forces @ weights).reshape(-1, 3), strain @ weights)


def test_rows_equal_the_derivatives_column_by_column(system, form):
    d = descriptor(system, **form)
    rng = np.random.default_rng(8)
    environments = d.describe(system)
    x, n, m = environments.features, system.n_atoms, 6
    references, alpha = rng.normal(size=(m, x.shape[1])), rng.normal(size=(n, m))
    gamma = rng.normal(size=(n, m))
    kinds = rng.integers(0, len(d.species), m)
    rows, strains = d.gradient_rows(environments, references, kinds, alpha, gamma)
    for b in range(m):
        same = (environments.species == kinds[b])[:, None]
        gradient = alpha[:, [b]] * references[b] + gamma[:, [b]] * x
        forces, strain = derivatives(d, system, gradient * same)
        # the sums of one row cancel down from the size of the largest
        atol = 1e-10 * max(np.abs(rows).max(), np.abs(strains).max())
        np.testing.assert_allclose(rows[:, b], forces.ravel(), rtol=0, atol=atol)
        np.testing.assert_allclose(strains[:, b], strain, rtol=0, atol=atol)


def test_rows_do_not_depend_on_how_many_columns_are_done_at_once():
    c = SYSTEMS["triclinic perovskite"]
    d = descriptor(c)
    rng = np.random.default_rng(9)
    e, m = d.describe(c), 600
    references, kinds = rng.normal(size=(m, d.n_features)), rng.integers(0, 3, m)
    alpha, gamma = rng.normal(size=(2, 5, m))
    rows, strain = d.gradient_rows(e, references, kinds, alpha, gamma)
    some = rng.permutation(m)[:5]
    few = d.gradient_rows(
        e, references[some], kinds[some], alpha[:, some], gamma[:, some]
    )
    close(rows[:, some], few[0])
    close(strain[:, some], few[1])


def test_rows_of_some_atoms_are_those_of_all(system, form):
    d = descriptor(system, **form)
    rng = np.random.default_rng(10)
    e, n, m = d.describe(system), system.n_atoms, 250
    references = rng.normal(size=(m, d.n_features))
    kinds = rng.integers(0, len(d.species), m)
    alpha, gamma = rng.normal(size=(2, n, m))
    rows, strain = d.gradient_rows(e, references, kinds, alpha, gamma)
    rows = rows.reshape(n, 3, m)
    for some in (rng.permutation(n)[: -(-n // 2)], np.arange(n)[:1], np.arange(0)):
        few, same = d.gradient_rows(e, references, kinds, alpha, gamma, some)
        scale = np.abs(rows).max()
        expected = rows[some].reshape(-1, m)
        np.testing.assert_allclose(few, expected, rtol=0, atol=1e-11 * scale)
        close(same, strain)
        alone, none = d.gradient_rows(
            e, references, kinds, alpha, gamma, some, by_strain=False
        )
        np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-11 * scale)
        assert none.shape == (0, m)


def test_both_devices_describe_and_differentiate_alike(system, form):
    fast = descriptor(system, **form)
    slow = replace(fast, device="reference")
    a, b = fast.describe(system), slow.describe(system)
    close(a.features, b.features)
    gradient = np.random.default_rng(5).normal(size=a.features.shape)
    for got, expected in zip(
        derivatives(fast, system, gradient),
        derivatives(slow, system, gradient),
        strict=True,
    ):
        scale = max(np.abs(expected).max(), 1.0)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * scale)


def test_more_than_a_hundred_neighbours_are_no_trouble():
    rng = np.random.default_rng(10)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) / 3
    c = crystal(rng.choice([8, 14], 27), grid, 4.2 * np.eye(3), rattle=0.1)
    d = descriptor(c)
    e = d.describe(c)
    assert np.diff(e.geometry.pairs.first).min() > 100
    gradient = rng.normal(size=e.features.shape)
    forces, strain = derivatives(d, c, gradient)

    def energy(c):
        return (gradient * d.describe(c).features).sum()

    check_gradients(c, energy, forces, strain)


# ---------------------------------------------------------------------- at the cutoff


def norms(d, distance):
    """Return the norms of both parts and the largest force of a dimer at dU/dX = 1."""
    dimer = make([14, 14], [[0, 0, 0], [0, 0, distance]])
    e = d.describe(dimer)
    forces, _ = derivatives(d, dimer, np.ones_like(e.features))
    x = e.features[0]
    return (
        np.linalg.norm(x[: d.n_two_body]),
        np.linalg.norm(x[d.n_two_body :]),
        np.abs(forces).max(),
    )


def test_a_neighbour_leaves_the_cutoff_smoothly():
    """With f_cut ~ (R - r)^2 the two-body part falls as its square, forces linearly."""
    d = descriptor(SYSTEMS["dimer"], cutoff_two_body=3.8)
    far, near = norms(d, 3.8 - 1e-2), norms(d, 3.8 - 1e-3)
    assert near[0] / far[0] == pytest.approx(1e-2, rel=0.05)
    assert near[1] / far[1] == pytest.approx(1e-4, rel=0.05)
    assert near[2] / far[2] == pytest.approx(1e-1, rel=0.05)
    assert norms(d, 3.8) == (0.0, 0.0, 0.0)
    assert norms(d, 3.9) == (0.0, 0.0, 0.0)


def test_features_of_a_trimer_are_continuous_through_the_cutoff():
    d = descriptor(SYSTEMS["dimer"], cutoff_two_body=3.8)

    def describe(x):
        trimer = make([14] * 3, [[0, 0, 0], [0, 0, x], [1.5, 0.3, 0.2]])
        e = d.describe(trimer)
        gradient = np.random.default_rng(1).normal(size=e.features.shape)
        return e.features, derivatives(d, trimer, gradient)[0]

    (inside, forces), (outside, others) = describe(3.8 - 1e-7), describe(3.8 + 1e-7)
    # the step 2e-7 times slopes of order 10
    np.testing.assert_allclose(inside, outside, atol=1e-5)
    np.testing.assert_allclose(forces, others, atol=1e-4)


def test_an_isolated_atom_has_no_features_and_no_force():
    atom = make([14], [[1.0, 2.0, 3.0]])
    d = descriptor(atom)
    e = d.describe(atom)
    assert (e.features == 0).all()
    forces, strain = derivatives(d, atom, np.ones_like(e.features))
    assert (forces == 0).all()
    assert (strain == 0).all()
    one = np.ones((1, 2))
    rows, strains = d.gradient_rows(
        e, np.ones((2, d.n_features)), np.zeros(2, dtype=int), one, one
    )
    assert (rows == 0).all()
    assert (strains == 0).all()


@pytest.mark.parametrize("distance", [0.0, 0.01])
def test_atoms_on_top_of_each_other_stay_finite(distance):
    d = descriptor(SYSTEMS["dimer"])
    assert np.isfinite(norms(d, distance)).all()


# ------------------------------------------------------------------- scales and storage


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.6, 1.0])
def test_scaling_gives_the_parts_their_mean_norms(beta):
    c = SYSTEMS["triclinic perovskite"]
    d = descriptor(c, two_body_weight=beta).scaled_to([c, SYSTEMS["slab"]])
    features = [d.describe(x).features for x in (c, SYSTEMS["slab"])]
    two, three = np.split(np.concatenate(features), [d.n_two_body], axis=1)
    assert np.linalg.norm(two, axis=1).mean() == pytest.approx(np.sqrt(beta))
    assert np.linalg.norm(three, axis=1).mean() == pytest.approx(np.sqrt(1 - beta))


def test_without_two_body_functions_the_three_body_part_has_mean_norm_one():
    c = SYSTEMS["triclinic perovskite"]
    d = descriptor(c, n_max_two_body=0).scaled_to([c])
    norm = np.linalg.norm(d.describe(c).features, axis=1).mean()
    assert norm == pytest.approx(1.0)
    assert d.cutoff == SMALL["cutoff_three_body"]


def test_scaling_to_isolated_atoms_changes_nothing():
    atom = make([14], [[0.0, 0.0, 0.0]])
    d = descriptor(atom, two_body_weight=0.0).scaled_to([atom])
    assert d.scale_three_body == 1.0


def test_stored_and_read_back_it_is_the_same_descriptor(system, form):
    d = descriptor(system, **form).scaled_to([system])
    back = PowerSpectrum.from_arrays(d.to_arrays())
    assert np.array_equal(back.describe(system).features, d.describe(system).features)
    assert (back.cutoff, back.species) == (d.cutoff, d.species)


def test_describing_twice_gives_the_same_bits(system):
    d = descriptor(system)
    first = d.describe(system).features
    d.describe(system.moved(system.positions + 0.1))
    assert np.array_equal(d.describe(system).features, first)


def test_an_unknown_species_is_named():
    d = PowerSpectrum(species=(8, 14), **SMALL)
    for z in (1, 9, 99):
        with pytest.raises(InputError, match=f"atomic number {z} is not among"):
            d.describe(make([14, z], [[0, 0, 0], [0, 0, 2]]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"species": (14, 8)}, "sorted and unique"),
        ({"species": ()}, "sorted and unique"),
        ({"elements": "some"}, "elements must be one of full, reduced"),
        ({"sigma": 0.0}, "sigma must be positive, got 0.0"),
        ({"cutoff_three_body": -1.0}, "cutoff_three_body must be positive"),
        ({"n_max": 0}, "n_max"),
        ({"two_body_weight": 1.2}, r"two_body_weight must lie in \[0, 1\], got 1.2"),
        ({"two_body_weight": 1.0, "n_max_two_body": 0}, "leaves no features"),
    ],
)
def test_impossible_parameters_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        PowerSpectrum(**({"species": (8, 14)} | wrong))


def many_atoms():
    rng = np.random.default_rng(11)
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3), axis=-1).reshape(-1, 3) / 6
    return crystal(rng.choice([8, 14], 216), grid, 12.0 * np.eye(3), rattle=0.1)


def test_derivatives_are_bitwise_the_same_for_any_number_of_threads(monkeypatch):
    c = many_atoms()
    d = descriptor(c)
    gradient = np.random.default_rng(1).normal(size=(c.n_atoms, d.n_features))
    found = []
    for number in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", number)
        found.append(derivatives(d, c, gradient))
    for forces, strain in found[1:]:
        assert np.array_equal(forces, found[0][0])
        assert np.array_equal(strain, found[0][1])


def test_environments_are_the_same_in_parts_as_in_one(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    c = many_atoms()
    d = descriptor(c)
    features, seen = np.full((c.n_atoms, d.n_features), np.nan), []

    def local(atoms, environments):
        seen.append(environments.n_atoms)
        features[atoms] = environments.features
        return np.ones_like(environments.features)

    d.evaluate(c, local)
    whole = d.describe(c)
    assert len(seen) > 1
    assert max(seen) <= load("cpu").chunk
    np.testing.assert_array_equal(features, whole.features)
