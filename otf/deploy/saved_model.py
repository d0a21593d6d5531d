"""Models in files: saved with proof frames, and proven when they are loaded."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from otf.errors import StoreError
from otf.models.archive import posterior_from_arrays, posterior_to_arrays
from otf.store.model_file import read_model, verify, write_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from otf.configuration import Configuration
    from otf.models.posterior import KernelPosterior

PROOF_FRAMES = 8


def save_model(
    path: Path,
    model: KernelPosterior,
    *,
    proof: Sequence[Configuration],
    metadata: Mapping[str, object],
) -> None:
    """Write a fitted model with what it predicts for a few of the structures.

    Parameters
    ----------
    proof
        Structures to choose the proof frames from, evenly.
    metadata
        What the model was made of: plain JSON.

    Raises
    ------
    StoreError
        When the disk is full or fails.
    """
    step = max(len(proof) // PROOF_FRAMES, 1)
    chosen = list(proof[::step])[:PROOF_FRAMES]
    write_model(
        path,
        posterior_to_arrays(model),
        metadata={"version": version("otf-md"), **metadata},
        proof=[(c, model.predict(c)) for c in chosen],
    )


def load_model(path: Path) -> KernelPosterior:
    """Read a model and let it prove itself on its own frames.

    Raises
    ------
    StoreError
        When the file cannot be read, or the model does not find its values again.
    """
    file = read_model(path)
    try:
        model = posterior_from_arrays(file.arrays)
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"{path}: lacks an entry of a model ({error}); fit it again"
        ) from error
    try:
        verify(model.predict, file.proof)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    return model
