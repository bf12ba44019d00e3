"""Seeds that depend on what they are for alone."""

from __future__ import annotations

from hashlib import blake2b


def derived_seed(*parts: object, num_bytes: int = 4) -> int:
    """Return a number in [0, 256**num_bytes) that depends on the texts of the parts alone, the same in every process.

    Args:
        parts: What the seed is for; of other parts it is independent, for all that can be told.
        num_bytes: Four are what every library takes.
    """
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=num_bytes).digest(), "little")
