"""The page of whole runs: data and coverage, cost, what browsers make of it."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from test_report import Page

from otf.analysis import averages
from otf.cli import main
from otf.commands.run_page import plan_of
from otf.configuration import Configuration
from otf.errors import InputError
from otf.learning.calibration import Calibration
from otf.report.cost import WALL_CLOCK, cost_of
from otf.report.data_map import data_map
from otf.report.data_section import data_section
from otf.report.learned_section import findings
from otf.report.limits import factors_at_their_limit
from otf.report.page import key_numbers, report_html
from otf.report.parts import Part, parts_of
from otf.report.physics import drift, lattice_of
from otf.report.physics_section import physics_section
from otf.report.plan import Plan
from otf.report.survey import coverage_of, posterior_of, seen_by
from otf.report.ways import motion_of, ways_of
from otf.store.entries import Stage
from otf.store.frames import Frame
from otf.store.run_reader import RunView

TITLE = "<script>alert(1)</script> & hot silicon"
INPUT = f"""
title = "{TITLE}"

[structure]
file = "si.xyz"

[reference]
calculator = "stillinger-weber"

[descriptor]
n_max = 5
l_max = 2
cutoff_three_body_A = 4.5
cutoff_two_body_A = 5.0
n_max_two_body = 6

[dynamics]
timestep_fs = 2.0
ensemble = "NPT"
barostat_time_fs = 100.0

[[dynamics.stages]]
steps = 60
temperature_K = 300.0
temperature_end_K = 900.0
pressure_GPa = 0.0

[[dynamics.stages]]
steps = 60
temperature_K = 900.0
pressure_GPa = 0.0

[output]
checkpoint_interval = 20
trajectory_interval = 2
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MEASURE = """
<script>
addEventListener('load', () => {
  let smallest = 1e9;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const at = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !at.getClientRects().length) continue;
    if (at.closest('script')) continue;
    let size = parseFloat(getComputedStyle(at).fontSize);
    const svg = at.closest('svg');
    if (svg) size *= svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    smallest = Math.min(smallest, size);
  }
  parent.document.body.dataset.measured = JSON.stringify({
    inner: innerWidth, scroll: document.documentElement.scrollWidth, smallest
  });
});
</script>
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the view of a run at constant pressure with a ramp and a held stage."""
    folder = tmp_path_factory.mktemp("hot")
    write(folder / "si.xyz", bulk("Si", "diamond", a=5.431, cubic=True))
    (folder / "input.toml").write_text(INPUT)
    assert main(["run", str(folder / "input.toml")]) == 0
    return RunView.load(folder / "run")


@pytest.fixture(scope="module")
def text(run):
    return run.folder.report.read_text()


def test_the_page_has_its_four_chapters_and_no_script_of_the_title(text):
    page = Page(text)
    assert {"learned", "data", "physics", "cost"} <= set(page.ids)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert TITLE in page.text
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", text)
    assert "url(http" not in text
    assert "@import" not in text


def test_every_drawing_says_in_words_what_it_shows(text):
    drawings = re.findall(r"<svg[^>]*>", text)
    assert len(drawings) > 12
    for drawing in drawings:
        words = re.search(r'role="img" aria-label="([^"]+)"', drawing)
        assert words is not None
        assert len(words[1]) > 30
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text


def test_what_was_learned_covers_where_it_was_learned_and_not_what_is_far(run):
    posterior = posterior_of(run.folder)
    bound = plan_of(run).spilling_bound
    learned = [(0, label.configuration) for label in run.labels]
    inside = coverage_of("here", seen_by(posterior, learned, spilling=True), bound)
    assert inside.frames_outside == 0
    assert "all" in inside.sentence
    c = run.labels[0].configuration
    # Squeezed to a third of the volume: no such environment was labelled.
    far = Configuration(c.numbers, 0.69 * c.positions, 0.69 * c.cell, c.pbc)
    seen = seen_by(posterior, [(0, far), learned[0]], spilling=True)
    outside = coverage_of("there", seen, bound)
    assert (outside.frames_outside, outside.atoms_outside) == (1, 8)
    assert "1 of 2 frames looked at (50 %)" in outside.sentence


def test_the_map_holds_all_labels_and_references(run):
    motion = motion_of(run, plan_of(run))
    found = data_map(run, motion.ways, plan_of(run).spilling_bound)
    assert found.n_labelled == len(run.labels)
    assert len(found.structures.labelled) == len(run.labels)
    (cloud,) = found.clouds
    assert cloud.symbol == "Si"
    assert len(cloud.references) == run.retrains[-1].n_references
    assert len(cloud.labelled) == 8 * len(run.labels)
    assert [one.n_frames > 10 for one in found.coverage] == [True, True]


def test_a_part_is_a_ramp_when_the_input_says_so(run):
    plan = plan_of(run)
    assert plan.ramps == (True, False)
    assert plan.n_steps == 120
    assert not plan.works_beside
    first, second = parts_of(run, plan)
    assert (first.first, first.last, first.ramp) == (0, 60, True)
    assert (second.first, second.last, second.ramp) == (60, 120, False)
    assert first.words == "Stage 1 (300 K to 900 K, 0 GPa)"


