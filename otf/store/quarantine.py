"""Structures that got no labels, put aside with what the reference code wrote."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Labels
from otf.store.disk import explained
from otf.store.extxyz import write_frames

if TYPE_CHECKING:
    from pathlib import Path

    from otf.configuration import Configuration
    from otf.store.schema import RunFolder

LARGEST_FILE = 20_000_000  # bytes; wave functions and densities tell nobody anything


def put_aside(
    folder: RunFolder,
    configuration: Configuration,
    *,
    step: int,
    text: str,
    files: Path,
) -> Path:
    """Write a structure, why it has no labels, and the files of its code.

    Parameters
    ----------
    folder
        Of the run.
    configuration
        The structure.
    step
        Of the call.
    text
        One line.
    files
        Folder the code wrote into; need not exist.

    Returns
    -------
    Path
        A new folder in the quarantine of the run.

    Raises
    ------
    StoreError
        When the disk is full or fails.
    """
    with explained(folder.quarantine):
        number = 1
        while (place := folder.quarantine / f"step-{step}-{number}").exists():
            number += 1
        place.mkdir(parents=True)
        (place / "reason.txt").write_text(f"{text}\n")
        for file in _small_files(files):
            copy = place / "files" / file.relative_to(files)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
    unknown = Labels(
        np.nan, np.full((configuration.n_atoms, 3), np.nan), np.full(6, np.nan)
    )
    write_frames(place / "structure.extxyz", [(configuration, unknown)])
    return place


def _small_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.stat().st_size <= LARGEST_FILE)
