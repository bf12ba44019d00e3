"""The grammar of hint texts: `parse_hints` reads one strictly, `Reader` is what it and `trellis.sql.lint` read with.

    hints   = [ "/*+" ] { hint } [ "*/" ]
    hint    = scan | join | leading | set
    scan    = "SeqScan" "(" alias ")" | ( "IndexScan" | "IndexOnlyScan" | "BitmapScan" ) "(" alias [ index ] ")"
    join    = ( "NestLoop" | "HashJoin" | "MergeJoin" ) "(" alias alias { alias } ")"
    leading = "Leading" "(" pair ")"
    pair    = "(" tree tree ")"
    tree    = alias | pair
    set     = "Set" "(" switch ( "on" | "off" ) ")"

with spaces and line breaks between the words. Keywords, switches and on/off are read in upper or lower case, as
pg_hint_plan reads keywords. An alias or index is a name as in SQL: unquoted it is folded to lower case, "quoted" it stands as
it is, with a quote in it doubled.

Stricter than pg_hint_plan (https://pg-hint-plan.readthedocs.io/en/latest/hint_list.html), on purpose: it folds no names, takes
`Leading(a b c)` for an order without sides, several indexes in a scan hint, and of two hints for one thing the last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from trellis.errors import HintSyntaxError, did_you_mean
from trellis.sql.hints import (
    SWITCHES,
    Hint,
    Join,
    JoinHint,
    JoinMethod,
    JoinTree,
    Leading,
    PlanHints,
    ScanHint,
    ScanMethod,
    Switch,
    left_deep,
    quoted,
    tree_aliases,
)
from trellis.sql.keywords import KEYWORDS, LEADING, MISTAKES, OTHER_KEYWORDS, SET
from trellis.sql.tokens import SPACE, WORD, Lexer, Mend, Token

MAX_DEPTH = 100
"""The deepest tree that is read: a left-deep tree of 101 relations."""

_NODE_NAME = re.compile(r"(\w+(?:[ ]\w+){0,3})\s*\(")
_GROUP = re.compile(r"[\w \t]*\((?:[^()]|\([^()]*\))*\)")
_TRUTH = {"true": "on", "false": "off", "yes": "on", "no": "off"}
_BY_LOWER = {str(keyword).lower(): str(keyword) for keyword in KEYWORDS}
_OTHER_BY_LOWER = {keyword.lower(): keyword for keyword in OTHER_KEYWORDS}


class Located(NamedTuple):
    """A hint, and where it stands in the text."""

    hint: Hint
    start: int
    stop: int


def parse_hints(text: str) -> PlanHints:
    """Read a text as plan hints.

    Args:
        text: The hints, with or without the comment `/*+ … */` around them; empty is no hints.

    Raises:
        HintSyntaxError: The text is not in the grammar, names one thing twice, or is longer than `MAX_CHARS`.

    Example:
        >>> parse_hints("HashJoin(u P)  Leading((u P))").render()
        'HashJoin(p u) Leading((u p))'
    """
    reader = Reader(text)
    located: list[Located] = []
    while (each := reader.next_hint()) is not None:
        reader.check_new(each)
        located.append(each)
    return gathered([each.hint for each in located])


def gathered(hints: Sequence[Hint]) -> PlanHints:
    """Put hints of every kind into one object."""
    return PlanHints(
        scans=tuple(hint for hint in hints if isinstance(hint, ScanHint)),
        joins=tuple(hint for hint in hints if isinstance(hint, JoinHint)),
        leading=tuple(hint for hint in hints if isinstance(hint, Leading)),
        switches=tuple(hint for hint in hints if isinstance(hint, Switch)),
    )


class Reader(Lexer):
    """Reads a text hint by hint; after an error it can go on behind it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._opened = False
        self._said: dict[object, Hint] = {}
        self._resume: int | None = None

    def next_hint(self) -> Located | None:
        """Read one hint; None at the end of the text.

        Raises:
            HintSyntaxError: What stands there is no hint.
        """
        if not self._opened:
            self._opened = True
            self.open_comment()
        word = self.next_token()
        if not word.text:
            return None
        if word.text in "()":
            found = "a '(' with no keyword before it" if word.text == "(" else "a ')' that closes nothing"
            mend = Mend(word.start, word.stop, "") if word.text == ")" else None
            self.fail(f"{found}; expected a hint such as HashJoin(a b)", at=word.start, choices=KEYWORDS, mend=mend)
        keyword = self._keyword(word)
        opening = self.next_token()
        if opening.text != "(":
            self.fail(
                f"expected '(' after {keyword}, found {_shown(opening)}",
                at=opening.start,
            )
        hint: Hint
        if keyword == LEADING:
            hint = self._leading()
        elif keyword == SET:
            hint = self._switch()
        elif keyword in set(JoinMethod):
            hint = self._join(JoinMethod(keyword))
        else:
            hint = self._scan(ScanMethod(keyword))
        return Located(hint, word.start, self.position)

    def check_new(self, located: Located) -> None:
        """Check that a hint says nothing that one before it has said.

        Raises:
            HintSyntaxError: It does.
        """
        hint, start, stop = located
        topics: list[tuple[object, str]]
        match hint:
            case ScanHint():
                topics = [(("scan", hint.alias), f"a second scan hint for {quoted(hint.alias)}")]
            case JoinHint():
                topics = [(hint.aliases, "a second method for the same join")]
            case Switch():
                topics = [(("switch", hint.name), f"{hint.name} is set a second time")]
            case Leading():
                topics = [(("tree", each), f"{quoted(each)} is in a second tree") for each in tree_aliases(hint.tree)]
        for topic, reason in topics:
            if (other := self._said.setdefault(topic, hint)) is not hint:
                mend = Mend(start, stop, "") if hint == other else None
                self.fail(f"{reason}, after {other}: keep one", at=start, mend=mend)

    def skip(self) -> None:
        """Go behind the last error: to the next keyword with a parenthesis, or the next word with one that begins a line."""
        assert self.problem is not None
        if self._resume is not None:
            self.position, self._resume = self._resume, None
            return
        position = max(self.position, self.problem.position + 1)
        for match in WORD.finditer(self.text, position, self.end):
            known = match.group().lower()
            opens = self.text.startswith("(", self.after_space(match.end()))
            first = not self.text[self.text.rfind("\n", 0, match.start()) + 1 : match.start()].strip(SPACE)
            if opens and (first or known in _BY_LOWER or known in _OTHER_BY_LOWER or known in MISTAKES):
                self.position = match.start()
                return
        self.position = self.end

    def _keyword(self, word: Token) -> str:
        lower = word.text.lower()
        if lower in _BY_LOWER:
            return _BY_LOWER[lower]
        group = _GROUP.match(self.text, word.stop, self.end)
        self._resume = group.end() if group else None
        if lower in _OTHER_BY_LOWER:
            self.fail(
                f"{_OTHER_BY_LOWER[lower]} is a hint of pg_hint_plan that is not part of this subset. "
                f"Valid: {', '.join(KEYWORDS)}",
                at=word.start,
                choices=KEYWORDS,
            )
        # EXPLAIN writes "Bitmap Heap Scan": the words up to the parenthesis are one name.
        match = _NODE_NAME.match(self.text, word.start, self.end)
        name = "".join(match.group(1).split()) if match else word.text
        meant = _BY_LOWER.get(name.lower()) or MISTAKES.get(name.lower())
        if meant:
            stop = match.end(1) if match else word.stop
            self.fail(
                f"unknown keyword {self.text[word.start : stop]}; did you mean '{meant}'? Valid: {', '.join(KEYWORDS)}",
                at=word.start,
                choices=KEYWORDS,
                mend=Mend(word.start, stop, str(meant)),
            )
        self.fail(f"unknown keyword {word.text}{did_you_mean(word.text, KEYWORDS)}", at=word.start, choices=KEYWORDS)

    def _names(self, keyword: str) -> list[Token]:
        names: list[Token] = []
        while (token := self.next_token()).text != ")":
            if not token.text:
                self._unclosed(keyword, 1)
            if token.text == "(":
                wrong = "it takes names, not a tree" if keyword in set(JoinMethod) else "it takes names"
                self.fail(f"a '(' inside {keyword}: {wrong}", at=token.start)
            if token.text.lower() in _BY_LOWER and self.text.startswith("(", self.after_space(token.stop)):
                self._unclosed(keyword, 1, before=token)
            names.append(token)
        return names

    def _scan(self, method: ScanMethod) -> ScanHint:
        names = self._names(method)
        if not names:
            self.fail(f"{method} needs an alias: {method}(a)", at=self.position - 1)
        if len(names) == 1:
            return ScanHint(names[0].name, method)
        if not method.takes_index:
            self.fail(f"{method} takes one alias and nothing else", at=names[1].start)
        if len(names) > 2:
            self.fail(f"{method} takes one alias and at most one index", at=names[2].start)
        return ScanHint(names[0].name, method, names[1].name)

    def _join(self, method: JoinMethod) -> JoinHint:
        names = self._names(method)
        if len(names) < 2:
            self.fail(f"{method} needs the aliases of a join, two or more: {method}(a b)", at=self.position - 1)
        for number, name in enumerate(names):
            if name.name in {other.name for other in names[:number]}:
                self.fail(f"{quoted(name.name)} stands twice in {method}", at=name.start)
        return JoinHint(frozenset(name.name for name in names), method)

    def _switch(self) -> Switch:
        first = self.next_token()
        if not first.text:
            self._unclosed(SET, 1)
        name = first.text.lower()
        if first.text in "()":
            self.fail("Set needs a switch: Set(enable_hashjoin off)", at=first.start, choices=SWITCHES)
        if name not in SWITCHES:
            self.fail(
                f"Set may not change {first.text}{did_you_mean(name, SWITCHES)}", at=first.start, choices=SWITCHES
            )
        reason, choices = f"{name} is 'on' or 'off': Set({name} off)", ("on", "off")
        at = self.after_space(self.position)
        if self.text[at : at + 2] in {"0)", "1)"}:
            mend = Mend(at, at + 1, "on" if self.text[at] == "1" else "off")
            self.fail(reason, at=at, choices=choices, mend=mend)
        value = self.next_token()
        word = value.text.lower()
        if word not in choices:
            meant = Mend(value.start, value.stop, _TRUTH[word]) if word in _TRUTH else None
            self.fail(reason, at=value.start, choices=choices, mend=meant)
        closing = self.next_token()
        if not closing.text:
            self._unclosed(SET, 1)
        if closing.text != ")":
            self.fail("Set takes one switch and its value", at=closing.start)
        return Switch(name, word == "on")

    def _leading(self) -> Leading:
        start = self.position
        try:
            return self._tree(start)
        except HintSyntaxError:
            # A missing parenthesis is found where the next hint no longer fits into the tree: say where it is missing.
            for match in WORD.finditer(self.text, start, self.position):
                if match.group() in KEYWORDS and self.text.startswith("(", self.after_space(match.end())):
                    before = re.sub(r'"[^"]*"', "", self.text[start : match.start()])
                    missing = 1 + before.count("(") - before.count(")")
                    word = Token(match.group(), "", match.start(), match.end())
                    self._unclosed(LEADING, missing, before=word)
            raise

    def _tree(self, start: int) -> Leading:
        open_pairs: list[tuple[int, list[JoinTree]]] = [(start - 1, [])]
        seen: set[str] = set()
        while open_pairs:
            token = self.next_token()
            if not token.text:
                self._unclosed(LEADING, len(open_pairs))
            if token.text == "(":
                if len(open_pairs) > MAX_DEPTH:
                    self.fail(f"the tree is nested more than {MAX_DEPTH} deep", at=token.start)
                open_pairs.append((token.start, []))
            elif token.text == ")":
                opened, items = open_pairs.pop()
                if not open_pairs:
                    return Leading(self._whole_tree(items, Mend(start, token.start, "")))
                open_pairs[-1][1].append(self._pair(items, Mend(opened, token.stop, "")))
            else:
                if token.name in seen:
                    self.fail(f"{quoted(token.name)} stands twice in the tree", at=token.start)
                seen.add(token.name)
                open_pairs[-1][1].append(token.name)
        raise AssertionError("the outermost parenthesis returns")

    def _pair(self, items: list[JoinTree], span: Mend) -> JoinTree:
        if len(items) == 2:
            return Join(*items)
        if not items:
            self.fail("a pair of parentheses with nothing in it", at=span.start)
        if len(items) == 1:
            text = _text(items[0])
            self.fail(f"({text}) joins nothing: write {text}", at=span.start, mend=Mend(span.start, span.stop, text))
        self._as_pairs(f"a pair of parentheses joins two inputs, here are {len(items)}", items, span, write="{}")

    def _whole_tree(self, items: list[JoinTree], span: Mend) -> Join:
        if len(items) == 1 and isinstance(items[0], Join):
            return items[0]
        if len(items) < 2:
            self.fail("Leading needs a tree of two aliases or more: Leading((a b))", at=span.start)
        flat = all(isinstance(item, str) for item in items)
        how = "not a list" if flat else "with parentheses around the whole tree"
        self._as_pairs(f"Leading takes a tree of pairs, {how}", items, span, write="Leading({})")

    def _as_pairs(self, reason: str, items: list[JoinTree], span: Mend, *, write: str) -> NoReturn:
        if len(items) > MAX_DEPTH:
            self.fail(reason, at=span.start)
        text = str(left_deep(items))
        shown = text if len(text) <= 200 else "((a b) c)"
        mend = Mend(span.start, span.stop, text)
        self.fail(f"{reason}: write {write.format(shown)}", at=span.start, mend=mend)

    def _unclosed(self, keyword: str, missing: int, *, before: Token | None = None) -> NoReturn:
        where = "" if before is None else f" before {before.text}"
        what = "')' is missing" if missing == 1 else f"{missing} ')' are missing"
        at = self.end if before is None else before.start
        end = len(self.text[:at].rstrip(SPACE))
        if before is not None:
            self._resume = before.start
        self.fail(f"{what}{where}, for {keyword}'s '('", at=at, mend=Mend(end, end, ")" * missing))


def _shown(token: Token) -> str:
    return token.text or "the end"


def _text(tree: JoinTree) -> str:
    return quoted(tree) if isinstance(tree, str) else str(tree)
