"""The CUDA C kernels: on the CPU in any order of threads, and on a GPU where one is."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from otf.descriptors.radial import radial_table
from otf.kernels import DeviceMissing, Kernels, PairTable, RadialTable, load
from otf.kernels.gpu import CupyLauncher, GpuKernels, programs
from otf.kernels.gpu.programs import SOURCES, text

cpu, reference = load("cpu").kernels, load("reference").kernels

N_MAX, L_MAX = 4, 3
TABLE = radial_table(4.0, N_MAX, L_MAX, 0.5)
N_M, N_T = (L_MAX + 1) ** 2, N_MAX * (N_MAX + 1) // 2
N_SPECIES = (1, 2, 4)
# No pairs at the beginning, in the middle and at the end; less and more than a warp,
# than a tile and than the threads of a block.
COUNTS = (0, 1, 7, 33, 0, 64, 200, 0)


class System:
    """Random pairs, some near zero, some at and beyond the cutoff."""

    def __init__(self, n_species):
        self.random = rng = np.random.default_rng(n_species)
        self.n, self.n_species = len(COUNTS), n_species
        self.start = np.concatenate([[0], np.cumsum(COUNTS)])
        self.neighbor = np.concatenate(
            [np.sort(rng.integers(0, self.n, k)) for k in COUNTS]
        )
        self.kind = rng.integers(0, n_species, self.n)
        self.species = self.kind[self.neighbor]
        unit = rng.normal(size=(len(self.neighbor), 3))
        unit /= np.linalg.norm(unit, axis=1)[:, None]
        unit[:3] = [[0, 0, 1], [0, 0, -1], [1, 0, 0]]
        self.vector = unit * rng.uniform(0.3, 5.0, len(unit))[:, None]
        self.vector[3] *= 1e-2 / np.linalg.norm(self.vector[3])
        self.vector[4] *= 4.0 / np.linalg.norm(self.vector[4])
        self.distance = np.linalg.norm(self.vector, axis=1)

    def numbers(self, *shape):
        return self.random.normal(size=shape)

    @property
    def geometry(self):
        return self.start, self.species, self.vector, self.distance

    @property
    def coefficients(self):
        return self.numbers(self.n, self.n_species, N_M, N_MAX)

    @property
    def weights(self):
        return self.random.uniform(0.5, 2.0, L_MAX + 1)

    @property
    def reach(self):
        """Return a list whose centres are some of the atoms, from the third on."""
        start = self.start[2:7]
        offset, positions = self.numbers(len(self.vector), 3), self.numbers(self.n, 3)
        return 2, start, self.neighbor, offset, positions, 2.0

    @property
    def crowd(self):
        """Return atoms in and out of a skew cell shorter than the reach, two axes."""
        cell = ((4.0, 0.3, 0.0), (-1.2, 3.5, 0.4), (0.5, 0.7, 30.0))
        positions = self.random.uniform(-9.0, 9.0, (4 * self.n_species, 3))
        positions[:, 2] *= 0.5
        return positions, cell, (True, True, False), 3.1 + self.n_species


def spectrum_arguments(system, n_features, *, backward):
    c, weights = system.coefficients, system.weights
    gradient = system.numbers(system.n, n_features)
    return (c, weights, gradient) if backward else (c, weights)


def full_size(system):
    n_channels = system.n_species * N_MAX
    return (L_MAX + 1) * n_channels * (n_channels + 1) // 2


def reduced_size(system):
    return (L_MAX + 1) * system.n_species * N_MAX**2


def pair_table(system):
    n = system.n_species
    bare, smooth = system.numbers(n, n), system.numbers(n, n, 8, 6)
    return PairTable(bare + bare.T, smooth + smooth.transpose(1, 0, 2, 3), 4.0)


def both_ends(system):
    """Return pairs listed from both their ends, and an atom with its own images."""
    ends = [(0, 1), (0, 3), (1, 2), (2, 3), (1, 4), (3, 3), (3, 3)]
    ends += [(2, 5)] * 100  # more than a block has threads
    vectors = system.random.uniform(0.3, 2.0, (len(ends), 3))
    vectors[5] = -vectors[6]
    pairs = [(i, j, v) for (i, j), v in zip(ends, vectors, strict=True)]
    pairs += [(j, i, -v) for i, j, v in pairs if i != j]
    pairs.sort(key=lambda pair: pair[:2])
    counts = np.bincount([i for i, _, _ in pairs], minlength=system.n)
    vector = np.array([v for _, _, v in pairs])
    return (
        np.concatenate([[0], np.cumsum(counts)]),
        np.array([j for _, j, _ in pairs]),
        system.kind,
        vector,
        np.linalg.norm(vector, axis=1),
        pair_table(system),
    )


def force_arguments(system):
    some = slice(system.start[2], system.start[7])
    return (
        2,
        system.start[2:8] - system.start[2],
        system.neighbor[some],
        system.vector[some],
        system.numbers(some.stop - some.start, 3),
        system.numbers(system.n, 3),
        system.numbers(6),
    )


def scatter_arguments(system):
    n, rows = 150, 3 * 5 + 12
    return (
        np.array([3, 6]),
        np.array([0, 3, 5]),
        np.array([0, 2, 5, 1, 3]),
        system.numbers(rows, n),
        system.numbers(2, n),
        system.numbers(rows, 1),
        system.numbers(2, n),
        system.numbers(3 * system.n + 6, n + 3),
        2,
    )


# The arguments of every kernel, for a system.
CASES = {
    "pairs_within": lambda s: s.crowd,
    "within": lambda s: s.reach,
    "largest_move": lambda s: (*s.numbers(2, s.n, 3), s.numbers(3, 3)),
    "translations": lambda s: (s.numbers(len(s.vector), 3), s.numbers(3, 3)),
    "expand": lambda s: (*s.geometry, TABLE, s.n_species),
    "add_pair_gradient": lambda s: (
        *s.geometry,
        TABLE,
        s.coefficients,
        s.numbers(*s.vector.shape),
    ),
    "pair_derivatives": lambda s: (s.vector, s.distance, TABLE),
    "overlap": lambda s: (s.start, s.species, s.distance, TABLE, s.n_species),
    "add_overlap_gradient": lambda s: (
        *s.geometry,
        TABLE,
        s.numbers(s.n, s.n_species, L_MAX + 1, N_T),
        s.numbers(*s.vector.shape),
    ),
    "overlap_derivatives": lambda s: (s.vector, s.distance, TABLE),
    "spectrum_full": lambda s: spectrum_arguments(s, 0, backward=False),
    "adjoint_full": lambda s: spectrum_arguments(s, full_size(s), backward=True),
    "spectrum_reduced": lambda s: spectrum_arguments(s, 0, backward=False),
    "adjoint_reduced": lambda s: spectrum_arguments(s, reduced_size(s), backward=True),
    "softened": lambda s: (s.numbers(s.n, 300), 0.3),
    "softened_gradient": lambda s: (
        s.numbers(s.n, 300),
        0.3,
        s.numbers(s.n, 300),
        s.numbers(s.n),
    ),
    "weighted_power": lambda s: (
        s.random.uniform(0.2, 1.0, (s.n, 300)),
        s.numbers(300),
        s.n_species,
    ),
    "row_squares": lambda s: (s.numbers(s.n, 300),),
    "triangle_product": lambda s: (
        s.numbers(s.n, 150),
        (np.tril if s.n_species > 1 else np.triu)(s.numbers(150, 150)),
        s.n_species > 1,
    ),
    "add_forces": force_arguments,
    "pair_potential": both_ends,
    "spread_to_mesh": lambda s: (
        s.random.uniform(-1.5, 1.5, (40, 3)),
        s.numbers(40),
        (9, 7, 12),
        2 + 2 * s.n_species,
    ),
    "gather_from_mesh": lambda s: (
        s.random.uniform(-1.5, 1.5, (40, 3)),
        s.numbers(9, 7, 12),
        2 + 2 * s.n_species,
    ),
    "merge_rows": lambda s: (
        np.arange(s.n),
        s.start,
        s.neighbor,
        s.vector,
        s.numbers(len(s.neighbor), 3, 150),
    ),
    "jacobian_full": lambda s: (
        np.array([0, 0, 1, 3, 3, 3]),
        s.coefficients,
        s.weights,
        s.n_species - 1,
        s.numbers(6, N_M, N_MAX),
    ),
    "scatter_rows": scatter_arguments,
    "normal": lambda s: (2**40 + s.n_species, 3, 2**33 + 1, 1001),
}


def moved(value, xp):
    """Return a copy of an argument whose arrays are those of another module."""
    if isinstance(value, (RadialTable, PairTable)):
        return type(value)(*(moved(part, xp) for part in value))
    return xp.array(value) if isinstance(value, np.ndarray) else value


def outcome(kernels, name, arguments, xp=np):
    """Return what a kernel returns, and its arguments as it leaves them."""
    given = [moved(argument, xp) for argument in arguments]
    result = getattr(kernels, name)(*given)
    if name == "within":
        result = without_room(*result)
    arrays = list(result) if isinstance(result, tuple) else [result]
    arrays = [x for x in arrays + given if isinstance(x, (xp.ndarray, np.generic))]
    return [x if xp is np else xp.asnumpy(x) for x in arrays]


def without_room(start, neighbor, vector, distance):
    """Return pairs without those behind the last, which are far away."""
    n = int(start[-1])
    assert (distance[n:] == np.inf).all()
    return start, neighbor[:n], vector[:n], distance[:n]


def check(got, expected, tolerance=1e-10):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        if b.dtype.kind == "i":
            assert a.tolist() == b.tolist()
        else:
            scale = np.abs(b).max(initial=0.0)
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def test_every_kernel_of_the_interface_has_a_case_and_the_same_arguments():
    kernels = dict(inspect.getmembers(Kernels, inspect.isfunction))
    names = {name for name in kernels if not name.startswith("_")}
    assert names == set(CASES)
    for name in names:
        wanted = list(inspect.signature(kernels[name]).parameters)
        assert list(inspect.signature(getattr(GpuKernels, name)).parameters) == wanted


@pytest.mark.parametrize("n_species", N_SPECIES)
@pytest.mark.parametrize("name", CASES)
def test_an_emulated_kernel_equals_its_definition_in_any_order(
    emulated, name, n_species
):
    arguments = CASES[name](System(n_species))
    got = outcome(emulated(), name, arguments)
    check(got, outcome(reference, name, arguments))
    for order, seed in (("reverse", 1), ("random", 1), ("random", 2)):
        again = outcome(emulated(order, seed), name, arguments)
        assert all(np.array_equal(a, b) for a, b in zip(got, again, strict=True))


def test_rows_without_strain_are_scattered_as_defined(emulated):
    centres, first, targets, product, alpha, own, *rest = scatter_arguments(System(1))
    n = 3 * len(targets)
    arguments = centres, first, targets, product[:n], alpha, own[:n], *rest
    check(
        outcome(emulated(), "scatter_rows", arguments),
        outcome(reference, "scatter_rows", arguments),
    )


SINGLE_PRECISION = (
    "expand",
    "add_pair_gradient",
    "pair_derivatives",
    "overlap",
    "add_overlap_gradient",
    "overlap_derivatives",
)


@pytest.mark.parametrize("name", SINGLE_PRECISION)
def test_pairs_in_single_precision_have_its_digits(emulated, name):
    """A pair's sums have some ten terms of size one, a coefficient up to 200 pairs."""
    arguments = CASES[name](System(2))
    got = outcome(emulated(real="float"), name, arguments)
    expected = outcome(reference, name, arguments)
    check(got, expected, tolerance=200 * np.finfo(np.float32).eps)
    assert not all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
    twice = outcome(emulated(), name, arguments)
    assert not all(np.array_equal(a, b) for a, b in zip(got, twice, strict=True))


