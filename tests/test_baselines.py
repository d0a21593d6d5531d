"""Every baseline is subtracted, added back, stored and restored alike."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from otf.build import build_model
from otf.build_baseline import build_baseline, isolated_energies
from otf.calculators.baseline import calculator_baseline
from otf.cli import main
from otf.commands.fitting import model_settings, settings_of_model
from otf.configuration import Configuration, Labels
from otf.deploy.saved_model import load_model, save_model
from otf.errors import InputError, OTFError, StoreError
from otf.models.archive import model_from_arrays, model_to_arrays
from otf.models.baselines.alone import BaselinePotential
from otf.models.baselines.archive import (
    baseline_from_arrays,
    baseline_to_arrays,
    names_of,
)
from otf.models.baselines.interface import CompositeBaseline, NoBaseline, sum_of
from otf.settings.baseline import Baseline
from otf.store.extxyz import write_frames
from otf.store.model_file import read_model
from otf.testing import check_forces

SPECIES = (13, 29)
ELECTROSTATICS = """
[electrostatics]
charges_e = { Al = 0.6, Cu = -0.6 }
widths_A = { Cu = 0.7 }
"""
D2 = """
[dispersion]
method = "D2"
functional = "PBE"
cutoff_A = 9.0
"""
D3 = D2.replace("D2", "D3(BJ)")
D4 = D2.replace("D2", "D4")
CALCULATOR = """
[calculator]
name = "ase.calculators.emt:EMT"
arguments = { asap_cutoff = true }
"""
SECTIONS = {
    "nothing": "core_repulsion = false",
    "core repulsion": "",
    "charges": ELECTROSTATICS,
    "d2": D2,
    "d3": D3,
    "d4": D4,
    "calculator": CALCULATOR,
    "all": ELECTROSTATICS + D2 + CALCULATOR,
}
SMALL = """
[descriptor]
n_max = 3
l_max = 2
cutoff_three_body_A = 4.0
cutoff_two_body_A = 4.5
n_max_two_body = 4
"""


def parsed(text):
    data = tomllib.loads(text)
    return Baseline.model_validate(data)


@pytest.fixture(params=SECTIONS)
def section(request):
    if request.param in ("d3", "d4"):
        name = f"dft{request.param}"
        pytest.importorskip(f"{name}.interface", reason=f"needs pip install {name}")
    return SECTIONS[request.param]


def frames(n, seed=0):
    """Ordered Al-Cu, cells and atoms displaced."""
    rng = np.random.default_rng(seed)
    perfect = bulk("Al", "fcc", a=3.8, cubic=True) * (2, 1, 1)
    perfect.numbers[::2] = 29
    out = []
    for _ in range(n):
        atoms = perfect.copy()
        atoms.set_cell(
            atoms.cell[:] @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))),
            scale_atoms=True,
        )
        atoms.positions += rng.normal(scale=0.1, size=(8, 3))
        out.append(Configuration.from_atoms(atoms))
    return out


def labelled(baseline, configurations):
    out = []
    for c in configurations:
        v = baseline.evaluate(c)
        out.append(
            (c, Labels(v.energies.sum(), v.forces, v.strain_derivative / c.volume))
        )
    return out


def settings_with(section, folder):
    text = section
    for name in ("electrostatics", "dispersion", "calculator"):
        text = text.replace(f"[{name}]", f"[baseline.{name}]")
    path = folder / "model.toml"
    path.write_text(f"[baseline]\n{text}\n{SMALL}")
    return model_settings(path)


def assert_equal(one, other, tolerance=0.0):
    for name in ("energies", "forces", "strain_derivative"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=0, atol=tolerance
        )


def test_forces_and_stress_are_derivatives_of_the_energy(section):
    baseline = build_baseline(parsed(section), SPECIES)
    c = frames(1)[0]
    if np.abs(baseline.evaluate(c).forces).max() > 0.0:
        check_forces(BaselinePotential(baseline), c, tolerance=3e-7)


def test_a_stored_baseline_is_the_same_to_the_bit(section):
    baseline = build_baseline(parsed(section), SPECIES)
    arrays = baseline_to_arrays(baseline)
    assert all(value.dtype.kind in "fiubU" for value in arrays.values())
    again = baseline_from_arrays(arrays, calculator_baseline)
    for c in frames(2):
        assert_equal(baseline.evaluate(c), again.evaluate(c))


def test_labels_that_are_the_baseline_leave_nothing_to_learn(section, tmp_path):
    settings = settings_with(section, tmp_path)
    model = build_model(settings, SPECIES)
    model.extend(labelled(model.baseline, frames(6)))
    model.fit_weights()
    for c in frames(3, seed=1):
        found, alone = model.predict(c), model.baseline.evaluate(c)
        assert found.energy == pytest.approx(alone.energies.sum(), abs=1e-8)
        np.testing.assert_allclose(found.forces, alone.forces, atol=1e-8)
        np.testing.assert_allclose(
            found.stress * c.volume, alone.strain_derivative, atol=1e-8
        )


def test_what_is_subtracted_is_added_back(section, tmp_path):
    # The same labels with the baseline on top: the fit sees no difference.
    settings = settings_with(section, tmp_path)
    known, plain = build_model(settings, SPECIES), build_model(settings, SPECIES)
    plain.baseline = NoBaseline()
    target = calculator_baseline("emt", {})
    labels = labelled(target, frames(6))
    plain.extend(labels)
    known.extend(labelled(sum_of([target, known.baseline]), frames(6)))
    plain.fit_weights()
    known.fit_weights()
    for c in frames(3, seed=1):
        one, other, known_part = (
            plain.predict(c),
            known.predict(c),
            known.baseline.evaluate(c),
        )
        # Rounding of the labels, through the condition of the fit.
        np.testing.assert_allclose(
            other.forces - known_part.forces, one.forces, atol=1e-6
        )
        assert other.energy - known_part.energies.sum() == pytest.approx(
            one.energy, abs=1e-6
        )


def test_a_model_file_restores_its_baseline(section, tmp_path):
    settings = settings_with(section, tmp_path)
    model = build_model(settings, SPECIES)
    model.extend(labelled(calculator_baseline("emt", {}), frames(6)))
    model.fit_weights()
    path = tmp_path / "model.h5"
    save_model(path, model.fitted, proof=frames(3), metadata={})
    loaded = load_model(path)
    c = frames(1, seed=2)[0]
    np.testing.assert_array_equal(loaded.predict(c).forces, model.predict(c).forces)
    again = model_from_arrays(model_to_arrays(model), calculators=calculator_baseline)
    np.testing.assert_array_equal(again.predict(c).forces, model.predict(c).forces)


def test_the_parts_of_a_stored_baseline_have_names():
    baseline = build_baseline(parsed(SECTIONS["all"]), SPECIES)
    assert names_of(baseline_to_arrays(baseline)) == [
        "core_repulsion",
        "fixed_charges",
        "dispersion_d2",
        "calculator ase.calculators.emt:EMT",
    ]


def test_a_single_baseline_is_no_sum():
    assert isinstance(sum_of([]), NoBaseline)
    part = NoBaseline()
    assert sum_of([part]) is part
    assert isinstance(sum_of([part, part]), CompositeBaseline)


# ------------------------------------------------------------------------ calculators
class Mute(Calculator):
    """Energy and forces, no stress."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 1.0, "forces": np.zeros((len(atoms), 3))}


