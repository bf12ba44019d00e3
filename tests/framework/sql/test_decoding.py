"""The exported grammar, read back by a recogniser of its own, and compared with the parser."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis.errors import HintSyntaxError
from trellis.sql import (
    SWITCHES,
    Block,
    Catalog,
    Index,
    Join,
    JoinHint,
    JoinMethod,
    Leading,
    PlanHints,
    Query,
    Relation,
    ScanHint,
    ScanMethod,
    Switch,
    Table,
    alias_indexes,
    check_hints,
    gbnf,
    lark,
    parse_hints,
)
from trellis.sql.hints import tree_aliases

ALIASES = ("a", "b", "movie_info", 'Odd "one" \\n é')
INDEXES = {"a": ("a_pkey", "a (x)"), "b": ("b_pkey",), "movie_info": ()}
TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<rule>[a-z][a-z0-9-]*)|(?P<sign>[()|?*]))')


class Grammar:
    """GBNF of texts, rules, `|`, `(…)`, `?` and `*`: what it derives, at random, and whether it derives a text."""

    def __init__(self, text):
        self.rules = {}
        for line in text.splitlines():
            name, _, body = line.partition(" ::= ")
            self.tokens = list(TOKEN.finditer(body))
            assert "".join(match.group() for match in self.tokens) == body, line
            self.rules[name] = self.alternatives()
            assert not self.tokens, line

    def alternatives(self):
        parts = [self.sequence()]
        while self.tokens and self.tokens[0]["sign"] == "|":
            self.tokens.pop(0)
            parts.append(self.sequence())
        return ("or", parts)

    def sequence(self):
        parts = []
        while self.tokens and self.tokens[0]["sign"] not in {"|", ")"}:
            token = self.tokens.pop(0)
            if token["sign"] == "(":
                part = self.alternatives()
                assert self.tokens.pop(0)["sign"] == ")"
            elif token["text"]:
                part = ("text", unescaped(token))
            else:
                part = ("rule", token["rule"])
            while self.tokens and self.tokens[0]["sign"] in {"?", "*"}:
                part = (self.tokens.pop(0)["sign"], part)
            parts.append(part)
        return ("all", parts)

    def draw(self, rng, part=("rule", "root"), depth=0):
        kind, value = part
        if kind == "text":
            return value
        if kind == "rule":
            return self.draw(rng, self.rules[value], depth + 1)
        if kind == "or":
            # Deep down the first alternative is taken: it is the one without recursion.
            return self.draw(rng, value[0] if depth > 12 else rng.choice(value), depth)
        if kind == "all":
            return "".join(self.draw(rng, each, depth) for each in value)
        times = rng.randint(0, 1 if kind == "?" else 3)
        return "".join(self.draw(rng, value, depth) for _ in range(times))

    def derives(self, text):
        return len(text) in self.ends(text, 0, ("rule", "root"))

    def ends(self, text, start, part):
        kind, value = part
        if kind == "text":
            return {start + len(value)} if text.startswith(value, start) else set()
        if kind == "rule":
            return self.ends(text, start, self.rules[value])
        if kind == "or":
            return set().union(*(self.ends(text, start, each) for each in value))
        if kind == "all":
            reached = {start}
            for each in value:
                reached = set().union(*(self.ends(text, at, each) for at in reached))
            return reached
        found, new = {start}, {start}
        while new and (kind == "*" or found == {start}):
            new = set().union(*(self.ends(text, at, value) for at in new)) - found
            found |= new
            if kind == "?":
                break
        return found


def unescaped(token):
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], token["text"][1:-1])


@st.composite
def trees(draw, aliases):
    if len(aliases) == 1:
        return aliases[0]
    cut = draw(st.integers(1, len(aliases) - 1))
    return Join(draw(trees(aliases[:cut])), draw(trees(aliases[cut:])))


@st.composite
def plan_hints(draw):
    scans = []
    for alias in draw(st.lists(st.sampled_from(ALIASES), unique=True)):
        indexes = INDEXES.get(alias, ())
        method = draw(st.sampled_from(ScanMethod)) if indexes else ScanMethod.SEQ
        scans.append(ScanHint(alias, method, draw(st.sampled_from([None, *indexes])) if method.takes_index else None))
    sets = draw(st.lists(st.frozensets(st.sampled_from(ALIASES), min_size=2), max_size=4, unique=True))
    joins = [JoinHint(each, draw(st.sampled_from(JoinMethod))) for each in sets]
    leading = [Leading(draw(trees(draw(st.permutations(ALIASES)))))] if draw(st.booleans()) else []
    switches = [
        Switch(name, draw(st.booleans())) for name in draw(st.lists(st.sampled_from(SWITCHES), max_size=3, unique=True))
    ]
    return PlanHints(tuple(scans), tuple(joins), tuple(leading), tuple(switches))


@given(hints=plan_hints())
def test_every_plan_hints_over_the_aliases_is_derivable(hints):
    grammar = Grammar(gbnf(ALIASES, indexes=INDEXES))
    assert grammar.derives("".join(f"{hint}\n" for hint in hints))


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_every_text_of_the_grammar_is_read_unless_it_repeats_itself(seed):
    text = Grammar(gbnf(ALIASES, indexes=INDEXES)).draw(random.Random(seed))
    hints = parse_hints("")
    try:
        hints = parse_hints(text)
    except HintSyntaxError as error:
        if not re.search("stands twice in the tree|a second method for the same join", str(error)):
            raise
    assert {hint.alias for hint in hints.scans} <= set(ALIASES)
    assert {hint.index for hint in hints.scans} <= {None, "a_pkey", "a (x)", "b_pkey"}
    assert {alias for hint in hints.leading for alias in tree_aliases(hint.tree)} <= set(ALIASES)


def test_the_texts_are_canonical():
    grammar = Grammar(gbnf(["b", "a", "c"]))
    assert grammar.derives("SeqScan(a)\nHashJoin(a c)\nLeading((b (c a)))\nSet(enable_sort off)\n")
    for other in ("SeqScan(b)\nSeqScan(a)\n", "HashJoin(c a)\n", "Leading((b (c a)))\nHashJoin(a c)\n", "SeqScan(a)"):
        assert parse_hints(other)
        assert not grammar.derives(other)


def test_what_is_no_hint_of_the_query_is_not_derivable():
    grammar = Grammar(gbnf(ALIASES, indexes=INDEXES))
    for text in (
        "SeqScan(z)\n",
        "IndexScan(movie_info)\n",
        "IndexScan(a b_pkey)\n",
        "HashJoin(a)\n",
        "HashJoin(a a)\n",
        "Leading(a b)\n",
        "SeqScan(a)\nIndexScan(a)\n",
        "Set(statement_timeout 0)\n",
        "NestedLoop(a b)\n",
        "SeqScan(a) */\n",
    ):
        assert not grammar.derives(text), text
    assert grammar.derives("")


def query_of(*blocks):
    return Query(sql="", dialect="postgres", blocks=blocks, fingerprint="", literals=(), tree=None, reading=None)


def two_blocks(*more, fixed=""):
    outer = (Relation("t", "title", "table"), Relation("d", None, "subquery", block=1), *more)
    inner = (Relation("m", "movie_info", "table"), Relation("k", "public.keyword", "table"))
    return query_of(Block(0, "the query", None, outer, fixed=fixed), Block(1, "the subquery d", 0, inner))


def test_a_query_gives_its_blocks_and_only_what_hints_can_name():
    grammar = Grammar(gbnf(two_blocks()))
    assert grammar.derives("SeqScan(k)\nHashJoin(d t)\nMergeJoin(k m)\nLeading((t d))\nLeading((m k))\n")
    for text in ("SeqScan(d)\n", "HashJoin(m t)\n", "Leading((m t))\n", "HashJoin(d m t)\n"):
        assert not grammar.derives(text), text


@pytest.mark.parametrize(
    "query",
    [two_blocks(fixed="it has a full join"), two_blocks(Relation("x", "x", "table", hintable=False))],
    ids=["fixed", "unnamable relation"],
)
def test_a_block_whose_order_no_hint_can_say_has_no_tree(query):
    grammar = Grammar(gbnf(query))
    assert not grammar.derives("Leading((t d))\n")
    assert not grammar.derives("HashJoin(t x)\n")
    assert grammar.derives("HashJoin(d t)\nLeading((m k))\n")


def test_kinds_choose_what_can_be_said():
    grammar = Grammar(gbnf(["a", "b"], kinds=["leading", "switches"]))
    assert grammar.derives("Leading((a b))\nSet(enable_nestloop off)\n")
    assert not grammar.derives("SeqScan(a)\n")
    with pytest.raises(ValueError, match="`kinds` holds scan; valid: scans, joins, leading, switches"):
        gbnf(["a", "b"], kinds=["scan"])


def test_a_grammar_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no alias that a hint can name"):
        gbnf([])
    with pytest.raises(ValueError, match="nothing to say of leading"):
        gbnf(["a"], kinds=["leading"])
    with pytest.raises(ValueError, match="not the text 'ab'"):
        gbnf("ab")


def test_indexes_come_from_the_catalog():
    tables = {
        "movie_info": Table("movie_info", indexes={"mi_pkey": Index("mi_pkey"), "mi_a": Index("mi_a")}),
        "public.keyword": Table("keyword"),
        "title": Table("title", indexes={"title_pkey": Index("title_pkey")}),
    }
    catalog = Catalog(tables)
    indexes = alias_indexes(two_blocks(), catalog)
    assert indexes == {"t": ("title_pkey",), "m": ("mi_a", "mi_pkey"), "k": ()}
    grammar = Grammar(gbnf(two_blocks(), indexes=indexes))
    text = "SeqScan(k)\nIndexScan(m mi_a)\nBitmapScan(t)\n"
    assert grammar.derives(text)
    check_hints(parse_hints(text), two_blocks(), catalog)


def test_lark_has_the_same_rules_in_its_own_writing():
    gbnf_lines, lark_lines = gbnf(ALIASES).splitlines(), lark(ALIASES).splitlines()
    assert lark_lines[0].startswith("start: (scan_0)? ")
    assert len(gbnf_lines) == len(lark_lines)
    assert all(re.match(r"[a-z][a-z0-9_]*: ", line) for line in lark_lines)
    assert "::=" not in lark(ALIASES)
    in_gbnf = [re.findall(r'"(?:[^"\\]|\\.)*"', line) for line in gbnf_lines]
    assert in_gbnf == [re.findall(r'"(?:[^"\\]|\\.)*"', line) for line in lark_lines]
