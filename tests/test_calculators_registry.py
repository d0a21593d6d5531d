"""Names of calculators, their arguments, and what identifies them."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from otf.calculators import registry
from otf.calculators.registry import calculator_names, make_calculator
from otf.configuration import Configuration, Labels
from otf.errors import InputError
from otf.store.description import described, difference
from otf.store.extxyz import read_extxyz, write_frames


def test_a_misspelt_name_is_answered_with_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'stillinger-weber'") as caught:
        make_calculator("stilinger-weber")
    assert "tblite" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_calculator_of_ase_is_known_by_its_name():
    assert {"vasp", "gpaw", "espresso", "emt"} <= set(calculator_names())
    code = make_calculator("tersoff", {"parameters": {}})
    assert code.version.startswith("ase ")


def test_any_class_is_reached_by_module_and_name():
    code = make_calculator("ase.calculators.emt:EMT")
    assert isinstance(code.build(), EMT)


def test_a_missing_package_is_answered_with_its_installation():
    with pytest.raises(InputError, match="pip install no_such_package"):
        make_calculator("no_such_package.sub:Calculator")


def test_a_missing_file_of_ones_own_is_answered_with_the_path_python_searches():
    with pytest.raises(InputError, match=r"no_such_file\.py is .* PYTHONPATH"):
        make_calculator("no_such_file:Calculator")


def test_a_missing_class_is_one_line():
    with pytest.raises(InputError, match="Nope"):
        make_calculator("ase.calculators.emt:Nope")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("tblite", {"methode": "GFN1-xTB"}, "'method'"),
        ("emt", {"asap_cutof": True}, "'asap_cutoff'"),
        ("stillinger-weber", {"epsilon": 2.0}, "'epsilon_eV'"),
        ("ase.calculators.morse:MorsePotential", {}, None),
    ],
)
def test_an_argument_the_code_does_not_have_names_its_key(name, arguments, words):
    if words is None:
        make_calculator(name, arguments)
        return
    key = next(iter(arguments))
    with pytest.raises(InputError, match=words) as caught:
        make_calculator(name, arguments)
    assert f"[reference.arguments] {key}" in str(caught.value)


def test_what_a_code_refuses_is_one_line_that_names_the_section():
    code = make_calculator("stillinger-weber", {"sigma_A": "long"})
    with pytest.raises(
        InputError, match=r"refuses its arguments.*reference\.arguments"
    ):
        code.build()


def test_elements_without_parameters_are_named():
    with pytest.raises(
        InputError, match="'emt' has no parameters for Si; it knows H C N"
    ):
        make_calculator("emt").require_elements(frozenset({13, 14}))


def test_a_missing_program_is_one_line():
    arguments = {"command": "no-such-pw.x", "pseudopotentials": {"Si": "Si.upf"}}
    with pytest.raises(InputError, match=r"'no-such-pw\.x' is not on the PATH"):
        make_calculator("espresso", arguments)


def test_the_fingerprint_changes_with_the_physics_only(tmp_path):
    def fingerprint(**arguments):
        return make_calculator("tblite", arguments, directory=tmp_path).fingerprint(8)

    assert fingerprint() == fingerprint(method="GFN1-xTB")
    assert fingerprint(mixer_damping=0.1) == fingerprint(verbosity=1) == fingerprint()
    assert fingerprint(method="GFN2-xTB") != fingerprint()
    assert fingerprint(accuracy=0.1) != fingerprint()


def test_cells_of_different_size_differ_for_a_code_without_k_points():
    tblite, emt = make_calculator("tblite"), make_calculator("emt")
    assert tblite.fingerprint(8) != tblite.fingerprint(64)
    assert emt.fingerprint(8) == emt.fingerprint(64)


def test_a_package_announces_its_calculator_by_an_entry_point(monkeypatch):
    class Point:
        name = "house-blend"

        @staticmethod
        def load():
            return EMT

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()])
    assert isinstance(make_calculator("house-blend").build(), EMT)
    assert "house-blend" in calculator_names()


def test_a_code_that_writes_files_works_in_the_folder_of_the_run(tmp_path):
    code = make_calculator("mopac", directory=tmp_path)
    assert code.arguments["directory"] == str(tmp_path)
    assert "directory" not in make_calculator("emt", directory=tmp_path).arguments


def test_the_description_names_all_the_fingerprint_hashes(tmp_path):
    def words(**arguments):
        code = make_calculator("tblite", arguments, directory=tmp_path)
        return code.description(8)

    assert words() == words(verbosity=1)
    plain = words()
    for entry in ("code: tblite", "arguments.method: GFN1-xTB", "n_atoms: 8"):
        assert entry in plain
    assert difference(plain, words(method="GFN2-xTB")) == (
        "method GFN1-xTB against GFN2-xTB"
    )
    assert difference(plain, words(accuracy=0.1, charge=1)) == (
        "accuracy 1.0 against 0.1, charge not given against 1"
    )
    assert difference(plain, "") == ""


def test_a_description_survives_extended_xyz_whatever_its_settings_hold(tmp_path):
    text = described(
        {"code": "cp2k", "arguments": {"inp": '&DFT "a"; b\n&END\\', "kpts": [2, 2]}}
    )
    c = Configuration.from_atoms(bulk("Si"))
    frame = (c, Labels(-1.0, np.zeros((2, 3)), np.full(6, np.nan)))
    path = tmp_path / "a.xyz"
    write_frames(path, [frame], fingerprints=["f"], descriptions={"f": text})
    assert read_extxyz(path).descriptions == {"f": text}


def test_the_basis_sets_of_cp2k_are_part_of_the_fingerprint(tmp_path, monkeypatch):
    """The program wraps what it says of its compilation."""
    data = tmp_path / "data"
    data.mkdir()
    program = tmp_path / "cp2k_shell"
    flag = f'-D __DATA_DIR="{data}"'
    program.write_text(
        f"#!/bin/sh\necho ' CP2K version 2023.1'\necho '   -O2 {flag[:20]}'\n"
        f"echo '   {flag[20:]}'\n"
    )
    program.chmod(0o755)
    (data / "BASIS_MOLOPT").write_text("one")
    prints = []
    for text in ("one", "two"):
        (data / "POTENTIAL").write_text(text)
        code = make_calculator("cp2k", {"command": str(program)}, directory=tmp_path)
        assert code.version == "CP2K version 2023.1"
        assert sorted(code.checksums) == ["BASIS_MOLOPT", "POTENTIAL"]
        prints.append(code.fingerprint())
    assert prints[0] != prints[1]
    monkeypatch.setenv("CP2K_DATA_DIR", str(tmp_path))
    code = make_calculator("cp2k", {"command": str(program)}, directory=tmp_path)
    assert not code.checksums