def test_another_precision_is_refused(emulated):
    with pytest.raises(ValueError, match="'double' or 'float', got 'half'"):
        emulated(real="half")


def test_what_is_no_array_of_the_device_is_refused(emulated):
    with pytest.raises(TypeError, match=r"arrays of numpy, got builtins\.list: move"):
        emulated().softened([[1.0]], 0.3)


def test_what_a_kernel_changes_must_be_contiguous(emulated):
    arguments = CASES["add_pair_gradient"](System(1))
    out = np.zeros((2 * len(arguments[-1]), 3))[::2]
    with pytest.raises(ValueError, match="must be contiguous and of float64"):
        emulated().add_pair_gradient(*arguments[:-1], out)


def test_cupy_compiles_a_program_once_and_gets_grid_block_and_arguments(monkeypatch):
    compiled, started = [], []

    class RawModule:
        def __init__(self, code, options):
            compiled.append((code, options))

        def get_function(self, name):
            return lambda *given: started.append((name, *given))

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(RawModule=RawModule))
    launcher = CupyLauncher()
    for n in (3, 5):
        launcher.launch(programs.NOISE, "normal", (n,), [np.int64(n)])
    options = ("-std=c++17", "-DBLOCK=128", "-DREAL=double")
    assert compiled == [(programs.NOISE.source, options)]
    assert started == [("normal", (n,), (128,), (np.int64(n),)) for n in (3, 5)]


