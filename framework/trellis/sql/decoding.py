r"""The grammar of hints for constrained decoding, narrowed to the names of one query.

`gbnf` writes it as GBNF (https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md), which llama.cpp and xgrammar read
and llguidance converts; vLLM takes it as a structured output's `grammar` and tells it from Lark by its "::="
(https://docs.vllm.ai/en/v0.9.0/api/vllm/v1/structured_output/utils.html). `lark` writes the same rules in the Lark dialect that
llguidance reads (https://docs.rs/crate/llguidance/1.5.0/source/src/lark/README.md), vLLM's "guidance" backend.

The texts are canonical: one hint a line, each line ended by a line break, so that a line is a step; scans by alias, then joins,
then one tree per block, then switches; in a join the aliases are sorted. Every text is read by `parse_hints`, and
`hints.render("\n") + "\n"` of every valid `PlanHints` is one of the texts, with two limits:

- A context-free grammar of a sensible size cannot hold that a tree has each alias once, nor that a set of aliases gets one
  method: that takes a rule per set. It is held where no block has more than `EXACT_ALIASES` aliases, and every text is then read;
  in larger blocks `parse_hints` and `check_hints` refuse what breaks it, or is nested too deep.
- Which orders outer joins allow, and that a join is one of the tree's, is not in the grammar: `misfits` says so.

xgrammar 0.2.8 and llguidance 1.9.1 compile both and draw the line where the tests' own recogniser draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeAlias

from trellis.sql.catalog import Catalog
from trellis.sql.fit import orderable
from trellis.sql.hints import SWITCHES, JoinMethod, ScanMethod, quoted
from trellis.sql.keywords import LEADING, SET

if TYPE_CHECKING:
    from trellis.sql.query import Query

Kind: TypeAlias = Literal["scans", "joins", "leading", "switches"]
KINDS: tuple[Kind, ...] = ("scans", "joins", "leading", "switches")
"""The kinds of hints, in their order."""


EXACT_ALIASES = 6
"""Up to so many aliases a block gets a rule per set of them: 57 sets and 602 ways to join two, at most."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The name of a rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """A part that may be left out."""

    part: Part


@dataclass(frozen=True, slots=True)
class Repeated:
    """A part that stands any number of times, none included."""

    part: Part


@dataclass(frozen=True, slots=True)
class OneOf:
    """Alternatives, at least one."""

    parts: tuple[Part, ...]


Part: TypeAlias = "str | Rule | Optional | Repeated | OneOf | tuple[Part, ...]"
"""A text, a rule's name, an operator, or parts one after the other."""


def gbnf(
    names: Query | Iterable[str], *, indexes: Mapping[str, Sequence[str]] | None = None, kinds: Sequence[Kind] = KINDS
) -> str:
    """Write the grammar as GBNF, with `root` as its first rule.

    Args:
        names: The query, or the aliases of a query of one block.
        indexes: The names of each alias' indexes (`alias_indexes`): an alias without one can only be read by SeqScan. None leaves
            the choice of the index to the planner.
        kinds: Which hints can be said, of `KINDS`: what the database's dialect can ask for.

    Raises:
        ValueError: There is nothing to say: no alias, or no kind.
    """
    rules = grammar_rules(names, indexes=indexes, kinds=kinds)
    return "".join(f"{name} ::= {_written(part)}\n" for name, part in rules.items())


def lark(
    names: Query | Iterable[str], *, indexes: Mapping[str, Sequence[str]] | None = None, kinds: Sequence[Kind] = KINDS
) -> str:
    """Write the grammar in llguidance's Lark dialect, with `start` as its first rule; arguments as in `gbnf`."""
    rules = grammar_rules(names, indexes=indexes, kinds=kinds)
    lines = (f"{_lark_name(name)}: {_written(part, lark=True)}\n" for name, part in rules.items())
    return "".join(lines)


