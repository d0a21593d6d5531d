"""Molecular dynamics: integrators, thermostats, schedules, constraints."""
