"""Compute kernels in numba."""

from otf.kernels.cpu.density import add_pair_gradient, expand, pair_derivatives
from otf.kernels.cpu.mesh import gather_from_mesh, spread_to_mesh
from otf.kernels.cpu.neighbors import (
    largest_move,
    pairs_within,
    translations,
    within,
)
from otf.kernels.cpu.noise import normal
from otf.kernels.cpu.overlaps import (
    add_overlap_gradient,
    overlap,
    overlap_derivatives,
)
from otf.kernels.cpu.pair_potential import pair_potential
from otf.kernels.cpu.powers import softened, softened_gradient, weighted_power
from otf.kernels.cpu.products import row_squares, triangle_product
from otf.kernels.cpu.rows import add_forces, merge_rows, scatter_rows
from otf.kernels.cpu.spectrum import (
    adjoint_full,
    adjoint_reduced,
    jacobian_full,
    spectrum_full,
    spectrum_reduced,
)

__all__ = [
    "add_forces",
    "add_overlap_gradient",
    "add_pair_gradient",
    "adjoint_full",
    "adjoint_reduced",
    "expand",
    "gather_from_mesh",
    "jacobian_full",
    "largest_move",
    "merge_rows",
    "normal",
    "overlap",
    "overlap_derivatives",
    "pair_derivatives",
    "pair_potential",
    "pairs_within",
    "row_squares",
    "scatter_rows",
    "softened",
    "softened_gradient",
    "spectrum_full",
    "spectrum_reduced",
    "spread_to_mesh",
    "translations",
    "triangle_product",
    "weighted_power",
    "within",
]
