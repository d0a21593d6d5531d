"""The CUDA C kernels compile for every architecture, within budgets; needs no GPU."""

from __future__ import annotations

import ctypes
import struct
import sysconfig
from functools import cache
from pathlib import Path

import pytest
from cuda_emulator import KERNEL

from otf.descriptors.radial import radial_table
from otf.kernels.gpu import programs

REALS = ("double", "float")
NAMES = ("cu13/lib/libnvrtc.so.13", "cuda_nvrtc/lib/libnvrtc.so.12")
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
TWO_BODY, THREE_BODY = radial_table(6.5, 12, 0, 0.5), radial_table(5.5, 8, 4, 0.5)
PROGRAMS = [
    *(programs.density(t, real) for t in (TWO_BODY, THREE_BODY) for real in REALS),
    *(programs.overlaps(THREE_BODY, real) for real in REALS),
    programs.SPECTRUM,
    programs.POWERS,
    programs.CELLS,
    programs.NEIGHBORS,
    programs.NOISE,
    programs.PAIR_POTENTIAL,
    programs.SUMS,
    programs.ROWS,
    programs.mesh(6),
]
# Registers a thread. A processor has 65536 of them, so that 128 leave it 512 threads.
REGISTERS = dict.fromkeys(
    ("add_pair_gradient", "expand", "overlap", "gather_from_mesh"), 128
)
OTHER_REGISTERS = 96
# Where units for double precision are few the compiler gathers loads and takes more.
FEW_UNITS, ANY_REGISTERS = (75, 86, 89, 120), 168
# Bytes of the stack: arrays that are read at a computed place, and the reduction of
# large angles in sin and cos.
STACK = {
    "add_pair_gradient": 32,
    "count_pairs": 16,
    "gather_from_mesh": 128,
    "normal": 48,
}
# Of records in the ELF files; the numbers are those that ``ptxas -v`` prints.
ATTRIBUTES = {0x2F: "registers", 0x11: "stack"}
SHARED = 48 * 1024  # bytes a block has without asking for more


class Compiler:
    """NVRTC of the packages nvidia-cuda-nvrtc or nvidia-cuda-nvrtc-cu12."""

    def __init__(self, path):
        for other in path.parent.glob("libnvrtc-builtins.so.*"):
            # NVRTC opens it by its name alone.
            ctypes.CDLL(str(other), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        count = ctypes.c_int()
        self._call("GetNumSupportedArchs", ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        self._call("GetSupportedArchs", known)
        self.architectures = tuple(known)

    def compile(self, program, architecture):
        """Return the machine code of a program."""
        handle = ctypes.c_void_p()
        name = f"{program.name}.cu".encode()
        source = program.source.encode()
        created = ctypes.byref(handle), source, name, 0, None, None
        self._call("CreateProgram", *created)
        options = [f"-arch=sm_{architecture}", "-std=c++17", *program.definitions]
        texts = (ctypes.c_char_p * len(options))(*(x.encode() for x in options))
        failed = self._library.nvrtcCompileProgram(handle, len(options), texts)
        log = self._read(handle, "ProgramLog")
        assert not failed, log.decode()
        assert log == b"\0", log.decode()  # no warnings
        code = self._read(handle, "CUBIN")
        self._call("DestroyProgram", ctypes.byref(handle))
        return code

    def _read(self, handle, what):
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", handle, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", handle, buffer)
        return buffer.raw

    def _call(self, name, *arguments):
        failed = getattr(self._library, f"nvrtc{name}")(*arguments)
        if failed:
            raise RuntimeError(self._library.nvrtcGetErrorString(failed).decode())


@cache
def compiler():
    site = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    found = [site / name for name in NAMES if (site / name).exists()]
    if not found:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    return Compiler(found[0])


def resources(code):
    """Return registers, stack and shared bytes of every kernel, from its ELF file."""
    sections = sections_of(code)
    found = {
        name.removeprefix(".text."): {"shared": 0}
        for name, *_ in sections
        if name.startswith(".text.")
    }
    for name, _, size, _ in sections:
        kernel = name.removeprefix(".nv.shared.")
        if kernel != name and kernel in found:
            found[kernel]["shared"] = size
    (_, symbols, _, link) = next(s for s in sections if s[0] == ".symtab")
    for attribute, symbol, value in records_of(code, sections):
        (offset,) = struct.unpack_from("<I", code, symbols + symbol * 24)
        kernel = text_at(code, sections[link][1] + offset)
        if attribute in ATTRIBUTES and kernel in found:
            found[kernel][ATTRIBUTES[attribute]] = value
    return found


def sections_of(code):
    """Return name, place, size and link of every section."""
    (table,) = struct.unpack_from("<Q", code, 0x28)
    size, count, names = struct.unpack_from("<HHH", code, 0x3A)
    heads = [
        struct.unpack_from("<IIQQQQII", code, table + k * size) for k in range(count)
    ]
    return [(text_at(code, heads[names][4] + h[0]), h[4], h[5], h[6]) for h in heads]


def records_of(code, sections):
    """Yield attribute, symbol and value of what is said of kernels."""
    place, size = next((s[1], s[2]) for s in sections if s[0] == ".nv.info")
    end = place + size
    while place < end:
        form, attribute, length = struct.unpack_from("<BBH", code, place)
        place += 4
        if form == 4:  # the length is in the head; elsewhere it is the value
            if length == 8:
                yield attribute, *struct.unpack_from("<II", code, place)
            place += length


def text_at(code, place):
    return code[place : code.index(b"\0", place)].decode()


def label(program):
    return f"{program.name}-{program.block}-{program.real}"


@pytest.mark.parametrize("program", PROGRAMS, ids=label)
@pytest.mark.parametrize(
    "architecture",
    [
        a if a in (80, 90) else pytest.param(a, marks=pytest.mark.slow)
        for a in ARCHITECTURES
    ],
)
def test_a_program_compiles_within_its_budget(program, architecture):
    if architecture not in compiler().architectures:
        pytest.skip(f"this NVRTC does not know sm_{architecture}")
    found = resources(compiler().compile(program, architecture))
    assert set(found) == set(KERNEL.findall(program.source))
    for kernel, used in found.items():
        most = REGISTERS.get(kernel, OTHER_REGISTERS)
        if architecture in FEW_UNITS:
            most = ANY_REGISTERS
        assert 0 < used["registers"] <= most, kernel
        assert used["stack"] <= STACK.get(kernel, 8), kernel
        assert used["shared"] <= SHARED, kernel


def test_every_program_is_compiled_here():
    assert {program.name for program in PROGRAMS} == set(programs.SOURCES)


def test_a_source_that_is_wrong_is_named_with_its_line():
    program = programs.NOISE
    with pytest.raises(AssertionError, match=r"noise\.cu\(\d+\): error"):
        compiler().compile(program._replace(constants=(("block", 1),)), 90)
