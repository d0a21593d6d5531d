"""A model called as LAMMPS calls it; the program itself is in test_lammps_real."""

from __future__ import annotations

import itertools
import json
import pickle
import pickletools
import subprocess
import sys
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase.data import covalent_radii
from lammps_models import diamond, fitted, saved

from otf.cli import main
from otf.configuration import Configuration
from otf.deploy import lammps, proof
from otf.deploy.lammps import ElementName, LammpsModel
from otf.deploy.lammps_domain import Domain, predicted
from otf.deploy.lammps_file import LammpsFile
from otf.deploy.lammps_spilling import SpillingLog
from otf.descriptors import power_spectrum
from otf.errors import InputError, StoreError
from otf.kernels import Backend, load
from otf.models import posterior
from otf.models.baselines.core_repulsion import CoreRepulsion
from otf.models.baselines.dispersion_d2 import DispersionD2
from otf.models.baselines.interface import CompositeBaseline
from otf.store.model_file import read_model, write_model


class PlainDomain(Domain):
    """As without KOKKOS; the model's arrays live in it."""

    flavour = "plain"


class KokkosDomain(Domain):
    """As with KOKKOS: energies of atoms are a live view, counts are misread."""

    flavour = "kokkos"

    @property
    def eatoms(self):
        return self.written

    @eatoms.setter
    def eatoms(self, energies):
        raise AttributeError("eatoms of KOKKOS has no setter")

    @property
    def numneighs(self):
        counts = np.bincount(self.pair_i, minlength=self.nlistatoms + 1)
        return counts.astype(np.int32)[: 2 * (self.nlistatoms // 2)].view(np.float64)


FLAVOURS = [PlainDomain, KokkosDomain]


@pytest.fixture(scope="module", params=[(5.0, 4.0), (4.0, 5.0)], ids=["2>3", "3>2"])
def model(request):
    two, three = request.param
    return fitted(cutoff_two_body=two, cutoff_three_body=three)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "sige.h5", fitted())


@pytest.fixture
def called_by(monkeypatch, emulated):
    """Return a function that gives what LAMMPS calls, and where its arrays are."""

    def make(flavour, model):
        if flavour is PlainDomain:
            return LammpsModel(model), load("cpu")
        backend = Backend(np, emulated(order="random"))

        def load_here(device):
            return backend if device == "gpu" else load(device)

        for module in (power_spectrum, posterior):
            monkeypatch.setattr(module, "load", load_here)
        # What the emulator computes with are NumPy's arrays, too.
        monkeypatch.setattr(lammps, "device_of", lambda array: "gpu")
        return LammpsModel(model.on("gpu")), backend

    return make


def molecule():
    c = diamond(4)
    return replace(c, pbc=np.zeros(3, dtype=bool), cell=np.zeros((3, 3)))


def slab():
    return replace(diamond(5, shear=1.0), pbc=np.array([True, True, False]))


STRUCTURES = {
    "cell smaller than the cutoff": diamond(1),
    "triclinic": diamond(2, shear=1.0),
    "larger cell": diamond(3, repeat=2, shear=0.5),
    "slab": slab(),
    "molecule": molecule(),
}


def as_lammps(style, backend, c, **options):
    return predicted(
        style,
        c,
        elements=style.species,
        cutoff=style.cutoff,
        backend=backend,
        **options,
    )


# ------------------------------------------------------------------------- what it says
@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_lammps_adds_up_to_the_prediction(model, called_by, flavour, name):
    """On one, two and three processors, whichever of the cutoffs is the larger one."""
    style, backend = called_by(flavour, model)
    c = STRUCTURES[name]
    expected = model.predict(c)
    assert np.abs(expected.forces).max() > 0.1
    for n_domains in (1, 2, 3):
        got = as_lammps(style, backend, c, n_domains=n_domains, make=flavour)
        assert got.energy == pytest.approx(expected.energy, abs=1e-10 * c.n_atoms)
        np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-10)
        np.testing.assert_allclose(got.stress, expected.stress, rtol=0, atol=1e-12)


def test_the_cutoff_is_the_larger_one_and_lammps_is_told_half(model):
    style = LammpsModel(model)
    # LAMMPS: (radius_i + radius_j) rcutfac with radii of 1.
    assert (1 + 1) * style.rcutfac == model.descriptor.cutoff == 5.0
    short = predicted(
        style, diamond(1), elements=(14, 32), cutoff=4.0, backend=load("cpu")
    )
    off = np.abs(short.forces - model.predict(diamond(1)).forces).max()
    assert off > 1e-3  # a shorter cutoff would be seen above


