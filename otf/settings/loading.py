"""Reads an input file; every mistake in it becomes one line that says the mend."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from otf.errors import InputError
from otf.settings.settings import Settings
from otf.settings.wording import nearest, wording

if TYPE_CHECKING:
    from os import PathLike


def load_settings(path: str | PathLike[str]) -> Settings:
    """Return the settings an input file holds.

    Raises
    ------
    InputError
        When the file cannot be read, is no TOML, or says something that cannot be;
        one line for each mistake.
    """
    path = Path(path)
    settings = parse_settings(_read(path), name=path.name, folder=path.parent)
    if lines := _missing_files(settings, path.name):
        raise InputError("\n".join(lines))
    return settings


def load_run_settings(path: str | PathLike[str]) -> Settings:
    """Return the settings of a run from the copy of the input in its folder.

    Relative paths keep the meaning they had in the original: they start where the
    folder of the run, less `output.directory`, lies; beside a folder that was renamed.
    That files exist is not looked at, a run that goes on may not need them.

    Raises
    ------
    InputError
        When the copy cannot be read, or is no input.
    """
    path = Path(path)
    run = path.resolve().parent
    settings = parse_settings(_read(path), name=path.name, folder=run.parent)
    below = Path(settings.output.directory)
    origin = run
    for part in reversed(below.parts):
        if origin.name != part:
            return settings
        origin = origin.parent
    return settings.in_folder(origin)


def parse_settings(text: str, *, name: str, folder: Path) -> Settings:
    """Return the settings of a text in TOML.

    Parameters
    ----------
    text
        The input file's content.
    name
        What to call it in messages.
    folder
        Where relative paths start.

    Raises
    ------
    InputError
        As `load_settings`; that files exist is not looked at.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name} is no valid TOML: {_first_line(error)}"
        raise InputError(msg) from None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise InputError("\n".join(wording(error, name=name))) from None
    return settings.in_folder(folder)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"there is no input file {path}{_similar_file(path)}"
    except IsADirectoryError:
        msg = f"{path} is a folder, expected an input file such as input.toml"
    except UnicodeDecodeError:
        msg = f"{path} is no text in UTF-8, expected an input file in TOML"
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
    raise InputError(msg)


def _missing_files(settings: Settings, name: str) -> list[str]:
    written = [("structure.file", settings.structure.file)]
    if settings.potential.model is not None:
        written.append(("potential.model", settings.potential.model))
    written += [
        (f"learning.start_from[{k}]", item)
        for k, item in enumerate(settings.learning.start_from)
    ]
    if settings.sweep is not None:
        written += [
            (f"sweep.structures[{k}]", item)
            for k, item in enumerate(settings.sweep.structures)
            if item != settings.structure.file
        ]
    lines = []
    for key, item in written:
        path = settings.resolve(item)
        if not path.exists():
            label = key.rpartition(".")[2]
            lines.append(
                f"{label}: there is no file {path}{_similar_file(path)} ({name}: {key})"
            )
    return lines


def _similar_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    found = nearest(path.name, names)
    return f"; did you mean {found}?" if found else ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