def test_a_stage_that_was_begun_twice_is_one_part(run):
    stages = [*run.stages, Stage(step=60, name=run.stages[1].name)]
    again = replace(run, stages=stages)
    assert parts_of(again, None) == parts_of(run, None)


def test_every_step_belongs_to_one_part():
    parts = [Part(1, "", 0, 3), Part(2, "", 3, 5)]
    held = np.array([part.holds(np.arange(6.0)) for part in parts])
    np.testing.assert_array_equal(held.sum(axis=0), 1)
    np.testing.assert_array_equal(held[0], [1, 1, 1, 1, 0, 0])


def test_the_split_of_the_wall_time_adds_up(run):
    plan = plan_of(run)
    saved = replace(run.checkpoint, counters={WALL_CLOCK: 100.0})
    priced = replace(
        run,
        checkpoint=saved,
        labels=[replace(y, seconds=2.0, cached=False) for y in run.labels],
        retrains=[replace(r, seconds=0.5) for r in run.retrains],
    )
    cost = cost_of(priced, plan)
    n_calls, n_fits = len(run.labels), len(run.retrains)
    assert cost.reference == pytest.approx(2.0 * n_calls)
    assert cost.fits == pytest.approx(0.5 * n_fits)
    assert cost.rest == pytest.approx(100.0 - 2.0 * n_calls - 0.5 * n_fits)
    assert cost.reference_alone == pytest.approx(240.0)
    assert cost.speed_up == pytest.approx(2.4)
    assert cost.atom_steps == pytest.approx(8 * 120 / 100.0)
    beside = cost_of(priced, replace(plan, works_beside=True))
    assert np.isnan(beside.rest)
    assert "beside" in beside.why
    assert cost_of(replace(run, checkpoint=None), plan) is None


def test_what_was_paid_after_the_last_checkpoint_is_not_in_the_clock(run):
    early = replace(run.checkpoint, counters={WALL_CLOCK: 50.0})
    state = replace(early.state, step=1)
    killed = replace(run, checkpoint=replace(early, state=state))
    steps = {d.key: d.step for d in run.decisions}
    paid = [y.seconds for y in run.labels if steps[y.key] <= 1 and not y.cached]
    assert len(paid) < len(run.labels)
    assert cost_of(killed, plan_of(run)).reference == pytest.approx(sum(paid))


def test_the_drift_is_the_slope_of_the_conserved_quantity(run):
    n = 400
    rng = np.random.default_rng(1)
    time = np.arange(n) * 2.0
    noise = 1e-3 * rng.normal(size=n)
    conserved = 8 * (0.003 * time / 1000.0 + noise)
    table = {**run.thermo, "time_fs": time, "conserved_eV": conserved}
    found = drift(replace(run, thermo=table), n_atoms=8)
    exact = 1.0 / np.sqrt(((time / 1000.0 - 0.399) ** 2).sum())  # meV/atom/ps
    assert abs(found.value - 3.0) < 4 * exact
    assert found.error == pytest.approx(exact, rel=0.6)


def test_the_lattice_over_temperature_is_that_of_the_frames(run):
    steps = np.arange(0, 400)
    temperature = np.where(steps <= 200, 300.0, 600.0)
    table = {**run.thermo, "step": steps.astype(float), "temperature_K": temperature}
    c = run.start.configuration
    frames = [
        Frame(
            step=int(step),
            time=0.0,
            positions=c.positions,
            velocities=c.positions,
            forces=c.positions,
            force_errors=np.zeros(8),
            cell=(1.0 + 1e-5 * t) * np.eye(3),
            potential_energy=0.0,
            kinetic_energy=0.0,
            conserved=0.0,
            learning_work=0.0,
            labelled=False,
        )
        for step, t in zip(steps, temperature, strict=True)
    ]
    parts = [Part(1, "a", 0, 200), Part(2, "b", 200, 399)]
    found = lattice_of(replace(run, thermo=table), parts, [frames[:201], frames[201:]])
    a = [point.parameters["a"].value for point in found.points]
    np.testing.assert_allclose(a, [1.003, 1.006], rtol=1e-12)
    assert list(found.ramp) == [False, False]


def test_without_optional_packages_the_page_says_what_it_leaves_out(run, monkeypatch):
    def missing(name):
        raise InputError(f"this analysis needs the package {name}")

    monkeypatch.setattr(averages, "library", missing)
    page = Page(physics_section(run, motion_of(run, plan_of(run))))
    lines = [t for t in page.text if t.startswith("Left out")]
    assert len(lines) == 1
    assert "phases and the lattice over temperature" in lines[0]
    assert "pymbar" in lines[0]
    assert "temperature" in page.ids


def test_a_model_that_is_damaged_costs_the_map_alone(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run.folder.path, copy)
    for model in copy.glob("model-*.npz"):
        model.write_bytes(b"no model")
    page = Page(data_section(RunView.load(copy), {}, [], 0.1))
    assert any(t.startswith("Left out, the map of the data") for t in page.text)
    assert page.tags.count("figure") == 1  # the spilling on the way


