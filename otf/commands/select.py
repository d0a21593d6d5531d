"""otf-md select: choose the structures of a pool that are worth a label."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from otf.build import build_model, build_reference
from otf.commands.dataset import (
    require_exists,
    require_frames,
    require_writable,
)
from otf.commands.fitting import count, decide_stress, finish, model_settings
from otf.commands.labeller import Labeller, is_complete
from otf.commands.pool import Cycle, Rules, Selection
from otf.commands.stages import Stages
from otf.configuration import species_of
from otf.errors import InputError
from otf.recording import JournalBook
from otf.store.formats import read_labelled
from otf.store.journal import Journal
from otf.store.record_file import HEADER_SIZE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from otf.calculators.executor import ReferencePool
    from otf.calculators.reference import Reference
    from otf.commands.dataset import Frame
    from otf.models.bayesian_linear import BayesianLinear
    from otf.settings.settings import Settings

BATCH = 5
# Fewer labels do not tell whether stresses agree with energies.
ENOUGH_FOR_STRESS = 20
HEAD = (
    f"{'cycle':>5}{'labels':>8}{'references':>12}{'largest e':>11}"
    f"{'spilling':>10}{'above':>7}{'new RMSE':>10}\n"
    f"{'':>5}{'':>8}{'':>12}{'eV/A':>11}{'':>10}{'':>7}{'eV/A':>10}"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "pool",
        type=Path,
        help="structures, with labels or not: extended XYZ, or any other format "
        "otf-md import reads",
    )
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="TOML",
        help="input file: thresholds of [learning], the calculator of [reference] for "
        "structures without labels, and the model",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="MODEL", help="model file"
    )
    parser.add_argument(
        "--labels",
        type=count,
        metavar="N",
        help="most labels, those of an earlier call included (default: no limit)",
    )
    parser.add_argument(
        "--batch",
        type=count,
        default=BATCH,
        metavar="K",
        help="labels between two fits (default: %(default)s)",
    )
    parser.add_argument(
        "--labelled",
        type=Path,
        metavar="XYZ",
        help="where the labelled structures are kept, and found again by a later call "
        "(default: labelled.xyz beside the model)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Select, label and fit; one line for each cycle."""
    labelled = arguments.labelled or arguments.output.parent / "labelled.xyz"
    require_writable(arguments.output, arguments.pool, arguments.input, labelled)
    require_writable(labelled, arguments.pool, arguments.input)
    require_exists(arguments.pool)
    settings = model_settings(arguments.input)
    reading = read_labelled(arguments.pool)
    require_frames(reading, arguments.pool)
    pool = reading.frames
    stages = Stages()
    with asked_reference(settings, pool, labelled, stages) as reference:
        labeller = Labeller(
            pool,
            labelled,
            reference,
            fingerprints=reading.fingerprints,
            descriptions=reading.descriptions,
        )
        selection = _select(arguments, settings, pool, labeller, stages)
    print(f"Stopped: {selection.reason}.")
    cached = 0 if reference is None else reference.n_cached
    found = f", {cached} labels from the cache" if cached else ""
    calls = labeller.n_calls - cached
    print(f"{calls} reference calls{found}; the labels are in {labelled}.")
    print(f"Wrote {arguments.output}. Next: otf-md refit {labelled} -o MODEL.")
    return 0


