"""CUDA C programs made of the sources beside this file, and how kernels are started."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a program is made of, first to last.
PROGRAMS = {
    "density": ("common", "pairs", "density"),
    "overlaps": ("common", "pairs", "overlaps"),
    "spectrum": ("common", "spectrum"),
    "powers": ("common", "powers"),
    "neighbors": ("common", "neighbors"),
    "noise": ("common", "noise"),
    "pair_potential": ("common", "pair_potential"),
    "rows": ("common", "rows"),
    "mesh": ("common", "mesh"),
}


class Program(NamedTuple):
    """A program and the constants it is compiled with.

    Attributes
    ----------
    name : one of ``PROGRAMS``
    block : threads of a block, a multiple of 32
    real : 'double' or 'float', the arithmetic of pairs and spectra
    constants : names and values of what else it asks for
    """

    name: str
    block: int
    real: str = "double"
    constants: tuple[tuple[str, int], ...] = ()

    @property
    def definitions(self) -> tuple[str, ...]:
        """Return the compiler options that set the constants."""
        named = (("BLOCK", self.block), ("REAL", self.real), *self.constants)
        return tuple(f"-D{name}={value}" for name, value in named)

    @property
    def source(self) -> str:
        """Return the whole text, which includes nothing."""
        return "\n".join(map(_text, PROGRAMS[self.name]))


@cache
def _text(part: str) -> str:
    """Return one source; compilers name it in what they say."""
    text = files(__package__).joinpath(f"{part}.cu").read_text(encoding="utf-8")
    return f'#line 1 "{part}.cu"\n{text}'


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
        self._modules: dict[Program, Any] = {}

    def launch(
        self,
        program: Program,
        kernel: str,
        grid: tuple[int, ...],
        arguments: Sequence[Any],
    ) -> None:
        """Start a kernel; the program is compiled at its first use."""
        module = self._modules.get(program)
        if module is None:
            options = ("-std=c++17", *program.definitions)
            module = self.xp.RawModule(code=program.source, options=options)
            self._modules[program] = module
        module.get_function(kernel)(grid, (program.block,), tuple(arguments))