class Broken(Mute):
    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        raise RuntimeError("out of paper")


@pytest.fixture
def here(monkeypatch):
    """Return the name of a module these calculators can be imported from."""
    module = ModuleType("calculators_of_the_user")
    module.Mute, module.Broken = Mute, Broken
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_values_are_those_of_the_calculator():
    c = frames(1)[0]
    atoms = c.to_atoms()
    atoms.calc = EMT()
    values = calculator_baseline("emt", {}).evaluate(c)
    assert values.energies.sum() == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(values.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(
        values.strain_derivative / c.volume, atoms.get_stress(), atol=1e-12
    )


def test_a_calculator_without_stress_serves_molecules_only(here):
    baseline = calculator_baseline(f"{here}:Mute", {})
    c = frames(1)[0]
    free = replace(c, pbc=np.zeros(3, dtype=bool))
    np.testing.assert_array_equal(baseline.evaluate(free).strain_derivative, 0.0)
    with pytest.raises(InputError, match=r"gives no stress.*\[baseline.calculator\]"):
        baseline.evaluate(c)


def test_a_calculator_that_fails_says_why(here):
    baseline = calculator_baseline(f"{here}:Broken", {})
    with pytest.raises(OTFError, match=r"of the baseline failed: .*out of paper"):
        baseline.evaluate(frames(1)[0])


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("tblight", {}, r"\[baseline.calculator\] name"),
        ("emt", {"asap_cutof": True}, r"\[baseline.calculator.arguments\] asap_cutof"),
    ],
)
def test_mistakes_name_the_section_of_the_baseline(name, arguments, words):
    with pytest.raises(InputError, match=words):
        calculator_baseline(name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("subprocess:run", {"args": ["touch", "made"]}, "no class of ASE calculators"),
        ("os:system", {"command": "touch made"}, "runs a program"),
        ("espresso", {"command": "touch made"}, "runs a program"),
        ("ase.calculators.nwchem:NWChem", {}, "runs a program"),
    ],
)
def test_a_model_file_starts_no_program(name, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {
        "name": np.array("calculator"),
        "calculator": np.array(name),
        "arguments": np.array(json.dumps(arguments)),
    }
    with pytest.raises(InputError, match=words):
        baseline_from_arrays(arrays, calculator_baseline)
    assert not Path("made").exists()


def test_a_stored_calculator_has_to_be_made_by_somebody():
    arrays = baseline_to_arrays(calculator_baseline("emt", {}))
    with pytest.raises(StoreError, match="baseline of its own"):
        baseline_from_arrays(arrays)


# ------------------------------------------------------------------------ the section
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ELECTROSTATICS.replace("Al = 0.6, ", ""), "charges_e has no value for Al"),
        (D2.replace("PBE", "PW91"), r"D2 has no parameters for 'PW91', it knows b3lyp"),
        (
            '[dispersion]\nmethod = "D2"\nparameters = { s8 = 1.0 }',
            "D2 has the parameters s6 and d, got s8",
        ),
    ],
)
def test_what_an_element_or_functional_lacks_is_said_in_one_line(text, words):
    with pytest.raises(InputError, match=words) as raised:
        build_baseline(parsed(text), SPECIES)
    assert "\n" not in str(raised.value)


