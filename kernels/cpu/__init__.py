"""Compute kernels in numba."""

from otf.kernels.cpu.density import expand, pair_derivatives, pair_gradient
from otf.kernels.cpu.neighbors import within
from otf.kernels.cpu.noise import normal
from otf.kernels.cpu.overlaps import overlap, overlap_derivatives, overlap_gradient
from otf.kernels.cpu.powers import weighted_power
from otf.kernels.cpu.rows import gather, merge_rows, scatter_rows
from otf.kernels.cpu.spectrum import (
    adjoint_full,
    adjoint_reduced,
    jacobian_full,
    spectrum_full,
    spectrum_reduced,
)

__all__ = [
    "adjoint_full",
    "adjoint_reduced",
    "expand",
    "gather",
    "jacobian_full",
    "merge_rows",
    "normal",
    "overlap",
    "overlap_derivatives",
    "overlap_gradient",
    "pair_derivatives",
    "pair_gradient",
    "scatter_rows",
    "spectrum_full",
    "spectrum_reduced",
    "weighted_power",
    "within",
]
