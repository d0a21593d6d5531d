"""Labelled structures as commands are given them: files and run folders."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.analysis.examination import Place
from otf.errors import InputError
from otf.settings.wording import nearest
from otf.store.description import difference
from otf.store.formats import read_labelled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from otf.configuration import Configuration, IntArray, Labels
    from otf.store.labelled import Reading

    Frame = tuple[Configuration, Labels]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Shift:
    """How far the energies of one reference lie above those of the data set.

    Attributes
    ----------
    reference : fingerprint, empty where labels do not say it
    description : what it stands for, empty when not known
    n_frames : labelled by it
    shifts : eV per atom, by symbol of the element
    """

    reference: str
    description: str
    n_frames: int
    shifts: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled structures.

    Attributes
    ----------
    frames : structures with labels; missing labels are NaN
    groups : the ``config_type`` of every frame, empty where the file names none
    reference : fingerprint of the calculator that labelled them, empty when unknown
    description : what it stands for, empty when unknown
    levels : (F,) reference of every frame where several are mixed, 0 for ``reference``
        and the others in the order of ``others``; None for one reference
    others : fingerprints with what they stand for, as far as known
    shifts : by which energies of others were moved onto that of ``reference``
    places : where every frame stands in the files it was read from; empty for a run
    """

    frames: list[Frame]
    groups: list[str]
    reference: str = ""
    description: str = ""
    levels: IntArray | None = None
    others: tuple[tuple[str, str], ...] = ()
    shifts: tuple[Shift, ...] = ()
    places: list[Place] = field(default_factory=list)

    @property
    def configurations(self) -> list[Configuration]:
        """Return the structures without their labels."""
        return [configuration for configuration, _ in self.frames]


def add_data(parser: argparse.ArgumentParser) -> None:
    """Declare the argument that names labelled structures."""
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        help="labelled structures: extended XYZ, any other format otf-md import reads, "
        "or folders of runs",
    )


def read_dataset(paths: Sequence[Path], *, mix: bool = False) -> Dataset:
    """Return the labelled structures of files of any format and of runs.

    Parameters
    ----------
    paths
        Files and folders.
    mix
        Whether they may have had different references. The most frequent one is that
        of the data set, the first of those of equal number; labels that do not say
        theirs are taken for one more.

    Raises
    ------
    InputError
        When a path does not exist, holds no labels, or two had different references.
    StoreError
        When a file cannot be read.
    """
    frames: list[Frame] = []
    groups: list[str] = []
    marks: list[str] = []
    places: list[Place] = []
    prints: dict[str, set[str]] = {}
    words: dict[str, str] = {}
    for path in paths:
        require_exists(path)
        reading = read_labelled(path)
        require_frames(reading, path)
        found, names = reading.frames, reading.groups
        prints[str(path)] = set(reading.fingerprints)
        words |= reading.descriptions
        kept = _labelled(found, path)
        frames += [found[k] for k in kept]
        groups += [names[k] for k in kept]
        places += [Place(str(path), k, names[k]) for k in kept]
        marks += [reading.fingerprints[k] for k in kept]
    if mix and len(set(marks)) > 1:
        # Sorting keeps the order of those of equal number.
        first, *rest = sorted(dict.fromkeys(marks), key=marks.count, reverse=True)
        return Dataset(
            frames,
            groups,
            first,
            words.get(first, ""),
            places=places,
            levels=np.array([[first, *rest].index(mark) for mark in marks]),
            others=tuple((mark, words.get(mark, "")) for mark in rest),
        )
    require_one_reference(prints, words)
    reference = _the_reference(prints)
    return Dataset(frames, groups, reference, words.get(reference, ""), places=places)


def require_frames(reading: Reading, path: Path) -> None:
    """Warn of the frames of a file that were left out.

    Raises
    ------
    InputError
        When none is there.
    """
    lost = ", ".join(f"{n} {reason}" for reason, n in reading.left_out.items())
    if not reading.frames:
        msg = f"{path} holds no frame that can be used: {lost or 'it is empty'}"
        raise InputError(msg)
    if lost:
        logger.warning("frames of %s are left out: %s", path, lost)


def _the_reference(prints: Mapping[str, set[str]]) -> str:
    """Return the fingerprint every source shares; empty where one does not say."""
    shared = set.intersection(*prints.values()) if prints else set()
    return shared.pop() if len(shared) == 1 else ""


def require_one_reference(
    prints: Mapping[str, set[str]], descriptions: Mapping[str, str]
) -> None:
    """Raise InputError when labels had more than one reference.

    Parameters
    ----------
    prints
        Fingerprints in every source, by its name; an empty one is not known.
    descriptions
        What they stand for, as far as known.
    """
    first_seen: dict[str, str] = {}
    for source, marks in prints.items():
        for mark in sorted(marks - {""}):
            first_seen.setdefault(mark, source)
    for (one, first), (other, second) in combinations(first_seen.items(), 2):
        what = unlike(descriptions.get(one, ""), descriptions.get(other, ""))
        who = (
            f"{first} holds labels of different references"
            if first == second
            else f"{first} and {second} were labelled by different references"
        )
        msg = (
            f"{who}{what}; energies of two references do not mix: take one of them, or "
            "let fit or refit shift them onto each other (--mix-references)"
        )
        raise InputError(msg)


def unlike(one: str, other: str) -> str:
    """Return in brackets where two descriptions differ; empty when not known."""
    found = difference(one, other)
    return f" ({found})" if found else ""


def require_exists(path: Path) -> None:
    """Raise InputError when there is nothing at a path, with the name it may be."""
    if path.exists():
        return
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        names = []
    near = nearest(path.name, names)
    hint = f"; did you mean {near}?" if near else ""
    msg = f"there is no file or run {path}{hint}"
    raise InputError(msg)


def require_writable(path: Path, *inputs: Path) -> None:
    """Raise InputError when no file can be written there, before the work is done.

    Parameters
    ----------
    path
        An older file there is replaced.
    inputs
        Files that must not be.
    """
    if any(path.resolve() == other.resolve() for other in inputs):
        msg = f"{path} is read by this command: give the output another name"
        raise InputError(msg)
    if path.is_dir():
        msg = f"{path} is a folder, expected the name of a file to write"
        raise InputError(msg)
    if not path.parent.is_dir():
        msg = f"{path} cannot be written: there is no folder {path.parent}"
        raise InputError(msg)


def is_labelled(labels: Labels) -> bool:
    """Return whether an energy or a force is known."""
    return bool(np.isfinite(labels.energy) or labels.force_mask.any())


def _labelled(frames: Sequence[Frame], path: Path) -> list[int]:
    kept = [k for k, (_, labels) in enumerate(frames) if is_labelled(labels)]
    if not kept:
        msg = (
            f"{path} holds {len(frames)} structures but no labels: energy and forces "
            "are expected (of extended XYZ in the comment line and a column, also with "
            "REF_ or DFT_ before their names)"
        )
        raise InputError(msg)
    if len(kept) < len(frames):
        n_missing = len(frames) - len(kept)
        logger.warning(
            "%d of the %d structures of %s have no labels and are left out",
            n_missing,
            len(frames),
            path,
        )
    return kept
