"""The page of a whole sweep."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from test_report import Page
from test_report_run import measured

from otf.analysis.averages import Mean
from otf.analysis.run_means import RunMeans
from otf.cli import main
from otf.commands.sweep_picture import panels_of, pictures_of
from otf.commands.sweep_reading import results_so_far
from otf.commands.sweep_results import Result
from otf.report.drawing import Curve, Lines
from otf.report.phase_map import PhaseMap
from otf.report.sweep_page import sweep_html
from otf.report.sweep_view import Axis, Picture, ReplicaSet, SweepRun, SweepView
from otf.settings import load_run_settings
from otf.settings.members import Member
from otf.store.schema import RunFolder, SweepFolder
from otf.sweeping import End, end_of

INPUT = """
title = "Silicon <b>twice</b>"
seed = 5

[structure]
file = "si.xyz"

[reference]
calculator = "stillinger-weber"

[descriptor]
n_max = 4
l_max = 2
cutoff_three_body_A = 4.0
cutoff_two_body_A = 4.5
n_max_two_body = 5

[dynamics]
timestep_fs = 2.0
stages = [{ steps = 20 }]

[output]
thermo_interval = 1
trajectory_interval = 2

[sweep]
temperatures_K = [300, 600]
seeds = [1, 2]
share_model = true
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Return the folder of a finished sweep of four runs that share a model."""
    folder = tmp_path_factory.mktemp("sweep")
    write(folder / "si.xyz", bulk("Si", "diamond", a=5.431, cubic=True))
    (folder / "input.toml").write_text(INPUT)
    assert main(["sweep", str(folder / "input.toml")]) == 0
    return SweepFolder(folder / "run")


def links(text):
    return re.findall(r'<a href="([^"]*)"', text)


def test_the_sweep_writes_its_page_as_a_run_does(swept):
    text = swept.report.read_text()
    page = Page(text)
    assert {"results", "shared", "runs"} <= set(page.ids)
    assert not {"script", "link", "iframe", "object", "b"} & set(page.tags)
    assert "Silicon <b>twice</b>" in page.text
    assert "4 of 4 runs have made all their steps" in page.text
    assert not re.search(r"""(src|href)=["']?(https?:|//|/)""", text)
    assert len(text) < 1e6
    assert sorted(set(links(text))) == [
        "300K-seed1/report.html",
        "300K-seed2/report.html",
        "600K-seed1/report.html",
        "600K-seed2/report.html",
        "shared/report.html",
    ]
    assert all((swept.path / link).is_file() for link in links(text))


def test_calls_of_all_runs_add_up_to_those_of_the_shared_model(swept):
    record = json.loads(swept.results.with_suffix(".json").read_text())
    runs = record["tables"]["runs"]
    assert runs["run"] == ["300K-seed1", "300K-seed2", "600K-seed1", "600K-seed2"]
    assert runs["steps"] == [20] * 4
    text = " ".join(Page(swept.report.read_text()).text)
    assert f"reference calls {sum(runs['calls']):,} of all runs together" in text


def test_the_page_made_later_is_that_of_the_end(swept, tmp_path):
    at_the_end = swept.report.read_text()
    assert main(["report", str(swept.path), "-o", str(tmp_path / "page.html")]) == 0
    later = (tmp_path / "page.html").read_text()
    for elsewhere, there in zip(links(later), links(at_the_end), strict=True):
        assert (tmp_path / elsewhere).resolve() == (swept.path / there).resolve()
        later = later.replace(f'"{elsewhere}"', f'"{there}"')
    assert later == at_the_end
    assert main(["report", str(swept.path)]) == 0
    assert swept.report.read_text() == at_the_end


def test_a_telephone_shows_the_page_without_scrolling_sideways(view, tmp_path):
    found, console = measured(sweep_html(view), tmp_path)
    assert console == []
    assert found["inner"] == 390
    assert found["scroll"] <= 390
    assert found["smallest"] >= 13.9


