"""The chapter on the data: their map, and what of the run lies inside of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from otf.errors import StoreError
from otf.report.data_map import data_map
from otf.report.elements import gallery, note, section, sentences
from otf.report.learning_plots import spilling_drawing
from otf.report.map_plots import cloud_drawing, structure_drawings
from otf.report.motion_plots import running_mean
from otf.report.parts import ps_of
from otf.report.survey import MAX_ATOMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otf.report.figure import Drawing
    from otf.report.map_plots import Scale
    from otf.report.parts import Part
    from otf.report.ways import Ways
    from otf.store.run_reader import RunView

MOST_SPECIES = 4  # whose environments are drawn
EARNEST = 0.15  # of the mean: changes of temperature that are worth colours
TITLE = "The data, and what they cover"


def data_section(
    view: RunView, ways: Ways, parts: Sequence[Part], bound: float | None
) -> str:
    """Return the chapter, empty without a model and without spillings on the way.

    Parameters
    ----------
    view
        The run.
    ways
        Steps and structures of every part on the way, by its name in sentences.
    parts
        Of the run, to be shaded.
    bound
        Largest spilling that is trusted; None where it is not known.
    """
    trace = spilling_drawing(view, parts, bound)
    try:
        found = data_map(view, ways, bound)
    except StoreError as error:
        lines = [f"Left out, the map of the data: {error}."]
        return section("data", TITLE, [sentences(lines), gallery([trace])])
    if found is None:
        return section("data", TITLE, [gallery([trace])])
    drawings: list[Drawing | None] = []
    if found.structures is not None:
        drawings += structure_drawings(found.structures, scales(view))
    drawings += [cloud_drawing(cloud) for cloud in found.clouds[:MOST_SPECIES]]
    others = [cloud.symbol for cloud in found.clouds[MOST_SPECIES:]]
    drawings.append(trace)
    lines = [one.sentence for one in found.coverage]
    if found.is_too_large:
        lines.append(
            f"Structures of more than {MAX_ATOMS:,} atoms are not looked at again."
        )
    if others:
        lines.append(f"Surroundings of {', '.join(others)} are not drawn.")
    reading = (
        "A structure is the mean of the features of its atoms, drawn along two "
        "principal components: neighbours on the map look alike to the model. "
        "Coloured: labelled structures. Grey: frames of the run, each part with a mark "
        "of its own. An atom is outside of the data when the references of the last "
        "model leave more of its surroundings unexplained (spilling) than is trusted."
    )
    chapter = [sentences(lines), gallery(drawings), note(reading) if drawings else ""]
    return section("data", TITLE, chapter)


def scales(view: RunView) -> list[Scale]:
    """Return what structures are coloured by: time, and temperature where it varies."""
    table = view.thermo
    steps, temperature = table["step"], table["temperature_K"]
    if not len(steps):
        return [("step", np.asarray)]
    out: list[Scale] = [("time (ps)", lambda at: ps_of(view, at))]
    mean, window = running_mean(temperature)
    middle = steps[(window - 1) // 2 :][: len(mean)]
    if np.ptp(mean) > EARNEST * abs(float(mean.mean())):
        out.append(("temperature (K)", lambda at: np.interp(at, middle, mean)))
    return out
