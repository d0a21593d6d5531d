"""What several files of tests are given."""

import os
import shutil

import pytest
from cuda_emulator import Emulator

from otf.kernels.gpu import GpuKernels

EMULATOR_OPTIONS = os.environ.get("CUDA_EMULATOR_OPTIONS", "-O1").split()


@pytest.fixture
def emulated(pytestconfig, tmp_path_factory):
    """Return a function that makes GPU kernels that run here, in an order of threads.

    Compiled programs are kept from one session to the next, where pytest has a cache.
    """
    if shutil.which("g++") is None:
        pytest.skip("the emulator of CUDA C needs g++")
    cache = getattr(pytestconfig, "cache", None)
    folder = cache.mkdir("cuda_emulator") if cache else tmp_path_factory.getbasetemp()

    def make(order="forward", seed=1, *, real="double", change=str):
        emulator = Emulator(
            folder, order=order, seed=seed, change=change, options=EMULATOR_OPTIONS
        )
        return GpuKernels(emulator, real=real)

    return make
