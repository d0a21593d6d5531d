"""How kernels of CUDA C programs are started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.kernels.gpu.programs import Program


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
