"""Our forms against other programs and against our own floor, errors beside speed.

    python speed.py WORK --data ZUO2020 [--peers FOLDER] [--large] [--steps 20]

One core. Diamond silicon of 512 atoms displaced by 0.1 A, positions that change as in
dynamics; energy, forces and stress, the neighbour list included. Models of 1000 and
3000 local references with the three-body part only (n_max 8, l_max 4, 5 A, exponent 4),
and one of the default descriptor, are fitted by `otf-md fit` to Si_train.xyz.gz of
ZUO2020 and compared with Si_test.xyz.gz (Zuo et al., J. Phys. Chem. A 124, 731, 2020).
The floor (floor.py) is a bare model of the same size, timed in turn with ours in one
process; the matrix product at the heart of both is timed beside them.

`--peers` times other programs (peers.py), installed into FOLDER, which keeps them and
the potential fitted there: outside of the checkout, please. `--large` adds 4096, 32,768
and 97,336 atoms. Fitted models stay in WORK and are not fitted again; the numbers are
written to WORK/speed.json. The figures to quote are the processor times of an idle
machine: the minimum tells what the code does, its distance from the median what the
machine did.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import peers
import silicon
from floor import Floor, force_error, rattled_silicon

from otf.commands.bench import Timing, measured, moving, steps_of
from otf.deploy.saved_model import load_model

if TYPE_CHECKING:
    from otf.configuration import Configuration

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
ROUNDS = 4  # in which the candidates of one process take turns
COPIES, SMALL_COPIES, LARGE_COPIES = 4, 2, (8, 16, 23)
THREE_BODY = """[descriptor]
cutoff_three_body_A = 5.0
n_max = 8
l_max = 4
two_body_weight = 0.0
"""
# name: input file, most local references
MODELS = {
    "three-body, 1000": (THREE_BODY, 1000),
    "three-body, 3000": (THREE_BODY, 3000),
    "default, 1000": ("", 1000),
}
OURS = "three-body, 1000"  # what peers are compared with
PRODUCT = (512, 180, 1000)
ERRORS = (
    ("energy_mae_meV_per_atom", 2),
    ("energy_rmse_meV_per_atom", 2),
    ("force_mae_eV_per_A", 4),
    ("force_rmse_eV_per_A", 4),
)


def otf_md(*arguments: object, threads: int = 1) -> dict:
    """Run a command with --json and return what it printed."""
    limits = dict.fromkeys(THREADS, str(threads))
    done = subprocess.run(
        [sys.executable, "-m", "otf.cli", *map(str, arguments), "--json"],
        env={**os.environ, **limits},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def fitted(name: str, work: Path, data: Path) -> tuple[Path, dict]:
    """Return the file of a model and its errors, fitted unless it was before."""
    text, n_references = MODELS[name]
    stem = name.replace(", ", "-")
    toml, model = work / f"{stem}.toml", work / f"{stem}.h5"
    if not model.exists():
        toml.write_text(text)
        fit = ("--input", toml, "--references", n_references, "-o", model)
        otf_md("fit", data / "Si_train.xyz.gz", *fit)
    return model, otf_md("evaluate", model, data / "Si_test.xyz.gz")


def in_turn(candidates: dict, start: Configuration, n_steps: int) -> dict[str, Timing]:
    """Time all candidates on one core, a few steps each in turn."""
    rows: dict[str, list] = {name: [] for name in candidates}
    walks = {name: moving(start, seed=0) for name in candidates}
    for _ in range(ROUNDS):
        for name, step in candidates.items():
            n = max(n_steps // ROUNDS, 1)
            rows[name].append(measured(step, walks[name], n_steps=n))
    return {name: Timing.of(np.concatenate(parts)) for name, parts in rows.items()}


def floors() -> dict[str, Floor]:
    """Return the bare models, proven against finite differences."""
    structures = [rattled_silicon(COPIES, seed=seed) for seed in range(2, 8)]
    out = {}
    for n_references in (1000, 3000):
        floor = out[f"floor, {n_references}"] = Floor(structures, n_references)
        error = force_error(floor, structures[0])
        print(f"floor, {n_references} references: relative force error {error:.0e}")
        assert error < 1e-5
    return out


def product_rate(start: Configuration) -> float:
    """Return the largest rate of matrix products of the size of ours, in GFlop/s."""
    n, q, m = PRODUCT
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(n, q)), rng.normal(size=(q, m))
    best = np.inf
    for _ in range(50):
        begin = time.process_time()
        left @ right
        best = min(best, time.process_time() - begin)
    return 2e-9 * n * q * m / best


def time_ours(models: dict[str, Path], n_steps: int) -> dict[str, object]:
    """Time our models, the floors and the matrix product in this process."""
    candidates = {}
    forms = {}
    for name, path in models.items():
        model = load_model(path)
        forms[name] = model.form
        plain, screened, measured_on_all = steps_of(model).values()
        candidates[name] = plain
        candidates[f"{name} + screen"] = screened
        candidates[f"{name} + all references"] = measured_on_all
    bare = floors()
    candidates |= {name: floor.predict for name, floor in bare.items()}
    large = rattled_silicon(COPIES, seed=1)
    small = rattled_silicon(SMALL_COPIES, seed=1)
    rate = product_rate(large)
    timings = in_turn(candidates, large, n_steps)
    chosen = {k: v for k, v in candidates.items() if k in (*models, *bare)}
    return {
        "forms": forms,
        "timings": {name: asdict(t) for name, t in timings.items()},
        "timings_64_atoms": {
            name: asdict(t) for name, t in in_turn(chosen, small, 4 * n_steps).items()
        },
        "floor_parts_us_per_atom": {k: parts_of(f, large) for k, f in bare.items()},
        "product_GFlop_per_s": max(rate, product_rate(large)),
    }


def parts_of(floor: Floor, start: Configuration) -> dict[str, float]:
    """Return the least processor time of each part of a floor, us per atom."""
    rows = [floor.parts(frame) for frame in islice(moving(start, seed=0), 10)]
    return {k: 1e6 / start.n_atoms * min(row[k] for row in rows) for k in rows[0]}


def time_threads(model: Path, crystal: Path) -> dict[str, dict]:
    """Return `otf-md bench` with one thread and with two."""
    return {
        str(n): otf_md("bench", model, crystal, "--repeat", *3 * (COPIES,), threads=n)
        for n in (1, 2)
    }


def time_sizes(model: Path, crystal: Path) -> list[dict]:
    """Return `otf-md bench` of growing crystals, each in a process of its own."""
    rows = []
    for copies in (COPIES, *LARGE_COPIES):
        steps = 20 if copies < 16 else 3
        options = ("--repeat", *3 * (copies,), "--steps", steps)
        row = otf_md("bench", model, crystal, *options)
        kinds = row["us_per_atom"]
        plain, screened = (
            kinds[name]["cpu_minimum"] for name in ("step", "step_with_uncertainty")
        )
        print(
            f"{row['n_atoms']:>7} atoms: processor {plain:.1f} us per atom and step, "
            f"{screened:.1f} with the screen, memory {row['peak_memory_MB']:.0f} MB",
            flush=True,
        )
        rows.append(row)
    return rows


def time_peers(folder: Path, data: Path | None, n_steps: int) -> dict[str, dict]:
    """Return timing and errors of other programs, or why there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = folder / "frames.npz"
    start = rattled_silicon(COPIES, seed=1)
    peers.save_frames(frames, moving(start, seed=0), n_steps)
    out = {}
    for peer in peers.PEERS:
        try:
            found = peers.time_peer(peer, frames, folder / peer.driver, data)
        except peers.MissingError as why:
            print(f"{peer.name}: left out, {why}", flush=True)
            out[peer.name] = {"missing": str(why)}
            continue
        timing = asdict(Timing.of(np.array(found["rows"])))
        out[peer.name] = {"timing": timing, "errors": found.get("errors")}
    return out