def test_a_sweep_that_was_stopped_has_a_page(tmp_path, capsys):
    write(tmp_path / "si.xyz", bulk("Si", "diamond", a=5.431, cubic=True))
    text = f"{INPUT}\n[limits]\nwalltime_h = 1e-9\n"
    (tmp_path / "input.toml").write_text(text)
    assert main(["sweep", str(tmp_path / "input.toml")]) == 0
    folder = SweepFolder(tmp_path / "run")
    words = Page(folder.report.read_text()).text
    assert "Not finished" in words
    assert any("otf-md sweep goes on with the others" in word for word in words)
    assert "4 runs have made no step so far." in words
    # What a run of it lost is the matter of this run.
    folder.member("600K-seed1").journal.write_bytes(b"no journal of ours")
    capsys.readouterr()
    assert main(["report", str(folder.path)]) == 0
    assert capsys.readouterr().out == f"Wrote {folder.report}.\n"
    words = Page(folder.report.read_text()).text
    assert "Failed in part" in words
    assert any("600K-seed1/journal.bin" in word for word in words)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (INPUT.partition("[sweep]")[0].replace("20 }", "20, temperature_K = 300.0 }"),
         "there is no [sweep] in"),
        (INPUT.replace("seeds =", "seed_s ="), "did you mean seeds?"),
        ("no TOML", "is no valid TOML"),
    ],
)  # fmt: skip
def test_an_input_of_a_sweep_that_is_none_is_one_line(tmp_path, capsys, text, says):
    folder = SweepFolder(tmp_path)
    folder.input.write_text(text)
    assert main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "sweep.toml" in said
    assert said.count("\n") == 1
    assert not folder.report.exists()


# ------------------------------------------------------------------- how runs stand
def test_only_what_the_last_process_said_is_the_reason(tmp_path):
    folder = RunFolder(tmp_path)
    begins = f"$ otf-md resume {tmp_path}\n"
    folder.printed.write_text(f"{begins}otf-md: error: the disk is full\n")
    assert end_of(folder) == End(finished=False, problem="the disk is full")
    with folder.printed.open("a") as printed:
        printed.write(begins)
    assert end_of(folder) == End(finished=False)


def test_what_only_the_sweep_saw_holds_until_a_run_goes_on(swept, tmp_path):
    settings = load_run_settings(swept.input)
    folder = SweepFolder(tmp_path / "run")
    runs = {"run": ["300K-seed1"], "steps": [0], "problem": ["its process was killed"]}
    folder.path.mkdir()
    record = folder.results.with_suffix(".json")
    record.write_text(json.dumps({"tables": {"runs": runs}}))
    words = [r.word for r in results_so_far(settings, folder)]
    assert words == ["failed", *["not finished"] * 3]
    record.write_text(json.dumps({"tables": {"runs": runs | {"steps": [7]}}}))
    words = [r.word for r in results_so_far(settings, folder)]
    assert words == ["not finished"] * 4
    for other in ("torn", '{"tables": null}', "{}"):  # or of another version
        record.write_text(other)
        assert [r.word for r in results_so_far(settings, folder)] == words


# ------------------------------------------------------------------------ what it shows
MEANS = RunMeans(
    temperature_K=Mean(601.3, 4.2, 30.0),
    pressure_GPa=Mean(0.02, 0.11, 30.0),
    volume_A3_per_atom=Mean(12.34, 0.01, 30.0),
    energy_eV_per_atom=Mean(-3.1, 0.002, 30.0),
)


@pytest.fixture
def view():
    """Return a sweep with a run of every kind."""
    runs = [
        SweepRun("a b#1", "finished", MEANS, "fcc", 400, 31, "converged",
                 page=PurePath("a b#1/report.html")),
        SweepRun("600K-seed2", "finished", MEANS, "disordered", 400, 12,
                 "not converged"),
        SweepRun("900K-seed1", "failed", RunMeans(), steps=120, calls=9,
                 problem="the code said <no>"),
        SweepRun("900K-seed2", "not finished", RunMeans(), calls=0),
    ]  # fmt: skip
    sets = [
        ReplicaSet("600K", 2, 2, MEANS, "fcc, 1 of 2"),
        ReplicaSet("900K", 2, 0, RunMeans()),
    ]
    names = ("fcc", "disordered", "hexagonal diamond")
    phases = {(600.0 * k, p): names[k - 1] for k in (1, 2, 3) for p in (0.0, 10.0)}
    grid = [600.0, 1200.0, 1800.0], [0.0, 10.0]
    remarks = {(600.0, 0.0): "1 of 2"}
    y = np.array([12.3, 12.5])
    curves = [Curve(f"{p} GPa", 600.0 * y, y, 0.01 * y, form="points") for p in (0, 10)]
    pictures = [
        Picture(
            "Phases", "Map of phases.", PhaseMap("", *grid, phases, remarks, names)
        ),
        Picture("Volume", "Volume.", Lines("temperature (K)", "volume", curves)),
    ]
    return SweepView(
        title="A sweep",
        subtitle="4 runs",
        running=False,
        axes=[Axis("temperatures", ["600", "900"], "K"), Axis("seeds", ["1", "2"])],
        runs=runs,
        sets=sets,
        n_steps=400,
        pictures=[pictures],
        input_text="seed = 1",
    )


