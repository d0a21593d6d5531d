"""CUDA C programs: which sources they are made of, and the constants they ask for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from otf.kernels.interface import RadialTable

WARP = 32
# Threads of a block where nothing asks for another number.
THREADS = 128
# Shared memory for the pairs of a tile in bytes. A block may have 48 kB; of blocks with
# half of it a processor holds enough to hide how long memory takes.
TILE_MEMORY = 30_000

# What a program is made of, first to last.
SOURCES = {
    "density": ("common", "pairs", "density"),
    "overlaps": ("common", "pairs", "overlaps"),
    "spectrum": ("common", "spectrum"),
    "powers": ("common", "powers"),
    "cells": ("common", "cells"),
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
    name : one of ``SOURCES``
    block : threads of a block, a multiple of 32
    real : 'double' or 'float', the arithmetic of single pairs
    constants : names and values of what else it asks for
    """

    name: str
    block: int = THREADS
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
        return "\n".join(f'#line 1 "{x}.cu"\n{text(x)}' for x in SOURCES[self.name])


@cache
def text(source: str) -> str:
    """Return one of the sources beside this file."""
    return files(__package__).joinpath(f"{source}.cu").read_text(encoding="utf-8")


def density(table: RadialTable, real: str) -> Program:
    """Return the program of the density in the functions of a table."""
    _, _, n_l, n_max = table.values.shape
    program = _of_table("density", table, real, n_l * n_l * n_max, n_l * n_l + 1)
    # of a pair the radial functions and their slopes, and its place
    numbers = 2 * n_l * (n_max + 3) + 4
    pulled = _tile(program.block // 2, numbers, real)
    return program._replace(constants=(*program.constants, ("PULLED", pulled)))


def overlaps(table: RadialTable, real: str) -> Program:
    """Return the program of the self terms in the functions of a table."""
    _, _, n_l, n_max = table.values.shape
    return _of_table("overlaps", table, real, n_l * n_max * (n_max + 1) // 2, 0)


def _of_table(
    name: str, table: RadialTable, real: str, n_results: int, n_angular: int
) -> Program:
    """Return a program with as many threads and pairs at a time as are of use."""
    _, _, n_l, n_max = table.values.shape
    block = WARP if n_results <= WARP else 2 * WARP
    # angular and radial functions of a pair, and its place in the table
    tile = _tile(block, n_angular + n_l * (n_max + 3) + 4, real)
    constants = ("N_MAX", n_max), ("L_MAX", n_l - 1), ("TILE", tile)
    return Program(name, block, real, constants)


def _tile(most: int, numbers: int, real: str) -> int:
    """Return how many pairs of so many numbers are prepared together."""
    size = (4 if real == "float" else 8) * numbers
    while most > 4 and size * most > TILE_MEMORY:
        most //= 2
    return most


def few(program: Program) -> int:
    """Return how many pairs a block of the kernels of pair derivatives has."""
    return dict(program.constants)["TILE"] // 4


def mesh(order: int) -> Program:
    """Return the program of B-splines of an order on a mesh."""
    return Program("mesh", constants=(("ORDER", order),))


CELLS = Program("cells", WARP)
NEIGHBORS = Program("neighbors", WARP)
PAIR_POTENTIAL = Program("pair_potential", 2 * WARP)
SUMS = Program("rows", WARP)
ROWS = Program("rows")
SPECTRUM = Program("spectrum")
POWERS = Program("powers")
NOISE = Program("noise")
