"""Pulay stress: what of a stress is owed to the cutoff, and whether it matters."""

import shutil

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators import abinit, cp2k, espresso, gpaw, vasp
from otf.cli import main
from otf.commands.pulay import PulayStress, lines_of, pulay_stress
from otf.configuration import Configuration, Labels
from otf.errors import InputError
from otf.units import GPA

INPUT = """
[structure]
file = "si.xyz"
[reference]
{reference}
[[dynamics.stages]]
steps = 1
temperature_K = 300.0
"""


class Planes:
    """A reference whose diagonal stress is off by 20 / cutoff^2 GPa."""

    def __init__(self, cutoff):
        self.cutoff = cutoff

    def label(self, configuration):
        stress = np.array([1.0, 2.0, 3.0, 0.1, 0.2, 0.3])
        stress[:3] -= 20.0 / self.cutoff**2
        return Labels(0.0, np.zeros((configuration.n_atoms, 3)), stress * GPA)


@pytest.fixture
def silicon():
    return Configuration.from_atoms(bulk("Si"))


def test_the_difference_of_two_cutoffs_is_told_with_its_sign(silicon):
    found = pulay_stress(Planes(4.0), Planes(8.0), silicon)
    assert found.mean / GPA == pytest.approx(-20 / 16 + 20 / 64)
    assert found.largest == pytest.approx(abs(found.mean))


def test_it_matters_when_it_exceeds_what_is_taken_for_noise(silicon):
    found = pulay_stress(Planes(4.0), Planes(8.0), silicon)
    matters = "".join(line for _, line in lines_of(found, noise=0.3 * GPA))
    assert "+0.750 GPa at the cutoff given, +1.688 GPa at 2 times it" in matters
    assert "this matters" in matters
    assert "below" in "".join(line for _, line in lines_of(found, noise=1.0 * GPA))


def test_shear_counts_too():
    stress = np.zeros(6)
    stress[4] = GPA
    assert PulayStress(stress, np.zeros(6)).largest == GPA


def test_a_reference_without_stress_is_one_line(silicon):
    class Blind(Planes):
        def label(self, configuration):
            zeros = np.zeros((configuration.n_atoms, 3))
            return Labels(0.0, zeros, np.full(6, np.nan))

    with pytest.raises(InputError, match="gives no stress"):
        pulay_stress(Blind(1.0), Blind(2.0), silicon)


def test_every_cutoff_of_a_code_is_raised():
    flat = {"input_data": {"ecutwfc": 20, "ecutrho": 200, "occupations": "fixed"}}
    assert espresso.raised(flat, 2.0)["input_data"] == {
        "ecutwfc": 40.0,
        "ecutrho": 400.0,
        "occupations": "fixed",
    }
    nested = {"input_data": {"system": {"ecutwfc": 20, "nspin": 2}, "control": {}}}
    changed = espresso.raised(nested, 2.0)["input_data"]
    assert changed == {"system": {"ecutwfc": 40.0, "nspin": 2}, "control": {}}
    assert abinit.raised({"ecut": 300, "xc": "PBE"}, 2.0) == {
        "ecut": 600.0,
        "xc": "PBE",
    }
    assert vasp.raised({"encut": 400.0}, 2.0) == {"encut": 800.0}
    assert cp2k.raised({"cutoff": 3000.0}, 2.0) == {"cutoff": 6000.0}
    mode = {"name": "pw", "ecut": 250}
    assert gpaw.raised({"mode": mode}, 2.0) == {"mode": {"name": "pw", "ecut": 500.0}}
    assert mode["ecut"] == 250
    for one in (espresso, abinit, vasp, gpaw):
        assert one.raised({}, 2.0) is None


def test_a_calculator_without_a_cutoff_is_one_line(tmp_path, capsys):
    bulk("Si").write(tmp_path / "si.xyz")
    path = tmp_path / "input.toml"
    path.write_text(INPUT.format(reference='calculator = "stillinger-weber"'))
    assert main(["check", str(path), "--pulay"]) == 2
    assert "no cutoff of calculator 'stillinger-weber'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed")
@pytest.mark.parametrize(("ecut", "matters"), [(20, True), (36, False)])
def test_silicon_in_pw_x_needs_more_than_20_rydberg(tmp_path, capsys, ecut, matters):
    bulk("Si", "diamond", a=5.43, cubic=True).write(tmp_path / "si.xyz")
    path = tmp_path / "input.toml"
    path.write_text(
        INPUT.format(
            reference=f"""
calculator = "espresso"
kpoint_spacing_per_A = 0.6
[reference.arguments]
pseudo_dir = "/usr/share/espresso/pseudo"
pseudopotentials = {{ Si = "Si.pz-vbc.UPF" }}
input_data = {{ ecutwfc = {ecut}, conv_thr = 1e-8, occupations = "fixed" }}
"""
        )
    )
    assert main(["check", str(path), "--pulay"]) == 0
    out = capsys.readouterr().out
    assert ("this matters" in out) is matters
