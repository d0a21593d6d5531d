import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import sph_harm_y

from otf.descriptors.radial import radial_table
from otf.kernels import DeviceMissing, Kernels, PairTable, load
from otf.kernels import reference as definition

cpu, reference = load("cpu").kernels, load("reference").kernels

N_ATOMS, N_SPECIES, N_MAX, L_MAX = 7, 3, 4, 3
TABLE = radial_table(4.0, N_MAX, L_MAX, 0.5)


class Pairs:
    """Random pairs sorted by centre, some near zero, some at and beyond the cutoff."""

    def __init__(self, seed=0, n_atoms=N_ATOMS, most=12):
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, most, n_atoms)
        self.start = np.concatenate([[0], np.cumsum(counts)])
        n = self.start[-1]
        self.neighbor = np.concatenate(
            [np.sort(rng.integers(0, n_atoms, k)) for k in counts]
        )
        self.kind = rng.integers(0, N_SPECIES, n_atoms)
        self.species = self.kind[self.neighbor]
        unit = rng.normal(size=(n, 3))
        unit /= np.linalg.norm(unit, axis=1)[:, None]
        unit[:3] = [[0, 0, 1], [0, 0, -1], [1, 0, 0]]
        self.vector = unit * rng.uniform(0.0, 5.0, n)[:, None]
        self.vector[3] *= 1e-2 / np.linalg.norm(self.vector[3])
        self.vector[4] *= 4.0 / np.linalg.norm(self.vector[4])
        self.distance = np.linalg.norm(self.vector, axis=1)
        self.random = rng

    @property
    def geometry(self):
        return self.start, self.species, self.vector, self.distance

    @property
    def radial(self):
        return self.start, self.species, self.distance


@pytest.fixture
def pairs():
    return Pairs()


def close(got, expected):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_device_offers_every_kernel_with_the_same_arguments(device):
    kernels = load(device).kernels
    for name, method in inspect.getmembers(Kernels, inspect.isfunction):
        if name.startswith("_"):
            continue
        wanted = list(inspect.signature(method).parameters)[1:]
        assert list(inspect.signature(getattr(kernels, name)).parameters) == wanted


def test_the_largest_move_besides_a_deformation():
    rng = np.random.default_rng(1)
    then, by = rng.normal(size=(2, N_ATOMS, 3))
    deformation = np.eye(3) + 0.1 * rng.normal(size=(3, 3))
    by *= (np.arange(1.0, N_ATOMS + 1) / np.linalg.norm(by, axis=1))[:, None]
    now = then @ deformation + by
    for k in (cpu, reference):
        np.testing.assert_allclose(k.largest_move(now, then, deformation), N_ATOMS**2)
        broken = now.copy()
        broken[2, 1] = np.nan
        assert np.isnan(k.largest_move(broken, then, deformation))
        assert k.largest_move(now[:0], then[:0], deformation) == 0.0


def test_translations_are_sums_of_cell_vectors():
    rng = np.random.default_rng(2)
    shift, cell = (
        rng.integers(-3, 4, size=(50, 3)).astype(float),
        rng.normal(size=(3, 3)),
    )
    assert np.array_equal(
        cpu.translations(shift, cell), reference.translations(shift, cell)
    )
    np.testing.assert_allclose(cpu.translations(shift, cell), shift @ cell, atol=1e-14)


@pytest.mark.parametrize(("low", "high"), [(0, N_ATOMS), (1, 4)])
def test_the_near_pairs_of_some_centres(pairs, low, high):
    positions = pairs.random.normal(size=(N_ATOMS, 3))
    offset = pairs.random.normal(size=(len(pairs.neighbor), 3))
    start = pairs.start[low : high + 1]
    got, expected = (
        k.within(low, start, pairs.neighbor, offset, positions, 2.0)
        for k in (cpu, reference)
    )
    assert 0 < len(expected[1]) < start[-1] - start[0]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_a_pair_potential_summed_from_one_end_or_both():
    rng = np.random.default_rng(2)
    # Both ends of every pair, and two images of atom 3 with itself.
    pairs = [(0, 1), (0, 3), (1, 2), (2, 3), (1, 4), (3, 3), (3, 3)]
    vectors = rng.normal(size=(len(pairs), 3))
    vectors[-1] = -vectors[-2]
    ends = [(i, j, v) for (i, j), v in zip(pairs, vectors, strict=True)]
    ends += [(j, i, -v) for i, j, v in ends if i != j]
    ends.sort(key=lambda end: end[:2])
    counts = np.bincount([i for i, _, _ in ends], minlength=5)
    start = np.concatenate([[0], np.cumsum(counts)])
    vector = np.array([v for _, _, v in ends])
    distance = np.linalg.norm(vector, axis=1)
    smooth = rng.normal(size=(2, 2, 8, 6))
    table = PairTable(np.array([[0.0, 2.0], [2.0, -1.0]]), smooth, 2.1)
    table = table._replace(smooth=smooth + smooth.transpose(1, 0, 2, 3))
    assert (distance > table.cutoff).any()
    neighbor, kind = np.array([j for _, j, _ in ends]), np.array([0, 1, 1, 0, 1])
    got, expected = (
        k.pair_potential(start, neighbor, kind, vector, distance, table)
        for k in (cpu, reference)
    )
    for a, b in zip(got, expected, strict=True):
        close(a, b)


