"""Labelled structures as commands are given them: files and run folders."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.errors import InputError
from otf.settings.wording import nearest
from otf.store.extxyz import FINGERPRINT, comment_values, read_frames
from otf.store.run_reader import RunView

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from otf.configuration import Configuration, Labels

    Frame = tuple[Configuration, Labels]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled structures.

    Attributes
    ----------
    frames : structures with labels; missing labels are NaN
    groups : the ``config_type`` of every frame, empty where the file names none
    reference : fingerprint of the calculator that labelled them, empty when unknown
    """

    frames: list[Frame]
    groups: list[str]
    reference: str = ""

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
        help="extended XYZ files (also .gz) with labels, or folders of runs",
    )


def read_dataset(paths: Sequence[Path]) -> Dataset:
    """Return the labelled structures of files and of the journals of runs.

    Raises
    ------
    InputError
        When a path does not exist, holds no labels, or two had different references.
    StoreError
        When a file cannot be read.
    """
    frames: list[Frame] = []
    groups: list[str] = []
    prints: dict[str, set[str]] = {}
    for path in paths:
        require_exists(path)
        if path.is_dir():
            view = RunView.load(path)
            marks = [label.fingerprint for label in view.labels]
            found = [(label.configuration, label.labels) for label in view.labels]
            names = [""] * len(found)
        else:
            found = read_frames(path)
            marks = comment_values(path, FINGERPRINT, n_frames=len(found))
            names = comment_values(path, "config_type", n_frames=len(found))
        prints[str(path)] = set(marks)
        kept = _labelled(found, path)
        frames += [found[k] for k in kept]
        groups += [names[k] for k in kept]
    require_one_reference(prints)
    return Dataset(frames, groups, _the_reference(prints))


def _the_reference(prints: Mapping[str, set[str]]) -> str:
    """Return the fingerprint every source shares; empty where one does not say."""
    shared = set.intersection(*prints.values()) if prints else set()
    return shared.pop() if len(shared) == 1 else ""


def require_one_reference(prints: Mapping[str, set[str]]) -> None:
    """Raise InputError when two sources of labels had no reference in common.

    Parameters
    ----------
    prints
        Fingerprints in every source, by its name; an empty one is not known.
    """
    known = {name: marks - {""} for name, marks in prints.items() if marks - {""}}
    for (first, one), (second, other) in combinations(known.items(), 2):
        if not one & other:
            msg = (
                f"{first} and {second} were labelled by different references; energies "
                "of two references do not mix: take one of them"
            )
            raise InputError(msg)


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
            f"{path} holds {len(frames)} structures but no labels: energy (in the "
            "comment line) and forces (a column) are expected, also with REF_ or DFT_ "
            "before their names"
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