def test_a_repulsion_that_reaches_further_than_the_descriptor_has_all_its_pairs():
    wide = CoreRepulsion(2.2 * covalent_radii, [14, 32])
    model = fitted(cutoff_two_body=2.8, cutoff_three_body=2.6, baseline=wide)
    style, c = LammpsModel(model), diamond(1)
    assert style.cutoff == wide.reach > 2.8
    got, expected = as_lammps(style, load("cpu"), c), model.predict(c)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-10)


def domain_of(c, style, make=Domain, **options):
    """Return the only domain of a configuration."""
    made = []

    def keep(*arguments):
        made.append(make(*arguments, **options))
        return made[0]

    as_lammps(style, load("cpu"), c, n_domains=1, make=keep)
    return made[0]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_energies_of_atoms_are_those_of_the_model(model, called_by, flavour):
    c = STRUCTURES["triclinic"]
    style, _ = called_by(flavour, model)
    found = domain_of(c, style, make=flavour)
    assert found.written.sum() == pytest.approx(found.energy, abs=1e-10)
    order = np.argsort(
        (c.positions @ np.linalg.inv(c.cell))[:, 0], kind="stable"
    )  # of the domain
    expected = model.atomic_energies(c)[order]
    np.testing.assert_allclose(found.written, expected, rtol=0, atol=1e-10)


class ShuffledList(Domain):
    """A list in an order of its own, as of pair_style hybrid, and not of all atoms."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        rng = np.random.default_rng(0)
        self.iatoms = rng.permutation(self.nlistatoms)[:-2].astype(np.int32)
        self.nlistatoms -= 2
        order = np.concatenate([np.flatnonzero(self.pair_i == i) for i in self.iatoms])
        self.pair_i, self.jatoms = self.pair_i[order], self.jatoms[order]
        self.rij, self.npairs = self.rij[order], len(order)
        self.written = np.full(self.nlistatoms, np.nan)


class WithPairsOfGhosts(Domain):
    """What 'pair_style mliap unified FILE 1' adds: ghosts have pairs, too."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.n_own, self.natomneigh = self.npairs, self.nlistatoms + 4
        ghosts = np.arange(self.nlistatoms, self.nlistatoms + 4, dtype=np.int32)
        self.iatoms = np.concatenate([self.iatoms, ghosts])
        self.pair_i = np.concatenate([self.pair_i, ghosts])
        self.jatoms = np.concatenate([self.jatoms, np.zeros(4, np.int32)])
        self.rij = np.concatenate([self.rij, np.full((4, 3), 1.5)])
        self.npairs += 4

    def update_pair_forces(self, fij):
        assert fij.shape == (self.npairs, 3)
        assert not fij[self.n_own :].any()
        super().update_pair_forces(fij)


def test_atoms_of_the_list_come_in_any_order(model):
    c, style = STRUCTURES["triclinic"], LammpsModel(model)
    found, all_of = (domain_of(c, style, make=m) for m in (ShuffledList, Domain))
    np.testing.assert_allclose(
        found.written, all_of.written[found.iatoms], rtol=0, atol=1e-12
    )
    assert found.energy == pytest.approx(found.written.sum(), abs=1e-10)


def test_pairs_of_ghosts_are_nobodys_business(model):
    c, style = STRUCTURES["triclinic"], LammpsModel(model)
    found, plain = (domain_of(c, style, make=m) for m in (WithPairsOfGhosts, Domain))
    np.testing.assert_array_equal(found.f, plain.f)
    assert found.energy == plain.energy


def test_a_release_that_hides_its_list_is_refused(model):
    class Hidden(Domain):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.natomneigh = 0

    with pytest.raises(InputError, match="does not tell a model which atoms"):
        domain_of(STRUCTURES["slab"], LammpsModel(model), make=Hidden)


def test_a_release_that_drops_forces_of_a_list_with_gaps_is_refused(model):
    class Old:
        """Hands on all but what the release did not have."""

        def __init__(self, *arguments, make):
            self._domain = make(*arguments)

        def __getattr__(self, name):
            if name == "nlocal":
                raise AttributeError(name)
            return getattr(self._domain, name)

        def __setattr__(self, name, value):
            to = self if name == "_domain" else self._domain
            object.__setattr__(to, name, value)

    c, style = STRUCTURES["triclinic"], LammpsModel(model)
    domain_of(c, style, make=partial(Old, make=Domain))
    with pytest.raises(InputError, match="drops forces where the list"):
        domain_of(c, style, make=partial(Old, make=ShuffledList))