@pytest.mark.parametrize("order", [3, 6, 8])
def test_charges_on_a_mesh_and_a_potential_back(order):
    rng = np.random.default_rng(4)
    # Outside the cell as well; one axis shorter than the widest spline.
    fractional = rng.uniform(-1.5, 1.5, (5, 3))
    charges, shape = rng.normal(size=5), (9, 7, 12)
    mesh, expected = (
        k.spread_to_mesh(fractional, charges, shape, order) for k in (cpu, reference)
    )
    close(mesh, expected)
    assert mesh.sum() == pytest.approx(charges.sum())
    field = rng.normal(size=shape)
    got, expected = (
        k.gather_from_mesh(fractional, field, order) for k in (cpu, reference)
    )
    for a, b in zip(got, expected, strict=True):
        close(a, b)
    assert charges @ got[0] == pytest.approx((mesh * field).sum())


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="choose 'cpu', 'gpu', 'gpu-mixed' or"):
        load("abacus")


def test_a_gpu_without_cupy_is_missed_with_the_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceMissing, match=r"pip install 'otf-md\[gpu\]'"):
        load("gpu")


def test_cupy_without_a_gpu_is_missed_before_its_first_array(monkeypatch):
    cupy = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(DeviceMissing, match="needs an NVIDIA GPU with its driver"):
        load("gpu")


def test_harmonics_are_the_real_orthonormal_ones():
    for vector in np.random.default_rng(1).normal(size=(20, 3)):
        values, _ = definition.harmonics(vector, 4)
        polar = np.arccos(vector[2] / np.linalg.norm(vector))
        azimuth = np.arctan2(vector[1], vector[0])
        k = 0
        for order in range(5):
            for m in range(-order, order + 1):
                # scipy has the Condon-Shortley sign
                y = (-1) ** m * sph_harm_y(order, abs(m), polar, azimuth)
                root = np.sqrt(2) if m else 1.0
                expected = root * (y.imag if m < 0 else y.real)
                assert values[k] == pytest.approx(expected, abs=1e-14)
                k += 1


def test_harmonics_change_by_their_gradient():
    vector, h = np.array([0.4, -1.1, 0.7]), 1e-3
    _, gradient = definition.harmonics(vector, 5)
    for axis, unit in enumerate(np.eye(3)):
        f = [definition.harmonics(vector + k * h * unit, 5)[0] for k in (-2, -1, 1, 2)]
        slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
        np.testing.assert_allclose(gradient[axis], slope, atol=1e-9)


ISOTROPIC = radial_table(4.0, 12, 0, 0.5)  # that of two-body features


@pytest.mark.parametrize("table", [TABLE, ISOTROPIC])
def test_expansion_equals_its_definition(pairs, table):
    arguments = (*pairs.geometry, table, N_SPECIES)
    close(cpu.expand(*arguments), reference.expand(*arguments))


@pytest.mark.parametrize("table", [TABLE, ISOTROPIC])
def test_pair_gradient_equals_its_definition(pairs, table):
    n_l, n_max = table.values.shape[2:]
    weights = pairs.random.normal(size=(N_ATOMS, N_SPECIES, n_l**2, n_max))
    arguments = (*pairs.geometry, table, weights)
    got = pairs.random.normal(size=pairs.vector.shape)
    expected = got.copy()
    cpu.add_pair_gradient(*arguments, got)
    reference.add_pair_gradient(*arguments, expected)
    close(got, expected)


def test_pair_derivatives_equal_their_definition(pairs):
    arguments = (pairs.vector, pairs.distance, TABLE)
    close(cpu.pair_derivatives(*arguments), reference.pair_derivatives(*arguments))


def test_self_terms_equal_their_definition(pairs):
    arguments = (*pairs.radial, TABLE, N_SPECIES)
    close(cpu.overlap(*arguments), reference.overlap(*arguments))


