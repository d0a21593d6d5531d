"""What every implementation of the compute kernels offers, documented once.

Kernels take and return arrays and know nothing of files, units or configurations.

Shapes: n atoms, p ordered pairs sorted by centre, S species, L = l_max, N radial
functions, M = (L + 1)^2 the combined index l^2 + l + m, T = N (N + 1) / 2 radial pairs
n <= n', q features, b columns of a design matrix.

``start`` (n + 1,) says that the pairs of centre i are start[i] .. start[i + 1] - 1;
``species`` (p,) is the species index of the *neighbour* of a pair; ``vector`` (p, 3)
points from the centre to the neighbour and ``distance`` (p,) is its length. Pairs at
or beyond a table's cutoff contribute nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, Protocol

from otf.kernels.watch import Watch

Array = Any  # numpy.ndarray
Device = Literal["reference", "cpu", "gpu", "gpu-mixed"]


class DeviceMissing(RuntimeError):  # noqa: N818 - what is so, not what went wrong
    """What a machine lacks to run the kernels of a device."""


class RadialTable(NamedTuple):
    """Radial functions h_nl(r) on equidistant nodes from 0 to the cutoff.

    Attributes
    ----------
    values : (nodes, 3, L + 1, N) value, slope times step, curvature times step^2; read
        as a quintic Hermite spline, twice continuously differentiable
    cutoff : distance of the last node
    """

    values: Array
    cutoff: float


class PairTable(NamedTuple):
    """Pair potentials u_ab(r) = bare_ab/r + s_ab(r) of species a and b, symmetric.

    Attributes
    ----------
    bare : (S, S)
    smooth : (S, S, intervals, 6), s is sum_k smooth[a, b, i, k] t^k in interval i,
        where r = (i + t) cutoff/intervals
    cutoff : where the last interval ends
    """

    bare: Array
    smooth: Array
    cutoff: float


class Kernels(Protocol):
    """The functions one implementation provides; its module satisfies this."""

    def pairs_within(
        self, positions: Array, cell: Array, periodic: Array, reach: float
    ) -> tuple[Array, Array, Array]:
        """Return all pairs nearer than the reach, of atoms with images of others.

        Parameters
        ----------
        positions
            (n, 3), finite; they may lie outside the cell.
        cell, periodic
            (3, 3) regular and (3,), on the host. Along an axis that is not periodic
            the atoms extend over less than half the height of the cell.

        Returns
        -------
        start : (n + 1,)
        neighbor : (p,)
        shift : (p, 3), cell vectors to the neighbour's image, whole numbers. Pairs are
            sorted by centre, neighbour and image, the first cell vector counting most.
        """
        ...

    def largest_move(self, now: Array, then: Array, deformation: Array) -> Array:
        """Return max_i |x_i - x'_i D|^2, of shape (), NaN where a position is.

        ``now`` x and ``then`` x' are (n, 3), ``deformation`` D is (3, 3); 0 of no atom.
        """
        ...

    def translations(self, shift: Array, cell: Array) -> Array:
        """Return the sums of cell vectors, (p, 3), of ``shift`` (p, 3) and (3, 3).

        Every one is the same whatever the others are, to the last bit.
        """
        ...

    def within(
        self,
        low: int,
        start: Array,
        neighbor: Array,
        offset: Array,
        positions: Array,
        cutoff: float,
    ) -> tuple[Array, Array, Array, Array]:
        """Return the pairs of some centres nearer than the cutoff, in their order.

        Parameters
        ----------
        low
            The first of the c centres, which follow each other.
        start
            (c + 1,) the pairs of centre low + k are start[k] .. start[k + 1] - 1 of
        neighbor
            (p,), a list of more pairs, and of
        offset
            (p, 3), the translations of the neighbours' images.
        positions
            (n, 3)

        Returns
        -------
        start, neighbor, vector, distance : of the pairs that are near, x_j - x_i +
            offset and its length. Behind the last of them there may be others at an
            infinite distance, of no centre: a GPU need not know how many there are.
        """
        ...

    def expand(
        self,
        start: Array,
        species: Array,
        vector: Array,
        distance: Array,
        table: RadialTable,
        n_species: int,
    ) -> Array:
        """Return the density coefficients c_i^J, (n, S, M, N).

        c_nlm^iJ = sum over neighbours j of species J of h_nl(r_ij) Y_lm(r_ij), with
        real orthonormal spherical harmonics (m < 0: sine, m > 0: cosine, no
        Condon-Shortley sign).
        """
        ...

    def add_pair_gradient(
        self,
        start: Array,
        species: Array,
        vector: Array,
        distance: Array,
        table: RadialTable,
        weights: Array,
        out: Array,
    ) -> None:
        """Add the pair gradients of sum_i U_i(c_i), weights = dU_i/dc_i, to (p, 3)."""
        ...

    def pair_derivatives(
        self, vector: Array, distance: Array, table: RadialTable
    ) -> Array:
        """Return d(h_nl Y_lm)/d(vector) of every pair, (p, 3, M, N)."""
        ...

    def overlap(
        self,
        start: Array,
        species: Array,
        distance: Array,
        table: RadialTable,
        n_species: int,
    ) -> Array:
        """Return the self terms o_i^J, (n, S, L + 1, T).

        o_lnn' = (2 l + 1) / (4 pi) sum_j h_nl(r_ij) h_n'l(r_ij), n <= n': by the
        addition theorem sum_jm (h_nl Y_lm) (h_n'l Y_lm).
        """
        ...

    def add_overlap_gradient(
        self,
        start: Array,
        species: Array,
        vector: Array,
        distance: Array,
        table: RadialTable,
        weights: Array,
        out: Array,
    ) -> None:
        """Add the pair gradients of sum_i U_i(o_i), weights = dU_i/do_i, to (p, 3)."""
        ...

    def overlap_derivatives(
        self, vector: Array, distance: Array, table: RadialTable
    ) -> Array:
        """Return the derivatives of every pair's self terms, (p, 3, L + 1, T)."""
        ...

    def spectrum_full(self, c: Array, weights: Array) -> Array:
        """Return the power spectrum over all pairs of channels, (n, q).

        Channels a = (J, n), A = S N of them. Feature (l, a <= a'), l slowest, is
        weights_l sum_m c_alm c_a'lm, times sqrt(2) for a < a'; weights are (L + 1,).
        """
        ...

    def adjoint_full(self, c: Array, weights: Array, gradient: Array) -> Array:
        """Return dU/dc, (n, S, M, N), from dU/dX, (n, q), of ``spectrum_full``."""
        ...

    def spectrum_reduced(self, c: Array, weights: Array) -> Array:
        """Return the power spectrum with the species-summed density, (n, q).

        Feature (l, J, n, n'), l slowest, is weights_l sum_m c_nlm^J C_n'lm with
        C = sum_J c^J.
        """
        ...

    def adjoint_reduced(self, c: Array, weights: Array, gradient: Array) -> Array:
        """Return dU/dc, (n, S, M, N), from dU/dX of ``spectrum_reduced``."""
        ...

    def softened(self, features: Array, softening: float) -> tuple[Array, Array]:
        """Return u = x/n(x), (n, q), and |u|^2, (n,), n(x) = sqrt(|x|^2 + softening^2).

        ``features`` x are (n, q).
        """
        ...

    def softened_gradient(
        self, features: Array, softening: float, slope: Array, own: Array
    ) -> Array:
        """Return dU/dx, (n, q), where dU = (slope + own u) . dx/n(x).

        ``slope`` is (n, q) and ``own`` (n,); u and n as of ``softened``.
        """
        ...

    def weighted_power(self, k: Array, weights: Array, exponent: int) -> Array:
        """Return sum_b weights_b k_b^exponent of every row of k, (n,).

        ``k`` (n, b) is replaced by the slopes exponent weights_b k_b^(exponent - 1).
        """
        ...

    def row_squares(self, rows: Array) -> Array:
        """Return the squared norm of every row of (n, m), (n,) in double precision."""
        ...

    def triangle_product(self, rows: Array, matrix: Array, lower: bool) -> Array:
        """Return rows (n, m) times the transpose of a triangle, (n, m).

        ``matrix`` (m, m) is the lower or the upper triangle; the rest is not looked at,
        or zero. Both are in double or both in single precision; on a GPU the product is
        in double.
        """
        ...

    def add_forces(
        self,
        low: int,
        start: Array,
        neighbor: Array,
        vector: Array,
        gradient: Array,
        forces: Array,
        strain: Array,
    ) -> None:
        """Add pair gradients (p, 3) to forces (n, 3) and strain derivative (6,).

        The pairs are those of the c centres from ``low`` on, start (c + 1,). A pair of
        an atom with its own image exerts no force but strains. Off-diagonal Voigt
        components are the mean of both orders.
        """
        ...

    def pair_potential(
        self,
        start: Array,
        neighbor: Array,
        kind: Array,
        vector: Array,
        distance: Array,
        table: PairTable,
    ) -> tuple[Array, Array, Array]:
        """Sum a pair potential over pairs that are listed from both their ends.

        ``kind`` (n,) is the species index of every atom.

        Returns
        -------
        energies : (n,), half of every pair to each of its ends
        forces : (n, 3)
        strain : (6,), dU/dstrain in Voigt order
        """
        ...

    def spread_to_mesh(
        self,
        fractional: Array,
        charges: Array,
        shape: tuple[int, int, int],
        order: int,
    ) -> Array:
        """Return sum_i q_i M(u_1 - m_1) M(u_2 - m_2) M(u_3 - m_3) at mesh points m.

        ``fractional`` s (n, 3) are any coordinates in a periodic cell, u = s times
        ``shape``, and M the B-spline of that order, 0 < M on (0, order), 3 or more.
        """
        ...

    def gather_from_mesh(
        self, fractional: Array, mesh: Array, order: int
    ) -> tuple[Array, Array]:
        """Return sum_m mesh_m M M M at positions, (n,), and its slopes by s, (n, 3).

        The transpose of ``spread_to_mesh``.
        """
        ...

    def merge_rows(
        self,
        centres: Array,
        start: Array,
        neighbor: Array,
        vector: Array,
        derivatives: Array,
    ) -> tuple[Array, Array, Array]:
        """Sum the derivatives of pairs, (p, 3, k), to what rows need of some centres.

        Parameters
        ----------
        centres
            (c,) atoms; the pairs of the k-th are start[k] .. start[k + 1] - 1.

        Returns
        -------
        first : (c + 1,) the targets of the k-th centre are first[k] .. first[k + 1] - 1
        targets : (t,) for every centre the different neighbours other than itself
        sums : (3 t + 6 c, k), 3 rows a target, the sum over its images; then 6 rows a
            centre, the strain derivative over all its pairs, Voigt
        """
        ...

    def jacobian_full(
        self, owner: Array, c: Array, weights: Array, species: int, derivatives: Array
    ) -> Array:
        """Return the derivatives of ``spectrum_full``, (r, q), along changes of c.

        Change number r, ``derivatives`` (r, M, N), is one of the coefficients of one
        species of the atom owner[r].
        """
        ...

    def scatter_rows(
        self,
        centres: Array,
        first: Array,
        targets: Array,
        product: Array,
        alpha: Array,
        own: Array,
        gamma: Array,
        rows: Array,
        column: int,
    ) -> None:
        """Add the part of some centres to rows (3 n + 6, b'), in place.

        ``product`` (3 t + 6 c, b) and ``own`` (3 t + 6 c, 1) are ordered as the sums of
        ``merge_rows``, and may end before those of the strain; what is added for a
        centre k is alpha[k] product + gamma[k] own, alpha and gamma (c, b), to the
        columns from ``column`` on. Rows are forces, atom-major, hence minus on the
        targets and plus on the centre, and then the strain derivative.
        """
        ...

    def normal(self, seed: int, stream: int, step: int, n: int) -> Array:
        """Return n standard normal numbers, a pure function of the arguments.

        Philox4x32-10 and the Box-Muller transform; the same numbers in every
        implementation, whatever the threads.
        """
        ...


@dataclass(frozen=True, eq=False)
class Backend:
    """Where arrays live and which kernels act on them.

    Attributes
    ----------
    xp : the module of the arrays, NumPy or CuPy
    kernels : that act on them
    chunk : atoms evaluated together. On a CPU their covariances with 1000 references
        fill a second-level cache, and more of them make the matrix products no faster;
        a GPU wants all its processors busy.
    poll : steps that may be made ahead before anybody looks at what they took for
        granted. Numbers do not depend on it.
    name : of the processor
    """

    xp: Any
    kernels: Kernels
    chunk: int = 128
    poll: int = 1
    name: str = "cpu"

    @cached_property
    def watch(self) -> Watch:
        """Return what looks at conditions that are computed here."""
        return Watch(self.xp)

    @property
    def is_host(self) -> bool:
        """Return whether arrays are NumPy's, and independent work goes to threads."""
        return self.xp.__name__ == "numpy"

    def here(self, array: Array) -> Array:
        """Return an array of this backend."""
        return self.xp.asarray(array)

    def host(self, array: Array) -> Array:
        """Return a NumPy array of what is an array of this backend."""
        return array if self.is_host else self.xp.asnumpy(array)

    def wait(self) -> None:
        """Wait for all work on arrays, also that which another program has begun."""
        if not self.is_host:
            self.xp.cuda.Device().synchronize()


# Atoms evaluated together on a GPU: 260 MB for their covariances with 1000 references.
GPU_CHUNK = 32_768
GPU_POLL = 16
REALS = {"gpu": "double", "gpu-mixed": "float"}


@lru_cache(maxsize=4)
def load(device: Device) -> Backend:
    """Return the backend of one device; the one place that knows devices.

    Raises
    ------
    DeviceMissing
        When there is no GPU, or no CuPy to reach it.
    """
    import numpy

    if device == "reference":
        from otf.kernels import reference

        return Backend(numpy, reference)
    if device == "cpu":
        from otf.kernels import cpu

        return Backend(numpy, cpu)
    if device in REALS:
        return _gpu(device)
    raise ValueError(
        f"unknown device {device!r}: choose 'cpu', {', '.join(map(repr, REALS))} or "
        "'reference'"
    )


def _gpu(device: Device) -> Backend:
    try:
        import cupy
    except ImportError as error:
        raise DeviceMissing(
            f"the device {device!r} needs CuPy: pip install 'otf-md[gpu]'"
        ) from error
    # Without a driver CuPy imports, and fails at its first array.
    if not cupy.is_available():
        raise DeviceMissing(
            f"the device {device!r} needs an NVIDIA GPU with its driver, and CuPy "
            "finds none"
        )
    from otf.kernels.gpu import CupyLauncher, GpuKernels

    kernels = GpuKernels(CupyLauncher(), real=REALS[device])
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    name = properties["name"].decode()
    return Backend(cupy, kernels, GPU_CHUNK, GPU_POLL, name)
