"""A model in LAMMPS itself, where there is one with ML-IAP, PYTHON and Cython.

The program ``lmp`` is looked for on the PATH; ``import lammps`` must work in the
Python it was built with. docs/lammps.md tells how to build it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.lammps import Prism
from ase.io.lammpsdata import write_lammps_data
from lammps_models import diamond, fitted, saved

import otf
from otf.cli import main
from otf.dynamics.verlet import Motion, VelocityVerlet
from otf.learning.production import ProductionPotential
from otf.state import State
from otf.store.model_file import read_model
from otf.units import FS

# Constants of 'units metal' in src/update.cpp of LAMMPS.
NKTV2P = 1.6021765e6  # bar angstrom^3/eV
MVV2E = 1.0364269e-4  # eV ps^2/(amu angstrom^2)
PS = 1000.0 * FS
# What LAMMPS says where it has no coupling to Python.
LACKING = (
    "Unrecognized pair style 'mliap'",
    "requires ML-IAP with python support",
    "No module named 'lammps'",
    "Loading mliappy unified module failure",
    "Unable to locate python shared library",
    "error while loading shared libraries",
)


def environment():
    """Return variables with which LAMMPS' Python finds what this one finds."""
    root = Path(otf.__file__).parents[1]
    python = [str(root), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, python)),
        "OMP_NUM_THREADS": "1",
        # Root may run Open MPI in a container, and more processes than cores.
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }


def run(folder, text, *, n_processes=1, options=(), check=True):
    """Run an input of LAMMPS; return what it printed, and printed on errors."""
    (folder / "in.test").write_text(text)
    command = ["lmp", "-in", "in.test", "-log", "none", *options]
    if n_processes > 1:
        if shutil.which("mpirun") is None:
            pytest.skip("there is no mpirun")
        command = ["mpirun", "-n", str(n_processes), *command]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


KOKKOS = ["-k", "on", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]
HEAD = "units metal\natom_style atomic\nnewton on\n"


@pytest.fixture(scope="module", autouse=True)
def lmp(tmp_path_factory):
    """Skip where there is no LAMMPS that loads models from Python."""
    if shutil.which("lmp") is None:
        pytest.skip("there is no LAMMPS (lmp) on the PATH")
    text = (
        f"{HEAD}region all block 0 1 0 1 0 1\ncreate_box 1 all\n"
        "pair_style mliap unified nowhere 0\n"
    )
    done = run(tmp_path_factory.mktemp("probe"), text, check=False)
    for reason in LACKING:
        if reason in done.stdout + done.stderr:
            pytest.skip(f"LAMMPS cannot load models from Python: {reason}")


@pytest.fixture(scope="module")
def model():
    """Return a model with cutoffs of 6.5 and 5.5 angstrom and a repulsion."""
    return fitted(cutoff_two_body=6.5, cutoff_three_body=5.5)


@pytest.fixture
def folder(tmp_path, model):
    """Return a folder with the exported model."""
    path = saved(tmp_path / "sige.h5", model)
    assert main(["export", "lammps", str(path), "-o", str(tmp_path / "m.mliap")]) == 0
    return tmp_path


# The values of a prediction as LAMMPS prints them, to the last digit.
THERMO = (
    "thermo_style custom step pe ke pxx pyy pzz pyz pxz pxy\n"
    "thermo_modify format float %.16g\n"
)
STYLE = "pair_style mliap unified m.mliap 0\npair_coeff * * Si Ge\n"


def write_data(folder, c, *, velocities=None):
    """Write the atoms; return what turns vectors to the axes of LAMMPS."""
    atoms = c.to_atoms()
    prism = Prism(c.cell)
    with (folder / "atoms").open("w") as file:
        write_lammps_data(
            file, atoms, specorder=["Si", "Ge"], masses=True, prismobj=prism
        )
        if velocities is not None:
            file.write("\nVelocities\n\n")
            for k, v in enumerate(prism.vector_to_lammps(velocities)):
                file.write(f"{k + 1} {' '.join(f'{x:.17g}' for x in v)}\n")
    return prism


def thermo(text):
    """Return the rows of the first table, its columns by name."""
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if line.split()[:1] == ["Step"])
    names, rows = lines[first].split(), []
    for line in lines[first + 1 :]:
        if line.startswith("Loop time"):
            break
        rows.append([float(word) for word in line.split()])
    return dict(zip(names, np.array(rows).T, strict=True))


