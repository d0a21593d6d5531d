"""Bytes of one record: a JSON header, then every array raw behind it.

Scalars, strings, lists and mappings go into the JSON. An array, at any depth, leaves
``{"$array": k}`` there and its bytes behind; configurations and labels are mappings
under ``$configuration`` and ``$labels``. Floats keep all their bits, NaN included.
"""

from __future__ import annotations

import json
import struct
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from otf.configuration import Configuration, Labels
from otf.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")  # of the JSON
_TYPES: dict[str, type[Configuration] | type[Labels]] = {
    "$configuration": Configuration,
    "$labels": Labels,
}


def encode(data: Mapping[str, object]) -> bytes:
    """Return the bytes of a mapping.

    Raises
    ------
    TypeError
        When a value is none of the kinds a record can hold.
    """
    arrays: list[NDArray[np.generic]] = []

    def replace(value: object) -> object:
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise TypeError("an array of Python objects cannot be stored")
            arrays.append(np.asarray(value, order="C"))
            return {"$array": len(arrays) - 1}
        for name, kind in _TYPES.items():
            if isinstance(value, kind):
                return {name: {f.name: getattr(value, f.name) for f in fields(value)}}
        raise TypeError(f"a {type(value).__name__} cannot be stored")

    body = json.dumps(dict(data), default=replace)
    table = [[a.dtype.str, list(a.shape)] for a in arrays]
    head = f'{{"data":{body},"arrays":{json.dumps(table)}}}'.encode()
    return b"".join([_LENGTH.pack(len(head)), head, *(a.tobytes() for a in arrays)])


def decode(payload: bytes) -> dict[str, object]:
    """Return the mapping ``encode`` was given; arrays are new and writable.

    Raises
    ------
    StoreError
        When the bytes are not those of a record.
    """
    try:
        (length,) = _LENGTH.unpack_from(payload)
        start = _LENGTH.size + length
        head = json.loads(payload[_LENGTH.size : start])
        arrays = _arrays(head["arrays"], payload, start)
        data = _revive(head["data"], arrays)
    except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise StoreError(f"a record cannot be decoded ({error})") from error
    assert isinstance(data, dict)  # encode writes nothing else
    return data


def _arrays(
    table: list[tuple[str, list[int]]], payload: bytes, start: int
) -> list[NDArray[np.generic]]:
    out: list[NDArray[np.generic]] = []
    for kind, shape in table:
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(payload, dtype=dtype, count=count, offset=start)
        out.append(flat.reshape(shape).copy())
        start += flat.nbytes
    return out


def _revive(value: object, arrays: list[NDArray[np.generic]]) -> object:
    if isinstance(value, list):
        return [_revive(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$array"}:
        return arrays[value["$array"]]
    inside = {key: _revive(item, arrays) for key, item in value.items()}
    if len(inside) == 1 and (name := next(iter(inside))) in _TYPES:
        return _TYPES[name](**inside[name])  # type: ignore[arg-type]
    return inside