def test_the_page_says_what_was_varied_and_what_failed_and_why(view):
    text = sweep_html(view)
    page = Page(text)
    words = " ".join(page.text)
    assert "temperatures 2 600, 900 K" in words
    assert "2 of 4 runs have made all their steps, 1 failed, otf-md sweep" in words
    assert "failed 120 of 400 the code said <no>" in words
    assert "1 run has made no step so far." in words
    assert "900K-seed2 failed" not in words
    assert "reference calls 52 of all runs" in words
    assert "converged 1 of 2 models of finished runs" in words
    assert "The phase is fcc in 1, disordered in 1 of 2 finished runs." in words
    assert "601.3 ± 4.2" in words
    assert links(text) == ["a%20b%231/report.html"]


def test_the_verdict_is_that_of_all_runs(view):
    def word(**changes):
        page = sweep_html(replace(view, **changes))
        return re.search(r'class="verdict \w+"><strong>([^<]*)', page)[1]

    done, left = [view.runs[0]], [view.runs[3]]
    assert word(runs=done) == "Finished"
    assert word(runs=done + left) == "Not finished"
    assert word() == "Failed in part"
    assert word(running=True) == "Running"


def test_many_values_are_not_all_spelt_out(view):
    axis = Axis("temperatures", [str(t) for t in range(100, 2100, 100)], "K")
    text = " ".join(Page(sweep_html(replace(view, axes=[axis]))).text)
    assert "temperatures 20 100, 200, 300, 400, 500, 600, 700, …, 2000 K" in text


# ------------------------------------------------------------------------- pictures
def result(temperature, pressure, volume_error):
    member = Member("", None, "", temperature, pressure, None)
    volume = Mean(12.0, volume_error, 9.0)
    means = replace(MEANS, volume_A3_per_atom=volume)
    return Result(member, End(finished=True), means)


def test_fixed_cells_are_drawn_by_their_pressure_and_free_ones_by_their_volume():
    for error, wanted in ((0.0, "pressure (GPa)"), (0.1, "volume (Å³/atom)")):
        panels = panels_of([result(t, None, error) for t in (300.0, 600.0)])
        labels = [panel.y_label for panel in panels]
        assert labels == [wanted, "potential energy (eV/atom)"]


def test_a_page_has_the_means_below_the_map_with_a_name_for_each_pressure():
    results = [result(t, p, 0.1) for t in (300.0, 600.0) for p in (0.0, 10.0)]
    assert [type(panel) for panel in panels_of(results)] == [PhaseMap]
    (pictures,) = pictures_of(results)
    assert [type(p.panel) for p in pictures] == [PhaseMap, Lines, Lines]
    assert [c.label for c in pictures[1].panel.curves] == ["0 GPa", "10 GPa"]
    assert pictures[1].title == "Volume over temperature"


def test_a_finished_run_that_lost_its_table_is_one_failed_run(swept, tmp_path):
    folder = SweepFolder(tmp_path / "run")
    shutil.copytree(swept.path, folder.path)
    shutil.copy(swept.path.parent / "si.xyz", tmp_path)
    shutil.copy(swept.path.parent / "input.toml", tmp_path)
    folder.member("600K-seed2").thermo.unlink()
    assert main(["sweep", str(tmp_path / "input.toml")]) == 1
    table = json.loads(folder.results.with_suffix(".json").read_text())["tables"][
        "runs"
    ]
    assert table["status"] == ["finished"] * 3 + ["failed"]
    assert "thermo.csv" in table["problem"][3]
    assert "Failed in part" in Page(folder.report.read_text()).text