def dumped(folder):
    """Return the columns of the only frame of a dump, in the order of atoms."""
    lines = (folder / "dump").read_text().splitlines()
    (first,) = [k for k, line in enumerate(lines) if line.startswith("ITEM: ATOMS")]
    return np.array([line.split() for line in lines[first + 1 :]], dtype=np.float64)


DUMP = 'dump 1 all custom 1 dump {}\ndump_modify 1 sort id format float "%.16g"\n'

STRUCTURES = {
    "small cell": diamond(1),
    "triclinic": diamond(2, repeat=2, shear=0.7),
}


@pytest.fixture(params=[(), KOKKOS], ids=["plain", "kokkos"])
def options(request):
    """Return options of the program, with those for KOKKOS where it has that."""
    if request.param:
        done = subprocess.run(
            ["lmp", "-h"], env=environment(), capture_output=True, text=True, check=True
        )
        _, _, packages = done.stdout.partition("Installed packages:")
        if "KOKKOS" not in packages.split():
            pytest.skip("this LAMMPS was built without KOKKOS")
    return request.param


@pytest.mark.parametrize("n_processes", [1, 2])
@pytest.mark.parametrize("name", STRUCTURES)
def test_energy_forces_and_pressure_are_those_of_the_model(
    folder, model, name, n_processes, options
):
    c = STRUCTURES[name]
    prism = write_data(folder, c)
    done = run(
        folder,
        f"{HEAD}read_data atoms\n{STYLE}{THERMO}{DUMP.format('fx fy fz')}run 0\n",
        n_processes=n_processes,
        options=options,
    )
    expected, said = model.predict(c), thermo(done.stdout)
    forces = prism.vector_to_ase(dumped(folder))
    off = np.abs(forces - expected.forces).max()
    turn = prism.vector_to_lammps(np.eye(3))
    xx, yy, zz, yz, xz, xy = expected.stress
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    wanted = -NKTV2P * (turn.T @ stress @ turn)
    pressure = np.array(
        [[said[f"P{''.join(sorted((a, b)))}"][0] for b in "xyz"] for a in "xyz"]
    )
    off_pressure = np.abs(pressure - wanted).max() / np.abs(wanted).max()
    off_energy = abs(said["PotEng"][0] - expected.energy)
    assert np.abs(expected.forces).max() > 0.1
    assert off < 1e-10
    assert off_pressure < 1e-10
    assert off_energy < 1e-10 * c.n_atoms


def test_energies_of_atoms_are_those_of_the_model(folder, model):
    c = STRUCTURES["triclinic"]
    write_data(folder, c)
    run(
        folder,
        f"{HEAD}read_data atoms\n{STYLE}compute e all pe/atom\n"
        f"{DUMP.format('c_e')}run 0\n",
        n_processes=2,
    )
    np.testing.assert_allclose(
        dumped(folder)[:, 0], model.atomic_energies(c), rtol=0, atol=1e-10
    )


def test_atoms_of_another_pair_style_are_not_seen(folder, model):
    """The list of a hybrid style leaves out local atoms, here all germanium."""
    c = STRUCTURES["triclinic"]
    prism = write_data(folder, c)
    style = (
        "pair_style hybrid/overlay mliap unified m.mliap 0 zero 6.5\n"
        "pair_coeff * * mliap Si NULL\npair_coeff * * zero\n"
    )
    done = run(
        folder,
        f"{HEAD}read_data atoms\n{style}{DUMP.format('fx fy fz')}run 0\n",
        n_processes=2,
        check=False,
    )
    if "this LAMMPS drops forces" in done.stderr:
        pytest.skip("this LAMMPS is too old for a list that leaves out atoms")
    assert done.returncode == 0, done.stdout + done.stderr
    silicon = c.numbers == 14
    alone = replace(c, numbers=c.numbers[silicon], positions=c.positions[silicon])
    forces = prism.vector_to_ase(dumped(folder))
    np.testing.assert_allclose(
        forces[silicon], model.predict(alone).forces, rtol=0, atol=1e-10
    )
    assert not forces[~silicon].any()


N_STEPS = 120


def own_trace(model, c, velocities, masses):
    """Return potential and total energy of our own dynamics, (steps + 1, 2)."""
    state = State(
        configuration=c,
        momenta=masses[:, None] * velocities,
        masses=masses,
        free=np.ones((c.n_atoms, 3), dtype=bool),
        step=0,
        time=0.0,
        seed=0,
    )
    potential = ProductionPotential(model, stop=False)
    verlet = VelocityVerlet(Motion(timestep=FS, fix_centre_of_mass=False))
    prediction = potential.predict([c], step=0)[0]
    rows = [(prediction.energy, prediction.energy + state.kinetic_energy)]
    for _ in range(N_STEPS):
        state, prediction = verlet.step(state, prediction, potential, None)
        rows.append((prediction.energy, prediction.energy + state.kinetic_energy))
    return np.array(rows)


