"""otf-md fit, evaluate and refit: files in, errors out, one line for each mistake."""

import gzip
import io
import json
import logging
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from otf.calculators.reference import to_labels
from otf.calculators.serving import evaluate as exact
from otf.calculators.stillinger_weber import StillingerWeber
from otf.cli import main
from otf.commands.cost import peak_memory, seconds
from otf.commands.dataset import read_dataset
from otf.commands.fitting import model_settings
from otf.commands.refit import distinct
from otf.commands.stages import Stages
from otf.configuration import Configuration, Labels
from otf.deploy.provenance import laws_of, record_of_laws
from otf.deploy.saved_model import load_model
from otf.errors import InputError
from otf.store.entries import Label, Start
from otf.store.extxyz import read_frames, write_frames
from otf.store.labels import dataset_key, label_key
from otf.store.model_file import read_model, write_model
from otf.store.run_files import RunFiles
from otf.store.schema import RunFolder
from otf.testing import strained
from otf.units import GPA

SMALL = """
[descriptor]
cutoff_three_body_A = 4.0
n_max = 4
l_max = 2
cutoff_two_body_A = 4.0
n_max_two_body = 5
"""
KEYS = {
    "energy_mae_meV_per_atom",
    "energy_rmse_meV_per_atom",
    "force_mae_eV_per_A",
    "force_rmse_eV_per_A",
    "stress_rmse_GPa",
    "n_local_references",
    "seconds",
    "peak_memory_MB",
}


def silicon(n_frames, seed, *, offset=0.0):
    """Return rattled, strained silicon with its exact labels; an offset in GPa."""
    generator = np.random.default_rng(seed)
    perfect = Configuration.from_atoms(bulk("Si", cubic=True))
    frames = []
    for _ in range(n_frames):
        strain = generator.uniform(-0.04, 0.04) * np.array([1.0, 1.0, 1.0, 0, 0, 0])
        c = strained(perfect, strain)
        c = c.moved(c.positions + generator.normal(0.0, 0.1, (8, 3)))
        labels = to_labels(exact(StillingerWeber(), c.to_atoms()), c)
        stress = labels.stress + offset * GPA * np.array([1.0, 1.0, 1.0, 0, 0, 0])
        frames.append((c, replace(labels, stress=stress)))
    return frames


@pytest.fixture
def folder(tmp_path):
    write_frames(tmp_path / "train.xyz", silicon(16, seed=1))
    write_frames(tmp_path / "test.xyz.gz", silicon(6, seed=2))
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def fit(folder, *options, data="train.xyz", command="fit"):
    model = folder / "model.h5"
    arguments = [str(folder / data), "-o", str(model), *options]
    if "--input" not in options:
        arguments += ["--input", str(folder / "small.toml")]
    assert main([command, *arguments]) == 0
    return model


