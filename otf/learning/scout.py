"""Predictions of a model that changes, made on another device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otf.kernels import load

if TYPE_CHECKING:
    from otf.configuration import Configuration
    from otf.kernels import Device
    from otf.models.posterior import KernelPosterior
    from otf.potential import Prediction


class Scout:
    """Predicts with the newest model, on a device.

    Parameters
    ----------
    device
        Where positions come from and predictions are left.
    """

    def __init__(self, device: Device) -> None:
        self.backend = load(device)
        self._device: Device = device
        self._known: tuple[KernelPosterior | None, KernelPosterior | None] = None, None

    def predict_screened(self, model: KernelPosterior, c: Configuration) -> Prediction:
        """Return what a model says there, with the screen of every atom."""
        known, there = self._known
        if known is not model or there is None:
            there = model.on(self._device)
            self._known = model, there
        return there.predict_screened(c)
