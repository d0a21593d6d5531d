"""What a scan changes: settings of the model, their values, and their points."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from otf.commands.fitting import count
from otf.errors import InputError
from otf.settings.wording import wording

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from otf.settings.settings import Settings

Value = float | None


@dataclass(frozen=True)
class Axis:
    """A setting of the model that can be scanned.

    Attributes
    ----------
    name : in JSON
    option : on the command line
    heading, unit : of its column
    section, key : where the input file has it
    values : tried where no axis is named
    read : from a word of the command line
    meaning : for people who ask for help
    """

    name: str
    option: str
    heading: str
    unit: str
    section: str
    key: str
    values: tuple[float, ...]
    read: Callable[[str], float]
    meaning: str

    @property
    def destination(self) -> str:
        """Return the name of the parsed argument."""
        return self.option.removeprefix("--").replace("-", "_")

    def of(self, settings: Settings) -> Value:
        """Return the value the settings have; None where they have no use for it."""
        if self is ZETA and settings.regression.covariance != "polynomial":
            return None
        value: float = getattr(getattr(settings, self.section), self.key)
        return value


ZETA: Final = Axis(
    "zeta",
    "--zeta",
    "zeta",
    "",
    "regression",
    "exponent",
    (1, 2, 4),
    count,
    "powers of the covariance",
)
STRESS_WEIGHT: Final = Axis(
    "weight_stress",
    "--weight-stress",
    "w(S)",
    "",
    "regression",
    "weight_stress",
    (),
    float,
    "weights of the stress rows",
)
AXES: Final = (
    ZETA,
    Axis(
        "l_max",
        "--l-max",
        "l_max",
        "",
        "descriptor",
        "l_max",
        (3, 4, 6),
        int,
        "angular momenta",
    ),
    Axis(
        "n_max",
        "--n-max",
        "n_max",
        "",
        "descriptor",
        "n_max",
        (6, 8, 10),
        int,
        "radial functions of the three-body part",
    ),
    Axis(
        "cutoff_three_body_A",
        "--cutoff-three-body",
        "cut 3",
        "A",
        "descriptor",
        "cutoff_three_body_A",
        (5.0, 5.5, 6.0),
        float,
        "cutoffs of the three-body part in A",
    ),
    Axis(
        "cutoff_two_body_A",
        "--cutoff-two-body",
        "cut 2",
        "A",
        "descriptor",
        "cutoff_two_body_A",
        (5.5, 6.5, 8.0),
        float,
        "cutoffs of the two-body part in A",
    ),
    Axis(
        "sigma_A",
        "--sigma",
        "sigma",
        "A",
        "descriptor",
        "sigma_A",
        (0.4, 0.5, 0.6),
        float,
        "widths of a neighbour in A",
    ),
    Axis(
        "weight_energy",
        "--weight-energy",
        "w(E)",
        "",
        "regression",
        "weight_energy",
        (0.3, 1.0, 3.0),
        float,
        "weights of the energy rows",
    ),
    Axis(
        "weight_force",
        "--weight-force",
        "w(F)",
        "",
        "regression",
        "weight_force",
        (),
        float,
        "weights of the force rows",
    ),
    STRESS_WEIGHT,
)


@dataclass(frozen=True)
class Point:
    """One setting of a scan.

    Attributes
    ----------
    values : of every axis, in their order
    """

    values: tuple[Value, ...]

    def of(self, axis: Axis) -> Value:
        """Return the value of one axis."""
        return self.values[AXES.index(axis)]

    def named(self, axes: Sequence[Axis]) -> str:
        """Return the values of some axes in words."""
        parts = [(axis, self.of(axis)) for axis in axes]
        return ", ".join(
            f"{axis.heading} {value:g} {axis.unit}".strip()
            for axis, value in parts
            if value is not None
        )


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Declare an argument for each axis."""
    for axis in AXES:
        tried = " ".join(f"{value:g}" for value in axis.values)
        default = f"{tried} where no axis is named" if axis.values else "not scanned"
        parser.add_argument(
            axis.option,
            type=axis.read,
            nargs="+",
            metavar="A" if axis.unit else "N",
            help=f"{axis.meaning} (default: {default})",
        )


def points_to_try(settings: Settings, arguments: argparse.Namespace) -> list[Point]:
    """Return the points of the scan, each once; without a grid the base is the first.

    Raises
    ------
    InputError
        When zeta is to be scanned for a covariance without it, or a grid has no axis.
    """
    given = {axis: getattr(arguments, axis.destination) or () for axis in AXES}
    if given[ZETA] and ZETA.of(settings) is None:
        msg = (
            "--zeta belongs to the polynomial covariance, got covariance = "
            f'"{settings.regression.covariance}" (regression.covariance)'
        )
        raise InputError(msg)
    if not any(given.values()):
        if arguments.grid:
            msg = (
                "--grid combines the values of the axes that are named, and none is: "
                "give two, as --l-max 3 4 --zeta 2 4"
            )
            raise InputError(msg)
        given = {
            axis: () if axis.of(settings) is None else axis.values for axis in AXES
        }
    base = tuple(axis.of(settings) for axis in AXES)
    if arguments.grid:
        axes = [given[axis] or (axis.of(settings),) for axis in AXES]
        return list(dict.fromkeys(Point(values) for values in product(*axes)))
    points = [Point(base)]
    for k, axis in enumerate(AXES):
        before, after = base[:k], base[k + 1 :]
        points += [Point((*before, value, *after)) for value in given[axis]]
    return list(dict.fromkeys(points))


def varied(points: Sequence[Point]) -> list[Axis]:
    """Return the axes along which points differ; zeta where there is but one point."""
    found = [axis for axis in AXES if len({point.of(axis) for point in points}) > 1]
    return found or [ZETA]


def changed(settings: Settings, point: Point) -> Settings:
    """Return the settings with the values of a point.

    Raises
    ------
    InputError
        When a value is out of its range.
    """
    update = {}
    for section in ("descriptor", "regression"):
        plain = getattr(settings, section)
        values = {
            axis.key: value
            for axis, value in zip(AXES, point.values, strict=True)
            if axis.section == section and value is not None
        }
        try:
            update[section] = type(plain).model_validate(
                {**plain.model_dump(), **values}
            )
        except ValidationError as error:
            raise InputError(wording(error, name="command line")[0]) from None
    return settings.model_copy(update=update)
