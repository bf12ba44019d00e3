"""The vectors of a store in memory: one product with all of them is a search.

N vectors, D numbers each, in columns: BLAS reads a matrix of few long rows in order, which takes less than half the time of
many short ones (100,000 vectors of 256 numbers: 4 ms instead of 9). Columns stand in the order of their records' numbers; one
that is gone stays until half of them are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

_BLOCK = 64


class Matrix:
    """Normalised vectors by number.

    Args:
        dimension: D.
    """

    def __init__(self, dimension: int) -> None:
        self._columns_DN = np.empty((dimension, 0), dtype=np.float32)
        self._numbers_N = np.empty(0, dtype=np.int64)
        self._alive_N = np.empty(0, dtype=np.bool_)
        self._size = 0

    def reserve(self, count: int) -> None:
        """Make room for so many more vectors, where it is known how many will come."""
        if self._size + count > len(self._numbers_N):
            self._resize(self._size + count)

    def append(self, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        """Add vectors, as float32 bytes, with numbers in order, above all that are there."""
        if not numbers:
            return
        new_MD = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(numbers), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            squares_M = np.einsum("md,md->m", new_MD, new_MD)
        # In float64, where the square of no float32 overflows or vanishes.
        odd_M = ~np.isfinite(squares_M) | (squares_M < 1e-30)
        squares_M = squares_M.astype(np.float64)
        squares_M[odd_M] = np.square(new_MD[odd_M], dtype=np.float64).sum(axis=1)
        scale_M = (1 / np.sqrt(np.where(squares_M > 0, squares_M, 1)))[:, None]
        end = self._size + len(numbers)
        if end > len(self._numbers_N):
            # Growing by half again each time, so that adding one by one takes linear time in all.
            self._resize(max(end, len(self._numbers_N) * 3 // 2))
        self._columns_DN[:, self._size : end] = (new_MD * scale_M).T
        self._numbers_N[self._size : end] = numbers
        self._alive_N[self._size : end] = True
        self._size = end

    def remove(self, numbers: Sequence[int]) -> None:
        """Take out vectors; numbers that are not there are passed over."""
        self._alive_N[self._places(numbers)] = False
        alive_N = self._alive_N[: self._size]
        count = int(np.count_nonzero(alive_N))
        if count < self._size // 2:
            self._columns_DN = np.ascontiguousarray(self._columns_DN[:, : self._size][:, alive_N])
            self._numbers_N = self._numbers_N[: self._size][alive_N]
            self._alive_N = np.ones(count, dtype=np.bool_)
            self._size = count

    def nearest(
        self, vector: Sequence[float], first: int, among: Sequence[int] | None = None
    ) -> Iterator[list[tuple[int, float]]]:
        """Yield numbers and cosines, the highest first, in portions: `first` of them, then up to four times as many.

        Args:
            vector: D numbers.
            first: How many in the first portion.
            among: Only these numbers; all when left out.
        """
        if self._size == 0:
            return
        asked_D = np.asarray(vector, dtype=np.float64)
        # Divided by the largest first: the square of a number near the end of the range is not finite.
        asked_D = asked_D / (np.abs(asked_D).max() or 1)
        length = np.linalg.norm(asked_D)
        cosines_N = (asked_D / (length or 1)).astype(np.float32) @ self._columns_DN[:, : self._size]
        numbers_N, alive_N = self._numbers_N[: self._size], self._alive_N[: self._size]
        if among is not None:
            places = self._places(among)
            cosines_N, numbers_N, alive_N = cosines_N[places], numbers_N[places], alive_N[places]
        cosines_N[~alive_N] = -np.inf
        count = int(np.count_nonzero(alive_N))
        given, end = 0, first
        while given < count:
            end = min(end, count)
            top = _largest(cosines_N, end)
            top = top[np.lexsort((numbers_N[top], -cosines_N[top]))][given:end]
            cosines = np.clip(cosines_N[top], -1.0, 1.0)
            yield list(zip(numbers_N[top].tolist(), cosines.tolist(), strict=True))
            given, end = end, 4 * end

    def _places(self, numbers: Sequence[int]) -> npt.NDArray[np.intp]:
        """Return the columns of numbers, in their order; those that are not there are left out."""
        numbers_N = self._numbers_N[: self._size]
        at = np.searchsorted(numbers_N, np.asarray(numbers, dtype=np.int64))
        found = at < self._size
        found[found] = numbers_N[at[found]] == np.asarray(numbers, dtype=np.int64)[found]
        return at[found]

    def _resize(self, size: int) -> None:
        columns_DN = np.empty((len(self._columns_DN), size), dtype=np.float32)
        numbers_N: npt.NDArray[np.int64] = np.empty(size, dtype=np.int64)
        alive_N: npt.NDArray[np.bool_] = np.zeros(size, dtype=np.bool_)
        columns_DN[:, : self._size] = self._columns_DN[:, : self._size]
        for new, old in ((numbers_N, self._numbers_N), (alive_N, self._alive_N)):
            new[: self._size] = old[: self._size]
        self._columns_DN, self._numbers_N, self._alive_N = columns_DN, numbers_N, alive_N


def _largest(values_N: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
    """Return the places of the k largest values and of few others, in no order.

    k blocks hold a value of at least the k-th largest maximum of blocks, so that no smaller one is among the k largest.
    """
    whole = len(values_N) // _BLOCK
    if k >= whole:
        return np.arange(len(values_N))
    maxima = values_N[: whole * _BLOCK].reshape(whole, _BLOCK).max(axis=1)
    return np.flatnonzero(values_N >= np.partition(maxima, -k)[-k])
