"""The keys of the input file that move the cell, and the barostats they become."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from otf.build import build_sampler, initial_state
from otf.cli import main
from otf.dynamics.barostats import StochasticCellRescaling
from otf.dynamics.extended_cell import LangevinParrinelloRahman, MartynaTobiasKlein
from otf.dynamics.nose_hoover import NoseHooverChain
from otf.dynamics.thermostats import Langevin, StochasticVelocityRescaling
from otf.kernels import load
from otf.settings import load_settings
from otf.units import FS, GPA

INPUT = """
[structure]
file = "cu.extxyz"

[reference]
{reference}

[dynamics]
timestep_fs = 2.0
ensemble = "NPT"
{dynamics}

[[dynamics.stages]]
steps = 10
temperature_K = 300.0
pressure_GPa = {pressure}
"""
EMT = 'calculator = "emt"'


@pytest.fixture
def prepare(tmp_path):
    """Return a function that writes an input for copper and returns its path."""

    def write_input(dynamics="", *, pressure="1.0", reference=EMT):
        write(tmp_path / "cu.extxyz", bulk("Cu"))  # a primitive, not triangular cell
        path = tmp_path / "input.toml"
        path.write_text(
            INPUT.format(dynamics=dynamics, pressure=pressure, reference=reference)
        )
        return path

    return write_input


@pytest.fixture
def built(prepare):
    """Return a function that returns the integrator of an input, and its state."""

    def build(dynamics="", **words):
        settings = load_settings(prepare(dynamics, **words))
        state = initial_state(settings)
        return build_sampler(settings, state, load("cpu"), cutoff=5.0), state

    return build


def test_the_default_is_isotropic_cell_rescaling_of_langevin_atoms(built):
    sampler, state = built("compressibility_per_GPa = 0.02\nbarostat_time_fs = 500.0")
    assert isinstance(sampler, StochasticCellRescaling)
    assert isinstance(sampler.thermostat, Langevin)
    assert sampler.relaxation_time == pytest.approx(500.0 * FS)
    assert sampler.compressibility * GPA == pytest.approx(0.02)
    assert len(sampler.cell.freedom.generators) == 1
    assert np.array_equal(state.configuration.cell, bulk("Cu").cell[:])


def test_cell_rescaling_goes_with_velocity_rescaling(built):
    sampler, _ = built('thermostat = "csvr"')
    assert isinstance(sampler.thermostat, StochasticVelocityRescaling)


def test_the_mass_of_the_cell_is_that_of_its_vectors(built):
    # M tr(h' h'^T)/2 with h' = h nu and h of about the length V^(1/3)
    by_mass, state = built('barostat = "parrinello-rahman"\ncell_mass_amu = 100.0')
    assert isinstance(by_mass, LangevinParrinelloRahman)
    edge = state.configuration.volume ** (1 / 3)
    assert by_mass.inertia == pytest.approx(100.0 * edge**2)
    by_time, _ = built('barostat = "parrinello-rahman"\ncell_friction_per_ps = 3.0')
    assert by_time.inertia is None
    assert by_time.friction * 1000.0 * FS == pytest.approx(3.0)


def test_chains_come_with_their_thermostat(built):
    sampler, _ = built('barostat = "mtk"\ntime_constant_fs = 50.0\nchain_length = 4')
    assert isinstance(sampler, MartynaTobiasKlein)
    assert not isinstance(sampler, NoseHooverChain)
    assert sampler.thermostat_time == pytest.approx(50.0 * FS)
    assert sampler.relaxation_time == pytest.approx(1000.0 * FS)
    assert sampler.length == 4


@pytest.mark.parametrize(
    ("cell", "n"),
    [
        ('"isotropic"', 1),
        ('"orthorhombic"', 3),
        ('"full"', 6),
        ('"fixed-angles"', 3),
        ('["zz"]', 1),
        ('["xx", "yy", "zz", "xz"]', 4),
    ],
)
def test_words_and_components_say_what_is_free(built, cell, n):
    sampler, state = built(f"cell = {cell}")
    assert len(sampler.cell.freedom.generators) == n
    turned = cell not in ('"isotropic"', '"fixed-angles"')
    assert (not np.triu(state.configuration.cell, 1).any()) is turned
    assert np.array_equal(state.first_cell, state.configuration.cell)
    assert np.array_equal(sampler.cell.load.cell, state.first_cell)


def test_check_says_what_a_run_at_pressure_would_do(prepare, capsys):
    path = prepare('cell = "full"', pressure="[0.0, 0.0, 2.0]")
    assert main(["check", str(path)]) == 0
    words = capsys.readouterr().out
    assert "NPT, langevin, cell-rescaling, full, 10 steps" in words
    assert "stage 1: 10 steps at 300 K, [0.0, 0.0, 2.0] GPa" in words
    assert "Pulay" not in words


PLANE_WAVES = (
    'calculator = "gpaw"\narguments = { mode = { name = "pw", ecut = 300.0 } }'
)


def test_check_warns_of_pulay_stress_where_waves_have_a_cutoff(
    prepare, capsys, monkeypatch
):
    from otf.commands import check

    path = prepare('cell = "full"', reference=PLANE_WAVES)
    settings = load_settings(path)

    class WithCutoff:
        name = "gpaw"
        raised = staticmethod(lambda arguments, factor: arguments)

    monkeypatch.setattr(check, "build_code", lambda _: WithCutoff)
    (line,) = check.pulay_warning(settings, path)
    assert "Pulay stress" in line
    assert f"otf-md check --pulay {path}" in line
    fixed = settings.model_copy(
        update={"dynamics": settings.dynamics.model_copy(update={"ensemble": "NVT"})}
    )
    assert list(check.pulay_warning(fixed, path)) == []
