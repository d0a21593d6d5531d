"""Which set-up file GPAW takes for every element, and the checksums of these files.

It runs in the Python that has GPAW, which need not have this package: so it imports
nothing of ours. The checksums are the ``id`` that GPAW prints for each element.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

from ase.data import chemical_symbols

# Made by GPAW itself, from no file.
BUILT_IN = ("ae", "ah", "ghost", "hgh", "hgh.sc")


def setups_of(arguments: dict[str, Any]) -> dict[str, str]:
    """Return the checksum of the set-up of every element that has one.

    Parameters
    ----------
    arguments
        Of GPAW; ``xc`` and ``setups`` name the files.

    Returns
    -------
    dict
        Symbol -> MD5 of the file, "built in" for one that has none.
    """
    from gpaw.setup_data import search_for_file
    from gpaw.xc import XC

    functional = XC(arguments.get("xc", "LDA")).get_setup_name()
    given = arguments.get("setups", "paw")
    found = {}
    for symbol in chemical_symbols[1:]:
        kind = given
        if isinstance(given, dict):
            kind = given.get(symbol, given.get("default", "paw"))
        kind = kind.partition(":")[0] or "paw"  # what follows is a Hubbard correction
        if kind in BUILT_IN:
            found[symbol] = "built in"
            continue
        try:
            _, source = search_for_file(file_of(symbol, kind, functional))
        except (OSError, RuntimeError):  # which one depends on the version
            continue
        found[symbol] = hashlib.md5(source, usedforsecurity=False).hexdigest()
    return found


def file_of(symbol: str, kind: str, functional: str) -> str:
    """Return the name of a set-up file, as a pattern where its version varies."""
    if kind == "sg15":
        return f"{symbol}_ONCV_PBE-*.upf"
    return ".".join([symbol, *([] if kind == "paw" else [kind]), functional])


def main() -> None:
    """Print the checksums for the arguments that are the last word."""
    print(json.dumps(setups_of(json.loads(sys.argv[-1]))))


if __name__ == "__main__":
    main()