@pytest.mark.gpu
@pytest.mark.parametrize("n_species", N_SPECIES)
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_on_a_gpu_equals_its_definition_and_itself(name, n_species):
    backend = on_gpu()
    arguments = CASES[name](System(n_species))
    got, again = (outcome(backend.kernels, name, arguments, backend.xp) for _ in "ab")
    check(got, outcome(reference, name, arguments))
    assert all(np.array_equal(a, b) for a, b in zip(got, again, strict=True))


def on_gpu():
    try:
        return load("gpu")
    except DeviceMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "name",
    [
        "pairs_within",
        "translations",
        "within",
        "normal",
        "scatter_rows",
        "merge_rows",
    ],
)
def test_what_has_one_order_has_the_bits_of_the_cpu(emulated, name):
    arguments = CASES[name](System(2))
    got, expected = (outcome(k, name, arguments) for k in (emulated(), cpu))
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_any_number_of_normals_has_the_bits_of_the_cpu(emulated, n):
    arguments = (2**64 - 1, 2**32 - 1, 2**64 - 1, n)
    assert np.array_equal(emulated().normal(*arguments), cpu.normal(*arguments))


@pytest.mark.parametrize(("n_max", "l_max"), [(12, 0), (3, 1), (8, 4), (5, 6)])
def test_the_density_of_other_tables(emulated, n_max, l_max):
    system, table = System(2), radial_table(4.0, n_max, l_max, 0.5)
    arguments = (*system.geometry, table, 2)
    c = outcome(emulated(), "expand", arguments)
    check(c, outcome(reference, "expand", arguments))
    arguments = (*system.geometry, table, c[0], np.zeros_like(system.vector))
    check(
        outcome(emulated(), "add_pair_gradient", arguments),
        outcome(reference, "add_pair_gradient", arguments),
    )


