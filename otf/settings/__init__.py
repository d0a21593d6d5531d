"""The input file: frozen models with units in the key names, checked at the door."""

from otf.settings.loading import load_run_settings, load_settings, parse_settings
from otf.settings.settings import Settings

__all__ = ["Settings", "load_run_settings", "load_settings", "parse_settings"]
