"""The kernels of ``otf.kernels.interface`` by CUDA C programs; documented there.

What they take and return lives where the launcher runs: tables and weights as well.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from otf.kernels.gpu import programs
from otf.kernels.noise import check_key
from otf.kernels.norms import harmonic_norms

# Columns of a product with a triangle that are made together: of eight blocks four
# ninths of the work is saved.
TRIANGLE = 64
# Radial tables whose coefficients are remembered.
SPLINES = 32


class GpuKernels:
    """All kernels, run by a launcher.

    Sums have one order: results do not depend on how blocks and threads are scheduled.

    Parameters
    ----------
    launcher
        Which compiles and starts programs.
    real
        'double' or 'float', the arithmetic of single pairs. All else, and all numbers
        in memory, are double.
    """

    def __init__(self, launcher, *, real="double"):
        if real not in ("double", "float"):
            raise ValueError(f"real must be 'double' or 'float', got {real!r}")
        self._launcher = launcher
        self._xp = launcher.xp
        self._real = real
        self._norms = lru_cache(maxsize=16)(
            lambda l_max: self._xp.asarray(harmonic_norms(l_max))
        )
        self._orders = lru_cache(maxsize=16)(
            lambda weights: self._xp.asarray(np.frombuffer(weights))
        )
        self._splines = {}

    # ----------------------------------------------------------------------- pairs

    def pairs_within(self, positions, cell, periodic, reach):
        xp, n, reach = self._xp, len(positions), float(reach)
        positions, cell = self._numbers(positions), np.asarray(cell)
        periodic, into = np.asarray(periodic), np.linalg.inv(cell)
        fractional = positions @ xp.asarray(into)
        heights = 1.0 / np.linalg.norm(into, axis=0)
        # Not many more cells than atoms, whatever the volume.
        n_cells = np.clip(heights // reach, 1, _ratio(n, 8) ** (1 / 3) + 1).astype(int)
        sides = np.ceil(reach / heights * n_cells).astype(int)
        wrapped = xp.floor(fractional) * xp.asarray(periodic)
        inside = fractional - wrapped
        lowest = inside.min(axis=0) if n else xp.zeros(3)
        inside -= lowest * xp.asarray(~periodic)
        cell_of = (inside * xp.asarray(n_cells)).astype(np.int64)
        cell_of = xp.clip(cell_of, 0, xp.asarray(n_cells - 1))
        flat = (cell_of[:, 0] * int(n_cells[1]) + cell_of[:, 1]) * int(n_cells[2])
        flat += cell_of[:, 2]
        members = xp.argsort(flat, kind="stable")
        begins = xp.searchsorted(flat[members], xp.arange(int(n_cells.prod()) + 1))
        axes = xp.asarray(np.stack([n_cells, sides, periodic]).astype(np.int64))
        vectors = xp.asarray(cell.astype(np.float64))
        given = (
            positions,
            cell_of,
            self._indices(wrapped),
            self._indices(members),
            self._indices(begins),
            axes,
            vectors,
            reach,
        )
        counts = xp.empty(n, dtype=np.int64)
        self._run(programs.CELLS, "count_pairs", (n,), *given, counts)
        start = self._starts(counts)
        n_pairs = int(start[-1])
        found, images, neighbor = xp.empty((3, n_pairs), dtype=np.int64)
        shift = xp.empty((n_pairs, 3))
        self._run(programs.CELLS, "write_pairs", (n,), *given, start, found, images)
        whole = start, found, images, neighbor, shift
        self._run(programs.CELLS, "sort_pairs", (n,), *whole)
        return start, neighbor, shift

    def largest_move(self, now, then, deformation):
        if not len(now):
            return self._xp.zeros(())
        return ((now - then @ deformation) ** 2).sum(axis=1).max()

    def translations(self, shift, cell):
        # Written out: the last bits of a matrix product may depend on the other rows.
        a, b, c = (shift[:, k, None] * cell[k] for k in range(3))
        return a + b + c

    def within(self, low, start, neighbor, offset, positions, cutoff):
        start, neighbor = self._indices(start), self._indices(neighbor)
        offset, positions = self._numbers(offset), self._numbers(positions)
        program, n = programs.NEIGHBORS, len(start) - 1
        given = low, start, neighbor, offset, positions, float(cutoff)
        counts = self._xp.empty(n, dtype=np.int64)
        self._run(program, "count_near", (n,), *given, counts)
        first, n_known = self._starts(counts), len(neighbor)
        # Room for all of them: to ask how many are near is to wait.
        near = self._xp.zeros(n_known, dtype=np.int64)
        vector = self._xp.zeros((n_known, 3))
        distance = self._xp.full(n_known, np.inf)
        self._run(program, "write_near", (n,), *given, first, near, vector, distance)
        return first, near, vector, distance

    def expand(self, start, species, vector, distance, table, n_species):
        _, _, n_l, n_max = table.values.shape
        n = len(start) - 1
        c = self._xp.empty((n, n_species, n_l * n_l, n_max))
        self._run(
            programs.density(table, self._real),
            "expand",
            (n, n_species),
            *self._pairs(start, species, vector, distance),
            *self._table(table),
            self._norms(n_l - 1),
            c,
        )
        return c

    def add_pair_gradient(self, start, species, vector, distance, table, weights, out):
        self._run(
            programs.density(table, self._real),
            "add_pair_gradient",
            (len(start) - 1, weights.shape[1]),
            *self._pairs(start, species, vector, distance),
            *self._table(table),
            self._norms(table.values.shape[2] - 1),
            self._numbers(weights),
            self._changed(out),
        )

    def pair_derivatives(self, vector, distance, table):
        _, _, n_l, n_max = table.values.shape
        program, n = programs.density(table, self._real), len(distance)
        out = self._xp.empty((n, 3, n_l * n_l, n_max))
        self._run(
            program,
            "pair_derivatives",
            (_ratio(n, programs.few(program)),),
            n,
            self._numbers(vector),
            self._numbers(distance),
            *self._table(table),
            self._norms(n_l - 1),
            out,
        )
        return out

    def overlap(self, start, species, distance, table, n_species):
        _, _, n_l, n_max = table.values.shape
        n = len(start) - 1
        out = self._xp.empty((n, n_species, n_l, n_max * (n_max + 1) // 2))
        self._run(
            programs.overlaps(table, self._real),
            "overlap",
            (n, n_species),
            self._indices(start),
            self._indices(species),
            self._numbers(distance),
            *self._table(table),
            out,
        )
        return out

    def add_overlap_gradient(
        self, start, species, vector, distance, table, weights, out
    ):
        self._run(
            programs.overlaps(table, self._real),
            "add_overlap_gradient",
            (len(start) - 1,),
            *self._pairs(start, species, vector, distance),
            *self._table(table),
            self._numbers(weights),
            weights.shape[1],
            self._changed(out),
        )

    def overlap_derivatives(self, vector, distance, table):
        _, _, n_l, n_max = table.values.shape
        program, n = programs.overlaps(table, self._real), len(distance)
        out = self._xp.empty((n, 3, n_l, n_max * (n_max + 1) // 2))
        self._run(
            program,
            "overlap_derivatives",
            (_ratio(n, programs.few(program)),),
            n,
            self._numbers(vector),
            self._numbers(distance),
            *self._table(table),
            out,
        )
        return out

    def pair_potential(self, start, neighbor, kind, vector, distance, table):
        n, (n_species, _, intervals, _) = len(start) - 1, table.smooth.shape
        energies, forces = self._xp.empty(n), self._xp.empty((n, 3))
        strains, strain = self._xp.empty((n, 6)), self._xp.zeros(6)
        self._run(
            programs.PAIR_POTENTIAL,
            "pair_potential",
            (n,),
            self._indices(start),
            self._indices(neighbor),
            self._indices(kind),
            self._numbers(vector),
            self._numbers(distance),
            self._numbers(table.bare),
            self._numbers(table.smooth),
            n_species,
            intervals,
            float(table.cutoff),
            energies,
            forces,
            strains,
        )
        self._add_columns(strains, strain)
        return energies, forces, strain

    # -------------------------------------------------------------------- spectrum

    def spectrum_full(self, c, weights):
        n, n_species, _, n_max = c.shape
        n_a, n_l = n_species * n_max, len(weights)
        out = self._xp.empty((n, n_l * n_a * (n_a + 1) // 2))
        given = self._numbers(c), self._factors(weights)
        self._spectrum("spectrum_full", n, n_species, n_l, n_max, *given, out)
        return out

    def adjoint_full(self, c, weights, gradient):
        n, n_species, _, n_max = c.shape
        out = self._xp.empty(c.shape)
        given = self._numbers(c), self._factors(weights), self._numbers(gradient)
        self._spectrum("adjoint_full", n, n_species, len(weights), n_max, *given, out)
        return out

    def spectrum_reduced(self, c, weights):
        n, n_species, _, n_max = c.shape
        n_l = len(weights)
        out = self._xp.empty((n, n_l * n_species * n_max * n_max))
        given = self._numbers(c), self._numbers(c.sum(axis=1)), self._factors(weights)
        self._spectrum("spectrum_reduced", n, n_species, n_l, n_max, *given, out)
        return out

    def adjoint_reduced(self, c, weights, gradient):
        n, n_species, _, n_max = c.shape
        out = self._xp.empty(c.shape)
        given = (
            self._numbers(c),
            self._numbers(c.sum(axis=1)),
            self._factors(weights),
            self._numbers(gradient),
        )
        self._spectrum(
            "adjoint_reduced", n, n_species, len(weights), n_max, *given, out
        )
        return out

    def jacobian_full(self, owner, c, weights, species, derivatives):
        _, n_species, _, n_max = c.shape
        n, n_a, n_l = len(owner), n_species * n_max, len(weights)
        out = self._xp.empty((n, n_l * n_a * (n_a + 1) // 2))
        self._spectrum(
            "jacobian_full",
            n,
            n_species,
            n_l,
            n_max,
            self._indices(owner),
            self._numbers(c),
            self._factors(weights),
            int(species),
            self._numbers(derivatives),
            out,
        )
        return out

    # ------------------------------------------------------------------ covariance

    def softened(self, features, softening):
        features = self._numbers(features)
        n, q = features.shape
        directions, rho = self._xp.empty((n, q)), self._xp.empty(n)
        self._powers("softened", n, features, q, float(softening), directions, rho)
        return directions, rho

    def softened_gradient(self, features, softening, slope, own):
        features, slope = self._numbers(features), self._numbers(slope)
        n, q = features.shape
        out = self._xp.empty((n, q))
        given = features, q, float(softening), slope, self._numbers(own)
        self._powers("softened_gradient", n, *given, out)
        return out

    def weighted_power(self, k, weights, exponent):
        n, n_columns = k.shape
        out = self._xp.empty(n)
        given = self._changed(k), n_columns, self._numbers(weights), int(exponent)
        self._powers("weighted_power", n, *given, out)
        return out

    def row_squares(self, rows):
        rows = self._numbers(rows)
        n, m = rows.shape
        out = self._xp.empty(n)
        self._powers("row_squares", n, rows, m, out)
        return out

    def triangle_product(self, rows, matrix, lower):
        rows, matrix = self._numbers(rows), self._numbers(matrix)
        n, m = rows.shape
        out = self._xp.empty((n, m))
        for low in range(0, m if n else 0, TRIANGLE):
            part = slice(low, min(low + TRIANGLE, m))
            needed = slice(0, part.stop) if lower else slice(low, m)
            self._launcher.multiply(rows[:, needed], matrix[part, needed], out[:, part])
        return out

    # ------------------------------------------------------------------------ sums

    def add_forces(self, low, start, neighbor, vector, gradient, forces, strain):
        xp, n_centres = self._xp, len(start) - 1
        sums = xp.zeros(3 * len(forces) + 1, dtype=np.int64)
        strains = xp.empty((n_centres, 6))
        self._run(
            programs.SUMS,
            "sum_forces",
            (n_centres,),
            low,
            self._indices(start),
            self._indices(neighbor),
            self._numbers(vector),
            self._numbers(gradient),
            sums[:-1],
            sums[-1:],
            strains,
        )
        n, grid = forces.size, (_ratio(forces.size, programs.THREADS),)
        given = n, sums[:-1], sums[-1:], self._changed(forces)
        self._run(programs.ROWS, "take_forces", grid, *given)
        self._add_columns(strains, self._changed(strain))

    def merge_rows(self, centres, start, neighbor, vector, derivatives):
        xp = self._xp
        centres, start = self._indices(centres), self._indices(start)
        neighbor = self._indices(neighbor)
        n, n_columns = len(centres), derivatives.shape[2]
        # Pairs of a centre are sorted by neighbour: images of one follow each other.
        owner = xp.searchsorted(start, xp.arange(len(neighbor)), side="right") - 1
        is_new = neighbor != centres[owner]
        is_new[1:] &= (neighbor[1:] != neighbor[:-1]) | (owner[1:] != owner[:-1])
        first, targets = self._starts(is_new)[start], neighbor[is_new]
        sums = xp.empty((3 * len(targets) + 6 * n, n_columns))
        self._run(
            programs.ROWS,
            "merge_rows",
            (n, _ratio(n_columns, programs.THREADS)),
            centres,
            start,
            neighbor,
            self._numbers(vector),
            self._numbers(derivatives),
            n_columns,
            first,
            sums,
        )
        return first, targets, sums

    def scatter_rows(
        self, centres, first, targets, product, alpha, own, gamma, rows, column
    ):
        n_columns = product.shape[1]
        self._run(
            programs.ROWS,
            "scatter_rows",
            (_ratio(n_columns, programs.THREADS),),
            len(centres),
            self._indices(centres),
            self._indices(first),
            self._indices(targets),
            *(self._numbers(x) for x in (product, alpha, own, gamma)),
            n_columns,
            len(product),
            self._changed(rows),
            *rows.shape,
            int(column),
        )

    def _add_columns(self, table, out):
        """Add the columns of (r, c) to out, (c,)."""
        n_rows, n_columns = table.shape
        self._run(programs.ROWS, "add_columns", (n_columns,), n_rows, table, out)

    # ------------------------------------------------------------------------ mesh

    def spread_to_mesh(self, fractional, charges, shape, order):
        xp, n, n_points = self._xp, len(charges), int(np.prod(shape))
        program = programs.mesh(int(order))
        weights, cell = xp.empty((n, 3, order)), xp.empty(n, dtype=np.int64)
        self._run(
            program,
            "place_charges",
            (_ratio(n, program.block),),
            n,
            self._numbers(fractional),
            *shape,
            weights,
            cell,
        )
        by_cell = xp.argsort(cell, kind="stable")
        mesh = xp.empty(shape)
        self._run(
            program,
            "spread_to_mesh",
            (_ratio(n_points, program.block),),
            *shape,
            self._indices(xp.searchsorted(cell[by_cell], xp.arange(n_points + 1))),
            self._indices(by_cell),
            weights,
            self._numbers(charges),
            mesh,
        )
        return mesh

    def gather_from_mesh(self, fractional, mesh, order):
        n, program = len(fractional), programs.mesh(int(order))
        values, slopes = self._xp.empty(n), self._xp.empty((n, 3))
        self._run(
            program,
            "gather_from_mesh",
            (_ratio(n, program.block),),
            n,
            self._numbers(fractional),
            *mesh.shape,
            self._numbers(mesh),
            values,
            slopes,
        )
        return values, slopes

    # ----------------------------------------------------------------------- noise

    def normal(self, seed, stream, step, n):
        check_key(seed, stream, step, n)
        out = self._xp.empty(n)
        program = programs.NOISE
        key = np.uint64(seed), np.uint64(stream), np.uint64(step)
        grid = (_ratio(n, 2 * program.block),)
        self._run(program, "normal", grid, *key, n, out)
        return out

    # ------------------------------------------------------------ programs, arrays

    def _spectrum(self, kernel, n, *arguments):
        self._run(programs.SPECTRUM, kernel, (n,), *arguments)

    def _powers(self, kernel, n, *arguments):
        self._run(programs.POWERS, kernel, (n,), *arguments)

    def _run(self, program, kernel, grid, *arguments):
        if 0 not in grid:
            self._launcher.launch(
                program, kernel, grid, list(map(_argument, arguments))
            )

    def _pairs(self, start, species, vector, distance):
        whole = self._indices(start), self._indices(species)
        return *whole, self._numbers(vector), self._numbers(distance)

    def _table(self, table):
        """Return what kernels get of a radial table: made once, and remembered."""
        values, spline = self._splines.get(id(table.values), (None, None))
        if values is not table.values:
            if len(self._splines) == SPLINES:
                self._splines.clear()
            dtype = np.float32 if self._real == "float" else np.float64
            spline = quintics(self._xp, self._here(table.values)).astype(dtype)
            self._splines[id(table.values)] = table.values, spline
        return spline, len(spline), float(table.cutoff)

    def _factors(self, weights):
        """Return the weights of the orders, which come from the host or from here."""
        if isinstance(weights, np.ndarray):
            return self._orders(weights.tobytes())
        return self._numbers(weights)

    def _starts(self, counts):
        """Return the sums of all counts before each, and of all, (n + 1,)."""
        first = self._xp.zeros(len(counts) + 1, dtype=np.int64)
        first[1:] = self._xp.cumsum(counts)
        return first

    def _indices(self, array):
        return self._xp.ascontiguousarray(self._here(array), dtype=np.int64)

    def _numbers(self, array):
        return self._xp.ascontiguousarray(self._here(array), dtype=np.float64)

    def _changed(self, array):
        """Return an array that a kernel writes to, which cannot be copied."""
        array = self._here(array)
        if array.dtype != np.float64 or not array.flags.c_contiguous:
            raise ValueError(
                "an array that a kernel changes must be contiguous and of float64, got "
                f"{array.dtype} with strides {array.strides}"
            )
        return array

    def _here(self, array):
        if not isinstance(array, self._xp.ndarray):
            raise TypeError(
                f"these kernels take arrays of {self._xp.__name__}, got "
                f"{type(array).__module__}.{type(array).__name__}: "
                "move it with backend.xp.asarray"
            )
        return array


def quintics(xp, values):
    """Return the coefficients of t^0 .. t^5 of each interval, (nodes - 1, 6, L + 1, N).

    ``values`` are those of a radial table; t goes from 0 to 1.
    """
    (v, s, c), (w, t, d) = (x.swapaxes(0, 1) for x in (values[:-1], values[1:]))
    rise = w - v
    return xp.stack(
        [
            v,
            s,
            0.5 * c,
            10.0 * rise - 6.0 * s - 4.0 * t - 1.5 * c + 0.5 * d,
            -15.0 * rise + 8.0 * s + 7.0 * t + 1.5 * c - d,
            6.0 * rise - 3.0 * s - 3.0 * t - 0.5 * c + 0.5 * d,
        ],
        axis=1,
    )


def _argument(value):
    """Return what a kernel gets: arrays, and scalars of 8 bytes."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, np.uint64):
        return np.int64(value)
    return np.float64(value) if isinstance(value, float) else value


def _ratio(n, size):
    """Return how many blocks of a size hold n."""
    return -(-n // size)