def test_a_run_killed_before_any_label_has_a_page(run):
    nothing = {name: column[:0] for name, column in run.thermo.items()}
    bare = replace(
        run,
        labels=[],
        decisions=[],
        retrains=[],
        stages=[],
        thermo=nothing,
        checkpoint=None,
        finish=None,
    )
    assert "Interrupted" in Page(report_html(bare, plan_of(run))).text


def test_an_input_of_another_version_costs_ramps_and_coverage_alone(run):
    start = replace(run.start, input_text='title = "old"\nforgotten_key = 1')
    old = replace(run, start=start)
    assert plan_of(old) is None
    page = Page(data_section(old, motion_of(old, None).ways, [], None))
    assert "figure" in page.tags
    assert not any("looked at" in t for t in page.text)


def test_a_folder_of_several_runs_names_one(run, capsys):
    above = run.folder.path.parent
    assert main(["report", str(above)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"such as {run.folder.path}" in message


def test_a_plan_that_is_not_reached_is_on_the_first_card(run):
    plan = Plan(n_steps=5000, ramps=(), spilling_bound=0.1)
    name, value, _ = next(key_numbers(run, [], plan))
    assert (name, value) == ("steps", "120 of 5,000")


def measured(page, folder):
    """Return what a browser makes of a page 390 pixels wide, and its complaints."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    path = folder / "measured.html"
    inside = html.escape(page.replace("</main>", f"</main>{MEASURE}"))
    # A window cannot be as narrow as a telephone, a frame in it can.
    path.write_text(
        '<body style="margin:0"><iframe width="390" height="844" style="border:0" '
        f'srcdoc="{inside}"></iframe></body>'
    )
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--window-size=800,900",
            "--virtual-time-budget=2000",
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'data-measured="([^"]*)"', done.stdout)
    assert found is not None
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(found[1])), console


def test_a_telephone_shows_the_page_without_scrolling_sideways(text, tmp_path):
    found, console = measured(text, tmp_path)
    assert console == []
    assert found["inner"] == 390
    assert found["scroll"] <= 390
    assert found["smallest"] >= 13.9  # drawings are scaled by a per cent


def test_the_measure_sees_what_is_too_wide_or_too_small(tmp_path):
    page = "<main><p style='width:500px;font-size:9px'>wide</p></main>"
    script = "<script>console.error('broken')</script>"
    found, console = measured(f"<body>{page}{script}</body>", tmp_path)
    assert found["scroll"] >= 500
    assert found["smallest"] == 9
    assert len(console) == 1


@pytest.fixture
def company(run, tmp_path):
    """Return the folder of a sweep whose two runs share what they learn."""
    for name in ("shared", "cold", "hot"):
        shutil.copytree(run.folder.path, tmp_path / name)
    for file in ("frames.bin", "thermo.csv"):
        (tmp_path / "shared" / file).unlink()
    return tmp_path


def test_what_runs_share_has_a_page_on_how_much_of_each_it_covers(company):
    view = RunView.load(company / "shared")
    plan = plan_of(view)
    ways = ways_of(view, motion_of(view, plan))
    assert [name.partition(",")[0] for name in ways] == ["Run cold", "Run hot"]
    assert cost_of(view, plan) is None
    text = report_html(view, plan)
    page = Page(text)
    assert "Run hot" in text
    assert {"data", "parity-forces"} <= set(page.ids)
    assert not {"calls", "trend", "temperature"} & set(page.ids)
    assert "steps" not in page.text


def test_a_run_without_a_model_of_its_own_is_seen_by_the_shared_one(company):
    whole = RunView.load(company / "hot")
    walker = replace(whole, labels=[])
    found = data_map(walker, motion_of(walker, None).ways, 0.1)
    assert found.n_labelled == len(whole.labels)
    plan = plan_of(walker)
    assert "other runs" in cost_of(walker, plan).why


def test_structures_too_large_to_look_at_again_are_left_out(run, monkeypatch):
    monkeypatch.setattr("otf.report.survey.MAX_ATOMS", 7)
    page = Page(data_section(run, motion_of(run, None).ways, [], 0.1))
    assert any("are not looked at again" in t for t in page.text)
    assert not any("frames looked at" in t for t in page.text)


def test_error_bars_that_cannot_become_wider_are_named(run):
    numbers, deviations = np.full(8, 14), np.full(8, 0.01)
    rng = np.random.default_rng(6)

    def state(scale):
        calibration = Calibration()
        for _ in range(20):
            errors = scale * 0.01 * rng.normal(size=(8, 3))
            calibration.add(numbers, errors, deviations, audit=True)
        return {f"potential/calibration/{k}": v for k, v in calibration.state().items()}

    # 95 % of the errors are below 1.96 scale deviations; 100 is the limit.
    free = replace(run.checkpoint, potential=state(10.0))
    bound = replace(run.checkpoint, potential=state(80.0))
    assert factors_at_their_limit(free) == {}
    assert factors_at_their_limit(bound) == {"Si": 100.0}
    assert factors_at_their_limit(None) == {}
    lines = findings(replace(run, checkpoint=bound), [])
    assert any("Error bars of Si cannot become wider" in line for line in lines)
