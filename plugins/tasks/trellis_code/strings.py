"""Programs on short words, written from examples.

    bade -> aebC; cab -> cbD; 3 lines
    capital | Bade
    reverse | edaB
    next | aebC

    sort                letters in order, capitals first    a to e     an e for each small a
    reverse             the last letter first               next       each letter the one after it; a after e
    rotate              the first letter to the end         capital    the first letter a capital
    drop first          all but the first letter            double     the word twice
    drop last           all but the last letter

A word has 1 to 12 letters from a to e, small or capital; an instruction that would leave none, or more, cannot be
applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from random import Random

from trellis_code.config import StringInstruction, StringProgramConfig
from trellis_code.language import Language
from trellis_code.program import ProgramTask

MAX_LENGTH = 12
LETTERS = "abcde"
_NEXT = str.maketrans("abcdeABCDE", "bcdeaBCDEA")

INSTRUCTIONS: dict[StringInstruction, Callable[[str], str]] = {
    "sort": lambda word: "".join(sorted(word)),
    "reverse": lambda word: word[::-1],
    "rotate": lambda word: word[1:] + word[:1],
    "drop first": lambda word: word[1:],
    "drop last": lambda word: word[:-1],
    "a to e": lambda word: word.replace("a", "e"),
    "next": lambda word: word.translate(_NEXT),
    "capital": lambda word: word[:1].upper() + word[1:],
    "double": lambda word: word + word,
}


class StringLanguage(Language[str]):
    """Instructions on words of 1 to 12 letters from a to e."""

    def __init__(self, names: Iterable[StringInstruction]) -> None:
        super().__init__({name: INSTRUCTIONS[name] for name in names})

    def fits(self, value: str) -> bool:
        """Say whether the word has 1 to 12 letters."""
        return 0 < len(value) <= MAX_LENGTH

    def write(self, value: str) -> str:
        """Return the word itself."""
        return value

    def read(self, text: str) -> str | None:
        """Read a word, with spaces around it or not."""
        word = text.strip()
        return word if re.fullmatch("[a-eA-E]+", word) and self.fits(word) else None


class StringProgram(ProgramTask[str]):
    """Problems of string programs, with all their solutions as traces, an exact verifier and an exact step oracle."""

    Config = StringProgramConfig
    example = "bade -> aebC; cab -> cbD; 3 lines"
    value_form = f"1 to {MAX_LENGTH} letters from a to e, small or capital"

    def __init__(self, config: StringProgramConfig) -> None:
        super().__init__(config, StringLanguage(config.instructions))
        self.config = config

    def draw_input(self, random: Random) -> str:
        """Draw a word of small letters."""
        length = random.randint(self.config.min_length, self.config.max_length)
        return "".join(random.choice(LETTERS) for _ in range(length))
