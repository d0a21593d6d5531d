"""Runs the CUDA C kernels on the CPU, in any order of threads; see emulator.h."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
from pathlib import Path

import numpy as np

HEADER = Path(__file__).with_name("emulator.h")
KERNEL = re.compile(r"__global__\s+void\s+__launch_bounds__\([^)]*\)\s+(\w+)\s*\(")
ORDERS = ("forward", "reverse", "random")
# As on a GPU a sum may be fused or not; here it is not, as in the numba kernels.
ROOM = 1 << 16  # bytes around the arrays of kernels that are made wrong
OPTIONS = ("-std=c++17", "-shared", "-fPIC", "-w", "-ffp-contract=off")


class Emulator:
    """A launcher whose arrays are NumPy's.

    Parameters
    ----------
    folder
        Compiled programs are kept in it.
    order, seed
        In which order threads and blocks go on: 'forward', 'reverse' or 'random'.
    change
        Makes another source of the source of a program.
    options
        More options for the compiler.
    """

    xp = np

    def __init__(
        self, folder, *, order="forward", seed=1, change=str, options=("-O1",)
    ):
        self._folder = folder
        self._order, self._seed = ORDERS.index(order), seed
        self._change, self._options = change, options
        self._libraries = {}
        self.launched = []

    def launch(self, program, kernel, grid, arguments):
        library = self._libraries.get(program)
        if library is None:
            library = self._libraries[program] = self._load(program)
        if self._change is not str:
            self._launch_apart(library, program, kernel, grid, arguments)
            return
        self._launch(library, program, kernel, grid, arguments)

    def _launch_apart(self, library, program, kernel, grid, arguments):
        """Start a wrong kernel on copies, so that what it reads astray is there.

        Shared memory that nobody has written is -1 as a whole number: a place just
        before the table, which may be the end of what the process has.
        """
        copies = [_with_room(x) if isinstance(x, np.ndarray) else x for x in arguments]
        self._launch(library, program, kernel, grid, copies)
        for argument, copy in zip(arguments, copies, strict=True):
            if isinstance(argument, np.ndarray) and argument.flags.writeable:
                argument[...] = copy

    def _launch(self, library, program, kernel, grid, arguments):
        values = [_value(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(
            *(ctypes.addressof(value) for value in values)
        )
        error = getattr(library, f"launch_{kernel}")(
            (ctypes.c_uint * 2)(*grid, *([1] * (2 - len(grid)))),
            program.block,
            pointers,
            self._order,
            ctypes.c_uint64(self._seed),
        )
        self.launched.append(kernel)
        if error:
            raise RuntimeError(f"{kernel}: {error.decode()}")

    def multiply(self, a, b, out):
        out[:] = a @ b.T

    def _load(self, program):
        source = self._change(program.source)
        kernels = KERNEL.findall(source)
        text = "\n".join(
            [
                f'#include "{HEADER}"\nnamespace {{\n{source}\n}}',
                *(
                    f'extern "C" const char *launch_{name}(const unsigned *grid, '
                    "unsigned block, void **values, int order, uint64_t seed) { "
                    f"return emulator::launch({name}, grid, block, values, order, "
                    "seed); }"
                    for name in kernels
                ),
            ]
        )
        options = (*OPTIONS, *self._options, *program.definitions)
        key = repr((text, HEADER.read_text(), options))
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        path = self._folder / f"{program.name}_{name}.so"
        if not path.exists():
            made = path.with_suffix(f".{os.getpid()}")
            command = ["g++", *options, "-x", "c++", "-", "-o", str(made)]
            subprocess.run(command, input=text.encode(), check=True)
            made.rename(path)
        # PyDLL keeps the interpreter's lock: programs have one set of variables.
        library = ctypes.PyDLL(str(path))
        for kernel in kernels:
            getattr(library, f"launch_{kernel}").restype = ctypes.c_char_p
        return library


def _with_room(array):
    """Return a copy of an array with memory before and behind it."""
    room = np.zeros(array.nbytes + 2 * ROOM, dtype=np.uint8)
    copy = room[ROOM : ROOM + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _value(argument):
    """Return the C object of an argument, of 8 bytes."""
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return ctypes.c_void_p(argument.ctypes.data)
    types = {
        np.int64: ctypes.c_int64,
        np.uint64: ctypes.c_uint64,
        np.float64: ctypes.c_double,
    }
    return types[type(argument)](argument.item())
