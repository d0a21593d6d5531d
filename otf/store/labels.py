"""The label book: no label is lost, none is computed twice."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from otf.store import journal as journals
from otf.store.entries import Label, Method, build

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otf.configuration import Configuration, Labels
    from otf.store.journal import Journal


def label_key(configuration: Configuration, fingerprint: str) -> str:
    """Return what two questions to the same reference must share to have one answer.

    Parameters
    ----------
    configuration
        Every bit of numbers, positions, cell, periodicity, charge, spin, initial
        charges and moments counts; only the sign of a zero does not.
    fingerprint
        Of the reference and its physical settings.
    """
    c = configuration
    numbers = {"numbers": c.numbers, "pbc": c.pbc, "spin": c.spin}
    reals = {
        "positions": c.positions,
        "cell": c.cell,
        "charge": c.charge,
        "initial_charges": c.initial_charges,
        "magnetic_moments": c.magnetic_moments,
    }
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=16)
    for name, value in numbers.items():
        if value is not None:
            whole = np.asarray(value, dtype=np.int64)
            digest.update(f"|{name}{whole.shape}".encode() + whole.tobytes())
    for name, quantity in reals.items():
        if quantity is not None:
            # + 0.0 turns -0.0 into 0.0, which is the same place
            real = np.asarray(quantity, dtype=np.float64) + 0.0
            digest.update(f"|{name}{real.shape}".encode() + real.tobytes())
    return digest.hexdigest()


def dataset_key(frames: Sequence[tuple[Configuration, Labels]]) -> str:
    """Return what is equal for equal data sets: a digest of structures and labels."""
    digest = hashlib.blake2b(digest_size=16)
    for configuration, labels in frames:
        digest.update(label_key(configuration, "").encode())
        values = [np.array([labels.energy]), labels.forces.ravel(), labels.stress]
        digest.update(np.concatenate(values).astype("<f8").tobytes())
    return digest.hexdigest()


class LabelBook:
    """Labels of a journal, found by their key.

    Parameters
    ----------
    journal
        New labels go there.
    others
        Journals of earlier runs whose labels are taken over.

    Attributes
    ----------
    last_key : of the label written last to the journal, None before the first

    Raises
    ------
    StoreError
        When a journal cannot be read.
    """

    def __init__(self, journal: Journal, *, others: Sequence[Path] = ()) -> None:
        self._journal = journal
        self.last_key: str | None = None
        # Only the place is kept: thousands of labels would fill the memory.
        self._places: dict[str, tuple[Path, int]] = {}
        self._described: set[str] = set()
        for path in (journal.path, *others):
            for record in journals.read(path):
                if record.kind == Label.kind:
                    key = str(record.data["key"])
                    self._places.setdefault(key, (path, record.offset))
                    if path == journal.path:
                        self.last_key = key
                elif record.kind == Method.kind and path == journal.path:
                    self._described.add(str(record.data["fingerprint"]))

    def __len__(self) -> int:
        """Return the number of different labels."""
        return len(self._places)

    def find(self, key: str) -> Labels | None:
        """Return the labels under a key, None when they were never paid for.

        Raises
        ------
        StoreError
            When the journal can no longer be read.
        """
        place = self._places.get(key)
        if place is None:
            return None
        return build(Label, journals.read_at(*place)).labels

    def add(self, label: Label, description: str = "") -> None:
        """Write a label; it is on the disk when this returns.

        Parameters
        ----------
        label
            Question and answer.
        description
            What its fingerprint stands for; written before its first label.

        Raises
        ------
        StoreError
            When the disk is full or fails.
        """
        fingerprint = label.fingerprint
        if description and fingerprint not in self._described:
            method = Method(fingerprint=fingerprint, description=description)
            self._journal.write(method, sync=False)
            self._described.add(fingerprint)
        offset = self._journal.write(label, sync=True)
        self._places.setdefault(label.key, (self._journal.path, offset))
        self.last_key = label.key