def test_fit_and_evaluate_print_the_same_keys_as_json_alone_on_stdout(folder, capsys):
    model = fit(folder, "--json")
    printed = capsys.readouterr()
    fitted = json.loads(printed.out)
    assert fitted.keys() >= KEYS
    assert "local references" in printed.err
    assert main(["evaluate", str(model), str(folder / "test.xyz.gz"), "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated.keys() >= KEYS
    assert evaluated["n_frames"] == 6
    assert evaluated["n_local_references"] == fitted["n_local_references"]


def test_a_fit_predicts_structures_it_has_not_seen(folder, capsys):
    model = fit(folder)
    capsys.readouterr()
    assert main(["evaluate", str(model), str(folder / "test.xyz.gz"), "--json"]) == 0
    errors = json.loads(capsys.readouterr().out)
    forces = np.concatenate([y.forces for _, y in silicon(6, seed=2)])
    # What remains is the basis of the small descriptor; guessing 0 leaves the spread.
    assert errors["force_rmse_eV_per_A"] < 0.1 * np.sqrt((forces**2).mean())


def test_the_errors_are_those_of_the_model_in_the_file(folder, capsys):
    model = load_model(fit(folder, "--json"))
    printed = json.loads(capsys.readouterr().out)
    differences = [model.predict(c).forces - y.forces for c, y in silicon(16, seed=1)]
    rmse = np.sqrt((np.concatenate(differences) ** 2).mean())
    assert printed["force_rmse_eV_per_A"] == pytest.approx(rmse, rel=1e-9)


def test_errors_are_told_for_each_config_type(folder, capsys):
    atoms = []
    for k, (c, labels) in enumerate(silicon(4, seed=3)):
        crystal = c.to_atoms()
        crystal.info["config_type"] = "cold" if k else "very hot"
        crystal.info["REF_energy"] = labels.energy
        crystal.arrays["REF_forces"] = labels.forces
        atoms.append(crystal)
    text = io.StringIO()
    from ase.io import write

    write(text, atoms, format="extxyz")
    (folder / "groups.xyz.gz").write_bytes(gzip.compress(text.getvalue().encode()))
    model = fit(folder)
    capsys.readouterr()
    data = str(folder / "groups.xyz.gz")
    assert main(["evaluate", str(model), data]) == 0
    printed = capsys.readouterr().out
    assert "very hot                 1" in printed
    assert "cold                     3" in printed
    (line,) = [x for x in printed.splitlines() if x.startswith("all ")]
    assert line.split()[-1] == "-"  # the file has no stresses


def test_references_is_the_cap_for_each_element(folder, capsys):
    fit(folder, "--json", "--references", "7")
    assert json.loads(capsys.readouterr().out)["n_local_references"] == 7


def test_stresses_that_contradict_the_energies_are_left_out_in_one_line(folder, capsys):
    write_frames(folder / "pulay.xyz", silicon(16, seed=1, offset=5.0))
    model = fit(folder, data="pulay.xyz")
    printed = capsys.readouterr()
    (line,) = [text for text in printed.err.splitlines() if "GPa" in text]
    assert "left out" in line
    assert "--stress yes" in line
    assert read_model(model).metadata["stress_trained"] is False
    model = fit(folder, "--stress", "yes", data="pulay.xyz")
    assert "left out" not in capsys.readouterr().err
    assert read_model(model).metadata["stress_trained"] is True


def test_consistent_stresses_are_trained(folder, capsys):
    trained = fit(folder, "--json")
    with_stress = json.loads(capsys.readouterr().out)
    assert read_model(trained).metadata["stress_trained"] is True
    fit(folder, "--json", "--stress", "no")
    without = json.loads(capsys.readouterr().out)
    assert with_stress["stress_rmse_GPa"] < without["stress_rmse_GPa"]


def test_a_whole_input_file_serves_as_well_as_its_model_sections(folder):
    (folder / "run.toml").write_text(
        '[structure]\nfile = "a.xyz"\n[reference]\ncalculator = "emt"\n'
        "[[dynamics.stages]]\nsteps = 9\ntemperature_K = 1.0\n" + SMALL
    )
    whole = model_settings(folder / "run.toml")
    assert whole.descriptor == model_settings(folder / "small.toml").descriptor
    assert model_settings(folder / "small.toml").reference is None


def test_a_mistake_in_the_input_names_its_key(folder, capsys):
    (folder / "wrong.toml").write_text("[descriptor]\nn_maxx = 4\n")
    data, wrong = str(folder / "train.xyz"), str(folder / "wrong.toml")
    assert main(["fit", data, "-o", str(folder / "m.h5"), "--input", wrong]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean" in line
    assert "descriptor.n_maxx" in line


def run_folder(path, frames, fingerprint="sw"):
    text = (
        '[structure]\nfile = "si.xyz"\n[reference]\n'
        'calculator = "stillinger-weber"\n'
        "[[dynamics.stages]]\nsteps = 5\ntemperature_K = 300.0\n" + SMALL
    )
    with RunFiles(RunFolder(path)) as files:
        files.save_input(text)
        files.journal.write(
            Start(input_text=text, versions={}, fingerprint=fingerprint)
        )
        for c, labels in frames:
            key = label_key(c, fingerprint)
            files.journal.write(
                Label(configuration=c, labels=labels, fingerprint=fingerprint, key=key)
            )


def test_a_run_is_fitted_by_the_labels_of_its_journal(folder, capsys):
    run_folder(folder / "run", silicon(5, seed=4))
    fit(folder, "--json", data="run")
    assert json.loads(capsys.readouterr().out)["n_frames"] == 5


def test_runs_of_different_references_are_not_mixed(folder, capsys):
    run_folder(folder / "one", silicon(2, seed=4), "a")
    run_folder(folder / "two", silicon(2, seed=5), "b")
    with pytest.raises(InputError, match=r"one and .*two were .* do not mix"):
        read_dataset([folder / "one", folder / "two"])


def test_files_that_say_who_labelled_them_are_not_mixed_with_other_runs(folder):
    run_folder(folder / "run", silicon(2, seed=4), "a")
    write_frames(folder / "one.xyz", silicon(2, seed=5), fingerprints=["b", "b"])
    with pytest.raises(InputError, match=r"run and .*one\.xyz were .* do not mix"):
        read_dataset([folder / "run", folder / "one.xyz"])
    write_frames(folder / "two.xyz", silicon(2, seed=5), fingerprints=["a", ""])
    data = read_dataset([folder / "run", folder / "two.xyz", folder / "train.xyz"])
    assert len(data.frames) == 4 + len(read_frames(folder / "train.xyz"))


def test_the_refusal_to_mix_names_what_differs(folder):
    coarse = "arguments.ecutwfc: 30; arguments.kpts: [2,2,2]; code: espresso"
    fine = coarse.replace("30", "40")
    for name, mark, words in (("one", "a", coarse), ("two", "b", fine)):
        write_frames(
            folder / f"{name}.xyz",
            silicon(2, seed=5),
            fingerprints=[mark, mark],
            descriptions={mark: words},
        )
    with pytest.raises(InputError, match=r"references \(ecutwfc 30 against 40\); ener"):
        read_dataset([folder / "one.xyz", folder / "two.xyz"])


def test_one_file_with_labels_of_two_references_is_refused(folder):
    write_frames(folder / "both.xyz", silicon(2, seed=5), fingerprints=["a", "b"])
    with pytest.raises(InputError, match=r"both\.xyz holds labels of different ref"):
        read_dataset([folder / "both.xyz"])


def test_a_refit_takes_the_settings_of_the_run_and_no_cap(folder, capsys):
    run_folder(folder / "run", silicon(6, seed=4))
    model = folder / "refit.h5"
    assert main(["refit", str(folder / "run"), "-o", str(model), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    stored = read_model(model).metadata["input"]
    assert stored["descriptor"]["n_max"] == 4
    assert printed["n_frames"] == 6
    fewer = str(folder / "fewer.h5")
    run = str(folder / "run")
    assert main(["refit", run, "-o", fewer, "--json", "--bound", "0.03"]) == 0
    coarse = json.loads(capsys.readouterr().out)
    assert coarse["n_local_references"] < printed["n_local_references"]
    # A finer basis describes its own training structures better.
    assert coarse["force_rmse_eV_per_A"] > printed["force_rmse_eV_per_A"]


def test_a_refit_counts_a_structure_once():
    frames = silicon(2, seed=4)
    kept, marks = distinct([*frames, frames[0]], ["a", "b", ""])
    assert len(kept) == 2
    assert marks == ["", "b"]  # the label of the run itself


def test_a_file_without_labels_is_refused_with_the_names_it_should_hold(folder, capsys):
    nothing = Labels(np.nan, np.full((8, 3), np.nan), np.full(6, np.nan))
    bare = [(c, nothing) for c, _ in silicon(2, seed=1)]
    write_frames(folder / "bare.xyz", bare)
    data = str(folder / "bare.xyz")
    assert main(["fit", data, "-o", str(folder / "m.h5")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no labels" in line
    assert "REF_" in line


def test_structures_without_labels_are_left_out_with_a_warning(folder, caplog):
    frames = silicon(3, seed=1)
    nothing = Labels(np.nan, np.full((8, 3), np.nan), np.full(6, np.nan))
    write_frames(folder / "part.xyz", [*frames[:2], (frames[2][0], nothing)])
    with caplog.at_level(logging.WARNING):
        data = read_dataset([folder / "part.xyz"])
    assert len(data.frames) == 2
    assert "1 of the 3" in caplog.text


@pytest.mark.parametrize("command", ["fit", "refit"])
def test_a_missing_file_is_one_line_with_the_name_it_may_be(folder, capsys, command):
    missing = str(folder / "trian.xyz")
    assert main([command, missing, "-o", str(folder / "m.h5")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean train.xyz?" in line


def test_an_output_that_cannot_be_written_is_refused_before_the_work(folder, capsys):
    data, output = str(folder / "train.xyz"), str(folder / "nowhere" / "m.h5")
    begin = time.monotonic()
    assert main(["fit", data, "-o", output]) == 2
    assert time.monotonic() - begin < 0.5
    assert "no folder" in capsys.readouterr().err
    assert main(["fit", data, "-o", str(folder)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_fit_never_overwrites_its_labels(folder, capsys):
    data = str(folder / "train.xyz")
    before = (folder / "train.xyz").read_bytes()
    assert main(["fit", data, "-o", data]) == 2
    assert "another name" in capsys.readouterr().err
    assert (folder / "train.xyz").read_bytes() == before


@pytest.mark.parametrize("number", ["0", "-3", "many"])
def test_the_cap_must_be_a_number_above_zero(folder, capsys, number):
    data = str(folder / "train.xyz")
    assert main(["fit", data, "-o", "m.h5", "--references", number]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--references" in line


def test_an_element_the_model_never_saw_is_refused(folder, capsys):
    model = fit(folder)
    copper = bulk("Cu", cubic=True)
    c = Configuration.from_atoms(copper)
    write_frames(folder / "cu.xyz", [(c, to_labels(exact(EMT(), copper), c))])
    capsys.readouterr()
    assert main(["evaluate", str(model), str(folder / "cu.xyz")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Cu" in line
    assert "Si only" in line


def test_a_damaged_model_is_one_line(folder, capsys):
    model = fit(folder)
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2])
    capsys.readouterr()
    assert main(["evaluate", str(model), str(folder / "test.xyz.gz")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.h5" in line
    assert "damaged" in line


def test_a_composition_the_training_did_not_span_is_told(folder, caplog):
    alloys = []
    generator = np.random.default_rng(5)
    for symbols in ("Cu3Au", "Cu2Au2", "Cu3Au"):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols = symbols
        atoms.rattle(0.05, rng=generator)
        c = Configuration.from_atoms(atoms)
        alloys.append((c, to_labels(exact(EMT(), atoms), c)))
    write_frames(folder / "one.xyz", alloys[::2])
    write_frames(folder / "other.xyz", alloys)
    model = fit(folder, data="one.xyz")
    with caplog.at_level(logging.WARNING):
        assert main(["evaluate", str(model), str(folder / "other.xyz")]) == 0
    (record,) = caplog.records
    assert record.getMessage().startswith("1 of 3 structures: the composition")


def test_the_model_file_tells_equal_data_sets_from_others():
    frames = silicon(3, seed=1)
    assert dataset_key(frames) == dataset_key(silicon(3, seed=1))
    c, labels = frames[0]
    changed = replace(labels, energy=np.nextafter(labels.energy, 0.0))
    assert dataset_key([(c, changed), *frames[1:]]) != dataset_key(frames)


def test_time_and_memory_are_those_of_the_process():
    first = seconds()
    time.sleep(0.05)
    # The system counts the start in ticks of 10 ms.
    assert seconds() - first == pytest.approx(0.05, abs=0.03)
    before = peak_memory()
    block = np.ones(20_000_000)  # touched, 160 MB
    assert peak_memory() >= before
    assert peak_memory() >= block.nbytes
    # The program below holds nothing of what this one holds.
    script = "from otf.commands.cost import peak_memory; print(peak_memory())"
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(child.stdout) < block.nbytes


def test_show_tells_what_a_fit_was_made_from(folder, capsys):
    model = fit(folder, "--references", "20")
    capsys.readouterr()
    assert main(["show", str(model)]) == 0
    lines = dict(
        text.split(maxsplit=1) for text in capsys.readouterr().out.splitlines()
    )
    assert lines["elements"] == "Si"
    assert lines["trained"] == "on        16 structures of train.xyz, with stresses"
    assert "n_max 4, l_max 2" in lines["descriptor"]
    assert lines["covariance"] == "polynomial, zeta 4"
    assert lines["local"] == "references  Si 20"
    assert lines["calibration"].startswith("by 16 left-out frames: forces of Si q ")
    assert "; energy q " in lines["calibration"]
    assert lines["composition"] == "Si 1"
    assert lines["data"] == dataset_key(read_dataset([folder / "train.xyz"]).frames)
    assert "python" in lines["versions"]


@pytest.fixture
def trusted(folder):
    """Return a model of forty structures, and thirty it has not seen."""
    write_frames(folder / "many.xyz", silicon(40, seed=5))
    write_frames(folder / "unseen.xyz", silicon(30, seed=6))
    return fit(folder, "--references", "60", data="many.xyz"), folder / "unseen.xyz"


def recalibrated(model, scale):
    """Write a model with other factors of its deviations; None for none at all."""
    file = read_model(model)
    said = dict(file.metadata)
    if scale is None:
        said = {k: v for k, v in said.items() if not k.startswith("calibration")}
    else:
        laws = laws_of(said)
        factors = {
            name: law and replace(law, factor=scale * law.factor)
            for name, law in (("energy", laws.energy), ("stress", laws.stress))
        }
        forces = {
            z: replace(law, factor=scale * law.factor) for z, law in laws.forces.items()
        }
        said |= record_of_laws(replace(laws, forces=forces, **factors))
    write_model(model, file.arrays, metadata=said, proof=file.proof)


def stated(model, data, capsys):
    """Return what evaluate says of deviations, and its last line for people."""
    capsys.readouterr()
    assert main(["evaluate", str(model), str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["deviations"]
    assert main(["evaluate", str(model), str(data)]) == 0
    return found, capsys.readouterr().out.splitlines()[-1]


def test_deviations_of_a_fit_are_as_large_as_its_errors_on_unseen_structures(
    trusted, capsys
):
    model, unseen = trusted
    found, line = stated(model, unseen, capsys)
    assert found["calibration_origin"] == "left-out frames"
    assert found["n_frames"] == 30
    # 30 energies and stresses, 720 forces: a law found on 40 structures of the same
    # kind holds the shares of normal errors within a factor of two or so.
    for kind in ("energy", "forces", "stress"):
        assert found[kind]["calibrated"]
        assert found[kind]["judgement"] == ""
        assert 0.4 < found[kind]["factor"] < 2.5
        assert found[kind]["above_two"] < found[kind]["above_one"] < 0.6
    assert "about as large as its errors, as far as 30 structures tell" in line


@pytest.mark.parametrize(("scale", "word"), [(0.1, "too small"), (10.0, "too large")])
def test_wrong_deviations_are_told_with_a_factor(trusted, capsys, scale, word):
    model, unseen = trusted
    right, _ = stated(model, unseen, capsys)
    recalibrated(model, scale)
    found, line = stated(model, unseen, capsys)
    for kind in ("energy", "forces", "stress"):
        assert found[kind]["judgement"] == word
        assert f"{kind} {word}" in line
        factor = right[kind]["factor"] / scale
        assert found[kind]["factor"] == pytest.approx(factor)
        rms = right[kind]["score_rms"] / scale
        assert found[kind]["score_rms"] == pytest.approx(rms)


def test_a_model_without_calibration_says_that_its_deviations_are_too_small(
    trusted, capsys
):
    model, unseen = trusted
    recalibrated(model, None)
    found, line = stated(model, unseen, capsys)
    assert found["calibration_origin"] == "none"
    assert found["forces"]["judgement"] == "too small"
    assert "forces too small" in line
    assert main(["show", str(model)]) == 0
    assert "calibration       none" in capsys.readouterr().out


def test_as_many_deviations_are_compared_as_asked_for(trusted, capsys):
    model, unseen = trusted
    capsys.readouterr()
    arguments = ["evaluate", str(model), str(unseen), "--deviations"]
    assert main([*arguments, "4"]) == 0
    assert "left-out frames) on 4 of 30 structures:" in capsys.readouterr().out
    assert main([*arguments, "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--deviations: expected a whole number above 0, got '0'" in line


def test_deviations_are_not_compared_with_labels_that_are_missing(trusted, capsys):
    model, unseen = trusted
    frames = [
        (c, Labels(np.nan, y.forces, np.full(6, np.nan)))
        for c, y in read_frames(unseen)
    ]
    write_frames(unseen, frames)
    found, _ = stated(model, unseen, capsys)
    assert found.keys() == {"calibration_origin", "n_frames", "forces"}


def test_too_few_structures_give_no_calibration(folder, capsys):
    write_frames(folder / "few.xyz", silicon(9, seed=5))
    model = fit(folder, data="few.xyz")
    out = capsys.readouterr().out
    assert "Calibration none: " in out
    assert "fewer than 10 structures" in out
    assert laws_of(read_model(model).metadata) is None


def test_models_of_runs_name_the_reference_of_their_labels(folder):
    run_folder(folder / "run", silicon(5, seed=4), "abc")
    assert read_model(fit(folder, data="run")).metadata["reference"] == "abc"
    refitted = fit(folder, data="run", command="refit")
    assert read_model(refitted).metadata["reference"] == "abc"
    assert read_model(fit(folder)).metadata["reference"] is None


def test_progress_is_plain_lines_away_from_a_terminal():
    stream = io.StringIO()
    now = [0.0]
    stages = Stages(stream, interval=5.0, clock=lambda: now[0])
    for done in range(10):
        now[0] = float(done)
        stages("rows", done, 10)
    stages("solve", 0, 1)
    stages.close()
    assert stream.getvalue().splitlines() == [
        "computing the rows of the regression: 10 structures",
        "computing the rows of the regression: 5 of 10",
        "solving it",
    ]
