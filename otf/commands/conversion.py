"""From files of labelled structures to others: what import and export share."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otf.commands.dataset import require_exists
from otf.errors import InputError
from otf.settings.wording import nearest
from otf.store.formats import FORMATS, format_of, read_labelled
from otf.store.labelled import Reading
from otf.store.text import element_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

READABLE = tuple(FORMATS)
WRITABLE = tuple(name for name, kind in FORMATS.items() if kind.write is not None)


@dataclass(frozen=True, eq=False)
class Source:
    """A file and what was read of it.

    Attributes
    ----------
    path : of the file
    kind : name of its format
    reading : its frames
    """

    path: Path
    kind: str
    reading: Reading


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that name the files to read, and how to print."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        help="files of labelled structures, folders of DeePMD-kit or of runs",
    )
    parser.add_argument(
        "--elements",
        nargs="+",
        default=[],
        metavar="SYMBOL",
        help="elements of the types 0, 1, ... where a file only numbers its types",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the summary as JSON, for programs"
    )


def format_name(text: str, possible: Sequence[str]) -> str:
    """Return the name of a format.

    Raises
    ------
    InputError
        When there is no such one.
    """
    if text in possible:
        return text
    near = nearest(text, possible)
    mend = f"did you mean {near}?" if near else f"possible: {', '.join(possible)}"
    msg = f"there is no format {text}; {mend}"
    raise InputError(msg)


def read_sources(
    paths: Sequence[Path], symbols: Sequence[str], *, kind: str | None
) -> list[Source]:
    """Return what files hold.

    Parameters
    ----------
    paths
        Of any format.
    symbols
        Elements of the types from 0 on.
    kind
        Name of the format of all files; told from each one's content when None.

    Raises
    ------
    InputError
        When a file does not exist, a symbol is no element, or nothing is left.
    StoreError
        When a file cannot be read.
    """
    numbers = []
    for symbol in symbols:
        number = element_of(symbol)
        if number is None:
            msg = f"{symbol} is no element (--elements)"
            raise InputError(msg)
        numbers.append(number)
    sources = []
    for path in paths:
        require_exists(path)
        name = kind or format_of(path)
        sources.append(
            Source(path, name, read_labelled(path, name=name, elements=numbers))
        )
    if not any(source.reading.frames for source in sources):
        lost = ", ".join(left_out(joined(sources)))
        msg = f"{paths[0]} holds no frame that can be used: {lost or 'it is empty'}"
        raise InputError(msg)
    return sources


def joined(sources: Sequence[Source]) -> Reading:
    """Return the frames of all sources, in order."""
    readings = [source.reading for source in sources]
    lost: Counter[str] = Counter()
    for reading in readings:
        lost.update(reading.left_out)
    return Reading(
        [frame for reading in readings for frame in reading.frames],
        [group for reading in readings for group in reading.groups],
        [mark for reading in readings for mark in reading.fingerprints],
        dict(lost),
        tuple(note for reading in readings for note in reading.notes),
        {k: v for reading in readings for k, v in reading.descriptions.items()},
    )


def left_out(reading: Reading) -> list[str]:
    """Return what was left out, one phrase for each reason."""
    return [f"{n} {reason}" for reason, n in reading.left_out.items()]


def print_summary(
    sources: Sequence[Source], output: Path, kind: str, *, as_json: bool
) -> None:
    """Print what was read and where it was written."""
    if as_json:
        files = [
            {"path": str(s.path), "format": s.kind, **_numbers(s.reading)}
            for s in sources
        ]
        total = _numbers(joined(sources))
        data = {"output": str(output), "format": kind, **total, "files": files}
        print(json.dumps(data, indent=2))
        return
    for source in sources:
        print(f"{source.path} ({FORMATS[source.kind].title})")
        print("\n".join(f"  {line}" for line in _lines(source.reading)))
    n_frames = len(joined(sources).frames)
    print(f"Wrote {n_frames} frames to {output} ({FORMATS[kind].title}).")


def _numbers(reading: Reading) -> dict[str, object]:
    frames = reading.frames
    return {
        "frames": len(frames),
        "atoms": sum(c.n_atoms for c, _ in frames),
        "elements": _elements(reading),
        "labels": _labels(reading),
        "left_out": reading.left_out,
        "notes": list(reading.notes),
    }


def _elements(reading: Reading) -> dict[str, int]:
    """Return how many atoms of each element there are."""
    from ase.data import chemical_symbols

    counts = Counter(int(z) for c, _ in reading.frames for z in c.numbers)
    return {chemical_symbols[z]: counts[z] for z in sorted(counts)}


def _lines(reading: Reading) -> list[str]:
    n_frames = len(reading.frames)
    sizes = [c.n_atoms for c, _ in reading.frames]
    lines = []
    if sizes:
        size = (
            f"{min(sizes)}"
            if min(sizes) == max(sizes)
            else (f"{min(sizes)} to {max(sizes)}")
        )
        elements = " ".join(f"{s} {n}" for s, n in _elements(reading).items())
        lines.append(
            f"{n_frames} frames of {size} atoms, {sum(sizes)} atoms in all: {elements}"
        )
        lines.append(f"labels: {', '.join(_shares(_labels(reading), n_frames))}")
    lines += [f"left out: {phrase}" for phrase in left_out(reading)]
    return [*lines, *reading.notes]


def _labels(reading: Reading) -> dict[str, int]:
    """Return how many frames have each kind of label."""
    labels = [labels for _, labels in reading.frames]
    return {
        "energy": sum(bool(np.isfinite(ls.energy)) for ls in labels),
        "forces": sum(bool(ls.force_mask.any()) for ls in labels),
        "stress": sum(bool(ls.stress_mask.any()) for ls in labels),
    }


def _shares(counts: Mapping[str, int], n_frames: int) -> list[str]:
    return [
        f"{name} {'all' if n == n_frames else f'{n} of {n_frames}' if n else 'none'}"
        for name, n in counts.items()
    ]