def test_gradient_of_the_self_terms_equals_its_definition(pairs):
    shape = (N_ATOMS, N_SPECIES, L_MAX + 1, N_MAX * (N_MAX + 1) // 2)
    arguments = (*pairs.geometry, TABLE, pairs.random.normal(size=shape))
    got = pairs.random.normal(size=pairs.vector.shape)
    expected = got.copy()
    cpu.add_overlap_gradient(*arguments, got)
    reference.add_overlap_gradient(*arguments, expected)
    close(got, expected)


def test_derivatives_of_the_self_terms_equal_their_definition(pairs):
    arguments = (pairs.vector, pairs.distance, TABLE)
    close(
        cpu.overlap_derivatives(*arguments), reference.overlap_derivatives(*arguments)
    )


@pytest.mark.parametrize("coupling", ["full", "reduced"])
@pytest.mark.parametrize("n_species", [1, 3])
def test_power_spectrum_equals_its_definition(coupling, n_species):
    rng = np.random.default_rng(2)
    c = rng.normal(size=(5, n_species, (L_MAX + 1) ** 2, N_MAX))
    weights = rng.uniform(0.5, 2.0, L_MAX + 1)
    spectrum, adjoint = f"spectrum_{coupling}", f"adjoint_{coupling}"
    features = getattr(reference, spectrum)(c, weights)
    close(getattr(cpu, spectrum)(c, weights), features)
    gradient = rng.normal(size=features.shape)
    close(
        getattr(cpu, adjoint)(c, weights, gradient),
        getattr(reference, adjoint)(c, weights, gradient),
    )


@pytest.mark.parametrize("coupling", ["full", "reduced"])
def test_adjoint_is_the_gradient_of_a_quadratic_form(coupling):
    """X is quadratic in c: X(c + d) - X(c - d) = 2 dX(c) d exactly."""
    rng = np.random.default_rng(3)
    c, d = rng.normal(size=(2, 4, 2, (L_MAX + 1) ** 2, N_MAX))
    weights = rng.uniform(0.5, 2.0, L_MAX + 1)
    spectrum = getattr(reference, f"spectrum_{coupling}")
    change = (spectrum(c + d, weights) - spectrum(c - d, weights)) / 2
    gradient = rng.normal(size=change.shape)
    pulled = getattr(reference, f"adjoint_{coupling}")(c, weights, gradient)
    assert (pulled * d).sum() == pytest.approx((gradient * change).sum(), rel=1e-12)


@pytest.mark.parametrize("exponent", [1, 2, 3, 4])
@pytest.mark.parametrize("n_columns", [1, 4, 7])
def test_weighted_powers_equal_their_definition(exponent, n_columns):
    rng = np.random.default_rng(8)
    k, weights = rng.uniform(0.2, 1.0, (5, n_columns)), rng.normal(size=n_columns)
    got, expected = k.copy(), k.copy()
    sums = cpu.weighted_power(got, weights, exponent)
    close(sums, reference.weighted_power(expected, weights, exponent))
    close(got, expected)
    np.testing.assert_allclose(sums, k**exponent @ weights, rtol=1e-12)


@pytest.mark.parametrize("n_features", [1, 6, 8])
def test_softened_directions_and_their_gradient_equal_their_definition(n_features):
    rng = np.random.default_rng(9)
    x, slope = rng.normal(size=(2, 4, n_features))
    x[2] = 0.0
    own = rng.normal(size=4)
    for got, expected in zip(
        cpu.softened(x, 0.3), reference.softened(x, 0.3), strict=True
    ):
        close(got, expected)
    arguments = (x, 0.3, slope, own)
    close(cpu.softened_gradient(*arguments), reference.softened_gradient(*arguments))


def test_softened_gradient_is_that_of_a_function_of_the_directions():
    """U = v.u has slope v and, as u is not independent of x, own -v.u."""
    rng = np.random.default_rng(10)
    x, v, h = rng.normal(size=(1, 5)), rng.normal(size=5), 1e-3

    def energy(y):
        return (reference.softened(y, 0.4)[0] @ v).item()

    u, _ = reference.softened(x, 0.4)
    got = reference.softened_gradient(x, 0.4, v[None], -(u @ v))
    for k, unit in enumerate(np.eye(5)):
        f = [energy(x + a * h * unit) for a in (-2, -1, 1, 2)]
        slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
        assert got[0, k] == pytest.approx(slope, abs=1e-10)


def forces_and_strain(kernels, pairs, gradient, parts):
    forces, strain = np.zeros((N_ATOMS, 3)), np.zeros(6)
    for low, high in parts:
        start = pairs.start[low : high + 1]
        some = slice(start[0], start[-1])
        kernels.add_forces(
            low,
            start - start[0],
            pairs.neighbor[some],
            pairs.vector[some],
            gradient[some],
            forces,
            strain,
        )
    return forces, strain


def test_added_forces_equal_their_definition(pairs):
    gradient = pairs.random.normal(size=pairs.vector.shape)
    expected = forces_and_strain(reference, pairs, gradient, [(0, N_ATOMS)])
    for parts in ([(0, N_ATOMS)], [(0, 2), (2, N_ATOMS)]):
        got = forces_and_strain(cpu, pairs, gradient, parts)
        close(got[0], expected[0])
        close(got[1], expected[1])


def test_forces_of_any_pair_gradients_sum_to_zero(pairs):
    gradient = pairs.random.normal(size=pairs.vector.shape)
    forces, _ = forces_and_strain(cpu, pairs, gradient, [(0, N_ATOMS)])
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-13)


