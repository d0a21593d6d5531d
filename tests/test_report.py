"""The page of a run: what it counts, what it draws, and that it stands alone."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from ase.build import bulk

from otf.analysis.rdf import half_width
from otf.configuration import Configuration, Labels
from otf.errors import StoreError
from otf.report import write_report
from otf.report.account import account_of, duration
from otf.report.comparison import Comparison, calibration_curve, comparisons
from otf.report.figure import thinned
from otf.report.learning_plots import growth_plot
from otf.report.page import report_html, verdict
from otf.report.rdf import radial_distribution, rdf_of_run, spread_frames
from otf.state import State
from otf.store.entries import Decision, Finish, Label, Retrain, Rollback, Stage, Start
from otf.store.frames import Frame, FrameLog
from otf.store.run_reader import RunView
from otf.store.schema import RunFolder
from otf.store.thermo import COLUMNS
from otf.testing import HarmonicWells
from otf.units import FS

N_STEPS = 400
SECONDS = 12.0


def salt():
    return Configuration.from_atoms(bulk("NaCl", "rocksalt", a=5.64, cubic=True))


def table(n_steps, rng):
    steps = np.arange(n_steps + 1.0)
    columns = {name: rng.normal(size=len(steps)) for name in COLUMNS}
    columns |= {
        "step": steps,
        "time_fs": 2.0 * steps,
        "temperature_K": 300.0 + 10.0 * rng.normal(size=len(steps)),
        "e_eV_per_A": 0.2 * np.exp(0.3 * rng.normal(size=len(steps))),
        "threshold_eV_per_A": np.full(len(steps), 0.3),
        "max_spilling": 1e-4 * np.exp(rng.normal(size=len(steps))),
    }
    return columns


def decision(step, reason, rng, n_atoms=8):
    deviations = rng.uniform(0.1, 0.4, size=n_atoms)
    forces = rng.normal(size=(n_atoms, 3))
    error = 0.3 * deviations[:, None] * rng.normal(size=(n_atoms, 3))
    stress = rng.normal(size=6) * 1e-3
    return Decision(
        step=step,
        reason=reason,
        labelled=True,
        error=float(deviations.max()),
        threshold=0.3,
        max_spilling=1e-3,
        label_energy=-500.0 + rng.normal(),
        label_forces=forces + error,
        label_stress=stress,
        energy=-500.0 + rng.normal(),
        forces=forces,
        stress=stress * 1.1,
        force_errors=deviations,
    )


@pytest.fixture
def view(tmp_path):
    rng = np.random.default_rng(11)
    c = salt()
    nothing = Labels(0.0, np.zeros((8, 3)), np.zeros(6))
    calls = [(k, "sample") for k in range(0, 60, 6)]
    audits = [(k, "audit") for k in range(100, 400, 60)]
    return RunView(
        folder=RunFolder(tmp_path),
        start=Start(
            input_text='title = "a < b & c"\n# <salt & pepper>',
            versions={"otf-md": "0.1.0"},
            configuration=c,
            seed=3,
        ),
        descriptions={"f": "code: emt"},
        labels=[
            Label(
                configuration=c,
                labels=nothing,
                fingerprint="f",
                key=str(k),
                seconds=SECONDS,
            )
            for k in range(len(calls) + len(audits))
        ],
        decisions=[decision(step, reason, rng) for step, reason in calls + audits],
        retrains=[
            Retrain(step=k, n_frames=5 + k, n_references=40 + k, s_w=1.0, s_v=2.0)
            for k in range(0, 60, 6)
        ],
        failures=[],
        rollbacks=[
            Rollback(step=33, to_step=20, reason="atoms <1> & 2 too close", stream=1)
        ],
        stages=[Stage(step=0, name="heat"), Stage(step=200, name="hold")],
        resumes=[],
        thermo=table(N_STEPS, rng),
        checkpoint=None,
        finish=Finish(
            step=N_STEPS, converged=True, reason="3 calls in the last 80 steps"
        ),
        running=False,
    )


def write_frames(path, n_frames, *, rattle=0.1, c=None):
    rng = np.random.default_rng(0)
    c = salt() if c is None else c
    n = c.n_atoms
    wells = HarmonicWells(c.positions)
    with FrameLog(path) as log:
        for step in range(n_frames):
            moved = c.moved(c.positions + rattle * rng.normal(size=c.positions.shape))
            state = State(
                moved,
                np.zeros((n, 3)),
                np.ones(n),
                np.ones((n, 3), dtype=np.bool_),
                step=step,
                time=step * FS,
                seed=0,
            )
            if step == 0:
                log.begin(state)
            log.write(Frame.of(state, wells.predict([moved], step=step)[0]))


class Page(HTMLParser):
    """What stands on a page."""

    VOID = ("meta", "br", "hr", "img", "input", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.text = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_needs_no_network_and_no_script(view):
    write_frames(view.folder.frames, 230)
    page = Page(report_html(view))
    assert page.open == []
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("figure") == 6


def test_every_reference_inside_a_drawing_has_its_target(view):
    text = report_html(view)
    ids = set(Page(text).ids)
    wanted = set(re.findall(r"url\(#([^)]+)\)", text))
    wanted |= {link[1:] for link in Page(text).links if link.startswith("#")}
    assert wanted
    assert wanted <= ids


def test_a_drawing_is_the_same_when_drawn_again(view):
    first, second = growth_plot(view), growth_plot(view)
    assert first.svg == second.svg


def test_what_the_user_wrote_is_shown_and_not_interpreted(view):
    text = report_html(view)
    page = Page(text)
    assert "salt" not in page.tags
    assert any("<salt & pepper>" in t for t in page.text)
    assert any("atoms <1> & 2 too close" in t for t in page.text)
    assert "a < b & c" in page.text


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "Converged"),
        ({"finish": Finish(step=9, converged=False, reason="r")}, "Not converged"),
        ({"finish": Finish(step=9, converged=None, reason="r")}, "Finished"),
        ({"finish": None, "running": True}, "Running"),
        ({"finish": None}, "Interrupted"),
    ],
)
def test_the_verdict_says_how_the_run_stands(view, changes, word):
    assert word in Page(verdict(replace(view, **changes))).text


def test_a_run_that_has_just_begun_has_a_page(view):
    empty = {name: np.empty(0) for name in COLUMNS}
    bare = replace(
        view,
        labels=[],
        decisions=[],
        retrains=[],
        failures=[],
        rollbacks=[],
        stages=[],
        thermo=empty,
        finish=None,
    )
    assert "figure" not in Page(report_html(bare)).tags


def test_a_production_run_shows_its_motion_only(view):
    thermo = dict(view.thermo)
    thermo["e_eV_per_A"] = np.full(N_STEPS + 1, np.nan)
    bare = replace(view, labels=[], decisions=[], retrains=[], thermo=thermo)
    page = Page(report_html(bare))
    assert page.tags.count("figure") == 1
    assert "motion" in page.ids


def test_a_page_that_cannot_be_written_is_one_line(view, tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(view, tmp_path / "missing" / "report.html")


def test_the_account_weighs_calls_against_steps(view):
    account = account_of(view)
    assert account.n_calls == 15
    assert account.n_audits == 5
    assert account.bypassed == pytest.approx(1 - 15 / 400)
    assert account.saved_seconds == pytest.approx(385 * SECONDS)
    assert account.speed_up == pytest.approx(400 / 15)
    assert account.picoseconds == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12.3 ms"),
        (61.0, "61 s"),
        (600.0, "10 min"),
        (36000.0, "10 h"),
        (864000.0, "10 days"),
        (float("nan"), "unknown"),
    ],
)
def test_durations_are_told_in_the_unit_people_use(seconds, text):
    assert duration(seconds) == text


def normal_errors(scale, *, n_frames=40, n_atoms=50, seed=1):
    """Return frames whose force errors are normal, e_i the exact 95 % quantile."""
    rng = np.random.default_rng(seed)
    # 95 % of the lengths of three standard normal components are below 2.7955.
    quantile = 2.795483482915108
    frames = []
    for step in range(n_frames):
        sigma = rng.uniform(0.05, 0.5, size=n_atoms)
        labels = rng.normal(size=(n_atoms, 3))
        forces = labels + sigma[:, None] * rng.normal(size=(n_atoms, 3))
        stress = np.zeros(6)
        frames.append(
            Comparison(
                step,
                False,
                0.0,
                0.0,
                forces,
                labels,
                stress,
                stress,
                scale * quantile * sigma,
            )
        )
    return frames


def test_a_calibrated_model_lies_on_the_diagonal():
    expected = np.array([0.1, 0.5, 0.9, 0.95])
    observed, n = calibration_curve(normal_errors(1.0), expected)
    assert n == 2000
    three_sigma = 3 * np.sqrt(expected * (1 - expected) / n)
    assert np.all(abs(observed - expected) < three_sigma)


def test_an_overconfident_model_lies_below_the_diagonal():
    expected = np.array([0.5, 0.9, 0.95])
    observed, _ = calibration_curve(normal_errors(0.5), expected)
    # Half the width: chi(3) below half of its own quantiles.
    np.testing.assert_allclose(observed, [0.123, 0.317, 0.419], atol=0.035)


def test_frames_without_a_prediction_are_not_compared(view):
    first = replace(view.decisions[0], forces=None, energy=np.nan)
    some = replace(view, decisions=[first, *view.decisions[1:]])
    assert len(comparisons(some)) == len(view.decisions) - 1


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(5)
    cell, n = 10.0 * np.eye(3), 60
    pbc = np.ones(3, dtype=np.bool_)
    gas = [
        Configuration(np.full(n, 18), 10.0 * rng.random((n, 3)), cell, pbc)
        for _ in range(40)
    ]
    (rdf,) = radial_distribution(gas, width=0.5)
    shells = 4 / 3 * np.pi * ((rdf.distance + 0.25) ** 3 - (rdf.distance - 0.25) ** 3)
    n_pairs = 40 * n * (n - 1) / 2 * shells / 1000.0
    # Counting statistics of independent pairs, four standard errors for ten bins.
    assert np.all(abs(rdf.g - (1 - 1 / n)) < 4 / np.sqrt(n_pairs))


@pytest.mark.parametrize(
    ("structure", "a", "counts"),
    [
        ("fcc", 4.0, (12, 6, 24)),
        ("bcc", 3.21, (8, 6, 12)),
        ("diamond", 5.43, (4, 12, 12)),
    ],
)
def test_shells_of_a_lattice_hold_the_right_number_of_atoms(structure, a, counts):
    atoms = bulk("Si", structure, a=a, cubic=True).repeat(3)
    c = Configuration.from_atoms(atoms)
    (rdf,) = radial_distribution([c])
    density = len(atoms) / c.volume
    edges = np.append(rdf.distance - 0.025, rdf.distance[-1] + 0.025)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    filled = (rdf.g * density * shells)[rdf.g > 0]
    np.testing.assert_allclose(filled[:3], counts, rtol=1e-12)


def test_a_sheared_cell_is_looked_at_up_to_half_its_narrowest_width():
    cell = np.array([[4.0, 0, 0], [3.0, 5.0, 0], [0, 0, 9.0]])
    # Area 20 over the longer edge.
    assert half_width(cell) == pytest.approx(0.5 * 20.0 / np.hypot(3.0, 5.0))


def test_frames_are_spread_over_the_run_and_discarded_ones_left_out(tmp_path):
    path = tmp_path / "frames.bin"
    write_frames(path, 100)
    _, frames = spread_frames(path, since=20, limit=10)
    steps = [frame.step for frame in frames]
    assert 5 <= len(steps) <= 10
    assert steps[0] == 20
    assert len(set(np.diff(steps))) == 1
    with FrameLog(path) as log:
        log.invalidate(50)
    _, frames = spread_frames(path, since=20, limit=10)
    assert max(frame.step for frame in frames) <= 50


def test_a_run_without_frames_has_no_pair_distribution(tmp_path):
    assert rdf_of_run(tmp_path / "frames.bin", since=0) == ([], 0)


def test_a_thinned_line_keeps_its_peak():
    x = np.arange(100_000.0)
    y = np.sin(x / 5000.0)
    y[54321] = 9.0
    some_x, some_y = thinned(x, y)
    assert len(some_x) <= 1200
    assert some_y.max() == 9.0
    assert np.all(np.diff(some_x) > 0)


def test_a_cell_too_small_for_a_pair_has_no_pair_distribution(tmp_path):
    path = tmp_path / "frames.bin"
    fcc = bulk("Al", "fcc", a=4.05, cubic=True)
    write_frames(path, 3, rattle=0.01, c=Configuration.from_atoms(fcc))
    assert rdf_of_run(path, since=0) == ([], 0)
    write_frames(tmp_path / "larger.bin", 3, rattle=0.01)
    assert len(rdf_of_run(tmp_path / "larger.bin", since=0)[0]) == 3