def line(name: str, timing: dict, errors: dict | None, ours: dict | None) -> str:
    """Return one row of the main table."""
    cells = [f"{errors[key]:.{digits}f}" if errors else "-" for key, digits in ERRORS]
    ratio = f"{ours['cpu_minimum'] / timing['cpu_minimum']:.2f}" if ours else "-"
    return (
        f"{name:<34}{''.join(f'{cell:>8}' for cell in cells)}"
        f"{timing['cpu_median']:>9.1f}{timing['cpu_minimum']:>9.1f}"
        f"{timing['wall_median']:>9.1f}{ratio:>9}"
    )


def print_main(result: dict) -> None:
    """Print errors and times, ours, the floors' and the peers'."""
    print(f"\n512 atoms, one core of {result['machine']}; us per atom and step")
    print(
        f"{'':<34}{'E, meV/atom':>16}{'F, eV/A':>16}{'processor':>18}{'wall':>9}"
        f"{'ours/':>9}\n{'':<34}{'MAE':>8}{'RMSE':>8}{'MAE':>8}{'RMSE':>8}"
        f"{'median':>9}{'minimum':>9}{'median':>9}{'this':>9}"
    )
    timings = result["ours"]["timings"]
    ours = timings.get(OURS)
    for name, timing in timings.items():
        form = result["ours"]["forms"].get(name)
        label = f"{name} ({form})" if form else name
        print(line(label, timing, result["errors"].get(name), ours))
    for name, peer in result["peers"].items():
        if "timing" in peer:
            print(line(name, peer["timing"], peer["errors"], ours))
    rate = result["ours"]["product_GFlop_per_s"]
    n, q, m = PRODUCT
    print(f"matrix product {n} x {q} x {m}: {rate:.1f} GFlop/s,")
    print(f"so the two of a step take {4e-3 * q * m / rate:.1f} us an atom")
    for name, parts in result["ours"]["floor_parts_us_per_atom"].items():
        words = ", ".join(f"{part} {value:.1f}" for part, value in parts.items())
        print(f"{name}: {words}")


