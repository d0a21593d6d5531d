"""Energies that are known before learning: subtracted from labels, added back."""
