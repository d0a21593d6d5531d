"""The runs a sweep consists of: one input for each combination."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from otf.settings.template import plain_input

if TYPE_CHECKING:
    from otf.settings.settings import Settings


@dataclass(frozen=True, eq=False)
class Member:
    """One run of a sweep.

    Attributes
    ----------
    name : of its folder, made of the values that vary
    settings : of an ordinary run
    structure : as the sweep calls it; empty where the structure does not vary
    temperature_K, pressure_GPa, seed : None where they do not vary
    """

    name: str
    settings: Settings
    structure: str
    temperature_K: float | None
    pressure_GPa: float | None
    seed: int | None

    @property
    def input_text(self) -> str:
        """Return the input file of this run alone."""
        data = self.settings.model_dump(
            mode="json", exclude_unset=True, exclude_none=True
        )
        return plain_input(data)


def members_of(settings: Settings) -> list[Member]:
    """Return the runs of a sweep: structures, then pressures, temperatures, seeds."""
    sweep = settings.sweep
    assert sweep is not None  # the caller asked for a sweep
    names = _names(sweep.structures)
    members = []
    for path, pressure, temperature, seed in product(
        sweep.structures or (None,),
        sweep.pressures_GPa or (None,),
        sweep.temperatures_K or (None,),
        sweep.seeds or (None,),
    ):
        structure = "" if path is None else names[path]
        words = [
            structure,
            "" if pressure is None else f"{pressure:.10g}GPa",
            "" if temperature is None else f"{temperature:.10g}K",
            "" if seed is None else f"seed{seed}",
        ]
        name = "-".join(word for word in words if word)
        of_run = settings.combination(
            structure=path, pressure=pressure, temperature=temperature, seed=seed
        ).in_directory(f"{settings.output.directory}/{name}")
        members.append(Member(name, of_run, structure, temperature, pressure, seed))
    return members


def _names(paths: tuple[str, ...]) -> dict[str, str]:
    """Return a short name for each structure file that no other one has."""
    alike = Counter(Path(path).stem for path in paths)
    return {
        path: Path(path).stem
        if alike[Path(path).stem] == 1
        else "-".join(part for part in Path(path).parts if part not in ("/", "..", "~"))
        for path in paths
    }
