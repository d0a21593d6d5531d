"""Errors a user can cause: each is one clear line with the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class OTFError(Exception):
    """Anything foreseeable; the command line prints one line, without traceback."""


class InputError(OTFError):
    """A mistake in an input file, a structure file or a command line."""


class StoreError(OTFError):
    """A run folder or a file of ours that cannot be read or written."""


class ReferenceFailure(OTFError):  # noqa: N818 - the literature's word, not an *Error
    """The reference calculator gave no trustworthy labels after all retries.

    Attributes
    ----------
    files : folder with what its code wrote, where that was moved out of the way
    """

    files: Path | None = None


class RunStopped(OTFError):  # noqa: N818
    """A run that ends before its last step with everything saved."""
