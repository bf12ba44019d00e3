"""A digest of a result that does not depend on the order of its rows, only on what they are and how often.

    digest = H(column names, number of rows, Σ_rows H(row) mod 2^128),   H = BLAKE2b with 128 bits

Addition is commutative, so rows are hashed as they arrive and none is kept; a row that comes twice counts twice. A row is hashed
as the length and the bytes of each value in the server's text form, so NULL differs from '' and ('a', 'bc') from ('ab', 'c').
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct

_LENGTH = Struct(">i")
_NULL = _LENGTH.pack(-1)
_BITS = 128


class RowDigest:
    """Takes rows, in any order, and tells their digest."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._sum = 0

    def add(self, row: Sequence[bytes | None]) -> None:
        """Take one row: each value's bytes as the server wrote them, None for NULL."""
        self._sum += int.from_bytes(_hash(row), "big")
        self.num_rows += 1

    def hexdigest(self, columns: Sequence[bytes]) -> str:
        """Return the digest of all rows taken, under these column names: 32 hexadecimal digits."""
        total = (self._sum % 2**_BITS).to_bytes(_BITS // 8, "big")
        return _hash([*columns, str(self.num_rows).encode(), total]).hex()


def _hash(values: Sequence[bytes | None]) -> bytes:
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH.pack(len(value)), value)
    return blake2b(b"".join(parts), digest_size=_BITS // 8).digest()