def test_dynamics_at_constant_energy_are_ours(folder, model):
    """To the bits of sums in another order: LAMMPS is given masses for its units."""
    c = diamond(3, repeat=2, shear=0.4, rattle=0.03)
    silicon, germanium = 28.0855, 72.63
    masses = np.where(c.numbers == 14, silicon, germanium)
    rng = np.random.default_rng(8)
    velocities = 0.04 * rng.normal(size=(c.n_atoms, 3)) * (40 / masses[:, None]) ** 0.5
    velocities -= masses @ velocities / masses.sum()
    expected = own_trace(model, c, velocities, masses)
    write_data(folder, c, velocities=velocities * PS)
    unit = MVV2E * PS**2  # of a mass, 5.5e-8 from 1
    text = (
        f"{HEAD}read_data atoms\n{STYLE}{THERMO}neighbor 1.0 bin\n"
        f"mass 1 {silicon / unit:.17g}\nmass 2 {germanium / unit:.17g}\n"
        f"timestep 0.001\nthermo 1\nfix 1 all nve\nrun {N_STEPS}\n"
    )
    said = thermo(run(folder, text).stdout)
    found = np.stack([said["PotEng"], said["PotEng"] + said["KinEng"]], axis=1)
    assert np.ptp(expected[:, 0]) > 0.1  # they move
    off = np.abs(found - expected).max()
    assert off < 1e-11 * c.n_atoms


def test_one_and_two_processes_print_the_same(folder):
    write_data(folder, diamond(3, repeat=2, shear=0.4, rattle=0.03))
    text = (
        f"{HEAD}read_data atoms\n{STYLE}velocity all create 600.0 4711 loop geom\n"
        f"thermo 10\nfix 1 all nve\nrun 100\n"
    )
    one, two = (run(folder, text, n_processes=n).stdout for n in (1, 2))
    tables = [
        text[text.index("   Step") : text.index("Loop time")] for text in (one, two)
    ]
    assert (
        "2 by 1 by 1 MPI processor grid" in two
        or "1 by 2 by 1" in two
        or ("1 by 1 by 2" in two)
    )
    assert len(tables[0].splitlines()) == 12
    assert tables[0] == tables[1]


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_tampered_file_is_refused_in_one_line(folder, model, n_processes):
    content = bytearray((folder / "m.mliap").read_bytes())
    weights = read_model(folder / "sige.h5").arrays["weights"].tobytes()
    content[content.index(weights)] ^= 1
    (folder / "m.mliap").write_bytes(content)
    write_data(folder, diamond(1))
    done = run(
        folder,
        f"{HEAD}read_data atoms\n{STYLE}run 0\n",
        n_processes=n_processes,
        check=False,
    )
    assert done.returncode != 0
    everything = (done.stdout + done.stderr).splitlines()
    ours = [line for line in everything if "otf-md" in line]
    assert ours == n_processes * [
        "otf-md: error: m.mliap: is damaged (/arrays/weights has another checksum); "
        "take another copy"
    ]
    assert not any("Traceback" in line for line in everything)


def test_the_spilling_of_all_processes_is_that_of_the_model(folder, model):
    arguments = ["-o", str(folder / "m.mliap"), "--spilling-every", "4"]
    assert main(["export", "lammps", str(folder / "sige.h5"), *arguments]) == 0
    c = STRUCTURES["triclinic"]
    write_data(folder, c)
    text = f"{HEAD}read_data atoms\n{STYLE}fix 1 all nve\nrun 8\n"
    for n_processes in (1, 2):
        run(folder, text, n_processes=n_processes)
    alone, *both = (
        [line.split() for line in (folder / name).read_text().splitlines()[1:]]
        for name in ("m.spilling", "m.spilling.0", "m.spilling.1")
    )
    assert [words[0] for words in alone] == ["0", "4", "8"]
    expected = model.predict_measured(c).uncertainty.spilling.max()
    assert float(alone[0][2]) == pytest.approx(expected, rel=1e-5)
    for k, words in enumerate(alone):
        largest = max(float(one[k][2]) for one in both)
        assert float(words[2]) == pytest.approx(largest, rel=1e-5)
        assert sum(int(one[k][1]) for one in both) == c.n_atoms


def test_the_example_runs_as_it_was_written(folder):
    done = subprocess.run(
        ["lmp", "-in", "in.m"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(thermo(done.stdout)["Step"]) == 11