def _select(
    arguments: argparse.Namespace,
    settings: Settings,
    pool: Sequence[Frame],
    labeller: Labeller,
    stages: Stages,
) -> Selection:
    structures = [configuration for configuration, _ in pool]
    known = [configuration for configuration, _ in labeller.frames]
    model = build_model(settings, species_of([*structures, *known]))
    rules = Rules(
        threshold=settings.learning.max_force_error_eV_per_A,
        max_spilling=settings.learning.spilling_bound,
        batch=arguments.batch,
        budget=arguments.labels,
    )
    selection = Selection(model, structures, labeller, rules, stages)
    print(HEAD)
    settled = False
    for number, cycle in enumerate(selection.cycles()):
        stages.close()
        print(line(number, cycle), flush=True)
        if not settled and cycle.n_labels >= ENOUGH_FOR_STRESS:
            settle_stress(model, settings, labeller.frames, stages)
            settled = True
    if not model.is_fitted:
        msg = f"no structure of {arguments.pool} could be labelled"
        raise InputError(msg)
    if not settled:
        settle_stress(model, settings, labeller.frames, stages)
    finish(
        model,
        labeller.dataset,
        settings,
        output=arguments.output,
        command="select",
        sources=[arguments.pool],
        stages=stages,
        laws=selection.laws(),
    )
    return selection


def settle_stress(
    model: BayesianLinear, settings: Settings, frames: Sequence[Frame], stages: Stages
) -> None:
    """Leave the stresses out of a model when its labels contradict the energies."""
    probe = build_model(settings, model.descriptor.species)
    decide_stress(probe, settings, frames, stress=None, stages=stages)
    stages.close()
    if probe.weights != model.weights:
        model.weights = probe.weights
        model.fit_weights()


@contextmanager
def asked_reference(
    settings: Settings, pool: Sequence[Frame], labelled: Path, stages: Stages
) -> Iterator[Reference | ReferencePool | None]:
    """Yield the calculator that labels what the pool does not, None for a whole pool.

    Labels that arrive before their turn wait in a journal beside the labelled
    structures; a call that was killed leaves it, and the next one finds them there.

    Raises
    ------
    InputError
        When it is needed and the input file names none, or cannot be used.
    StoreError
        When the journal cannot be written.
    """
    path = labelled.with_name(f"{labelled.name}.journal")
    with ExitStack() as stack:
        journal = None
        if settings.reference is not None and settings.reference.works_ahead:
            journal = stack.enter_context(Journal(path))
        try:
            reference = reference_for(settings, pool, stages, journal)
            if reference is not None:
                stack.callback(reference.close)
            yield reference
        except BaseException:
            if journal is not None and journal.size == HEADER_SIZE:
                path.unlink()
            raise
    path.unlink(missing_ok=True)


def reference_for(
    settings: Settings,
    pool: Sequence[Frame],
    stages: Stages,
    journal: Journal | None = None,
) -> Reference | ReferencePool | None:
    """Return the calculator that labels what the pool does not.

    Parameters
    ----------
    stages
        Is told how many labels have arrived, while several are waited for.
    journal
        Where labels are kept and found again.

    Raises
    ------
    InputError
        When it is needed and the input file names none, or cannot be used.
    """
    missing = next((c for c, labels in pool if not is_complete(labels)), None)
    if missing is None:
        return None
    reference = build_reference(
        settings, watch=lambda done, asked: stages("label", done, asked)
    )
    if reference is None:
        msg = (
            "the pool holds structures without energy and forces, and the input file "
            "no calculator to ask: add [reference] calculator"
        )
        raise InputError(msg)
    if journal is not None:
        reference.keep_labels_in(
            JournalBook(journal, reference.fingerprint, reference.description)
        )
    try:
        reference.require(missing)
    except BaseException:
        reference.close()
        raise
    return reference


def line(number: int, cycle: Cycle) -> str:
    """Return the line of one cycle; what it does not know is a dash."""
    numbers = (
        _cell(cycle.error, 11, ".3f"),
        _cell(cycle.spilling, 10, ".1e"),
        f"{cycle.n_above or '-':>7}",
        _cell(cycle.force_rmse, 10, ".4f"),
    )
    counts = f"{number:>5}{cycle.n_labels:>8}{cycle.n_references:>12}"
    return counts + "".join(numbers)


def _cell(value: float, width: int, form: str) -> str:
    return f"{value:{width}{form}}" if value == value else f"{'-':>{width}}"
