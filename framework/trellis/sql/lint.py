"""Everything that is wrong with a hint text, without stopping at the first: what `trellis sql lint` shows.

`lint` reads with the same `Reader` as `parse_hints`, so that both say the same; after an error it goes on at the next keyword. In
the dialect "pg_hint_plan" it also says what that extension would do with the text, which is seldom an error message. Seen with
version 1.5 on PostgreSQL 15, and read in its source (https://github.com/ossc-db/pg_hint_plan/blob/PG15/pg_hint_plan.c):

- an unknown keyword or a missing parenthesis ends the reading: what stands behind it is dropped, with an INFO at most;
- names are compared as they are written: `SeqScan(P)` says nothing of the alias p, and is merely "not used";
- an index that does not exist counts as "used", while the table is read by a Seq Scan;
- the hint comment counts only in front of the query or behind its first keyword, no other comment before it; a second one is
  ignored, and an error since PostgreSQL 17.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from trellis.errors import HintSyntaxError
from trellis.sql.fit import misfits
from trellis.sql.grammar import Located, Reader
from trellis.sql.hints import ScanHint, Switch
from trellis.sql.tokens import MAX_CHARS, WORD, Mend

if TYPE_CHECKING:
    from trellis.sql.catalog import Catalog
    from trellis.sql.query import Query

Severity: TypeAlias = Literal["error", "warning", "info"]
Dialect: TypeAlias = Literal["trellis", "pg_hint_plan"]

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED = re.compile(r'"[^"]*"')
_UPPER = re.compile(r"[A-Z]")


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        severity: "error": `parse_hints` or `check_hints` refuses the hints. "warning": the database would not do what the text
            seems to say. "info": worth knowing.
        message: For a person.
        position: In characters from 0.
        line: From 1.
        column: From 1.
        suggestion: What to write instead; empty where nobody can know.
        mend: The same as a change of the text, where it is mechanical.
    """

    severity: Severity
    message: str
    position: int
    line: int
    column: int
    suggestion: str = ""
    mend: Mend | None = None

    def __str__(self) -> str:
        instead = f"\n    write: {self.suggestion}" if self.suggestion else ""
        return f"{self.line}:{self.column}: {self.severity}: {self.message}{instead}"


def lint(
    text: str, *, query: Query | None = None, catalog: Catalog | None = None, dialect: Dialect = "trellis"
) -> list[LintFinding]:
    """Return all findings in the order of the text; never raises for anything in the text.

    Args:
        text: The hints, with or without the comment `/*+ … */` around them; in the dialect "pg_hint_plan" it may be a whole
            statement with the hints in its comment.
        query: The query that the hints are for: without it, no alias is checked.
        catalog: What the database holds: without it, no index is checked.
        dialect: "pg_hint_plan" adds what that extension would silently do.
    """
    findings: list[LintFinding] = []
    offset, hints = 0, text
    if dialect == "pg_hint_plan":
        offset, hints, findings = _hint_comment(text)
    reader = Reader(hints)
    located, broken = _read_on(reader, hints, text, offset, findings)
    if query is not None:
        where = {id(each.hint): each.start for each in located}
        for hint, error in misfits([each.hint for each in located], query, catalog):
            findings.append(_finding("error", str(error), text, offset + where[id(hint)]))
    if dialect == "pg_hint_plan":
        findings += _silences(located, broken, hints, text, offset)
    return sorted(findings, key=lambda finding: finding.position)


def mended(text: str) -> str:
    """Return the text with every mechanical mend made; what takes a guess stays as it is.

    Example:
        >>> mended("NestedLoop(p u) Leading((u p) v)")
        'NestLoop(p u) Leading(((u p) v))'
    """
    if len(text) > MAX_CHARS:
        return text
    # A mend may bring up the next problem at the same place; a hint with hundreds of them is left to a person.
    for _ in range(200):
        mends = [finding.mend for finding in lint(text) if finding.mend]
        if not mends:
            break
        behind = len(text) + 1
        for mend in sorted(mends, key=lambda mend: mend.start, reverse=True):
            if mend.stop < behind:
                text = text[: mend.start] + mend.text + text[mend.stop :]
                behind = mend.start
    return text