@pytest.mark.parametrize("name", ["expand", "overlap", "pair_derivatives"])
def test_the_pairs_prepared_together_change_no_bit(emulated, monkeypatch, name):
    arguments = CASES[name](System(1))
    expected = outcome(emulated(), name, arguments)
    assert dict(programs.density(TABLE, "double").constants)["TILE"] == 64
    monkeypatch.setattr(programs, "TILE_MEMORY", 3200)
    assert dict(programs.density(TABLE, "double").constants)["TILE"] == 8
    got = outcome(emulated(), name, arguments)
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_no_atoms_are_no_work(emulated):
    kernels, none = emulated(), np.empty(0)
    start, index, vector = np.zeros(1, int), np.empty(0, int), np.empty((0, 3))
    assert kernels.expand(start, index, vector, none, TABLE, 2).shape[0] == 0
    assert kernels.pair_derivatives(vector, none, TABLE).shape[0] == 0
    assert [len(x) for x in kernels.within(0, start, index, vector, vector, 1.0)] == [
        *(1, 0, 0, 0)
    ]


@pytest.mark.parametrize("distance", [0.0, 1e-300, 1e-8, 0.01])
def test_atoms_on_top_of_each_other_give_what_the_definition_gives(emulated, distance):
    vector, r = np.array([[0.0, 0.6, 0.8]]) * distance, np.array([distance])
    arguments = (np.array([0, 1]), np.array([0]), vector, r, TABLE, 1)
    for name, given in (("expand", arguments), ("pair_derivatives", arguments[2:5])):
        got = outcome(emulated(), name, given)
        assert np.isfinite(got[0]).all()
        check(got, outcome(reference, name, given))


# ------------------------------------------------------------------------- mutations

BARRIER = "__syncthreads();"
# Kernels that meet every barrier of a source.
MEETING = {
    "common": ("pair_potential", "expand"),
    "density": ("expand", "add_pair_gradient", "pair_derivatives"),
    "overlaps": ("overlap", "overlap_derivatives"),
}


