"""How kernels of CUDA C programs are started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.kernels.gpu.programs import Program


# Factors, which cuBLAS reads from memory.
ONE, ZERO = np.ones(1), np.zeros(1)


class Launcher(Protocol):
    """Compiles programs and starts their kernels where the arrays of ``xp`` live."""

    @property
    def xp(self) -> Any:
        """Return the array module, CuPy or NumPy."""
        ...

    def launch(
        self,
        program: Program,
        kernel: str,
        grid: tuple[int, ...],
        arguments: Sequence[Any],
    ) -> None:
        """Start a kernel on a grid of blocks, of which no extent is zero.

        Arguments are contiguous arrays of ``xp``, and NumPy scalars of 8 bytes.
        """
        ...

    def multiply(self, a: Any, b: Any, out: Any) -> None:
        """Write a b^T to out.

        All are of float64, with rows as long as they like and neighbouring columns.
        """
        ...


class CupyLauncher:
    """Starts kernels on an NVIDIA GPU by CuPy."""

    def __init__(self) -> None:
        import cupy

        self.xp = cupy
        self._functions: dict[tuple[Program, str], Any] = {}

    def launch(
        self,
        program: Program,
        kernel: str,
        grid: tuple[int, ...],
        arguments: Sequence[Any],
    ) -> None:
        """Start a kernel; the program is compiled at its first use."""
        function = self._functions.get((program, kernel))
        if function is None:
            options = ("-std=c++17", *program.definitions)
            module = self.xp.RawModule(code=program.source, options=options)
            function = module.get_function(kernel)
            self._functions[program, kernel] = function
        function(grid, (program.block,), tuple(arguments))

    def multiply(self, a: Any, b: Any, out: Any) -> None:
        """Write a b^T to out, by cuBLAS, which knows strides; CuPy would copy."""
        from cupy_backends.cuda.libs import cublas

        # cuBLAS counts columns first: it is told to make out^T = b a^T.
        cublas.dgemm(
            self.xp.cuda.device.get_cublas_handle(),
            cublas.CUBLAS_OP_T,
            cublas.CUBLAS_OP_N,
            *(len(b), len(a), a.shape[1]),
            ONE.ctypes.data,
            *(b.data.ptr, b.strides[0] // 8, a.data.ptr, a.strides[0] // 8),
            ZERO.ctypes.data,
            *(out.data.ptr, out.strides[0] // 8),
        )
