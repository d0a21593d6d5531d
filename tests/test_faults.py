"""A run whose reference fails in every way one can: it ends, and loses nothing."""

from textwrap import dedent

import numpy as np
import pytest
from ase.build import bulk

from otf.calculators.reference import Reference
from otf.calculators.registry import make_calculator
from otf.cli import main
from otf.configuration import Configuration
from otf.store.entries import Label
from otf.store.extxyz import write_frames
from otf.store.labels import LabelBook
from otf.store.run_reader import RunView

FAULTY = dedent(
    """
    import os, signal, time
    from pathlib import Path
    import numpy as np
    from ase.calculators.calculator import Calculator
    from otf.calculators.stillinger_weber import StillingerWeber

    class Faulty(Calculator):
        implemented_properties = ["energy", "forces", "stress"]

        def __init__(self, every=4, folder="."):
            super().__init__()
            self.every, self.count = every, Path(folder) / "count"

        def calculate(self, atoms, properties, changes):
            super().calculate(atoms, properties, changes)
            number = int(self.count.read_text()) if self.count.exists() else 0
            self.count.write_text(str(number + 1))
            exact = StillingerWeber()
            exact.calculate(atoms, properties, changes)
            self.results = dict(exact.results)
            turn, rest = divmod(number, self.every)
            if rest != self.every - 1:
                return
            way = turn % 6
            if way == 0:
                raise RuntimeError("SCF not converged")
            if way == 1:
                time.sleep(600)
            if way == 2:
                self.results["forces"] = np.full((len(atoms), 3), np.nan)
            if way == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if way == 4:
                self.results["forces"] = self.results["forces"] + 1e6
            if way == 5:
                del self.results["forces"]
    """
)
INPUT = """
[structure]
file = "start.xyz"

[reference]
{reference}

[descriptor]
n_max = 5
l_max = 2

[dynamics]
timestep_fs = 2.0

[[dynamics.stages]]
steps = {steps}
temperature_K = 300.0
temperature_end_K = 1500.0
"""
FAULTY_REFERENCE = """calculator = "faulty:Faulty"
retries = 0
max_failures = 100
second_opinion = false
time_limit_s = 3.0
arguments = {{ every = 4, folder = "{folder}" }}"""


@pytest.mark.slow
def test_a_run_with_a_failing_reference_ends_and_loses_nothing(tmp_path, monkeypatch):
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    bulk("Si", cubic=True).write(tmp_path / "start.xyz")
    text = FAULTY_REFERENCE.format(folder=tmp_path)
    (tmp_path / "input.toml").write_text(INPUT.format(reference=text, steps=5000))
    assert main(["run", str(tmp_path / "input.toml")]) == 0
    view = RunView.load(tmp_path / "run")
    assert view.finish is not None
    assert view.step == 5000
    # nothing is computed twice, nothing that was computed is lost
    keys = [label.key for label in view.labels]
    assert len(set(keys)) == len(keys)
    calls = int((tmp_path / "count").read_text())
    assert calls == len(view.labels) + len(view.failures)
    assert len(view.failures) == calls // 4
    assert all(isinstance(label, Label) for label in view.labels)
    exact = Reference(make_calculator("stillinger-weber"))
    for label in view.labels:
        again = exact.label(label.configuration)
        assert again.energy == label.labels.energy
        np.testing.assert_array_equal(again.forces, label.labels.forces)
    # every failure is in the report, and its structure in the quarantine
    page = (tmp_path / "run" / "report.html").read_text()
    for failure in view.failures:
        assert failure.folder in page
        folder = tmp_path / "run" / "quarantine" / failure.folder
        assert (folder / "structure.extxyz").exists()
        assert failure.text in (folder / "reason.txt").read_text()
    ways = ["SCF not converged", "no answer within", "not finite", "SIGKILL"]
    ways += ["above 1000", "missing"]
    for way in ways:
        assert any(way in failure.text for failure in view.failures), way


SWITCHING = dedent(
    """
    import hashlib
    from otf.calculators.stillinger_weber import StillingerWeber

    class Switching(StillingerWeber):
        def __init__(self, careful=False):
            super().__init__()
            self.careful = careful

        def calculate(self, atoms, properties, changes):
            super().calculate(atoms, properties, changes)
            digest = hashlib.blake2b(self.atoms.positions.tobytes()).digest()
            if self.careful or digest[0] % 3:
                return
            self.results["energy"] += 22.0
            self.results["free_energy"] = self.results["energy"]
    """
)
SWITCHING_REFERENCE = """calculator = "switching:Switching"
retry_arguments = [{ careful = true }]

[learning]
start_from = ["known.xyz"]"""


def test_a_run_learns_no_label_of_a_wrong_state_and_resumes_to_the_bit(
    tmp_path, monkeypatch
):
    """A third of the first answers is 22 eV off once the model can judge."""
    (tmp_path / "switching.py").write_text(SWITCHING)
    monkeypatch.syspath_prepend(tmp_path)
    bulk("Si", cubic=True).write(tmp_path / "start.xyz")
    exact = Reference(make_calculator("stillinger-weber"))
    rng = np.random.default_rng(1)
    known = []
    for _ in range(12):
        atoms = bulk("Si", cubic=True)
        atoms.positions += rng.normal(0.0, 0.08, (8, 3))
        c = Configuration.from_atoms(atoms)
        known.append((c, exact.label(c)))
    write_frames(tmp_path / "known.xyz", known)
    text = INPUT.format(reference=SWITCHING_REFERENCE, steps=150)
    (tmp_path / "input.toml").write_text(text)
    assert main(["run", str(tmp_path / "input.toml")]) == 0
    (tmp_path / "run").rename(tmp_path / "whole")

    added, add = [], LabelBook.add

    def killed(self, label, description=""):
        add(self, label, description)
        added.append(label)
        if len(added) == 3:
            raise RuntimeError("kill -9")

    monkeypatch.setattr(LabelBook, "add", killed)
    with pytest.raises(RuntimeError, match="kill"):
        main(["run", str(tmp_path / "input.toml")])
    monkeypatch.setattr(LabelBook, "add", add)
    assert main(["resume", str(tmp_path / "run")]) == 0

    whole, resumed = (RunView.load(tmp_path / name) for name in ("whole", "run"))
    assert [label.key for label in whole.labels] == [y.key for y in resumed.labels]
    assert (tmp_path / "whole" / "frames.bin").read_bytes() == (
        tmp_path / "run" / "frames.bin"
    ).read_bytes()
    instead = [y for y in whole.labels if "taken instead" in y.doubt]
    assert instead
    for label in whole.labels:
        assert label.labels.energy == exact.label(label.configuration).energy
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Labels computed twice" in page