def without_barrier(part, number):
    """Return a change of sources that removes one barrier of a part."""
    right = text(part)
    at = -1
    for _ in range(number + 1):
        at = right.index(BARRIER, at + 1)
    wrong = right[:at] + ";" + right[at + len(BARRIER) :]
    return lambda source: source.replace(right, wrong)


BARRIERS = [
    (part, number)
    for part in sorted({part for parts in SOURCES.values() for part in parts})
    for number in range(text(part).count(BARRIER))
]


@pytest.mark.parametrize(("part", "number"), BARRIERS)
def test_a_missing_barrier_shows_in_some_order(emulated, monkeypatch, part, number):
    monkeypatch.setattr(programs, "TILE_MEMORY", 12_000)  # tiles smaller than blocks
    change = without_barrier(part, number)
    system = System(2)

    def fails(name, order, seed):
        arguments = CASES[name](system)
        kernels = emulated(order, seed, change=change)
        try:
            check(
                outcome(kernels, name, arguments), outcome(reference, name, arguments)
            )
        except (AssertionError, RuntimeError):
            return True
        return False

    orders = (("forward", 1), ("reverse", 1), ("random", 1), ("random", 2))
    assert any(fails(name, *order) for name in MEETING[part] for order in orders)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("add_pair_gradient", "radial -= (x0", "radial += (x0"),
        ("add_pair_gradient", "out[3 * p + 2] += radial * u[2]", "out[3 * p + 2] += 0"),
        ("expand", "species[own] == (integer)blockIdx.y", "species[own] >= 0"),
        ("spectrum_full", "a == b ? 1.0 : SQRT2", "1.0"),
        ("adjoint_full", "(2.0 - SQRT2)", "2.0"),
        ("add_forces", "(unsigned long long)-units", "(unsigned long long)units"),
        ("add_forces", "0.5 * (g[1] * v[2] + g[2] * v[1])", "g[1] * v[2]"),
    ],
)
def test_a_wrong_formula_is_seen(emulated, name, old, new):
    def change(source):
        return source.replace(old, new)

    arguments = CASES[name](System(2))
    got = outcome(emulated(change=change), name, arguments)
    with pytest.raises(AssertionError):
        check(got, outcome(reference, name, arguments))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "if (lane == 0)\n        count",
            "if (lane) return 0;\n        count",
            "ended",
        ),
        ("int place = ", "if (lane) __syncthreads();\n    int place = ", "different"),
        (
            "const unsigned votes",
            "if (lane == 3) return 0;\n    unsigned votes",
            "lane",
        ),
    ],
)
def test_barriers_that_not_all_threads_reach_are_refused(emulated, old, new, complaint):
    def change(source):
        assert old in source
        return source.replace(old, new)

    with pytest.raises(RuntimeError, match=complaint):
        outcome(emulated(change=change), "expand", CASES["expand"](System(1)))


def sanitized(*arguments):
    """Run Python with the address sanitizer, which must stand before it."""
    command = ["g++", "-print-file-name=libasan.so"]
    library = subprocess.run(command, check=True, capture_output=True, text=True)
    environment = {
        **os.environ,
        "CUDA_EMULATOR_OPTIONS": "-O1 -g -fsanitize=address",
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_no_emulated_kernel_leaves_its_arrays(emulated):
    done = sanitized("-m", "pytest", "-q", __file__, "-k", "definition_in_any_order")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("softened", "directions[blockIdx.x * n_features + k]", "directions[k * 9999]"),
        ("expand", "real sums[PER_THREAD]", "real sums[PER_THREAD - 1]"),
        ("expand", "real y[TILE]", "real y[TILE / 8]"),
    ],
)
def test_the_sanitizer_sees_what_leaves_an_array(emulated, tmp_path, name, old, new):
    script = f"""
from pathlib import Path
from conftest import EMULATOR_OPTIONS, Emulator, GpuKernels
from test_kernels_gpu import CASES, System, outcome
change = lambda source: source.replace({old!r}, {new!r})
emulator = Emulator(Path({str(tmp_path)!r}), change=change, options=EMULATOR_OPTIONS)
outcome(GpuKernels(emulator), {name!r}, CASES[{name!r}](System(1)))
"""
    sources = Path(__file__).parents[1].glob("kernels/gpu/*.cu")
    assert any(old in source.read_text() for source in sources)
    done = sanitized("-c", script)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
