"""The growing blocks that transformed rows of the regression are kept in.

Rows are the largest thing a model holds. They lie in chunks of a fixed number of rows,
so that more rows copy nothing, more columns copy one chunk at a time, and every product
runs over pieces that fit the cache or are read from a disk once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otf.configuration import FloatArray

    Allocate = Callable[[tuple[int, int]], FloatArray]

CHUNK = 4096  # rows; sums over rows run in this order whatever came first
_SLICE = 512  # rows of a product of many with few columns
_PANEL = 256  # columns of a rotation computed at once
# A residual below this share of |y|^2 is taken from the rows, not the Gram matrix.
_CANCELLED = 1e-6


class RowBlock:
    """Transformed rows Phi of one kind with labels y, Phi^T Phi and Phi^T y.

    The object changes in place: rows are hundreds of megabytes, and appending to them
    must not copy them each time.

    Parameters
    ----------
    n_columns
        Columns to start with.
    allocate
        Gives memory for a chunk, whose content is arbitrary; the default is NumPy's.
    """

    def __init__(self, n_columns: int = 0, *, allocate: Allocate = np.empty) -> None:
        self._allocate = allocate
        self._chunks: list[FloatArray] = []  # (CHUNK, at least n_columns) each
        self._labels = np.empty(0)
        self.n_rows = 0
        self.n_columns = n_columns
        self.gram = np.zeros((n_columns, n_columns))
        self.projection = np.zeros(n_columns)

    # ------------------------------------------------------------------ what it holds
    @property
    def labels(self) -> FloatArray:
        """Return the scaled labels, (M,), a view."""
        return self._labels[: self.n_rows]

    @property
    def square(self) -> float:
        """Return |y|^2."""
        return float(self.labels @ self.labels)

    @property
    def rows(self) -> FloatArray:
        """Return the rows, (M, m), a copy of all of them."""
        return np.concatenate([np.empty((0, self.n_columns)), *self.parts()])

    def parts(self) -> Iterator[FloatArray]:
        """Yield the rows in views of at most ``CHUNK``, (r, m)."""
        for index, chunk in enumerate(self._chunks):
            filled = self.n_rows - index * CHUNK
            if filled > 0:
                yield chunk[:filled, : self.n_columns]

    def times(self, weights: FloatArray) -> FloatArray:
        """Return Phi w, (M,)."""
        return np.concatenate([np.empty(0), *(p @ weights for p in self.parts())])

    def mixed(self, left: FloatArray) -> FloatArray:
        """Return A^T Phi, (r, m), of combinations A of the rows, (M, r)."""
        out = np.zeros((left.shape[1], self.n_columns))
        for index, part in enumerate(self.parts()):
            low = index * CHUNK
            out += left[low : low + len(part)].T @ part
        return out

    def residual_square(self, weights: FloatArray) -> float:
        """Return |y - Phi w|^2; from the rows where the Gram matrix loses digits."""
        square = self.square
        out = square + weights @ (self.gram @ weights - 2.0 * self.projection)
        if self.n_rows > CHUNK and out > _CANCELLED * square:
            return float(out)
        left = self.labels - self.times(weights)
        return float(left @ left)

    # --------------------------------------------------------------------- how it grows
    def relabel(self, labels: FloatArray) -> None:
        """Replace the labels, (M,)."""
        self._labels[: self.n_rows] = labels
        self.projection = np.zeros(self.n_columns)
        for index, part in enumerate(self.parts()):
            low = index * CHUNK
            self.projection += part.T @ labels[low : low + len(part)]

    def add_rows(self, rows: FloatArray, labels: FloatArray) -> None:
        """Append rows (r, m) and labels (r,)."""
        start, total = self.n_rows, self.n_rows + len(rows)
        if total > len(self._labels):
            grown = np.empty(total + total // 2)
            grown[:start] = self.labels
            self._labels = grown
        self._labels[start:total] = labels
        while len(self._chunks) * CHUNK < total:
            self._chunks.append(self._allocate((CHUNK, _capacity(self.n_columns))))
        at = start
        while at < total:
            index, first = divmod(at, CHUNK)
            taken = min(CHUNK - first, total - at)
            chunk = self._chunks[index]
            chunk[first : first + taken, : self.n_columns] = rows[
                at - start : at - start + taken
            ]
            at += taken
        self.n_rows = total
        self.gram += rows.T @ rows
        self.projection += rows.T @ labels

    def add_columns(
        self,
        raw: FloatArray,
        transform: Callable[[FloatArray, FloatArray], FloatArray],
    ) -> None:
        """Append the columns of new references.

        Parameters
        ----------
        raw
            (M, r), not transformed.
        transform
            Returns transformed columns, (s, r), of stored (s, m) and raw rows (s, r).
        """
        m, r = self.n_columns, raw.shape[1]
        self._widen(m + r)
        cross, own, projection = np.zeros((r, m)), np.zeros((r, r)), np.zeros(r)
        # One pass: what a slice is needed for is done while it is in the cache.
        for low in range(0, self.n_rows, _SLICE):
            high = min(low + _SLICE, self.n_rows)
            part = self._chunks[low // CHUNK][low % CHUNK : (high - 1) % CHUNK + 1]
            columns = transform(part[:, :m], raw[low:high])
            part[:, m : m + r] = columns
            cross += columns.T @ part[:, :m]
            own += columns.T @ columns
            projection += columns.T @ self._labels[low:high]
        gram = np.empty((m + r, m + r))
        gram[:m, :m] = self.gram
        gram[m:, :m] = cross
        gram[:m, m:] = cross.T
        gram[m:, m:] = own
        self.n_columns, self.gram = m + r, gram
        self.projection = np.concatenate([self.projection, projection])

    def _widen(self, n_columns: int) -> None:
        for index, chunk in enumerate(self._chunks):
            if chunk.shape[1] >= n_columns:
                continue
            wider = self._allocate((CHUNK, _capacity(n_columns)))
            filled = min(max(self.n_rows - index * CHUNK, 0), CHUNK)
            wider[:filled, : self.n_columns] = chunk[:filled, : self.n_columns]
            self._chunks[index] = wider

    def rotate(self, rotation: FloatArray, first: int) -> None:
        """Replace Phi by Phi T, the first columns of T being those of the identity.

        T is zero below diagonal m - kept, as it is where rows of a triangle left.
        """
        kept = rotation.shape[1]
        dropped = self.n_columns - kept
        tail = rotation[first:, first:]

        def turned(left: FloatArray) -> FloatArray:
            out = np.empty((len(left), tail.shape[1]))
            for low in range(0, tail.shape[1], _PANEL):
                panel = slice(low, low + _PANEL)
                high = low + _PANEL + dropped
                out[:, panel] = left[:, :high] @ tail[:high, panel]
            return out

        for part in self.parts():
            for low in range(0, len(part), _SLICE):
                piece = part[low : low + _SLICE]
                piece[:, first:kept] = turned(piece[:, first:])
        gram = self.gram.copy()
        gram[:, first:kept] = turned(gram[:, first:])
        gram[first:kept] = turned(gram[first:].T).T
        self.gram = np.ascontiguousarray(gram[:kept, :kept])
        end = turned(self.projection[None, first:])[0]
        self.projection = np.concatenate([self.projection[:first], end])
        self.n_columns = kept

    def restore(
        self,
        parts: Sequence[FloatArray],
        labels: FloatArray,
        gram: FloatArray,
        projection: FloatArray,
    ) -> None:
        """Take up what ``parts`` and the other attributes of another block were."""
        self.n_rows, self.n_columns = len(labels), len(gram)
        self._labels = np.array(labels, dtype=np.float64)
        self._chunks = []
        for part in parts:
            chunk = self._allocate((CHUNK, _capacity(self.n_columns)))
            chunk[: len(part), : self.n_columns] = part
            self._chunks.append(chunk)
        self.gram = np.array(gram, dtype=np.float64)
        self.projection = np.array(projection, dtype=np.float64)


def _capacity(n_columns: int) -> int:
    """Return the width of a chunk: the next of widths that grow by an eighth.

    None is a power of two, with which a product on a part of the columns is slow.
    """
    width = 72
    while width < n_columns:
        width += width // 8 + 8
    return width
