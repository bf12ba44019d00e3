"""The vectors of a store in memory: one product with all of them is a search.

N rows, D numbers each. Rows stand in the order of their records' numbers; a row that is gone stays until half of them are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt


class Matrix:
    """Normalised vectors by number.

    Args:
        dimension: D.
    """

    def __init__(self, dimension: int) -> None:
        self._rows_ND = np.empty((0, dimension), dtype=np.float32)
        self._numbers_N = np.empty(0, dtype=np.int64)
        self._alive_N = np.empty(0, dtype=np.bool_)
        self._size = 0

    def append(self, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        """Add vectors, as float32 bytes, with numbers in order, above all that are there."""
        if not numbers:
            return
        new_MD = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(numbers), -1).astype(np.float32)
        # In float64, where the square of no float32 overflows.
        lengths_M = np.sqrt(np.einsum("md,md->m", new_MD, new_MD, dtype=np.float64))
        new_MD /= np.where(lengths_M > 0, lengths_M, 1)[:, None]
        end = self._size + len(numbers)
        if end > len(self._rows_ND):
            # Growing by half again each time, so that adding one by one takes linear time in all.
            self._resize(max(end, len(self._rows_ND) * 3 // 2))
        self._rows_ND[self._size : end] = new_MD
        self._numbers_N[self._size : end] = numbers
        self._alive_N[self._size : end] = True
        self._size = end

    def remove(self, numbers: Sequence[int]) -> None:
        """Take out vectors; numbers that are not there are passed over."""
        numbers_N = self._numbers_N[: self._size]
        at = np.searchsorted(numbers_N, numbers)
        at = at[at < self._size]
        at = at[np.isin(numbers_N[at], numbers)]
        self._alive_N[at] = False
        alive_N = self._alive_N[: self._size]
        count = int(np.count_nonzero(alive_N))
        if count < self._size // 2:
            self._rows_ND = self._rows_ND[: self._size][alive_N]
            self._numbers_N = numbers_N[alive_N]
            self._alive_N = np.ones(count, dtype=np.bool_)
            self._size = count

    def nearest(self, vector: Sequence[float], first: int) -> Iterator[list[tuple[int, float]]]:
        """Yield numbers and cosines, the highest first, in portions: `first` of them, then up to four times as many."""
        if self._size == 0:
            return
        asked_D = np.asarray(vector, dtype=np.float64)
        # Divided by the largest first: the square of a number near the end of the range is not finite.
        asked_D = asked_D / (np.abs(asked_D).max() or 1)
        length = np.linalg.norm(asked_D)
        cosines_N = self._rows_ND[: self._size] @ (asked_D / (length or 1)).astype(np.float32)
        alive_N = self._alive_N[: self._size]
        cosines_N[~alive_N] = -np.inf
        count = int(np.count_nonzero(alive_N))
        given, end = 0, first
        while given < count:
            end = min(end, count)
            top = np.argpartition(-cosines_N, end - 1)[:end] if end < self._size else np.arange(self._size)
            top = top[np.lexsort((self._numbers_N[top], -cosines_N[top]))][given:end]
            cosines = np.clip(cosines_N[top], -1.0, 1.0)
            yield list(zip(self._numbers_N[top].tolist(), cosines.tolist(), strict=True))
            given, end = end, 4 * end

    def _resize(self, size: int) -> None:
        rows_ND = np.empty((size, self._rows_ND.shape[1]), dtype=np.float32)
        numbers_N: npt.NDArray[np.int64] = np.empty(size, dtype=np.int64)
        alive_N: npt.NDArray[np.bool_] = np.zeros(size, dtype=np.bool_)
        for new, old in ((rows_ND, self._rows_ND), (numbers_N, self._numbers_N), (alive_N, self._alive_N)):
            new[: self._size] = old[: self._size]
        self._rows_ND, self._numbers_N, self._alive_N = rows_ND, numbers_N, alive_N
