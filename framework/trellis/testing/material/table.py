"""A policy without a network: it knows the right next character and mostly writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from trellis.component import Config
from trellis.testing.material.characters import CHARACTERS, END, VOCABULARY_SIZE, CharacterPolicy


class TableConfig(Config):
    """How good it is."""

    skill: float = Field(0.6, gt=0, lt=1)
    """The probability of the right token; all others share the rest."""


class Table(CharacterPolicy):
    """Solves `Successor` with a known probability."""

    Config = TableConfig

    def __init__(self, config: TableConfig) -> None:
        self.config = config

    def next_log_probs(self, prompt: str, token_ids: Sequence[int]) -> list[float]:
        """Return log `skill` for the token that goes on as the solution would."""
        other = math.log((1 - self.config.skill) / (VOCABULARY_SIZE - 1))
        row = [other] * VOCABULARY_SIZE
        row[_right(prompt.strip(), "".join(CHARACTERS[token] for token in token_ids if token != END))] = math.log(
            self.config.skill
        )
        return row


def _right(digits: str, text: str) -> int:
    *whole, line = text.split("\n")
    if line:
        return CHARACTERS.index("\n") if len(whole) + 1 < len(digits) else END
    return (int(digits[len(whole)]) + 1) % 10 if len(whole) < len(digits) else END
