"""k points by spacing: one grid for all codes, and one fingerprint for all cells."""

import stat
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import kpts2mp
from ase.calculators.cp2k import parse_input

from otf.calculators import abinit, cp2k, espresso
from otf.calculators.code import Code
from otf.calculators.emt import EMT
from otf.calculators.kpoints import Sampling, grid_of, one_of
from otf.calculators.registry import make_calculator, spaced
from otf.cli import main
from otf.configuration import Configuration
from otf.errors import InputError


def configuration(atoms):
    return Configuration.from_atoms(atoms)


@pytest.mark.parametrize("spacing", [0.11, 0.25, 0.5, 3.0])
def test_neighbours_on_the_grid_are_as_close_as_asked_and_one_point_less_is_not(
    spacing,
):
    rng = np.random.default_rng(1)
    cell = 4.0 * np.eye(3) + rng.normal(size=(3, 3))
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(cell, scale_atoms=True)
    lengths = 2.0 * np.pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1)
    for length, n in zip(lengths, grid_of(configuration(atoms), spacing), strict=True):
        assert length / n <= spacing
        assert n == 1 or length / (n - 1) > spacing


def test_a_cell_twice_as_long_has_half_the_points():
    unit = bulk("Si", cubic=True)  # 2 pi / 5.43 = 1.157
    assert grid_of(configuration(unit), 1.157 / 3.9) == (4, 4, 4)
    assert grid_of(configuration(unit * (2, 1, 4)), 1.157 / 3.9) == (2, 4, 1)


def test_axes_without_images_have_one_point():
    atoms = bulk("Si", cubic=True)
    atoms.pbc = (True, False, True)
    assert grid_of(configuration(atoms), 0.3) == (4, 1, 4)


def test_even_grids_have_the_gamma_point_in_every_code():
    qe, ab = SimpleNamespace(parameters={}), SimpleNamespace(parameters={})
    espresso.set_kpoints(qe, (2, 4, 1))
    assert qe.parameters == {"kpts": (2, 4, 1), "koffset": (0, 0, 0)}
    abinit.set_kpoints(ab, (2, 4, 1))
    assert (ab.parameters["ngkpt"], ab.parameters["shiftk"]) == ([2, 4, 1], [0.0] * 3)
    assert "kpts" not in ab.parameters  # ASE would add a shift of its own
    assert list(kpts2mp(bulk("Si"), (2, 4, 1))) == [2, 4, 1]


def test_cp2k_takes_its_grid_into_the_template_of_the_user():
    inp = cp2k.with_keywords("", "FORCE_EVAL/DFT/SCF", "ADDED_MOS 10")
    assert cp2k.kpoints_given({"inp": inp}) is None
    # a section that prints k points is none that sets them
    printed = cp2k.with_keywords(inp, "FORCE_EVAL/DFT/PRINT/KPOINTS", "FILENAME k")
    assert cp2k.kpoints_given({"inp": printed}) is None
    full = cp2k.with_keywords(printed, "FORCE_EVAL/DFT/KPOINTS", "SCHEME GAMMA")
    assert cp2k.kpoints_given({"inp": full}) == "inp"
    assert "ADDED_MOS 10" in "\n".join(parse_input(full).write())


def sampled_code(**arguments):
    sampling = Sampling(lambda calculator, grid: None, one_of("kpts"))
    return Code("planes", "1", arguments, EMT, sampling=sampling)


def test_the_fingerprint_has_the_density_and_not_the_grid():
    coarse, fine = (spaced(sampled_code(), x) for x in (0.5, 0.2))
    assert coarse.fingerprint(2) == coarse.fingerprint(64)
    assert (
        len({coarse.fingerprint(), fine.fingerprint(), sampled_code().fingerprint()})
        == 3
    )


def test_k_points_given_twice_are_refused():
    with pytest.raises(InputError, match="contradicts kpts under") as caught:
        spaced(sampled_code(kpts=[2, 2, 2]), 0.3)
    assert "kpoint_spacing_per_A" in str(caught.value)


@pytest.mark.parametrize("name", ["tblite", "ase.calculators.emt:EMT"])
def test_codes_without_k_points_name_those_that_have_them(name):
    with pytest.raises(InputError, match="only to abinit, cp2k, espresso, gpaw, vasp"):
        make_calculator(name, kpoint_spacing=0.3)


def test_the_grid_reaches_the_input_of_pw_x(tmp_path):
    """A stand-in for pw.x keeps its input; the label itself fails."""
    program = tmp_path / "pw.x"
    program.write_text(
        "#!/bin/sh\necho '     Program PWSCF v.6.7MaX starts'\n"
        f'[ "$2" ] && cp "$2" {tmp_path}/seen\nexit 1\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "Si.upf").write_text("potential")
    atoms = bulk("Si", cubic=True)
    atoms.write(tmp_path / "si.xyz")
    (tmp_path / "input.toml").write_text(
        f"""
[structure]
file = "si.xyz"
[reference]
calculator = "espresso"
kpoint_spacing_per_A = 0.3
retries = 0
[reference.arguments]
command = "{program}"
pseudo_dir = "{tmp_path}"
pseudopotentials = {{ Si = "Si.upf" }}
input_data = {{ ecutwfc = 20 }}
[[dynamics.stages]]
steps = 2
temperature_K = 300.0
"""
    )
    assert main(["run", str(tmp_path / "input.toml")]) == 1
    lines = (tmp_path / "seen").read_text().splitlines()
    assert lines[lines.index("K_POINTS automatic") + 1].split() == [*"444000"]