def _read_on(
    reader: Reader, hints: str, text: str, offset: int, findings: list[LintFinding]
) -> tuple[list[Located], int | None]:
    """Read all hints; return those that can be read, and where the first keyword or parenthesis is wrong."""
    located: list[Located] = []
    broken: int | None = None
    while True:
        try:
            each = reader.next_hint()
            if each is None:
                return located, broken
            reader.check_new(each)
            located.append(each)
        except HintSyntaxError:
            problem = reader.problem
            assert problem is not None
            mend = problem.mend
            suggestion = ""
            if mend is not None:
                line_start = hints.rfind("\n", 0, mend.start) + 1
                line_stop = hints.find("\n", mend.stop)
                line = hints[mend.stop : line_stop if line_stop >= 0 else len(hints)]
                suggestion = (hints[line_start : mend.start] + mend.text + line).strip()
                mend = Mend(mend.start + offset, mend.stop + offset, mend.text)
            findings.append(
                _finding("error", problem.reason, text, offset + problem.position, suggestion=suggestion, mend=mend)
            )
            if len(hints) > MAX_CHARS:
                return located, broken
            if broken is None:
                broken = problem.position
            reader.skip()


def _hint_comment(text: str) -> tuple[int, str, list[LintFinding]]:
    """Find the hints in a statement, as pg_hint_plan does: their offset, their text, and what keeps them from being found."""
    findings: list[LintFinding] = []
    comments = list(_COMMENT.finditer(text))
    hinting = [match for match in comments if match.group().startswith("/*+")]
    if not hinting:
        if ("/*" in text or "--" in text) and "/*+" not in text:
            findings.append(_finding("warning", "pg_hint_plan reads hints from a comment '/*+ … */' alone", text, 0))
        return 0, text, findings
    first = hinting[0]
    before = [match for match in comments if match.start() < first.start()]
    if before:
        reason = "pg_hint_plan reads no hints behind another comment: put the hint comment first"
        findings.append(_finding("warning", reason, text, before[0].start()))
    if "/*" in first.group()[3:]:
        at = first.start() + 3 + first.group()[3:].index("/*")
        findings.append(
            _finding("warning", "pg_hint_plan drops all hints of a comment with a comment inside", text, at)
        )
    for second in hinting[1:]:
        reason = "a second hint comment: pg_hint_plan ignores it, and refuses the query since PostgreSQL 17"
        findings.append(_finding("warning", reason, text, second.start()))
    return first.start(), first.group(), findings


def _silences(located: list[Located], broken: int | None, hints: str, text: str, offset: int) -> list[LintFinding]:
    """What pg_hint_plan would do without saying so."""
    findings: list[LintFinding] = []
    if broken is not None:
        later = [each for each in located if each.start >= broken]
        lost = f", here {'; '.join(str(each.hint) for each in later)}" if later else ""
        reason = f"pg_hint_plan stops reading at the first error: it drops everything from here on{lost}"
        findings.append(_finding("warning", reason, text, offset + broken))
    for each in located:
        unquoted = _QUOTED.sub(lambda match: " " * len(match.group()), hints[: each.stop])
        for match in WORD.finditer(unquoted, each.start):
            name, start = match.group(), offset + match.start()
            if match.start() > each.start and _UPPER.search(name) and not isinstance(each.hint, Switch):
                lower = name.lower()
                mend = Mend(start, start + len(name), lower)
                reason = f"pg_hint_plan folds no names: {name} is not the alias {lower}, and the hint would not be used"
                findings.append(_finding("warning", reason, text, start, suggestion=lower, mend=mend))
        if isinstance(each.hint, ScanHint) and each.hint.index is not None:
            reason = (
                f"pg_hint_plan calls this hint used even if {each.hint.index} does not exist, and reads the table by a Seq Scan: "
                "check the plan"
            )
            findings.append(_finding("info", reason, text, offset + each.start))
    return findings


def _finding(
    severity: Severity, message: str, text: str, position: int, *, suggestion: str = "", mend: Mend | None = None
) -> LintFinding:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return LintFinding(severity, message, position, line, column, suggestion, mend)
