"""The model file: one HDF5 file that proves itself.

It carries the model's arrays, what the model was made of, and a few frames with the
energies, forces and stresses the model gave when it was saved. A program, a backend or
a machine that does not find the same values again must not use it.

The format has a major and a minor version. A minor one only adds: readers take what
they know by name and leave the rest. A major one changes what there was, and older
readers refuse it.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import h5py
import numpy as np

from otf.configuration import Configuration, Labels
from otf.errors import StoreError
from otf.store.disk import checksum, write_aside
from otf.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from otf.configuration import FloatArray
    from otf.potential import Arrays

VERSION, MINOR = 1, 2
_FORMAT = "otf-md model"
_ARRAYS = "arrays"
_PROOF = "proof"
_METADATA = "metadata"
_SHOWN = 3  # faults of a damaged file
# The unit of a dataset by the last part of its name, written as its attribute.
_UNITS = {
    "cell": "angstrom",
    "charge": "e",
    "charges": "e",
    "coefficients": "eV angstrom^6",
    "cutoff": "angstrom",
    "cutoff_three_body": "angstrom",
    "cutoff_two_body": "angstrom",
    "distance": "angstrom",
    "element_energies": "eV",
    "energy": "eV",
    "forces": "eV/angstrom",
    "positions": "angstrom",
    "radii": "angstrom",
    "sigma": "angstrom",
    "stress": "eV/angstrom^3",
    "weights": "eV",
    "widths": "angstrom",
}
# What is compared with the proof; energies are divided by the number of atoms.
_COMPARED = {
    "energy": "eV/atom",
    "forces": "eV/angstrom",
    "stress": "eV/angstrom^3",
}

Proof = list[tuple[Configuration, Labels]]


class Predicted(Protocol):
    """What a prediction and labels have in common."""

    @property
    def energy(self) -> float:
        """Return eV."""
        ...

    @property
    def forces(self) -> FloatArray:
        """Return (n, 3) eV/angstrom."""
        ...

    @property
    def stress(self) -> FloatArray:
        """Return (6,) eV/angstrom^3."""
        ...


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model as it was saved.

    Attributes
    ----------
    arrays : of the model, for its ``from_arrays``
    metadata : settings, fingerprint of the data, versions: plain JSON
    proof : frames with the energy, forces and stress the model gave
    form : version of the format, major.minor
    """

    arrays: Arrays
    metadata: Mapping[str, object]
    proof: Proof
    form: str = f"{VERSION}.{MINOR}"


@dataclass(frozen=True)
class Tolerances:
    """How far a value may be from the proof.

    The defaults are what double precision leaves after sums in another order.

    Attributes
    ----------
    energy : eV/atom
    forces : eV/angstrom, largest component
    stress : eV/angstrom^3, largest component
    """

    energy: float = 1e-7
    forces: float = 1e-6
    stress: float = 1e-7


@dataclass(frozen=True)
class Deviation:
    """The largest difference of one quantity from the proof.

    Attributes
    ----------
    quantity : energy (per atom), forces or stress
    size, tolerance : what it is, and may be
    unit : of both
    frame : the proof frame where it was found
    """

    quantity: str
    size: float
    tolerance: float
    unit: str
    frame: int

    @property
    def is_within(self) -> bool:
        """Return whether it is tolerated; NaN never is."""
        return self.size <= self.tolerance


def write_model(
    path: str | PathLike[str],
    arrays: Arrays,
    *,
    metadata: Mapping[str, object],
    proof: Sequence[tuple[Configuration, Predicted]],
) -> None:
    """Write a model file aside, then rename it into place.

    Parameters
    ----------
    path
        An existing file is replaced.
    arrays
        Of :mod:`otf.models.archive`; a name may hold ``/``, which makes groups.
    metadata
        Whatever JSON can hold.
    proof
        Frames and what the model predicts for them.

    Raises
    ------
    StoreError
        When the disk is full or fails; an older file then stands.
    """
    groups: dict[str, Arrays] = {_ARRAYS: arrays}
    for k, (configuration, predicted) in enumerate(proof):
        groups[f"{_PROOF}/{k}"] = _frame_arrays(configuration, predicted)
    text = json.dumps(metadata)
    # HDF5 is made in memory: it cannot be closed on a full disk.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = _FORMAT
        file.attrs["version"] = VERSION
        file.attrs["minor"] = MINOR
        file[_METADATA] = text
        for name, group in groups.items():
            _write_group(file.create_group(name), group)
        file.attrs["checksum"] = _checksum(text, groups)
    write_aside(Path(path), lambda handle: _copy(buffer, handle))


