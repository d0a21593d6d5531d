"""The input file: what it says is what the engine gets."""

import json
import tomllib
from pathlib import Path

import pytest
from ase import units
from pydantic import ValidationError

from otf.errors import InputError
from otf.settings import (
    Settings,
    load_run_settings,
    load_settings,
    parse_settings,
)
from otf.settings.describe import all_sections, json_schema, keys_of, reference_page
from otf.settings.template import commented_input, toml

SHORTEST = """
[structure]
file = "a.xyz"
[reference]
calculator = "emt"
[[dynamics.stages]]
steps = 10
temperature_K = 300.0
"""


def parse(text: str) -> Settings:
    return parse_settings(text, name="input.toml", folder=Path("/somewhere"))


def complaints(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(text)
    return str(caught.value).splitlines()


def test_the_shortest_input_has_the_documented_defaults():
    settings = parse(SHORTEST)
    assert settings.descriptor.cutoff_three_body_A == 5.5
    assert settings.descriptor.n_max == 8
    assert settings.descriptor.l_max == 4
    assert settings.descriptor.cutoff_two_body_A == 6.5
    assert settings.regression.exponent == 4
    assert settings.learning.max_force_error_eV_per_A == 0.3
    assert settings.learning.initial_rattles_A == (0.02, 0.05, 0.1, 0.15)


def test_the_spilling_bound_is_twenty_selection_bounds():
    settings = parse(SHORTEST + "[learning]\nselection_bound = 1e-3\n")
    assert settings.learning.spilling_bound == pytest.approx(0.02, rel=1e-15)
    assert parse(SHORTEST).learning.spilling_bound == pytest.approx(2e-3, rel=1e-15)


def test_times_are_converted_to_internal_time():
    text = SHORTEST + '[dynamics]\ntimestep_fs = 2.0\nthermostat = "csvr"\n'
    dynamics = parse(text + "time_constant_fs = 50.0\n").dynamics
    assert dynamics.timestep == pytest.approx(2.0 * units.fs, rel=1e-15)
    assert dynamics.time_constant == pytest.approx(50.0 * units.fs, rel=1e-15)


def test_friction_times_a_picosecond_is_the_number_of_the_input():
    picosecond = 1000.0 * units.fs
    dynamics = parse(SHORTEST + "[dynamics]\nfriction_per_ps = 5\n").dynamics
    assert dynamics.friction * picosecond == pytest.approx(5.0, rel=1e-14)
    table = "[dynamics]\nfriction_per_ps = { Na = 5, Cl = 10.0 }\n"
    friction = parse(SHORTEST + table).dynamics.friction
    assert friction.keys() == {11, 17}
    assert friction[17] * picosecond == pytest.approx(10.0, rel=1e-14)


def test_energies_of_isolated_atoms_are_given_by_number_or_not_at_all():
    text = SHORTEST + "[baseline.isolated_atom_energies_eV]\nNa = -4.2\n"
    assert parse(text).baseline.isolated_atom_energies == {11: -4.2}
    assert parse(SHORTEST).baseline.isolated_atom_energies is None


def test_stress_noise_is_converted_from_gigapascal():
    settings = parse(SHORTEST + "[regression]\nnoise_stress_GPa = 160.21766\n")
    assert settings.regression.noise_stress == pytest.approx(1.0, rel=1e-6)


def test_a_stage_without_end_temperature_is_constant():
    (stage,) = parse(SHORTEST).dynamics.stages
    assert stage.temperatures == (300.0, 300.0)


def test_velocities_start_at_the_first_stage_unless_told():
    assert parse(SHORTEST).dynamics.start_temperature == 300.0
    text = SHORTEST + "[dynamics]\ninitial_temperature_K = 600\n"
    assert parse(text).dynamics.start_temperature == 600.0


def test_relative_paths_start_at_the_folder_of_the_input(tmp_path):
    (tmp_path / "a.xyz").touch()
    file = tmp_path / "input.toml"
    file.write_text(SHORTEST)
    settings = load_settings(file)
    assert settings.structure_path == tmp_path / "a.xyz"
    assert settings.directory == tmp_path / "run"
    assert settings.resolve("/else/where") == Path("/else/where")


@pytest.mark.parametrize(
    ("directory", "folder", "origin"),
    [
        ("run", "a/run", "a"),
        ("runs/hot", "a/runs/hot", "a"),
        ("run", "a/renamed", "a"),
    ],
)
def test_the_copy_in_a_run_means_the_paths_of_the_original(
    directory, folder, origin, tmp_path
):
    run = tmp_path / folder
    run.mkdir(parents=True)
    copy = run / "input.toml"
    copy.write_text(SHORTEST + f'[output]\ndirectory = "{directory}"\n')
    assert load_run_settings(copy).structure_path == tmp_path / origin / "a.xyz"


def test_settings_cannot_change():
    settings = parse(SHORTEST)
    with pytest.raises(ValidationError, match="frozen"):
        settings.descriptor.n_max = 9


def test_settings_survive_json():
    text = SHORTEST + "[dynamics]\nfriction_per_ps = { Na = 5 }\n"
    settings = parse(text)
    again = Settings.model_validate_json(settings.model_dump_json(exclude_unset=True))
    assert again.model_dump() == settings.model_dump()


def test_every_mistake_has_its_own_line():
    lines = complaints(
        SHORTEST + "[descriptor]\nn_max = 0\nsigma = 0.5\n[learning]\nqueue = 'two'\n"
    )
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("addition", "line"),
    [
        (
            "[descriptor]\ncutoff_two_body_A = -4.0\n",
            "cutoff_two_body_A must be greater than 0, got -4.0 "
            "(input.toml: descriptor.cutoff_two_body_A)",
        ),
        (
            "[dynamics]\ntimestep = 1.0\n",
            "[dynamics] has no key timestep; did you mean timestep_fs? "
            "(input.toml: dynamics.timestep)",
        ),
        (
            "[output]\nqueue = 3\n",
            "[output] has no key queue; it belongs to [learning] "
            "(input.toml: output.queue)",
        ),
        (
            '[dynamics]\nthermostat = "langvin"\n',
            'thermostat must be "langevin", "nose-hoover" or "csvr", got "langvin"; '
            'did you mean "langevin"? (input.toml: dynamics.thermostat)',
        ),
        (
            "[descriptor]\nn_max = 8.5\n",
            "n_max must be a whole number, got 8.5 (input.toml: descriptor.n_max)",
        ),
        (
            '[dynamics]\ntimestep_fs = "2"\n',
            'timestep_fs must be a number, got "2" (input.toml: dynamics.timestep_fs)',
        ),
        (
            "[lerning]\nqueue = 3\n",
            "lerning is neither a section nor a key at the top; did you mean learning? "
            "(input.toml: lerning)",
        ),
        (
            "[baseline.isolated_atom_energies_eV]\nXx = 1.0\n",
            "'Xx' is no chemical symbol, in isolated_atom_energies_eV "
            "(input.toml: baseline.isolated_atom_energies_eV.Xx)",
        ),
    ],
)
def test_a_line_says_what_is_wrong_where_and_the_mend(addition, line):
    assert complaints(SHORTEST + addition) == [line]