class NoAtoms:
    """A processor without atoms: LAMMPS' arrays of no length raise when asked for."""

    nlistatoms, eflag, energy = 0, 1, 12.5


def test_a_processor_without_atoms_has_no_energy(model):
    """LAMMPS would add the energy of the last step on which it had some."""
    nothing = NoAtoms()
    LammpsModel(model).compute_forces(nothing)
    assert nothing.energy == 0.0


class WithoutPairs(Domain):
    @property
    def rij(self):
        raise ValueError("Invalid shape in axis 0: 0.")

    @rij.setter
    def rij(self, value): ...

    def update_pair_forces(self, fij):
        raise IndexError("LAMMPS would read the first pair")


def test_atoms_far_apart_have_their_energies(model):
    alone = Configuration(
        numbers=np.array([14, 32, 32]),
        positions=20.0 * np.eye(3),
        cell=60.0 * np.eye(3),
        pbc=np.ones(3, dtype=bool),
    )
    found = domain_of(alone, LammpsModel(model), make=WithoutPairs)
    assert found.npairs == 0
    assert found.energy == pytest.approx(model.predict(alone).energy, abs=1e-10)


def test_energies_that_are_not_asked_for_are_not_given(model):
    class Quiet(Domain):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.eflag = 0

    found = domain_of(STRUCTURES["slab"], LammpsModel(model), make=Quiet)
    assert np.isnan(found.energy)
    assert np.isnan(found.written).all()
    assert np.abs(found.f).max() > 0.1


def test_the_device_is_waited_for_before_reading_and_before_giving(model, monkeypatch):
    """KOKKOS computes on a stream of its own, before and after us."""
    seen = []

    class Watched(Domain):
        def __getattribute__(self, name):
            if name in ("rij", "pair_i", "jatoms", "update_pair_forces"):
                seen.append(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(Backend, "wait", lambda self: seen.append("wait"))
    style = LammpsModel(model)
    predicted(
        style,
        STRUCTURES["slab"],
        elements=style.species,
        cutoff=style.cutoff,
        backend=load("cpu"),
        n_domains=1,
        make=Watched,
    )
    first = seen.index("wait")
    assert first < seen.index("pair_i") < seen.index("update_pair_forces")
    assert seen[seen.index("update_pair_forces") - 1] == "wait"


def test_what_was_given_stays_until_the_next_step(model):
    """KOKKOS may read it after the call has ended."""
    given = []

    class Late(Domain):
        def update_pair_forces(self, fij):
            given.append(weakref.ref(fij))

    style = LammpsModel(model)
    domain_of(STRUCTURES["slab"], style, make=Late)
    assert given[0]() is not None
    domain_of(STRUCTURES["slab"], style, make=Late)
    assert given[0]() is None


def test_bytes_of_names_stay():
    """Older LAMMPS keeps a pointer to what ``encode`` returned."""
    name = ElementName("Si")
    assert name == "Si"
    assert name.encode("UTF-8") is name.encode("UTF-8") == b"Si"
    assert ElementName("Si").encode() is name.encode()


# --------------------------------------------------------------------------- the export
def export(*arguments):
    return main(["export", "lammps", *map(str, arguments)])


def test_the_file_is_one_function_and_a_model_file(path, tmp_path, capsys):
    out = tmp_path / "sige.mliap"
    assert export(path, "-o", out) == 0
    printed = capsys.readouterr().out
    assert f"Wrote {out}: elements Si Ge, cutoff 5.0 A." in printed
    assert not list(tmp_path.glob("*.partial"))
    codes = list(pickletools.genops(out.read_bytes()))
    texts = [value for code, value, _ in codes if code.name == "SHORT_BINUNICODE"]
    assert texts[:2] == ["otf.deploy.lammps_file", "open_model"]
    assert sum(code.name in ("GLOBAL", "STACK_GLOBAL") for code, _, _ in codes) == 1
    assert path.read_bytes() in out.read_bytes()


def test_the_file_becomes_the_model(path, tmp_path):
    out = tmp_path / "sige.mliap"
    assert export(path, "-o", out) == 0
    style = pickle.loads(out.read_bytes())
    assert style.element_types == ["Si", "Ge"]
    c = STRUCTURES["triclinic"]
    got, expected = as_lammps(style, load("cpu"), c), fitted().predict(c)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-10)


