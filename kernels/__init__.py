"""Compute kernels: one interface, a NumPy definition, numba, and CUDA C."""

from otf.kernels.interface import (
    Backend,
    Device,
    DeviceMissing,
    Kernels,
    PairTable,
    RadialTable,
    load,
)

__all__ = [
    "Backend",
    "Device",
    "DeviceMissing",
    "Kernels",
    "PairTable",
    "RadialTable",
    "load",
]
