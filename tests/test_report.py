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
from otf.report.account import account_of, duration
from otf.report.comparison import (
    SIGMAS,
    Comparison,
    binned_errors,
    calibration_curve,
    comparisons,
    rmses,
    shares_within,
)
from otf.report.elements import write_page
from otf.report.figure import thinned
from otf.report.frames import configurations_of, spread_frames
from otf.report.learned_section import reliability_findings
from otf.report.learning_plots import bypassed_in_windows, calls_drawing
from otf.report.page import report_html, verdict
from otf.report.parts import Part, parts_of
from otf.report.rdf import radial_distribution, rdf_of_frames
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
    return view_of(tmp_path)


@pytest.fixture(scope="module")
def page_text(tmp_path_factory):
    """Return the page of a run with frames, drawn once for all tests."""
    view = view_of(tmp_path_factory.mktemp("page"))
    write_frames(view.folder.frames, 230)
    return report_html(view)


def view_of(folder):
    """Return a run in a folder: calls, audits, a roll-back and two stages."""
    rng = np.random.default_rng(11)
    c = salt()
    nothing = Labels(0.0, np.zeros((8, 3)), np.zeros(6))
    calls = [(k, "sample") for k in range(0, 60, 6)]
    audits = [(k, "audit") for k in range(100, 400, 60)]
    return RunView(
        folder=RunFolder(folder),
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


def test_the_page_is_whole_and_needs_no_network_and_no_script(page_text):
    page = Page(page_text)
    assert page.open == []
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {"learned", "physics", "uncertainty", "parity-forces", "rdf-Na-Cl"} <= {
        *page.ids
    }


def test_every_reference_inside_a_drawing_has_its_target(page_text):
    page = Page(page_text)
    ids = set(page.ids)
    wanted = set(re.findall(r"url\(#([^)]+)\)", page_text))
    wanted |= {link[1:] for link in page.links if link.startswith("#")}
    assert wanted
    assert wanted <= ids


def test_a_drawing_is_the_same_when_drawn_again(view):
    parts = parts_of(view, None)
    first, second = calls_drawing(view, parts), calls_drawing(view, parts)
    assert first.svg == second.svg


def test_what_the_user_wrote_is_shown_and_not_interpreted(page_text):
    page = Page(page_text)
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
    bare = replace(
        view, labels=[], decisions=[], retrains=[], rollbacks=[], thermo=thermo
    )
    thermo["max_spilling"] = thermo["e_eV_per_A"]
    page = Page(report_html(bare))
    assert "temperature" in page.ids
    assert "learned" not in page.ids


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        write_page(tmp_path / "missing" / "report.html", "page")


def test_an_old_page_stands_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("otf.store.disk.os.fsync", full)
    with pytest.raises(StoreError, match="cannot be written"):
        write_page(path, "new")
    assert path.read_text() == "old"


def test_the_account_weighs_calls_against_steps(view):
    account = account_of(view)
    assert account.n_calls == 15
    assert account.n_audits == 5
    assert account.bypassed == pytest.approx(1 - 15 / 400)
    assert account.reference_seconds == pytest.approx(15 * SECONDS)
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
    quantile = 1.959963984540054  # 95 % of |x| of a standard normal x are below
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
    assert n == 6000
    three_sigma = 3 * np.sqrt(expected * (1 - expected) / n)
    assert np.all(abs(observed - expected) < three_sigma)


def test_an_overconfident_model_lies_below_the_diagonal():
    expected = np.array([0.5, 0.9, 0.95])
    observed, n = calibration_curve(normal_errors(0.5), expected)
    # Half the width: 2 Phi(x / 2) - 1 at the quantiles of |x|.
    exact = np.array([0.26406, 0.58921, 0.67291])
    assert np.all(abs(observed - exact) < 3 * np.sqrt(exact * (1 - exact) / n))


def test_shares_within_one_and_two_sigma_are_those_of_normal_errors():
    one, two = shares_within(normal_errors(1.0, n_frames=60))
    assert abs(one.value - 0.682689) < 3 * one.error
    assert abs(two.value - 0.954500) < 3 * two.error
    # Components of an atom may go together: 3000 atoms, sqrt(p (1 - p) / n).
    assert one.error == pytest.approx(np.sqrt(0.6827 * 0.3173 / 3000), rel=0.3)


def test_errors_of_a_frame_stand_or_fall_together():
    """Copies of the components of a frame add no information."""
    frames = normal_errors(1.0, n_frames=20, n_atoms=10)

    def many(array):
        return np.repeat(array, 9, axis=0)

    copied = [
        replace(
            f,
            forces=many(f.forces),
            label_forces=many(f.label_forces),
            deviations=many(f.deviations),
        )
        for f in frames
    ]
    # Nine times as many atoms, were they independent, would leave a third.
    assert shares_within(copied)[0].error > 0.45 * shares_within(frames)[0].error
    first, second = rmses(frames)["forces"], rmses(copied)["forces"]
    assert second.low == pytest.approx(first.low)
    assert second.high == pytest.approx(first.high)


def test_frames_that_are_alike_by_chance_are_no_proof():
    frames = normal_errors(3.0, n_frames=5, n_atoms=13)
    _, two = shares_within(frames)
    assert two.value == 1.0
    assert two.error == pytest.approx(np.sqrt(0.9545 * 0.0455 / 65), rel=1e-3)
    assert not any("than the errors" in text for text in reliability_findings(frames))


def test_error_bars_that_are_off_are_named():
    narrow = " ".join(reliability_findings(normal_errors(0.5)))
    assert "narrower than the errors" in narrow
    wide = " ".join(reliability_findings(normal_errors(2.0)))
    assert "wider than the errors" in wide
    assert "than the errors" not in " ".join(reliability_findings(normal_errors(1.0)))


def test_true_errors_in_bins_are_those_predicted():
    sigma, rmse, error = binned_errors(normal_errors(1.0, n_frames=100))
    assert len(sigma) == 10
    assert np.all(np.diff(sigma) > 0)
    assert np.all(abs(rmse - sigma) < 4 * error)
    narrow, wide, _ = binned_errors(normal_errors(0.5, n_frames=100))
    np.testing.assert_allclose(wide / narrow, 2.0, rtol=0.15)


def test_the_error_of_a_kind_is_that_of_its_components():
    frames = normal_errors(1.0, n_frames=6)
    errors = np.concatenate([(f.forces - f.label_forces).ravel() for f in frames])
    found = rmses(frames)["forces"]
    assert found.value == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert found.low < found.value < found.high
    assert np.isnan(rmses(frames[:2])["forces"].low)
    assert rmses([]) == {}


def test_an_error_bar_is_that_many_sigmas():
    assert pytest.approx(1.959964, rel=1e-6) == SIGMAS


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


def test_frames_are_spread_over_parts_and_discarded_ones_left_out(tmp_path):
    path = tmp_path / "frames.bin"
    write_frames(path, 100)
    parts = [Part(1, "heat", 0, 19), Part(2, "hold", 19, 99)]
    _, (first, second) = spread_frames(path, parts, limit=10)
    assert {f.step for f in first} <= set(range(20))
    assert first[0].step == 0
    steps = [frame.step for frame in second]
    assert 5 <= len(steps) <= 10
    assert steps[0] == 20
    assert len(set(np.diff(steps))) == 1
    with FrameLog(path) as log:
        log.invalidate(50)
    _, (_, second) = spread_frames(path, parts, limit=10)
    assert max(frame.step for frame in second) <= 50


def test_a_run_without_frames_has_no_pair_distribution(tmp_path):
    system, frames = spread_frames(
        tmp_path / "frames.bin", [Part(1, "", 0, 9)], limit=5
    )
    assert (system, frames) == (None, [[]])
    assert rdf_of_frames(configurations_of(system, frames[0])) == []


def test_a_thinned_line_keeps_its_peak():
    x = np.arange(100_000.0)
    y = np.sin(x / 5000.0)
    y[54321] = 9.0
    some_x, some_y = thinned(x, y)
    assert len(some_x) <= 1200
    assert some_y.max() == 9.0
    assert np.all(np.diff(some_x) > 0)


def test_a_cell_too_small_for_a_pair_has_no_pair_distribution():
    fcc = bulk("Al", "fcc", a=4.05, cubic=True)
    assert rdf_of_frames([Configuration.from_atoms(fcc)]) == []
    c = salt()
    moved = c.moved(c.positions + np.random.default_rng(0).normal(0, 0.05, (8, 3)))
    assert len(rdf_of_frames([moved])) == 3


def test_the_error_of_g_is_that_of_independent_frames():
    rng = np.random.default_rng(8)
    cell, n, n_frames = 8.0 * np.eye(3), 40, 200
    pbc = np.ones(3, dtype=np.bool_)
    gas = [
        Configuration(np.full(n, 18), 8.0 * rng.random((n, 3)), cell, pbc)
        for _ in range(n_frames)
    ]
    (rdf,) = radial_distribution(gas, width=0.5)
    shells = 4 / 3 * np.pi * ((rdf.distance + 0.25) ** 3 - (rdf.distance - 0.25) ** 3)
    poisson = 1 / np.sqrt(n_frames * n * (n - 1) / 2 * shells / 512.0)
    # Ten blocks know an error to a quarter; the mean over the bins to a tenth.
    assert np.mean(rdf.error[2:] / poisson[2:]) == pytest.approx(1.0, abs=0.3)


def test_the_share_of_windows_counts_steps_that_were_labelled(view):
    edges, shares = bypassed_in_windows(view, audits=True)
    assert len(edges) == len(shares) + 1
    # Steps 6, 12 and 18 of the first twenty; step 0 is the start.
    assert shares[0] == pytest.approx(1 - 3 / 20)
    n_labelled = len({d.step for d in view.decisions if d.step > 0})
    assert shares.mean() == pytest.approx(1 - n_labelled / N_STEPS)
    _, apart = bypassed_in_windows(view, audits=False)
    # The audit at step 100 is the only label of steps 81 to 100.
    assert apart[4] == pytest.approx(1.0)
    assert shares[4] == pytest.approx(1 - 1 / 20)


def test_the_page_of_a_long_run_can_be_mailed(view):
    """Of 20,000 steps in the table and 800 labels of 64 atoms all is drawn thinned."""
    rng = np.random.default_rng(4)
    steps = np.sort(rng.choice(20_000, 800, replace=False))
    reasons = np.where(np.arange(800) % 4, "sample", "audit")
    long = replace(
        view,
        thermo=table(20_000, rng),
        decisions=[
            decision(int(step), str(reason), rng, n_atoms=64)
            for step, reason in zip(steps, reasons, strict=True)
        ],
    )
    assert len(report_html(long).encode()) < 3_000_000
