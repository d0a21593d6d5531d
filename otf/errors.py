"""Errors a user can cause: each is one clear line with the mend."""

from __future__ import annotations


class OTFError(Exception):
    """Anything foreseeable; the command line prints one line, without traceback."""


class InputError(OTFError):
    """A mistake in an input file, a structure file or a command line."""


class StoreError(OTFError):
    """A run folder or a file of ours that cannot be read or written."""


class ReferenceFailure(OTFError):  # noqa: N818 - the literature's word, not an *Error
    """The reference calculator gave no trustworthy labels after all retries."""


class RunStopped(OTFError):  # noqa: N818
    """A run that ends before its last step with everything saved."""
