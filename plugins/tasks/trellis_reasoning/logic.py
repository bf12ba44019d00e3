"""Logic: derive a goal from facts, by rules with one premise or two, in a limited number of steps.

    b f h | b>d d>a dh>e ef>g f>c | g in 3
    b>d
    dh>e
    ef>g

`dh>e` reads: from d and h follows e. Every line applies one rule whose premises are given or derived and whose
conclusion is new; the line that derives the goal is the last. Many rules can be applied to no use, and each costs one
of the steps: most wrong solutions are dead ends, in which every line is right but the steps left are too few.

The prompts are in the spirit of PrOntoQA (Saparov and He, 2023, https://arxiv.org/abs/2210.01240), proofs by modus
ponens among distractors. Other than there, a rule may have two premises, proofs are not unique, their length is limited,
and nothing is put into English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from string import ascii_lowercase
from typing import NamedTuple, TypeAlias, cast

from trellis import Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import LogicConfig
from trellis_reasoning.moves import Fault, MovesTask

MAX_RULES = 16
"""As many rules are read: the search for a derivation takes up to 2^rules states."""

_LINE = re.compile("([a-z]{1,2})>([a-z])")
_GOAL = re.compile(r"\s*([a-z])\s+in\s+([1-9][0-9]?)\s*")
_EXAMPLE = "a b | a>c bc>d | d in 2"

Masks: TypeAlias = tuple[tuple[int, int], ...]
"""Of each rule the set of its premises and its conclusion: bit i is the letter i, so that sets are numbers."""


class Theory(NamedTuple):
    """What is given.

    Attributes:
        facts: The letters that hold from the start.
        rules: Premises (one letter or two) and conclusion of each rule, in the order in which the problem lists them.
        goal: What is to be derived.
        limit: In how many steps at most.
    """

    facts: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]
    goal: str
    limit: int

    @property
    def masks(self) -> Masks:
        """The rules as numbers."""
        return tuple((_mask(premises), _mask(conclusion)) for premises, conclusion in self.rules)


class State(NamedTuple):
    """What is known after some steps, and how many are left."""

    known: frozenset[str]
    left: int


class Logic(MovesTask[State]):
    """Facts and rules with derivations, an exact verifier and an exact step oracle.

    Traces write a rule as the problem does, the verifier takes two premises in any order.
    """

    Config = LogicConfig

    def __init__(self, config: LogicConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw an order of the letters, rules that run forward in it, facts and a goal.

        Every letter but the last few is the only premise of as many rules as any, and those rules stand first: a letter's
        rules are always in the same place, where a small model learns to find them.
        """
        c = self.config
        inner, ends = ascii_lowercase[: c.letters], ascii_lowercase[c.letters : c.letters + c.dead_ends]
        order = random.sample(inner, c.letters) + random.sample(ends, c.dead_ends)
        rules: list[tuple[str, str]] = []
        for letter in inner:
            later = order[order.index(letter) + 1 :]
            rules += [(letter, conclusion) for conclusion in sorted(random.sample(later[: c.span], c.branches))]
        pairs: set[tuple[str, str]] = set()
        while len(pairs) < c.two_premises:
            first, second = sorted(random.sample(range(c.letters), 2))
            premises = "".join(sorted(order[first] + order[second]))
            pairs.add((premises, random.choice(order[second + 1 :][: c.span])))
        rules += sorted(pairs)
        facts = random.sample(order[: c.letters], c.facts)
        goals = _first_derived([(_mask(premises), _mask(made)) for premises, made in rules], _mask(facts), c.steps)
        goal = random.choice(goals) if goals else order[-1]
        theory = Theory(tuple(sorted(facts)), tuple(rules), goal, c.steps + c.spare_steps)
        problem = _problem(theory)
        return problem.id, problem

    def accepts(self, problem: Problem) -> bool:
        """Say whether the goal takes as many steps as configured, and can be missed often enough."""
        theory, steps = _given(problem), self.config.steps
        right = theory.goal in _first_derived(theory.masks, _mask(theory.facts), steps)
        return right and chance(theory) <= self.config.max_chance

    def initial(self, problem: Problem) -> State:
        """Return the facts, and all steps."""
        theory = _given(problem)
        return State(frozenset(theory.facts), theory.limit)

    def moves(self, problem: Problem, state: State) -> dict[str, State]:
        """Return the rules that derive something new; none where the goal is derived or no step is left."""
        if self.solved(problem, state) or not state.left:
            return {}
        return {
            f"{premises}>{conclusion}": State(state.known | {conclusion}, state.left - 1)
            for premises, conclusion in _given(problem).rules
            if state.known.issuperset(premises) and conclusion not in state.known
        }

    def after(self, problem: Problem, state: State, line: str) -> State:
        """Return what is known after the application of a rule."""
        if self.solved(problem, state):
            raise Fault("nothing may follow, the problem is solved")
        if not (match := _LINE.fullmatch(line)):
            raise Fault(f"{line[:60]!r} is not of the form 'a>b' or 'ab>c'")
        premises, conclusion = match.groups()
        theory = _given(problem)
        if not state.left:
            raise Fault(f"only {theory.limit} steps are allowed")
        if not any(sorted(premises) == sorted(rule[0]) and conclusion == rule[1] for rule in theory.rules):
            raise Fault(f"there is no rule {line}")
        if unknown := [premise for premise in premises if premise not in state.known]:
            raise Fault(f"{unknown[0]} is not known (yet)")
        if conclusion in state.known:
            raise Fault(f"{conclusion} is known already")
        return State(state.known | {conclusion}, state.left - 1)

    def solved(self, problem: Problem, state: State) -> bool:
        """Say whether the goal is derived."""
        return _given(problem).goal in state.known

    def solvable(self, problem: Problem, state: State) -> bool:
        """Say whether the goal can be derived in the steps left, by trying."""
        theory = _given(problem)
        return _derivable(theory.masks, _mask(state.known), _mask(theory.goal), state.left)

    def lacking(self, problem: Problem, state: State) -> str:
        """Say that the goal is not derived, and that it cannot be if that is so."""
        theory = _given(problem)
        reason = f"{theory.goal} is not derived"
        if self.solvable(problem, self.initial(problem)):
            return reason
        return f"{reason} (it cannot be in {theory.limit} steps)"

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the rules applied, sorted, e.g. `b>d dh>e`: the same derivation in another order is the same string.

        None where a line is malformed.
        """
        rules = []
        for line in trajectory.text.split(self.separator):
            if not (match := _LINE.fullmatch(line)):
                return None
            rules.append(f"{''.join(sorted(match[1]))}>{match[2]}")
        return " ".join(sorted(rules))

    def parse(self, text: str) -> Problem:
        """Read a problem like `a b | a>c bc>d | d in 2`: commas and extra spaces are fine.

        Up to 16 rules and 99 steps are taken whatever the config says, and so is a goal that cannot be derived.

        Raises:
            ProblemSyntaxError: The text is no such problem.
        """
        parts = text.split("|")
        if len(parts) != 3:
            reason = "facts, rules and goal must stand between two '|'"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        facts, rules = (re.split(r"[\s,]+", part.strip(" \t\r\n,")) for part in parts[:2])
        for fact in facts:
            if not re.fullmatch("[a-z]", fact):
                reason = f"{fact[:20]!r} is no fact, a letter from a to z"
                raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        for rule in rules:
            if not (match := _LINE.fullmatch(rule)) or len({*rule}) < len(rule):
                reason = f"{rule[:20]!r} is no rule between different letters, like 'a>b' or 'ab>c'"
                raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        if twice := [word for word in facts + rules if (facts + rules).count(word) > 1]:
            raise ProblemSyntaxError(text, reason=f"{twice[0]} is there twice", expected=_EXAMPLE)
        if len(rules) > MAX_RULES:
            reason = f"there are {len(rules)} rules, it takes up to {MAX_RULES}"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        if not (match := _GOAL.fullmatch(parts[2])):
            reason = f"{parts[2].strip()[:20]!r} is no goal with a number of steps from 1 to 99, like 'd in 2'"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        goal, limit = match.groups()
        if goal in facts:
            raise ProblemSyntaxError(text, reason=f"the goal {goal} is a fact", expected=_EXAMPLE)
        pairs = [rule.split(">") for rule in rules]
        return _problem(Theory(tuple(facts), tuple((pair[0], pair[1]) for pair in pairs), goal, int(limit)))


def chance(theory: Theory) -> float:
    """Return how probable it is that rules drawn at random, among those that derive something new, reach the goal."""
    rules, goal = theory.masks, _mask(theory.goal)
    found: dict[int, float] = {}

    def at(known: int, left: int) -> float:
        # Every step adds one letter: what is known says how many steps are left.
        if known not in found:
            new = {}
            if not known & goal and left:
                new = {i: made for i, (given, made) in enumerate(rules) if given & ~known == 0 and not made & known}
            after = sum(at(known | made, left - 1) for made in new.values())
            found[known] = 1.0 if known & goal else after / len(new) if new else 0.0
        return found[known]

    return at(_mask(theory.facts), theory.limit)


@lru_cache(maxsize=1 << 18)
def _derivable(rules: Masks, known: int, goal: int, left: int) -> bool:
    """Say whether the goal is known, or can be in so many steps."""
    if known & goal or not left:
        return bool(known & goal)
    return any(
        _derivable(rules, known | made, goal, left - 1)
        for given, made in rules
        if given & ~known == 0 and not made & known
    )


def _first_derived(rules: Sequence[tuple[int, int]], facts: int, steps: int) -> list[str]:
    """Return the letters whose shortest derivation takes so many steps."""
    states, seen, new = {facts}, facts, 0
    for _ in range(steps):
        states = {known | made for known in states for given, made in rules if given & ~known == 0 and not made & known}
        new = 0
        for known in states:
            new |= known & ~seen
        seen |= new
    return [letter for letter in ascii_lowercase if new & _mask(letter)]


def _mask(letters: Sequence[str] | frozenset[str]) -> int:
    return sum(1 << (ord(letter) - ord("a")) for letter in letters)


def _problem(theory: Theory) -> Problem:
    rules = [f"{premises}>{conclusion}" for premises, conclusion in theory.rules]
    facts = "".join(theory.facts)
    return Problem(
        id=f"{facts}-{'-'.join(rule.replace('>', '') for rule in rules)}-{theory.goal}-in-{theory.limit}",
        text=f"{' '.join(facts)} | {' '.join(rules)} | {theory.goal} in {theory.limit}",
        data={"facts": facts, "rules": tuple(rules), "goal": theory.goal, "limit": theory.limit},
    )


def _given(problem: Problem) -> Theory:
    data = problem.data
    rules = [rule.split(">") for rule in cast("Sequence[str]", data["rules"])]
    return Theory(
        tuple(cast("str", data["facts"])),
        tuple((pair[0], pair[1]) for pair in rules),
        cast("str", data["goal"]),
        cast("int", data["limit"]),
    )