def alias_indexes(query: Query, catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """Return the names of the indexes that each hintable alias' table has, by alias."""
    found: dict[str, tuple[str, ...]] = {}
    for relation in query.relations:
        if relation.hintable and relation.kind == "table" and relation.name is not None:
            table = catalog.table(relation.name)
            found[relation.alias] = () if table is None else tuple(sorted(table.indexes))
    return found


def grammar_rules(
    names: Query | Iterable[str], *, indexes: Mapping[str, Sequence[str]] | None = None, kinds: Sequence[Kind] = KINDS
) -> dict[str, Part]:
    """Return the rules by name, `root` first; arguments as in `gbnf`."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise ValueError(f"`kinds` holds {', '.join(unknown) or 'nothing'}; valid: {', '.join(KINDS)}")
    blocks = _blocks(names)
    tables = sorted({alias for block in blocks for alias in block.tables})
    if not any(block.aliases for block in blocks):
        raise ValueError("the query has no alias that a hint can name")
    rules: dict[str, Part] = {"root": ()}
    root: list[Part] = []
    if "scans" in kinds and tables:
        for number, alias in enumerate(tables):
            rules[f"scan-{number}"] = _scan(alias, indexes)
            root.append(Optional(Rule(f"scan-{number}")))
    joined = [(number, block) for number, block in enumerate(blocks) if len(block.aliases) >= 2]
    exact = {number for number, block in joined if len(block.aliases) <= EXACT_ALIASES}
    if "joins" in kinds and joined and len(exact) == len(joined):
        rules["method"] = OneOf(tuple(str(method) for method in JoinMethod))
        sets = {names for _, block in joined for names in _sets(block.aliases) if len(names) > 1}
        rules["joins"] = tuple(
            Optional((Rule("method"), f"({' '.join(map(quoted, names))})\n"))
            for names in sorted(sets, key=lambda names: (len(names), names))
        )
        root.append(Rule("joins"))
    elif "joins" in kinds and joined:
        rules["join"] = (
            OneOf(tuple(str(method) for method in JoinMethod)),
            "(",
            OneOf(tuple(Rule(f"names-{number}") for number, _ in joined)),
            ")\n",
        )
        for number, block in joined:
            rules |= _sorted_names(f"names-{number}", block.aliases)
        root.append(Repeated(Rule("join")))
    if "leading" in kinds:
        for number, block in joined:
            if block.orderable and number in exact:
                rules[f"leading-{number}"] = (f"{LEADING}(", Rule(_tree(number, block.aliases, block.aliases)), ")\n")
                rules |= _exact_trees(number, block.aliases)
                root.append(Optional(Rule(f"leading-{number}")))
            elif block.orderable:
                rules[f"leading-{number}"] = (f"{LEADING}(", Rule(f"pair-{number}"), ")\n")
                rules[f"pair-{number}"] = ("(", Rule(f"tree-{number}"), " ", Rule(f"tree-{number}"), ")")
                rules[f"tree-{number}"] = OneOf((*map(quoted, block.aliases), Rule(f"pair-{number}")))
                root.append(Optional(Rule(f"leading-{number}")))
    if "switches" in kinds:
        rules["value"] = OneOf(("on", "off"))
        for number, switch in enumerate(SWITCHES):
            rules[f"set-{number}"] = (f"{SET}({switch} ", Rule("value"), ")\n")
            root.append(Optional(Rule(f"set-{number}")))
    if not root:
        raise ValueError(
            f"the query leaves nothing to say of {', '.join(kinds)}: it joins nothing whose order can change"
        )
    rules["root"] = tuple(root)
    return rules


@dataclass(frozen=True, slots=True)
class _Names:
    aliases: tuple[str, ...]
    tables: tuple[str, ...]
    orderable: bool


def _blocks(names: Query | Iterable[str]) -> list[_Names]:
    from trellis.sql.query import Query

    if isinstance(names, str):
        raise ValueError(f"`names` is a query that was read, or a list of aliases, not the text {names!r}")
    if not isinstance(names, Query):
        aliases = tuple(sorted(set(names)))
        return [_Names(aliases, aliases, orderable=True)]
    blocks = []
    for block in names.blocks:
        hintable = [relation for relation in block.relations if relation.hintable]
        blocks.append(
            _Names(
                tuple(sorted(relation.alias for relation in hintable)),
                tuple(relation.alias for relation in hintable if relation.kind == "table"),
                orderable=orderable(block),
            )
        )
    return sorted(blocks, key=lambda block: block.aliases)


def _scan(alias: str, indexes: Mapping[str, Sequence[str]] | None) -> Part:
    seq = f"{ScanMethod.SEQ}({quoted(alias)})\n"
    if indexes is not None and not indexes.get(alias):
        return seq
    methods = OneOf(tuple(str(method) for method in ScanMethod if method.takes_index))
    index = () if indexes is None else Optional((" ", OneOf(tuple(map(quoted, indexes[alias])))))
    return OneOf((seq, (methods, f"({quoted(alias)}", index, ")\n")))


def _sets(aliases: Sequence[str]) -> list[tuple[str, ...]]:
    """Return all sets of the sorted aliases that are not empty, each sorted."""
    return [names for size in range(1, len(aliases) + 1) for names in combinations(aliases, size)]


def _exact_trees(number: int, aliases: Sequence[str]) -> dict[str, Part]:
    """Rules for the trees of each set of two aliases or more: some of them joined to the others."""
    rules: dict[str, Part] = {}
    for names in _sets(aliases)[len(aliases) :]:
        pairs = []
        for left in _sets(names)[:-1]:
            right = tuple(name for name in names if name not in left)
            sides = [Rule(_tree(number, aliases, s)) if len(s) > 1 else quoted(s[0]) for s in (left, right)]
            pairs.append(("(", sides[0], " ", sides[1], ")"))
        rules[_tree(number, aliases, names)] = OneOf(tuple(pairs))
    return rules


def _tree(number: int, aliases: Sequence[str], names: Sequence[str]) -> str:
    """Return the name of the rule for a set's trees: the places of its aliases."""
    return f"tree-{number}-{'-'.join(str(aliases.index(name)) for name in names)}"


def _sorted_names(name: str, aliases: Sequence[str]) -> dict[str, Part]:
    """Rules for two or more of the sorted aliases, in order: from the i-th on, the first, one more, any more."""
    rules: dict[str, Part] = {}
    last = len(aliases) - 1

    def more(number: int) -> tuple[Part, ...]:
        return (Rule(f"{name}-more-{number}"),) if number <= last else ()

    firsts: list[Part] = [(quoted(aliases[number]), Rule(f"{name}-one-{number + 1}")) for number in range(last)]
    rules[name] = OneOf(tuple(firsts))
    for number in range(1, last + 1):
        take: Part = (f" {quoted(aliases[number])}", *more(number + 1))
        rules[f"{name}-one-{number}"] = OneOf((take, Rule(f"{name}-one-{number + 1}"))) if number < last else take
    for number in range(2, last + 1):
        rules[f"{name}-more-{number}"] = (Optional(f" {quoted(aliases[number])}"), *more(number + 1))
    return rules


def _written(part: Part, *, lark: bool = False) -> str:
    match part:
        case str():
            escaped = part.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
        case Rule():
            return _lark_name(part.name) if lark else part.name
        case Optional():
            return f"({_written(part.part, lark=lark)})?"
        case Repeated():
            return f"({_written(part.part, lark=lark)})*"
        case OneOf():
            return f"({' | '.join(_written(each, lark=lark) for each in part.parts)})"
        case tuple():
            return " ".join(_written(each, lark=lark) for each in part if each != ())


def _lark_name(name: str) -> str:
    return "start" if name == "root" else name.replace("-", "_")