def print_small(timings: dict[str, dict]) -> None:
    """Print what the layers above the arithmetic cost in a step of few atoms."""
    if OURS not in timings:
        return
    ours, floor = (
        64e-3 * timings[name]["cpu_minimum"] for name in (OURS, "floor, 1000")
    )
    print("\n64 atoms, 1000 references, ms a step:")
    print(f"ours {ours:.2f}, floor {floor:.2f}, difference {ours - floor:.2f}")


def print_threads(benches: dict[str, dict]) -> None:
    """Print what a second core brings."""
    one, two = (benches[n]["us_per_atom"]["step"]["wall_minimum"] for n in "12")
    print("\n512 atoms, wall clock, us per atom and step:")
    print(f"one thread {one:.1f}, two {two:.1f}, speed-up {one / two:.2f}")


def machine() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [one.partition(":")[2].strip() for one in lines if "model name" in one]
    return names[0] if names else platform.processor()


def main() -> None:
    """Time everything asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, help="folder with Si_train.xyz.gz")
    parser.add_argument("--peers", type=Path, help="where other programs are installed")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in THREADS):
        # The libraries have read their number of threads already: begin anew.
        environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    data = arguments.data and arguments.data.resolve()
    models, errors = {}, {}
    if data is None:
        print("without --data: no models of ours, no GAP, no errors")
    else:
        for name in MODELS:
            models[name], errors[name] = fitted(name, work, data)
    result = {"machine": machine(), "errors": errors, "peers": {}}
    result["ours"] = time_ours(models, arguments.steps)
    if arguments.peers:
        folder = arguments.peers.resolve()
        result["peers"] = time_peers(folder, data, arguments.steps)
    print_main(result)
    print_small(result["ours"]["timings_64_atoms"])
    silicon.save_json(work / "speed.json", result)
    if not models:
        return
    crystal = work / "silicon.extxyz"
    rattled_silicon(1, seed=1).to_atoms().write(crystal)
    result["threads"] = time_threads(models[OURS], crystal)
    print_threads(result["threads"])
    if arguments.large:
        result["sizes"] = time_sizes(models[OURS], crystal)
    silicon.save_json(work / "speed.json", result)


if __name__ == "__main__":
    main()
