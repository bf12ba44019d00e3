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

from trellis import Outcome, Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis.procedural import ProceduralTask
from trellis_reasoning.config import UnitsConfig

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


class Units(ProceduralTask):
    """Conversion problems with random solutions, an exact verifier and an exact step oracle.

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
        given = _given(problem)
        amount, unit = given.amount, given.unit
        steps: list[str] = []
        while unit != given.asked:
            targets = [target for target in given.facts[unit] if fewest_conversions(given, target) is not None]
            target = random.choice(targets) if random else min(targets, key=lambda at: _distance(given, at))
            steps.append(self._step(given, amount, unit, target))
            amount, unit = amount * given.facts[unit][target], target
        return steps

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory by its text and the problem alone; `reason` names the first faulty line."""
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        given = _given(trajectory.problem)
        try:
            amount, unit = self._replay(given, trajectory.text)
        except _Fault as fault:
            return Outcome(False, 0.0, str(fault))
        if unit == given.asked:
            return Outcome(True, 1.0)
        reason = f"it ends with {unit}{amount}, the question is how many {given.asked}"
        if fewest_conversions(given, given.unit) is None:
            reason += f" (no conversions lead from {given.unit} to {given.asked})"
        return Outcome(False, 0.0, reason)

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """Say for each step whether all is right so far and the asked unit is still in reach. Exact."""
        given = _given(trajectory.problem)
        verdicts: list[bool] = []
        text, good = "", True
        for place, step in enumerate(trajectory.steps, start=1):
            text += step.text
            ended = trajectory.finished and place == len(trajectory.steps)
            good = good and self._in_reach(given, text, ended=ended)
            verdicts.append(good)
        return verdicts

    def _in_reach(self, given: Given, text: str, *, ended: bool) -> bool:
        try:
            _, unit = self._replay(given, text)
        except _Fault:
            return False
        return unit == given.asked if ended else fewest_conversions(given, unit) is not None

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return every conversion of what there is now, whether or not it leads to the asked unit, in the facts' order.

        Empty where the steps so far break the rules or end within a line, the asked unit is reached, or no fact tells
        how to go on.
        """
        text = trajectory.text
        if not trajectory.open or (text and not text.endswith(self.separator)):
            return []
        given = _given(trajectory.problem)
        try:
            amount, unit = self._replay(given, text)
        except _Fault:
            return []
        return [self._step(given, amount, unit, target) for target in given.facts.get(unit, ())]

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

    def _step(self, given: Given, amount: int, unit: str, target: str) -> str:
        end = "" if target == given.asked else self.separator
        return f"{unit}{amount} -> {target}{amount * given.facts[unit][target]}{end}"

    def _replay(self, given: Given, text: str) -> tuple[int, str]:
        """Return the amount and unit after the lines of a text; raise `_Fault` at the first that is wrong."""
        amount, unit = given.amount, given.unit
        lines = text.split(self.separator)
        for place, line in enumerate(lines, start=1):
            # An empty last line: the text is empty, or ends with a separator, as every step but the last does.
            if not line and place == len(lines) and unit != given.asked:
                break
            try:
                amount, unit = _after(given, amount, unit, line)
            except _Fault as fault:
                raise _Fault(f"line {place}: {fault}") from None
        return amount, unit


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


def _after(given: Given, amount: int, unit: str, line: str) -> tuple[int, str]:
    """Return the amount and unit after one line."""
    if unit == given.asked:
        raise _Fault(f"{unit} is the asked unit, nothing may follow it")
    if not (match := _LINE.fullmatch(line)):
        raise _Fault(f"{line[:60]!r} is not of the form 'a4 -> b12'")
    if (match[1], int(match[2])) != (unit, amount):
        raise _Fault(f"what there is is {unit}{amount}, not {match[1]}{match[2]}")
    target, factor = match[3], given.facts.get(unit, {}).get(match[3])
    if factor is None:
        raise _Fault(f"no fact says how many {target} one {unit} is")
    if int(match[4]) != amount * factor:
        raise _Fault(f"{unit}{amount} is {target}{amount * factor}, not {target}{match[4]}")
    return amount * factor, target


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


class _Fault(Exception):  # noqa: N818 - what is wrong with a text; it never leaves this file
    pass