def test_energies_of_isolated_atoms_are_those_beyond_the_calculator():
    text = "isolated_atom_energies_eV = { Al = -1.0, Cu = -2.0 }\n"
    assert isolated_energies(parsed(text)) == {13: -1.0, 29: -2.0}
    # EMT counts from the crystal: an atom alone has the cohesive energy.
    found = isolated_energies(parsed(text + '[calculator]\nname = "emt"'))
    assert found == pytest.approx({13: -1.0 - 3.28, 29: -2.0 - 3.51})


def test_elements_without_d2_parameters_may_be_given():
    text = D2 + "c6_eV_A6 = { Au = 422.0 }\nradii_A = { Au = 1.77 }\n"
    with pytest.raises(InputError, match=r"c6_eV_A6 has no value for Au"):
        build_baseline(parsed(D2), (79,))
    built = build_baseline(parsed("core_repulsion = false\n" + text), (13, 79))
    np.testing.assert_allclose(built.coefficients, [111.83, 422.0], atol=0.01)


def test_settings_of_a_model_file_are_those_it_was_fitted_with(tmp_path):
    settings = settings_with(SECTIONS["all"], tmp_path)
    sections = ("descriptor", "regression", "baseline")
    plain = {k: getattr(settings, k).model_dump(mode="json") for k in sections}
    metadata = json.loads(json.dumps({"input": plain}))
    assert settings_of_model(metadata, Path("m.h5")).baseline == settings.baseline


# ------------------------------------------------------------------------ the commands
@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f"[baseline]\n{SECTIONS['all']}"
    for name in ("electrostatics", "dispersion", "calculator"):
        text = text.replace(f"[{name}]", f"[baseline.{name}]")
    frames(1)[0].to_atoms().write("start.extxyz")
    Path("input.toml").write_text(
        '[structure]\nfile = "start.extxyz"\n'
        f'[reference]\ncalculator = "emt"\n{text}\n{SMALL}'
        "[dynamics]\ntimestep_fs = 2.0\n"
        "[[dynamics.stages]]\nsteps = 30\ntemperature_K = 300.0\n"
        "[output]\ncheckpoint_interval = 10\n"
    )
    write_frames(Path("train.xyz"), labelled(calculator_baseline("emt", {}), frames(8)))
    return tmp_path


def test_fit_evaluate_and_refit_know_the_baseline(folder, capsys):
    fit = ["fit", "train.xyz", "-o", "model.h5", "--input", "input.toml", "--json"]
    assert main(fit) == 0
    fitted = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "model.h5", "train.xyz", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    key = "force_rmse_eV_per_A"
    assert evaluated[key] == pytest.approx(fitted[key], rel=1e-9)
    assert main(["show", "model.h5"]) == 0
    assert "fixed charges + dispersion d2 + calculator" in capsys.readouterr().out
    arrays = read_model(Path("model.h5")).arrays
    assert str(arrays["baseline/3/calculator"]) == "ase.calculators.emt:EMT"


def test_a_run_with_a_baseline_learns_and_goes_on(folder, capsys):
    assert main(["check", "input.toml"]) == 0
    assert main(["run", "input.toml"]) == 0
    path = Path("input.toml")
    path.write_text(
        path.read_text().replace(
            '[reference]\ncalculator = "emt"\n',
            '[potential]\nmodel = "run/model.h5"\non_untrusted = "flag"\n',
        )
        + 'directory = "again"\n'
    )
    assert main(["run", "input.toml"]) == 0


@pytest.mark.parametrize("command", ["check", "run"])
def test_charges_that_do_not_cancel_are_found_before_a_label(folder, command, capsys):
    path = Path("input.toml")
    path.write_text(path.read_text().replace("Al = 0.6", "Al = 0.5"))
    assert main([command, "input.toml"]) == 2
    assert "sum to -0.4 e, expected +0" in capsys.readouterr().err
    assert not Path("run").exists()
