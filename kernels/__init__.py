"""Compute kernels: one interface, a NumPy definition, a numba implementation."""

from otf.kernels.interface import Backend, Device, Kernels, PairTable, RadialTable, load

__all__ = ["Backend", "Device", "Kernels", "PairTable", "RadialTable", "load"]
