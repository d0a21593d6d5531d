"""Compute kernels in CUDA C."""

from otf.kernels.gpu.kernels import GpuKernels
from otf.kernels.gpu.launcher import CupyLauncher, Launcher

__all__ = ["CupyLauncher", "GpuKernels", "Launcher"]
