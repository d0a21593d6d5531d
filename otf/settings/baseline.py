"""Sections on what is known before learning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from otf.settings.base import (
    Element,
    NotNegative,
    Positive,
    Section,
    Text,
    by_number,
)


class Electrostatics(Section):
    """Coulomb energy of fixed charges; without this section there is none."""

    charges_e: Annotated[dict[Element, float], Field(min_length=1)] = Field(
        description="Charge of every element, such as { Na = 1.0, Cl = -1.0 }; they "
        "must cancel in every structure.",
        examples=[{"Na": 1.0, "Cl": -1.0}],
    )
    widths_A: dict[Element, NotNegative] = Field(
        default_factory=dict,
        description="Width w of Gaussian charges of density exp(-r^2/w^2), such as "
        "{ Cl = 0.8 }; elements without one are points.",
    )
    accuracy: Annotated[float, Field(ge=1e-14, le=1e-3)] = Field(
        default=1e-6,
        description="Relative error of forces in periodic cells.",
    )
    cutoff_A: Positive | None = Field(
        default=None,
        description="Cutoff in real space; without it the fastest is taken.",
        examples=[10.0],
    )

    @property
    def charges(self) -> dict[int, float]:
        """Return the charges in e by atomic number."""
        return by_number(self.charges_e)

    @property
    def widths(self) -> dict[int, float]:
        """Return the widths in angstrom by atomic number."""
        return by_number(self.widths_A)


class Dispersion(Section):
    """A dispersion correction; without this section there is none."""

    method: Literal["D2", "D3(BJ)", "D4"] = Field(
        description="D3(BJ) needs the package dftd3, D4 the package dftd4.",
        examples=["D3(BJ)"],
    )
    functional: Text | None = Field(
        default=None,
        description="Density functional whose parameters are taken.",
        examples=["PBE"],
    )
    parameters: dict[Text, float] = Field(
        default_factory=dict,
        description="Parameters instead of a functional: s6 (and d, 20) of D2; s8, a1, "
        "a2 (and s6, s9, alp) of D3(BJ) and D4.",
    )
    cutoff_A: Positive | None = Field(
        default=None,
        description="Where pairs end, smoothly; without it 20 for D2, and for D3(BJ) "
        "and D4 the sharp 31.75 of their programs.",
        examples=[15.0],
    )
    c6_eV_A6: dict[Element, Positive] = Field(
        default_factory=dict,
        description="C6 of elements in D2 that differ from the published ones.",
    )
    radii_A: dict[Element, Positive] = Field(
        default_factory=dict,
        description="Radii R0 of elements in D2 that differ from the published ones.",
    )

    @property
    def c6(self) -> dict[int, float]:
        """Return C6 in eV angstrom^6 by atomic number."""
        return by_number(self.c6_eV_A6)

    @property
    def radii(self) -> dict[int, float]:
        """Return R0 in angstrom by atomic number."""
        return by_number(self.radii_A)


class BaselineCalculator(Section):
    """A calculator that the model corrects; without this section there is none."""

    name: Text = Field(
        description='Name of a calculator, or "module:Class" of any ASE calculator; '
        "it is called at every step.",
        examples=["module:Class"],
    )
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Keyword arguments of the calculator, passed on as they are.",
    )


class Baseline(Section):
    """What is subtracted from the labels before the fit and added back after it."""

    core_repulsion: bool = Field(
        default=True,
        description="Short-range repulsion between nuclei, of the ZBL type.",
    )
    isolated_atom_energies_eV: dict[Element, float] = Field(
        default_factory=dict,
        description="Energies of isolated atoms by the reference, such as "
        "{ Na = -4.2, Cl = -8.1 }, for all elements; without it they are fitted.",
    )
    electrostatics: Electrostatics | None = Field(
        default=None,
        description="Coulomb energy of fixed charges.",
    )
    dispersion: Dispersion | None = Field(
        default=None,
        description="A dispersion correction.",
    )
    calculator: BaselineCalculator | None = Field(
        default=None,
        description="A calculator that the model corrects.",
    )

    @property
    def isolated_atom_energies(self) -> dict[int, float] | None:
        """Return the energies in eV by atomic number, None when they are fitted."""
        return by_number(self.isolated_atom_energies_eV) or None