def test_merged_rows_equal_their_definition(pairs):
    derivatives = pairs.random.normal(size=(len(pairs.neighbor), 3, 5))
    centres = np.arange(N_ATOMS)
    arguments = (centres, pairs.start, pairs.neighbor, pairs.vector, derivatives)
    got, expected = cpu.merge_rows(*arguments), reference.merge_rows(*arguments)
    assert got[0].tolist() == expected[0].tolist()
    assert got[1].tolist() == expected[1].tolist()
    np.testing.assert_allclose(got[2], expected[2], atol=1e-13)


def test_merged_rows_of_some_centres_are_their_share_of_all(pairs):
    derivatives = pairs.random.normal(size=(len(pairs.neighbor), 3, 5))
    geometry = pairs.start, pairs.neighbor, pairs.vector, derivatives
    first, targets, sums = cpu.merge_rows(np.arange(N_ATOMS), *geometry)
    low, high = 2, 5
    a, b = pairs.start[low], pairs.start[high]
    part = (x[a:b] for x in (pairs.neighbor, pairs.vector, derivatives))
    start = pairs.start[low : high + 1] - a
    got = cpu.merge_rows(np.arange(low, high), start, *part)
    n = 3 * len(targets)
    rows = np.concatenate(
        [sums[3 * first[low] : 3 * first[high]], sums[n + 6 * low : n + 6 * high]]
    )
    assert got[1].tolist() == targets[first[low] : first[high]].tolist()
    assert np.array_equal(got[2], rows)


@pytest.mark.parametrize("n_strains", [0, 12])
def test_scattered_rows_equal_their_definition(n_strains):
    rng = np.random.default_rng(4)
    centres, first = np.array([3, 6]), np.array([0, 3, 5])
    targets = np.array([0, 2, 5, 1, 3])
    n_rows = 3 * 5 + n_strains
    product, own = rng.normal(size=(n_rows, 3)), rng.normal(size=(n_rows, 1))
    alpha, gamma = rng.normal(size=(2, 2, 3))
    start = rng.normal(size=(3 * N_ATOMS + 6, 8))
    got, expected = start.copy(), start.copy()
    arguments = (centres, first, targets, product, alpha, own, gamma)
    cpu.scatter_rows(*arguments, got, 2)
    reference.scatter_rows(*arguments, expected, 2)
    np.testing.assert_allclose(got, expected, atol=1e-14)
    assert np.array_equal(got[:, :2], start[:, :2])
    assert np.array_equal(got[:, 5:], start[:, 5:])
    assert not np.array_equal(got[:-6, 2:5], start[:-6, 2:5])
    assert np.array_equal(got[-6:], start[-6:]) == (not n_strains)


@pytest.mark.parametrize("n_species", [1, 3])
def test_jacobian_equals_its_definition_and_a_difference(n_species):
    """X is quadratic in c: X(c + d) - X(c - d) = 2 dX(c) d exactly."""
    rng = np.random.default_rng(6)
    c = rng.normal(size=(4, n_species, (L_MAX + 1) ** 2, N_MAX))
    weights = rng.uniform(0.5, 2.0, L_MAX + 1)
    owner = np.array([0, 0, 1, 3, 3, 3])
    changes = rng.normal(size=(6, *c.shape[2:]))
    for species in range(n_species):
        arguments = (owner, c, weights, species, changes)
        got = cpu.jacobian_full(*arguments)
        close(got, reference.jacobian_full(*arguments))
        d = np.zeros((6, *c.shape[1:]))
        d[:, species] = changes
        up, down = (reference.spectrum_full(c[owner] + x, weights) for x in (d, -d))
        close(got, (up - down) / 2)


@pytest.mark.parametrize("distance", [0.0, 1e-300, 1e-8, 0.01])
def test_atoms_on_top_of_each_other_give_finite_numbers(distance):
    start, species = np.array([0, 1]), np.array([0])
    vector, r = np.array([[0.0, 0.6, 0.8]]) * distance, np.array([distance])
    c = cpu.expand(start, species, vector, r, TABLE, 1)
    slopes = cpu.pair_derivatives(vector, r, TABLE)
    # the broadened density bounds both: h is below 1, its slope below 2 per angstrom
    assert np.abs(c).max() < 1.0
    assert np.abs(slopes).max() < 2.0
    if distance <= 1e-8:
        np.testing.assert_allclose(c[0, 0, 1:], 0.0, atol=1e-7)
