"""Units: convert an amount from one unit into another, one known conversion after the other.

    a = c3 = d2, b = f3 = h2, c = e4 = g2, d = b2 = i3: a4 -> f?
    a4 -> d8
    d8 -> b16
    b16 -> f48

The unit stands before its number, as with money: `a = c3 = d2` says that one a is three c, and also two d. Such a fact
is used from left to right only: amounts stay whole, and what has been converted into the wrong unit never comes back.
Each unit offers several conversions and most lead to units from which the asked one is out of reach, so a wrong solution
may be right line by line: it took a wrong turn. The facts never contradict each other, so all ways that arrive have the
same answer. They stand as in a table that is made to be looked up: in the order of the alphabet, and the units that
lead nowhere have its later letters.

Units and not family relations, because there the whole work is looking up: a relation is the composition of its links,
and nobody can take a wrong turn by a true statement. Here a true statement can lead astray, and a result can be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain, count, islice
from random import Random
from string import ascii_lowercase
from typing import NamedTuple, cast

from trellis import Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import UnitsConfig
from trellis_reasoning.moves import Fault, MovesTask

# At most 40 digits: Python refuses to read endless ones, and a verifier must not raise.
_AMOUNT = "(0|[1-9][0-9]{0,39})"
_UNIT = "([A-Za-z]{1,12})"
_LINE = re.compile(rf"{_UNIT}{_AMOUNT} -> {_UNIT}{_AMOUNT}")
_FACT = re.compile(rf"\s*{_UNIT}((?:\s*=\s*{_UNIT}\s*[0-9]{{1,12}})+)\s*")
_VALUE = re.compile(rf"{_UNIT}\s*([0-9]+)")
_QUESTION = re.compile(rf"\s*{_UNIT}\s*([0-9]{{1,12}})\s*->\s*{_UNIT}\s*\?\s*")
_EXAMPLE = "h = min60 = q4, min = s60: h2 -> s?"


class Given(NamedTuple):
    """What a problem says.

    Attributes:
        facts: By unit, what one of it is in other units, in the order of the problem.
        amount: How many of `unit` are to be converted.
        unit: The unit to start from.
        asked: The unit to arrive at.
    """

    facts: Mapping[str, Mapping[str, int]]
    amount: int
    unit: str
    asked: str


class Amount(NamedTuple):
    """So many of a unit, written `a4`."""

    number: int
    unit: str

    def __str__(self) -> str:
        return f"{self.unit}{self.number}"


class Units(MovesTask[Amount]):
    """Conversion problems, an exact verifier and an exact step oracle; the state is what there is now.

    The last line is the one that arrives at the asked unit; it has no newline after it.
    """

    Config = UnitsConfig

    def __init__(self, config: UnitsConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw a tree of conversions with the asked unit as deep in it as the config says, then the names.

        No unit is reached in two ways, and the conversions of one unit have different factors. So the key, a walk
        through the tree in the order of the factors, is the same whatever the names are.
        """
        amount = random.randint(1, self.config.max_amount)
        tree = self._tree(random)
        # Units with facts come first in the alphabet and are in its order, as in a table that is made to be looked up.
        leaves = [target for targets in tree.values() for target in targets if target not in tree]
        letters = ascii_lowercase[: len(tree)], ascii_lowercase[len(tree) : len(tree) + len(leaves)]
        names = {
            unit: name
            for units, some in zip((tree, leaves), letters, strict=True)
            for unit, name in zip(units, random.sample(some, len(some)), strict=True)
        }
        facts = [
            (names[source], tree[source][target], names[target])
            for source in sorted(tree, key=names.__getitem__)
            for target in random.sample(list(tree[source]), len(tree[source]))
        ]
        asked = self.config.conversions
        return f"{amount}{_walk(tree, 0, asked)}", _problem(facts, amount, names[0], names[asked])

    def _tree(self, random: Random) -> dict[int, dict[int, int]]:
        """Draw what each of some units is in others: by unit, the factor of each; 0, 1, 2 … lead to the asked one."""
        c = self.config
        tree: dict[int, dict[int, int]] = {}
        fresh = count(c.conversions + 1)
        leaves: list[int] = []
        while len(tree) < c.units:
            on_way = len(tree) < c.conversions
            source = len(tree) if on_way else leaves.pop(random.randrange(len(leaves)))
            targets = [len(tree) + 1] * on_way
            targets += islice(fresh, c.choices - len(targets))
            tree[source] = dict(zip(targets, random.sample(range(2, c.max_factor + 1), c.choices), strict=True))
            leaves += targets[on_way:]
        return tree

    def accepts(self, problem: Problem) -> bool:
        """Say whether no conversion gives more than the config says."""
        given = _given(problem)
        return given.amount * _largest(given, given.unit) <= self.config.max_result

    def solution(self, problem: Problem, random: Random | None) -> list[str]:
        """Take a random conversion among those from which the asked unit is in reach; the first of the shortest way."""
        given, state, steps = _given(problem), self.initial(problem), list[str]()
        while not self.solved(problem, state):
            ways = [move for move in self.moves(problem, state).items() if self.solvable(problem, move[1])]
            line, state = random.choice(ways) if random else min(ways, key=lambda way: _distance(given, way[1].unit))
            steps.append(line + self._end(problem, state))
        return steps

    def initial(self, problem: Problem) -> Amount:
        """Return what is to be converted."""
        given = _given(problem)
        return Amount(given.amount, given.unit)

    def moves(self, problem: Problem, state: Amount) -> dict[str, Amount]:
        """Return every conversion of what there is, in the facts' order."""
        factors = _given(problem).facts.get(state.unit, {})
        made = [Amount(state.number * factor, target) for target, factor in factors.items()]
        return {f"{state} -> {after}": after for after in made}

    def after(self, problem: Problem, state: Amount, line: str) -> Amount:
        """Return what there is after a conversion."""
        if self.solved(problem, state):
            raise Fault(f"{state.unit} is the asked unit, nothing may follow it")
        if not (match := _LINE.fullmatch(line)):
            raise Fault(f"{line[:60]!r} is not of the form 'a4 -> b12'")
        before, written = Amount(int(match[2]), match[1]), Amount(int(match[4]), match[3])
        if before != state:
            raise Fault(f"what there is is {state}, not {before}")
        factor = _given(problem).facts.get(state.unit, {}).get(written.unit)
        if factor is None:
            raise Fault(f"no fact says how many {written.unit} one {state.unit} is")
        after = Amount(state.number * factor, written.unit)
        if written != after:
            raise Fault(f"{state} is {after}, not {written}")
        return after

    def solved(self, problem: Problem, state: Amount) -> bool:
        """Say whether the asked unit is reached."""
        return state.unit == _given(problem).asked

    def solvable(self, problem: Problem, state: Amount) -> bool:
        """Say whether conversions lead from a unit to the asked one."""
        return fewest_conversions(_given(problem), state.unit) is not None

    def lacking(self, problem: Problem, state: Amount) -> str:
        """Say where it ends, and that the asked unit cannot be reached if that is so."""
        given = _given(problem)
        reason = f"it ends with {state}, the question is how many {given.asked}"
        if self.solvable(problem, self.initial(problem)):
            return reason
        return f"{reason} (no conversions lead from {given.unit} to {given.asked})"

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read what the last line arrives at, e.g. `f48`; None where it is no conversion."""
        match = _LINE.fullmatch(trajectory.text.rpartition(self.separator)[2])
        return f"{match[3]}{match[4]}" if match else None

    def parse(self, text: str) -> Problem:
        """Read a problem like `h = min60, min = s60: h2 -> s?`: real units are fine, and so are problems without a way.

        Raises:
            ProblemSyntaxError: The text is no such problem, or its facts contradict each other.
        """
        before, colon, after = text.partition(":")
        question = _QUESTION.fullmatch(after)
        if not colon or not question:
            reason = "after the facts and a ':' must stand the question: an amount of one unit, '->', another unit, '?'"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        facts: list[tuple[str, int, str]] = []
        for part in before.split(","):
            if not (match := _FACT.fullmatch(part)):
                reason = f"{part.strip()[:60]!r} is no fact: it takes a unit, '=', another unit and a number"
                raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
            facts += [(match[1], int(factor), target) for target, factor in _VALUE.findall(match[2])]
        unit, amount, asked = question[1], int(question[2]), question[3]
        if mistake := _mistake(facts, unit, asked):
            raise ProblemSyntaxError(text, reason=mistake, expected=_EXAMPLE)
        problem = _problem(facts, amount, unit, asked)
        if amount * _largest(_given(problem), unit) >= 10**40:
            raise ProblemSyntaxError(text, reason="amounts may have up to 40 digits", expected=_EXAMPLE)
        return problem


def fewest_conversions(given: Given, unit: str) -> int | None:
    """Return how many conversions it takes from a unit to the asked one; None where none lead there."""
    seen, level, count = {unit}, {unit}, 0
    while level:
        if given.asked in level:
            return count
        level = {target for source in level for target in given.facts.get(source, ())} - seen
        seen |= level
        count += 1
    return None


def _largest(given: Given, unit: str) -> int:
    """Return the most that one of a unit can become."""
    return max((factor * _largest(given, target) for target, factor in given.facts.get(unit, {}).items()), default=1)


def _distance(given: Given, unit: str) -> int:
    return cast("int", fewest_conversions(given, unit))


def _walk(tree: Mapping[int, Mapping[int, int]], unit: int, asked: int) -> str:
    """Write down what is below a unit, without any names."""
    if unit not in tree:
        return "?" if unit == asked else ""
    below = sorted((factor, _walk(tree, target, asked)) for target, factor in tree[unit].items())
    return "(" + " ".join(f"{factor}{walk}" for factor, walk in below) + ")"


def _mistake(facts: Sequence[tuple[str, int, str]], unit: str, asked: str) -> str | None:
    """Say why facts and question make no problem; None where they do."""
    if unit == asked:
        return f"{unit} is asked in {unit}, it takes another unit"
    seen: set[tuple[str, str]] = set()
    for source, factor, target in facts:
        if source == target:
            return f"'{source} = {target}{factor}' says nothing, it takes two units"
        if factor < 2:
            return f"'{source} = {target}{factor}' has a factor under 2"
        if (source, target) in seen:
            return f"there are two facts about {target} in one {source}"
        seen.add((source, target))
    return _contradiction(facts)


def _contradiction(facts: Sequence[tuple[str, int, str]]) -> str | None:
    """Say which fact does not go with those before it: each group of units that hang together gets its sizes."""
    group: dict[str, dict[str, Fraction]] = {}
    for source, factor, target in facts:
        one = group.setdefault(source, {source: Fraction(1)})
        other = group.setdefault(target, {target: Fraction(1)})
        if one is other:
            if one[source] != factor * one[target]:
                return f"'{source} = {target}{factor}' contradicts the facts before it"
            continue
        scale = one[source] / (factor * other[target])
        for name, size in other.items():
            one[name] = size * scale
            group[name] = one
    return None


def _problem(facts: Sequence[tuple[str, int, str]], amount: int, unit: str, asked: str) -> Problem:
    rows: dict[str, list[tuple[str, int, str]]] = {}
    for fact in facts:
        rows.setdefault(fact[0], []).append(fact)
    listed = ", ".join(
        source + "".join(f" = {target}{factor}" for _, factor, target in row) for source, row in rows.items()
    )
    return Problem(
        id=f"{listed}: {unit}{amount}-{asked}".translate(str.maketrans("=", "-", " ")),
        text=f"{listed}: {unit}{amount} -> {asked}?",
        data={"facts": tuple(chain(*rows.values())), "amount": amount, "unit": unit, "asked": asked},
    )


def _given(problem: Problem) -> Given:
    facts: dict[str, dict[str, int]] = {}
    for source, factor, target in cast("Sequence[tuple[str, int, str]]", problem.data["facts"]):
        facts.setdefault(source, {})[target] = factor
    data = problem.data
    return Given(facts, cast("int", data["amount"]), cast("str", data["unit"]), cast("str", data["asked"]))
