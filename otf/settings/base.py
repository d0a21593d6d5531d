"""What all sections of the input file share: frozen, strict, no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the input file.

    Values keep the type TOML gives them (no string becomes a number), are finite, and
    cannot change after they were read.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=False,
        protected_namespaces=(),
    )

    def was_given(self, key: str) -> bool:
        """Return whether the user wrote this key."""
        return key in self.model_fields_set


def _element(symbol: str) -> str:
    from ase.data import atomic_numbers

    if atomic_numbers.get(symbol, 0) < 1:
        msg = f"{symbol!r} is no chemical symbol"
        raise ValueError(msg)
    return symbol


Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Element = Annotated[str, AfterValidator(_element)]


def by_number(table: dict[str, float]) -> dict[int, float]:
    """Return a table keyed by chemical symbols as one keyed by atomic numbers."""
    from ase.data import atomic_numbers

    return {int(atomic_numbers[symbol]): value for symbol, value in table.items()}