def _copy(buffer: io.BytesIO, handle: BinaryIO) -> None:
    handle.write(buffer.getbuffer())


def read_model(path: str | PathLike[str]) -> ModelFile:
    """Return the content of a model file.

    Raises
    ------
    StoreError
        When the file is missing, foreign, newer than this program or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: there is no such model file")
    return _read(path, path)


def read_model_bytes(content: bytes, path: Path) -> ModelFile:
    """Return the content of a model file that was read from another file.

    Parameters
    ----------
    content
        All bytes of the model file.
    path
        Where they came from, for messages.

    Raises
    ------
    StoreError
        When they are foreign, newer than this program or damaged.
    """
    return _read(io.BytesIO(content), path)


def _read(source: Path | BinaryIO, path: Path) -> ModelFile:
    try:
        with h5py.File(source, "r") as file:
            number = int(file.attrs.get("version", 0))
            _require_ours(path, file.attrs.get("format"), number)
            form = f"{number}.{int(file.attrs.get('minor', 0))}"
            text = file[_METADATA].asstr()[()]
            names = [_ARRAYS, *_proof_names(file)]
            groups = {name: _read_group(file[name]) for name in names}
            intact = int(file.attrs["checksum"]) == _checksum(text, groups)
            faults = [fault for name in names for fault in _faults(file[name])]
            metadata = json.loads(text)
            proof = [_frame(groups[name]) for name in names[1:]]
    except StoreError:
        raise
    except Exception as error:  # a damaged HDF5 file raises whatever it likes
        reason = first_line(error)
        raise StoreError(
            f"{path}: is no model file, or is damaged or cut short ({reason})"
        ) from error
    if faults or not intact:
        where = "; ".join(faults[:_SHOWN]) or "its checksum is another"
        raise StoreError(f"{path}: is damaged ({where}); take another copy")
    return ModelFile(groups[_ARRAYS], metadata, proof, form)


def verify(
    predict: Callable[[Configuration], Predicted],
    proof: Sequence[tuple[Configuration, Labels]],
    *,
    backend: str,
    tolerances: Tolerances | None = None,
) -> list[Deviation]:
    """Check that a model gives what it gave when it was saved.

    Parameters
    ----------
    predict
        The loaded model.
    proof
        Of the model file; a NaN there is not compared.
    backend
        That predicts, for the message.
    tolerances
        Those of double precision when None.

    Returns
    -------
    list of Deviation
        The largest of each quantity.

    Raises
    ------
    StoreError
        When there is nothing to compare, or a value disagrees; names the worst.
    """
    if not proof:
        raise StoreError("the model file has no proof frames and cannot be trusted")
    worst = _worst(predict, proof, tolerances or Tolerances())
    for found in worst:
        if not found.is_within:
            raise StoreError(
                f"backend {backend} does not give the model's own {found.quantity} "
                f"again: proof frame {found.frame} is off by {found.size:.3g} "
                f"{found.unit}, allowed are {found.tolerance:.3g}; load it with the "
                "version that saved it, or fit it again"
            )
    return worst


def _worst(
    predict: Callable[[Configuration], Predicted],
    proof: Sequence[tuple[Configuration, Labels]],
    limits: Tolerances,
) -> list[Deviation]:
    sizes: dict[str, list[float]] = {quantity: [] for quantity in _COMPARED}
    for configuration, expected in proof:
        found = predict(configuration)
        for quantity, all_sizes in sizes.items():
            share = configuration.n_atoms if quantity == "energy" else 1
            got, wanted = getattr(found, quantity), getattr(expected, quantity)
            size = _largest_difference(np.asarray(got), np.asarray(wanted)) / share
            all_sizes.append(size)
    out = []
    for quantity, unit in _COMPARED.items():
        # argmax takes a NaN for the largest
        frame = int(np.argmax(sizes[quantity]))
        limit = float(getattr(limits, quantity))
        out.append(Deviation(quantity, sizes[quantity][frame], limit, unit, frame))
    return out


def _largest_difference(found: FloatArray, expected: FloatArray) -> float:
    if found.shape != expected.shape:
        return np.inf
    known = ~np.isnan(expected)
    return float(np.max(np.abs(found[known] - expected[known]), initial=0.0))


def _require_ours(path: Path, form: object, number: int) -> None:
    if form != _FORMAT:
        raise StoreError(f"{path}: is an HDF5 file, but no model of otf-md")
    if number > VERSION:
        raise StoreError(
            f"{path}: has model format version {number}, this program reads up to "
            f"{VERSION}; update otf-md"
        )


def _checksum(text: str, groups: Mapping[str, Arrays]) -> int:
    flat = {
        f"{g}/{name}": a for g, group in groups.items() for name, a in group.items()
    }
    return checksum(flat | {_METADATA: np.array(text)})


def _write_group(group: h5py.Group, arrays: Arrays) -> None:
    for name, array in arrays.items():
        value = np.asarray(array, order="C")
        if value.dtype.kind == "U":  # HDF5 knows no UTF-32
            group[name] = np.char.encode(value.astype(np.str_), "utf-8")
            group[name].attrs["text"] = value.dtype.str
        else:
            group[name] = value
        group[name].attrs["checksum"] = checksum({name: value})
        unit = _unit_of(name)
        if unit is not None:
            group[name].attrs["unit"] = unit


def _unit_of(name: str) -> str | None:
    return _UNITS.get(name.rpartition("/")[2])


def _value(node: h5py.Dataset) -> NDArray[np.generic]:
    value = np.asarray(node[()])
    if "text" in node.attrs:
        value = np.char.decode(value, "utf-8").astype(node.attrs["text"])
    return value


def _faults(group: h5py.Group) -> list[str]:
    """Return what disagrees, a few words for each dataset; first versions say less."""
    out = []

    def look(name: str, node: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(node, h5py.Dataset):
            return
        unit, here = node.attrs.get("unit"), _unit_of(name)
        if unit is not None and here is not None and unit != here:
            out.append(f"{node.name} is in {unit}, not {here}")
        known = node.attrs.get("checksum")
        if known is not None and int(known) != checksum({name: _value(node)}):
            out.append(f"{node.name} has another checksum")

    group.visititems(look)
    return out


def _read_group(group: h5py.Group) -> dict[str, NDArray[np.generic]]:
    out: dict[str, NDArray[np.generic]] = {}

    def take(name: str, node: h5py.Dataset | h5py.Group) -> None:
        if isinstance(node, h5py.Dataset):
            out[name] = _value(node)

    group.visititems(take)
    return out


def _proof_names(file: h5py.File) -> list[str]:
    """Return the groups of the proof frames; others a later version brought."""
    numbers = [int(k) for k in file.get(_PROOF, ()) if k.isdecimal()]
    return [f"{_PROOF}/{k}" for k in sorted(numbers)]


def _frame_arrays(configuration: Configuration, predicted: Predicted) -> Arrays:
    out = configuration.to_arrays()
    for name in ("energy", "forces", "stress"):
        out[f"predicted/{name}"] = np.asarray(getattr(predicted, name), np.float64)
    return out


def _frame(arrays: Arrays) -> tuple[Configuration, Labels]:
    labels = Labels(
        energy=float(arrays["predicted/energy"]),
        forces=np.asarray(arrays["predicted/forces"], dtype=np.float64),
        stress=np.asarray(arrays["predicted/stress"], dtype=np.float64),
    )
    return Configuration.from_arrays(arrays), labels
