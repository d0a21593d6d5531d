"""Rows in chunks are the matrix they stand for, whatever was done to them."""

from __future__ import annotations

import numpy as np
import pytest

from otf.models import rows as rows_module
from otf.models.rows import RowBlock


@pytest.fixture(params=[(8, 4, 2), (4096, 512, 256)], ids=["many chunks", "one chunk"])
def _chunks(request, monkeypatch):
    names = ("CHUNK", "_SLICE", "_PANEL")
    for name, value in zip(names, request.param, strict=True):
        monkeypatch.setattr(rows_module, name, value)


def rotation_without(m, dropped, rng):
    """An orthonormal T as it arises where rows of a triangle are deleted."""
    lower = np.tril(rng.normal(size=(m, m))) + 3 * np.eye(m)
    keep = np.setdiff1d(np.arange(m), dropped)
    first = int(np.min(dropped))
    q = np.zeros((m, len(keep)))
    q[:first, :first] = np.eye(first)
    q[first:, first:] = np.linalg.qr(lower[keep[first:], first:].T)[0]
    return q, first


def assert_is(block, phi, y):
    scale = np.abs(phi).max(initial=1.0) ** 2 * len(phi)
    np.testing.assert_allclose(block.rows, phi, atol=1e-12)
    np.testing.assert_array_equal(block.labels, y)
    np.testing.assert_allclose(block.gram, phi.T @ phi, atol=1e-13 * scale)
    np.testing.assert_allclose(block.projection, phi.T @ y, atol=1e-13 * scale)


@pytest.mark.usefixtures("_chunks")
def test_a_block_is_its_matrix_after_any_changes():
    rng = np.random.default_rng(0)
    phi, y = np.empty((0, 5)), np.empty(0)
    block = RowBlock(5)
    for _ in range(80):
        what, m = rng.integers(4), phi.shape[1]
        if what == 0:
            new, labels = rng.normal(size=(3, m)), rng.normal(size=3)
            phi, y = np.vstack([phi, new]), np.append(y, labels)
            block.add_rows(new, labels)
        elif what == 1:
            raw, mix = rng.normal(size=(len(y), 4)), rng.normal(size=(m, 4)) / m
            phi = np.hstack([phi, raw - phi @ mix])
            block.add_columns(raw, lambda part, raw, mix=mix: raw - part @ mix)
        elif what == 2 and m > 4:
            dropped = np.sort(rng.choice(m, 2, replace=False))
            turn, first = rotation_without(m, dropped, rng)
            phi = phi @ turn
            block.rotate(turn, first)
        else:
            y = rng.normal(size=len(y))
            block.relabel(y)
    assert len(y) > 30
    assert_is(block, phi, y)
    w = rng.normal(size=phi.shape[1])
    expected = ((y - phi @ w) ** 2).sum()
    assert block.residual_square(w) == pytest.approx(expected, rel=1e-9)
    again = RowBlock()
    again.restore(list(block.parts()), block.labels, block.gram, block.projection)
    np.testing.assert_array_equal(again.rows, block.rows)
    assert_is(again, phi, y)


@pytest.mark.usefixtures("_chunks")
def test_a_tiny_residual_keeps_its_digits():
    rng = np.random.default_rng(1)
    phi, w = rng.normal(size=(40, 6)), rng.normal(size=6)
    noise = 1e-9 * rng.normal(size=40)
    block = RowBlock(6)
    block.add_rows(phi, phi @ w + noise)
    # The labels themselves are rounded at 1e-16.
    assert block.residual_square(w) == pytest.approx((noise**2).sum(), rel=1e-5)