@pytest.mark.parametrize(
    ("addition", "key"),
    [
        ('[learning]\npolicy = "budget"\n', "learning.budget_calls"),
        ("[learning]\nbudget_calls = 10\n", "learning.budget_calls"),
        (
            '[learning]\npolicy = "budget"\nbudget_calls = 4\n',
            "learning.budget_calls",
        ),
        ("[learning]\nmax_spilling = 1e-5\n", "learning.max_spilling"),
        ("[potential]\nmax_spilling = 0.1\n", "potential.max_spilling"),
        ('[potential]\nmodel = "m.h5"\n[learning]\nqueue = 1\n', "potential.model"),
        ("[regression]\nlength = 0.5\n", "regression.length"),
        (
            '[regression]\ncovariance = "gaussian"\nexponent = 2\n',
            "regression.exponent",
        ),
        (
            "[regression]\nweight_energy = 0\nweight_force = 0\n",
            "regression.weight_force",
        ),
        ("[dynamics]\nchain_length = 3\n", "dynamics.chain_length"),
        (
            '[dynamics]\nthermostat = "csvr"\nfriction_per_ps = 1\n',
            "dynamics.friction_per_ps",
        ),
        ('[dynamics]\nensemble = "NVE"\n', "dynamics.stages[0].temperature_K"),
        ("[[dynamics.stages]]\nsteps = 3\n", "dynamics.stages[1].temperature_K"),
        (
            "[[dynamics.stages]]\nsteps = 3\ntemperature_end_K = 30\n",
            "dynamics.stages[1].temperature_end_K",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(addition, key):
    (line,) = complaints(SHORTEST + addition)
    assert line.endswith(f"(input.toml: {key})")


def test_an_argument_of_the_calculator_in_its_section_is_told_where_it_goes():
    (line,) = complaints(SHORTEST.replace("[reference]", "[reference]\nsigma_A = 2.0"))
    assert line == (
        "[reference] has no key sigma_A; arguments of the calculator go into "
        "[reference.arguments] (input.toml: reference.sigma_A)"
    )


def test_a_run_needs_stages_and_a_reference():
    lines = complaints('[structure]\nfile = "a.xyz"\n')
    assert [line.rpartition("(")[2] for line in lines] == [
        "input.toml: reference.calculator)",
        "input.toml: dynamics.stages)",
    ]


def test_production_needs_no_reference():
    text = SHORTEST.replace('[reference]\ncalculator = "emt"', "")
    settings = parse(text + '[potential]\nmodel = "model.h5"\n')
    assert not settings.is_learning
    assert settings.model_path == Path("/somewhere/model.h5")


def test_every_key_is_described():
    for header, model in all_sections():
        assert model.__doc__, header
        for key in keys_of(model):
            assert key.description.endswith("."), f"{header} {key.name}"
            assert key.description in reference_page()


def test_the_schema_refuses_unknown_keys_and_asks_for_a_structure():
    schema = json.loads(json_schema())
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"structure"}


def template() -> str:
    return commented_input(
        {"structure": {"file": "a.xyz"}, "reference": {"calculator": "emt"}},
        stages=[{"steps": 10, "temperature_K": 300.0}],
        name="input.toml",
    )


def test_the_commented_input_means_what_the_shortest_one_means():
    written = parse(template())
    assert written.model_dump() == parse(SHORTEST).model_dump()


# These need another key beside them.
AT_PRESSURE = ('ensemble = "NPT"', "pressure_GPa = 0.0")
WITH_INERTIA = (*AT_PRESSURE, 'barostat = "parrinello-rahman"')
PARTNERS = {
    "budget_calls": ('policy = "budget"',),
    "length": ('covariance = "gaussian"',),
    "time_constant_fs": ('thermostat = "csvr"',),
    "chain_length": ('thermostat = "nose-hoover"',),
    "barostat": AT_PRESSURE,
    "cell": AT_PRESSURE,
    "barostat_time_fs": AT_PRESSURE,
    "compressibility_per_GPa": AT_PRESSURE,
    "cell_friction_per_ps": WITH_INERTIA,
    "cell_mass_amu": WITH_INERTIA,
    "pressure_GPa": AT_PRESSURE[:1],
    "pressure_end_GPa": AT_PRESSURE,
    "hold_cell": AT_PRESSURE,
    "max_stress_error_GPa": AT_PRESSURE,
}
OF_PRODUCTION = {"model", "on_untrusted", "max_spilling", "check_interval"}
# Of sections that are not there as long as their header is a comment.
NEEDED = {
    "baseline.electrostatics": ["[baseline.electrostatics]", "charges_e"],
    "baseline.dispersion": ["[baseline.dispersion]", "method", "functional"],
    "baseline.calculator": ["[baseline.calculator]", "name"],
    "dynamics.respa": [
        "[dynamics.respa]",
        "inner_steps",
        "[baseline.calculator]",
        "name",
    ],
    "sweep": ["[sweep]", "seeds"],
}


def test_every_comment_of_the_commented_input_can_be_made_a_key():
    lines = template().splitlines()
    tried = 0
    section = ""
    for k, line in enumerate(lines):
        if line.startswith(("[", "#[")):
            section = line.strip("#[]")
        key = line[1:].partition(" ")[0]
        if not line.startswith("#") or line.startswith("# "):
            continue
        if section == "potential" and key in OF_PRODUCTION:
            continue
        if section == "coexistence":  # it goes with a model and without stages
            continue
        changed = [*lines[:k], line[1:], *lines[k + 1 :]]
        for needed in NEEDED.get(section, ()):
            j = next(j for j, s in enumerate(lines) if s.startswith(f"#{needed}"))
            changed[j] = lines[j][1:]
        for partner in PARTNERS.get(key, ()):
            name = partner.partition(" ")[0]
            j = next(j for j, s in enumerate(lines) if s.startswith(f"#{name} "))
            changed[j] = partner
        parse("\n".join(changed))
        tried += 1
    assert tried > 40


@pytest.mark.parametrize(
    "value", ['a "quoted" \\ text', True, 3, 0.5, 1e-9, [1, 2], {"a": {"b": [0.5]}}]
)
def test_values_are_written_as_toml_reads_them(value):
    assert tomllib.loads(f"key = {toml(value)}")["key"] == value
