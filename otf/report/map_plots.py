"""Figures of the data: maps of structures and of environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from otf.report.elements import percent
from otf.report.figure import MODEL, QUIET, THRESHOLD, TIME, drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otf.configuration import FloatArray
    from otf.report.data_map import Cloud, StructureMap
    from otf.report.figure import Axes, Drawing

Scale: TypeAlias = "tuple[str, Callable[[FloatArray], FloatArray]]"
"""What colours mean, with its unit, and its values (l,) at steps (l,)."""

MANY_POINTS = 800  # drawn as pixels
WAYS = ("x", "+", "1", "2", "3", "4")  # marks of the parts of a run


def structure_drawings(found: StructureMap, scales: Sequence[Scale]) -> list[Drawing]:
    """Draw the map of structures once for every scale.

    Parameters
    ----------
    found
        The map. Frames of the run are coloured where nothing is labelled.
    scales
        What the colours mean.
    """
    return [_structures(found, label, values) for label, values in scales]


def _structures(
    found: StructureMap, label: str, values: Callable[[FloatArray], FloatArray]
) -> Drawing:
    points, steps = found.labelled, found.steps
    if not len(points):
        points, steps = np.concatenate(found.ways), np.concatenate(found.way_steps)

    def draw(axes: Axes) -> None:
        for k, way in enumerate(found.ways):
            axes.scatter(
                way[:, 0],
                way[:, 1],
                s=18,
                color=QUIET,
                marker=WAYS[k % len(WAYS)],
                linewidths=0.7,
                rasterized=len(way) > MANY_POINTS,
            )
        coloured = axes.scatter(
            points[:, 0],
            points[:, 1],
            s=26,
            c=values(steps),
            cmap=TIME,
            linewidths=0,
            rasterized=len(points) > MANY_POINTS,
        )
        axes.figure.colorbar(coloured, ax=axes, label=label, pad=0.02, aspect=28)
        name_axes(axes, found.shares)

    word = label.partition(" (")[0]
    alt = (
        f"Map of {len(found.labelled)} labelled structures, coloured by {word}, and of "
        f"{sum(len(way) for way in found.ways)} frames of the run, along two principal "
        f"components that hold {percent(found.shares.sum(), 0)} of what they differ in."
    )
    name = f"map-{word.replace(' ', '-')}"
    return drawing(name, f"Structures by {word}", alt, draw, height=3.3)


def cloud_drawing(cloud: Cloud) -> Drawing:
    """Draw the environments of one species with the local references."""

    def draw(axes: Axes) -> None:
        for points, color, size, label in (
            (cloud.way, QUIET, 5, "the run"),
            (cloud.labelled, MODEL, 7, "labelled"),
            (cloud.references, THRESHOLD, 9, "references"),
        ):
            if len(points):
                axes.scatter(
                    points[:, 0],
                    points[:, 1],
                    s=size,
                    color=color,
                    alpha=0.55,
                    linewidths=0,
                    rasterized=len(points) > MANY_POINTS,
                    label=label,
                )
        name_axes(axes, cloud.shares)
        axes.legend(
            ncols=3,
            loc="lower center",
            bbox_to_anchor=(0.45, 1.0),
            markerscale=2.0,
            handletextpad=0.0,
        )

    alt = (
        f"Map of environments of {cloud.symbol}: {len(cloud.labelled):,} atoms of "
        f"labelled structures, {len(cloud.way):,} of the run and all "
        f"{len(cloud.references):,} local references."
    )
    title = f"Surroundings of {cloud.symbol}"
    return drawing(f"cloud-{cloud.symbol}", title, alt, draw, height=3.3)


def name_axes(axes: Axes, shares: FloatArray) -> None:
    """Name the two components with their shares, and leave their numbers out."""
    first, second = (f"{100.0 * share:.0f} %" for share in np.nan_to_num(shares))
    axes.set_xlabel(f"component 1 ({first})")
    axes.set_ylabel(f"component 2 ({second})")
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