def test_the_example_names_elements_and_files(path, tmp_path):
    assert export(path, "-o", tmp_path / "sige.mliap") == 0
    text = (tmp_path / "in.sige").read_text()
    words = [line.split() for line in text.splitlines()]
    assert ["pair_style", "mliap", "unified", "sige.mliap", "0"] in words
    assert ["pair_coeff", "*", "*", "Si", "Ge"] in words
    assert ["read_data", "data.sige"] in words
    assert {("units", "metal"), ("newton", "on")} <= {tuple(w[:2]) for w in words}
    assert "8 atoms" in (tmp_path / "data.sige").read_text()


def test_an_example_that_was_edited_stays(path, tmp_path, capsys):
    out = tmp_path / "sige.mliap"
    (tmp_path / "in.sige").write_text("mine")
    assert export(path, "-o", out) == 0
    assert "in.sige is there already and stays as it is" in capsys.readouterr().out
    assert (tmp_path / "in.sige").read_text() == "mine"
    assert not (tmp_path / "data.sige").exists()


# ------------------------------------------------------------------------ what is wrong
WRONG = {
    "torch": (["-o", "x.pt"], "x.pt: LAMMPS hands files named *.pt to PyTorch"),
    "folder": (["-o", "."], "is a folder, expected the name of a file"),
    "nowhere": (["-o", "no/x.mliap"], "there is no folder no"),
    "itself": (["-o", "sige.h5"], "is read by this command"),
    "interval": (["-o", "x", "--spilling-every", "0"], "whole number above 0"),
    "file alone": (["-o", "x", "--spilling-file", "y"], "needs --spilling-every"),
    "no output": ([], "-o/--output"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line(path, name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sige.h5").write_bytes(path.read_bytes())
    arguments, expected = WRONG[name]
    assert export("sige.h5", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otf-md: error: ")
    assert expected in line
    assert [p.name for p in tmp_path.iterdir()] == ["sige.h5"]


def test_a_model_that_is_not_there_is_one_line(tmp_path, capsys):
    assert export(tmp_path / "no.h5", "-o", tmp_path / "x") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_model_at_all_is_one_line(tmp_path, capsys):
    (tmp_path / "text.h5").write_text("no model")
    assert export(tmp_path / "text.h5", "-o", tmp_path / "x") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no model file" in line


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """Return the file of a model with dispersion beside the repulsion."""
    near = fitted().baseline
    coefficients, radii = {14: 10.0, 32: 12.0}, {14: 1.7, 32: 1.8}
    both = CompositeBaseline([near, DispersionD2(coefficients, radii, scale=0.75)])
    folder = tmp_path_factory.mktemp("far")
    return saved(folder / "far.h5", fitted(baseline=both))


def test_a_baseline_of_long_range_is_refused(far, tmp_path, capsys):
    assert export(far, "-o", tmp_path / "x.mliap") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{far}: the baseline of the model has a part dispersion_d2" in line
    assert "LAMMPS cannot run it: fit a model without it" in line
    assert not (tmp_path / "x.mliap").exists()


# ---------------------------------------------------------------------------- the proof
def with_other_forces(path, to):
    file = read_model(path)
    c, labels = file.proof[2]
    file.proof[2] = c, replace(labels, forces=labels.forces + 0.5)
    write_model(to, file.arrays, metadata=file.metadata, proof=file.proof)


def test_a_model_that_says_something_else_is_refused(path, tmp_path):
    other = tmp_path / "other.h5"
    with_other_forces(path, other)
    packed = pickle.dumps(LammpsFile(other.read_bytes(), "si.mliap"))
    message = (
        "si.mliap: backend lammps does not give the model's own forces again: proof "
        "frame 2 is off by 0.5 eV/angstrom, allowed are 1e-06"
    )
    with pytest.raises(StoreError) as caught:
        pickle.loads(packed)
    assert str(caught.value).startswith(message)


def test_a_damaged_file_is_one_line_for_lammps(path, tmp_path):
    """LAMMPS prints exceptions by sys.excepthook, as Python does at its end."""
    out = tmp_path / "sige.mliap"
    assert export(path, "-o", out) == 0
    content = bytearray(out.read_bytes())
    weights = read_model(path).arrays["weights"].tobytes()
    content[content.index(weights)] ^= 1
    out.write_bytes(content)
    code = f"import pickle; pickle.load(open({str(out)!r}, 'rb'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == [
        "otf-md: error: sige.mliap: is damaged (/arrays/weights has another checksum); "
        "take another copy"
    ]


def test_errors_of_others_keep_their_traceback(capsys):
    lammps._print_error(ValueError, ValueError("of somebody"), None)
    assert capsys.readouterr().err == "ValueError: of somebody\n"


@pytest.fixture
def one_backend(monkeypatch):
    """Leave out the definition in NumPy, which takes seconds."""
    monkeypatch.setattr(proof, "BACKENDS", ("cpu",))


@pytest.mark.usefixtures("one_backend")
def test_show_verifies_that_lammps_can_run_a_model(path, far, capsys):
    assert main(["show", str(path), "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["backends"]["lammps"]
    assert found["proven"]
    assert found["deviations"]["forces"]["size"] < 1e-10
    assert main(["show", str(far), "--verify"]) == 0
    assert "backend lammps    not here: the baseline" in capsys.readouterr().out


@pytest.mark.usefixtures("one_backend")
def test_a_proof_that_lammps_does_not_give_again_is_refused(path, capsys, monkeypatch):
    """Energies are right, and the other atom of a pair feels nothing."""

    def one_sided(self, fij):
        np.add.at(self.f, self.pair_i, fij)
        self.strain += self.rij.T @ fij

    monkeypatch.setattr(Domain, "update_pair_forces", one_sided)
    assert main(["show", str(path), "--verify"]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "error" in x]
    assert "backend lammps does not give the model's own forces again" in line


def test_a_model_without_pairs_of_its_own_is_refused():
    class Foreign:
        """A descriptor of some other package."""

    with pytest.raises(InputError, match=r"Foreign .* cannot be evaluated from given"):
        LammpsModel(replace(fitted(), descriptor=Foreign()))


# ------------------------------------------------------------------------- the spilling
def test_the_spilling_is_written_at_the_interval(model, tmp_path):
    log = SpillingLog(tmp_path / "spilling", 3, environment={})
    style = LammpsModel(model, spilling=log)
    frames = [diamond(20 + k, rattle=0.1 + 0.03 * k) for k in range(7)]
    for c in frames:
        as_lammps(style, load("cpu"), c, n_domains=1)
    head, *lines = (tmp_path / "spilling").read_text().splitlines()
    assert head.startswith("# evaluation")
    assert [line.split()[0] for line in lines] == ["0", "3", "6"]
    for k, line in zip((0, 3, 6), lines, strict=True):
        expected = model.predict_measured(frames[k]).uncertainty.spilling
        _, atoms, largest, element, mean = line.split()
        assert int(atoms) == 8
        assert float(largest) == pytest.approx(expected.max(), rel=1e-5)
        assert float(mean) == pytest.approx(expected.mean(), rel=1e-5)
        assert element == ("Si" if frames[k].numbers[expected.argmax()] == 14 else "Ge")


def test_a_processor_without_atoms_counts_its_evaluations(model, tmp_path):
    log = SpillingLog(tmp_path / "spilling", 2, environment={})
    style = LammpsModel(model, spilling=log)
    for _ in range(3):
        style.compute_forces(NoAtoms())
    lines = (tmp_path / "spilling").read_text().splitlines()[1:]
    assert lines == ["0 0 nan - nan", "2 0 nan - nan"]


def test_processes_write_files_of_their_own(tmp_path):
    for name, number in itertools.product(
        ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"), "03"
    ):
        log = SpillingLog(tmp_path / "s.txt", 1, environment={name: number})
        assert log.path == tmp_path / f"s.txt.{number}"
    assert SpillingLog(Path("s"), 1, environment={}).path == Path("s")


def test_a_spilling_that_cannot_be_written_stops_nobody(model, tmp_path, capsys):
    """An exception on one process would leave the others waiting for ever."""
    log = SpillingLog(tmp_path / "no" / "spilling", 1, environment={})
    style = LammpsModel(model, spilling=log)
    for _ in range(3):
        as_lammps(style, load("cpu"), diamond(1), n_domains=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"otf-md: warning: {log.path}: No such file")
    assert not log.is_due()


def test_a_file_carries_interval_and_name(path, tmp_path, monkeypatch):
    out = tmp_path / "sige.mliap"
    assert export(path, "-o", out, "--spilling-every", 5) == 0
    monkeypatch.chdir(tmp_path)
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    style = pickle.loads(out.read_bytes())
    assert not Path("sige.spilling").exists()  # the proof is no evaluation of a run
    for _ in range(6):
        as_lammps(style, load("cpu"), diamond(1), n_domains=1)
    lines = Path("sige.spilling").read_text().splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["0", "5"]
