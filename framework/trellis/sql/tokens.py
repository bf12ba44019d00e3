"""The words of a hint text: `Lexer` reads names and parentheses one by one, and says what is wrong where there is neither.

A name is an SQL identifier: unquoted it is folded to lower case (ASCII letters alone, as PostgreSQL folds in UTF-8), "quoted"
it stands as it is, with a quote in it doubled. Control characters are in no name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from trellis.errors import HintSyntaxError

MAX_CHARS = 16_384
"""The longest text that is read."""

SPACE = " \t\n\r\f\v"
WORD = re.compile(r"[^\W\d][\w$]*")
_NUMBER = re.compile(r"[\w$]+")
_FOLD = str.maketrans({chr(upper): chr(upper + 32) for upper in range(ord("A"), ord("Z") + 1)})


@dataclass(frozen=True, slots=True)
class Mend:
    """A mechanical mend: the characters from `start` up to `stop` become `text`."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a text cannot be read.

    Attributes:
        reason: For a person.
        position: In characters from 0.
        choices: What could stand there, where it is a matter of names.
        mend: How to mend it without a guess, where that is possible.
    """

    reason: str
    position: int
    choices: tuple[str, ...] = ()
    mend: Mend | None = None


class Token(NamedTuple):
    """A name, a parenthesis or the end ("") of the text: as written, what it names, and where it stands."""

    text: str
    name: str
    start: int
    stop: int


class Lexer:
    """Reads a text token by token.

    Attributes:
        problem: What the last HintSyntaxError was about, with its mend.
        position: Up to where it has read.
        end: Where the hints end: before the end of the comment they stand in.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.problem: Problem | None = None
        self.position, self.end = 0, len(text)

    def open_comment(self) -> None:
        """Go inside the comment around the hints, if there is one.

        Raises:
            HintSyntaxError: The comment is no hint comment or has no end, or the text is too long.
        """
        if len(self.text) > MAX_CHARS:
            self.fail(f"the text has {len(self.text)} characters, at most {MAX_CHARS} are read", at=MAX_CHARS)
        start = self.after_space(0)
        if self.text.startswith("/*+", start):
            self.position = start + 3
            end = len(self.text.rstrip(SPACE)) - 2
            if end < self.position or not self.text.startswith("*/", end):
                close = self.text.find("*/", self.position)
                if close >= 0:
                    self.fail("behind the comment with the hints stands more: give the hints alone", at=close + 2)
                mend = Mend(len(self.text), len(self.text), " */")
                self.fail("the comment that begins here with '/*+' has no '*/' at the end", at=start, mend=mend)
            self.end = end
        elif self.text.startswith("/*", start):
            self.position = start + 2
            self.fail("a comment with hints begins with '/*+'", at=start)

    def fail(self, reason: str, *, at: int, choices: Sequence[str] = (), mend: Mend | None = None) -> NoReturn:
        """Raise, with the position, choices and mend kept in `problem`."""
        self.problem = Problem(reason, at, tuple(choices), mend)
        raise HintSyntaxError(reason, text=self.text, position=at, choices=choices)

    def next_token(self) -> Token:
        """Read one token; its text is empty at the end.

        Raises:
            HintSyntaxError: What stands there is no token.
        """
        start = self.position = self.after_space(self.position)
        if start >= self.end:
            return Token("", "", start, start)
        char = self.text[start]
        if char in "()":
            self.position += 1
            return Token(char, "", start, self.position)
        if char == '"':
            return self._quoted(start)
        if match := WORD.match(self.text, start, self.end):
            self.position = match.end()
            return Token(match.group(), match.group().translate(_FOLD), start, self.position)
        self._stray(start, char)

    def _quoted(self, start: int) -> Token:
        position = start + 1
        while True:
            close = self.text.find('"', position, self.end)
            if close < 0:
                self.position = self.end
                self.fail("a '\"' opens a name that no '\"' closes", at=start)
            if not self.text.startswith('""', close, self.end):
                break
            position = close + 2
        self.position = close + 1
        name = self.text[start + 1 : close].replace('""', '"')
        if not name:
            self.fail('"" is no name', at=start)
        for offset, char in enumerate(self.text[start + 1 : close]):
            if unicodedata.category(char) in {"Cc", "Cs"}:
                self.fail(f"a name holds the control character U+{ord(char):04X}", at=start + 1 + offset)
        return Token(self.text[start : self.position], name, start, self.position)

    def _stray(self, start: int, char: str) -> NoReturn:
        number = _NUMBER.match(self.text, start, self.end)
        rest = self.text[start : start + 2]
        mend = None
        space = "" if self.after_space(start + 1) > start + 1 else " "
        if char == ",":
            reason, mend = "names are separated by spaces, not commas", Mend(start, start + 1, space)
        elif char == ".":
            reason = "an alias or index stands alone, without a schema, a table or a column"
        elif char == "=":
            reason, mend = "a switch and its value are separated by a space", Mend(start, start + 1, space)
        elif char == ";":
            reason, mend = "hints are not ended by a semicolon", Mend(start, start + 1, "")
        elif char == "'":
            reason = "a name is quoted by '\"', not by \"'\""
        elif rest == "*/":
            reason = "'*/' ends a comment, but hints can stand neither before nor behind it"
        elif rest in {"--", "/*"}:
            reason = "hints hold no comments"
        elif number:
            reason = f'{number.group()} is no name: a name that begins so is quoted, "{number.group()}"'
        else:
            shown, rest = (
                (repr(char), ": quote names that hold it") if char.isprintable() else (f"U+{ord(char):04X}", "")
            )
            reason = f"{shown} is no part of a hint{rest}"
        self.fail(reason, at=start, mend=mend)

    def after_space(self, position: int) -> int:
        """Return the first position from here on that is no space."""
        while position < self.end and self.text[position] in SPACE:
            position += 1
        return position
