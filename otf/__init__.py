"""On-the-fly learning molecular dynamics."""

__version__ = "0.1.0"
