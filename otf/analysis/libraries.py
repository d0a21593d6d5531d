"""Packages that only analyses need: imported when they are used."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from otf.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

# They warn at every import, of what no user of ours can change.
CHATTY = {"pymbar": ("pymbar.timeseries", "pymbar.mbar_solvers")}


def library(name: str) -> ModuleType:
    """Return a module of an optional package.

    Raises
    ------
    InputError
        When the package is not installed.
    """
    package = name.partition(".")[0]
    for logger in CHATTY.get(package, ()):
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        msg = (
            f"this analysis needs the package {error.name}, which is not installed: "
            "pip install otf-md[analysis]"
        )
        raise InputError(msg) from error
