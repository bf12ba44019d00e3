"""Equation: solve a linear equation in one unknown, one operation a line, in so few lines that none may be wasted.

    2x + 5 + 3 = x + 8 + 4 in 3
    5+3: 2x + 8 = x + 8 + 4
    8-8: 2x = x + 4
    2x-x: x = 4

Every line names its operation and what the equation is after it. There are three: `5+3` adds two like terms of one side;
`8-5` subtracts a term from both sides, out of a like term on the other, so that 8 becomes 3 and 5 is gone (`8-8`: both
are gone); `/2` divides every term. No term is ever under 1 and no side ever empty. It is solved when x is alone on one
side and a number on the other.

Every operation keeps the solution, and doing them in any order would end there at last. But the lines are numbered, and
an equation of n terms is solved in time only by who sees which terms cancel as a group: 5 and 3 against 8 above. Whoever
begins with `8-4` has done nothing wrong and is lost. Whether a line keeps the solution in time can be decided exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from math import gcd
from random import Random
from typing import NamedTuple, TypeAlias, cast

from trellis import Outcome, Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis.procedural import ProceduralTask
from trellis_reasoning.config import EquationConfig

MAX_TERMS = 9
"""More terms than this would take the exact search too long."""

# At most 40 digits: Python refuses to read endless ones, and a verifier must not raise.
_NUMBER = "[1-9][0-9]{0,39}"
_TERM = rf"(?:{_NUMBER}x?|x)"
_SIDE = rf"{_TERM}(?: \+ {_TERM})*"
_LINE = re.compile(rf"(?:({_TERM})([-+])({_TERM})|/({_NUMBER})): ({_SIDE}) = ({_SIDE})")
_PROBLEM = re.compile(r"([^=]+)=([^=]+?)(?:\bin\s+([0-9]{1,4})\s*(?:lines?\s*)?)?")
_EXAMPLE = "2x + 5 + 3 = x + 8 + 4 in 3"


class Term(NamedTuple):
    """A number, or a multiple of x; at least 1."""

    count: int
    of_x: bool

    def __str__(self) -> str:
        return f"{'' if self.of_x and self.count == 1 else self.count}{'x' if self.of_x else ''}"


Side: TypeAlias = tuple[Term, ...]


class Sides(NamedTuple):
    """An equation."""

    left: Side
    right: Side

    def __str__(self) -> str:
        return " = ".join(" + ".join(map(str, side)) for side in self)

    @property
    def in_order(self) -> Sides:
        """The equation with the terms of each side sorted."""
        return Sides(tuple(sorted(self.left)), tuple(sorted(self.right)))

    @property
    def solved(self) -> bool:
        """Whether x is alone on one side and a number on the other."""
        return sorted(map(_kind, self)) == ["n", "x"]


class Equation(ProceduralTask):
    """Equations with random solutions, an exact verifier and an exact step oracle.

    Traces write the terms in the order in which they stood, a result where its first or its larger term was; the
    verifier takes the terms of a side, and the operands of a sum, in any order.
    """

    Config = EquationConfig

    def __init__(self, config: EquationConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw an equation with a whole solution; the number of lines is the fewest in which it can be solved."""
        c = self.config
        while True:
            solution = random.randint(1, c.max_solution)
            sides: tuple[list[Term], list[Term]] = ([], [])
            for _ in range(c.x_terms):
                random.choice(sides).append(Term(random.randint(1, c.max_coefficient), True))
            for _ in range(c.numbers - 1):
                random.choice(sides).append(Term(random.randint(1, c.max_number), False))
            values = [sum(term.count * (solution if term.of_x else 1) for term in side) for side in sides]
            last = abs(values[0] - values[1])
            sides[values[0] > values[1]].append(Term(last, False))
            if 1 <= last <= c.max_number and all(sides) and _solution(Sides(*map(tuple, sides))) and _groups(sides):
                break
        for side in sides:
            random.shuffle(side)
        equation = Sides(tuple(sides[0]), tuple(sides[1]))
        problem = _problem(equation, fewest_lines(equation))
        return str(min(equation.in_order, Sides(*reversed(equation.in_order)))), problem

    def accepts(self, problem: Problem) -> bool:
        """Say whether enough lines are saved by terms that cancel as a group."""
        equation, lines = _given(problem)
        return _lines_at_leisure(equation) - lines >= self.config.saved_lines

    def solution(self, problem: Problem, random: Random | None) -> list[str]:
        """Take a random operation (or the first) among those that keep the solution in time."""
        equation, lines = _given(problem)
        steps: list[str] = []
        while not equation.solved:
            lines -= 1
            operations = list(_moves(equation))
            if random:
                random.shuffle(operations)
            name, equation = next(move for move in operations if solvable(move[1], lines))
            steps.append(self._step(name, equation, lines))
        return steps

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory by its text and the problem alone; `reason` names the first faulty line."""
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        given, lines = _given(trajectory.problem)
        try:
            equation, _ = self._replay(given, lines, trajectory.text)
        except _Fault as fault:
            reason = str(fault)
        else:
            if equation.solved:
                return Outcome(True, 1.0)
            reason = f"it ends with {equation}, which is not solved"
        if not solvable(given, lines):
            reason += f" ({given} takes {fewest_lines(given)} lines at least)"
        return Outcome(False, 0.0, reason)

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """Say for each step whether all is right so far and the lines left are enough. Exact."""
        verdicts: list[bool] = []
        text, good = "", True
        for place, step in enumerate(trajectory.steps, start=1):
            text += step.text
            ended = trajectory.finished and place == len(trajectory.steps)
            good = good and self._in_time(trajectory.problem, text, ended=ended)
            verdicts.append(good)
        return verdicts

    def _in_time(self, problem: Problem, text: str, *, ended: bool) -> bool:
        try:
            equation, lines = self._replay(*_given(problem), text)
        except _Fault:
            return False
        return equation.solved if ended else solvable(equation, lines)

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return every operation that the rules allow next, as traces write it, whether or not it is in time.

        Empty where the steps so far break the rules or end within a line, x is found, or no line is left.
        """
        text = trajectory.text
        if not trajectory.open or (text and not text.endswith(self.separator)):
            return []
        try:
            equation, lines = self._replay(*_given(trajectory.problem), text)
        except _Fault:
            return []
        if equation.solved or lines == 0:
            return []
        return list(dict.fromkeys(self._step(name, after, lines - 1) for name, after in _moves(equation)))

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the last line's `x = 4`, also where it says `4 = x`; None where x is not alone there."""
        match = _LINE.fullmatch(trajectory.text.rpartition(self.separator)[2])
        if not match or "x" not in (match[5], match[6]):
            return None
        (number,) = {match[5], match[6]} - {"x"} or {"x"}
        return f"x = {number}" if number.isdigit() else None

    def parse(self, text: str) -> Problem:
        """Read a problem like `2x + 5 + 3 = x + 8 + 4 in 3`; without the number of lines it is the fewest possible.

        Raises:
            ProblemSyntaxError: The text is no such problem, or its solution is no whole number of 1 or more.
        """
        if not (match := _PROBLEM.fullmatch(text.strip())):
            reason = "it takes two sides with one '=' between them, and perhaps 'in' and a number of lines"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        sides: list[Side] = []
        for side in match[1], match[2]:
            words = [word.strip() for word in side.split("+")]
            for word in words:
                if not re.fullmatch(r"[1-9][0-9]{0,3}\s*x?|x", word):
                    reason = f"{word[:60]!r} is no term: it takes numbers from 1 to 9999, alone or before an x"
                    raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
            sides.append(tuple(_term("".join(word.split())) for word in words))
        equation = Sides(*sides)
        if (terms := sum(map(len, equation))) > MAX_TERMS:
            raise ProblemSyntaxError(text, reason=f"there are {terms} terms, it takes {MAX_TERMS} at most", expected=_EXAMPLE)
        if not _solution(equation):
            reason = "there is not one solution, a whole number of 1 or more"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        return _problem(equation, int(match[3]) if match[3] else fewest_lines(equation))

    def _step(self, name: str, equation: Sides, lines: int) -> str:
        return f"{name}: {equation}{'' if equation.solved or lines == 0 else self.separator}"

    def _replay(self, equation: Sides, lines: int, text: str) -> tuple[Sides, int]:
        """Return the equation and the lines left after those of a text; raise `_Fault` at the first that is wrong."""
        written = text.split(self.separator)
        # An empty last line: the text is empty, or ends with a separator, as every step but the last does.
        if not written[-1] and len(written) <= lines:
            written.pop()
        for place, line in enumerate(written, start=1):
            try:
                if place > lines:
                    raise _Fault(f"there are only {lines} lines")
                equation = _after(equation, line)
            except _Fault as fault:
                raise _Fault(f"line {place}: {fault}") from None
        return equation, lines - len(written)


@lru_cache(maxsize=1 << 18)
def _solvable(equation: Sides, lines: int) -> bool:
    if equation.solved:
        return True
    # No operation takes away more than two terms.
    if sum(map(len, equation)) - 2 > 2 * lines or lines == 0:
        return False
    return any(_solvable(after.in_order, lines - 1) for _, after in _moves(equation))


def solvable(equation: Sides, lines: int) -> bool:
    """Say whether an equation can be solved in at most so many lines."""
    return _solvable(equation.in_order, min(lines, _lines_at_leisure(equation)))


def fewest_lines(equation: Sides) -> int:
    """Return how many lines it takes to solve an equation that has a whole solution of 1 or more."""
    return next(lines for lines in range(_lines_at_leisure(equation) + 1) if solvable(equation, lines))


def _lines_at_leisure(equation: Sides) -> int:
    """Return how many lines it takes without two terms ever cancelling: one a term too many, one to divide."""
    coefficients = [sum(term.count for term in side if term.of_x) for side in equation]
    return sum(map(len, equation)) - 2 + (abs(coefficients[0] - coefficients[1]) != 1)


def _moves(equation: Sides) -> Iterator[tuple[str, Sides]]:
    """Yield every operation the rules allow, and the equation after it."""
    for place, side in enumerate(equation):
        for i, j in combinations(range(len(side)), 2):
            if side[i].of_x == side[j].of_x:
                joined = Term(side[i].count + side[j].count, side[i].of_x)
                after = (*side[:i], joined, *side[i + 1 : j], *side[j + 1 :])
                yield f"{side[i]}+{side[j]}", Sides(equation[0], after) if place else Sides(after, equation[1])
    for i, a in enumerate(equation.left):
        for j, b in enumerate(equation.right):
            if a.of_x == b.of_x:
                after = Sides(_less(equation.left, i, b.count), _less(equation.right, j, a.count))
                if all(after):
                    yield f"{max(a, b)}-{min(a, b)}", after
    common = gcd(*(term.count for side in equation for term in side))
    for divisor in range(2, common + 1):
        if common % divisor == 0:
            divided = (tuple(Term(term.count // divisor, term.of_x) for term in side) for side in equation)
            yield f"/{divisor}", Sides(*divided)


def _less(side: Side, place: int, count: int) -> Side:
    """Return a side with a term made smaller; without it where nothing of it remains."""
    left = max(side[place].count - count, 0)
    return (*side[:place], *([Term(left, side[place].of_x)] if left else []), *side[place + 1 :])


def _after(equation: Sides, line: str) -> Sides:
    """Return the equation after one line, in the order in which it is written there."""
    if equation.solved:
        raise _Fault("x is found, nothing may follow")
    if not (match := _LINE.fullmatch(line)):
        raise _Fault(f"{line[:60]!r} is not of the form '8-5: 2x + 3 = x + 7'")
    first, sign, second, divisor, *sides = match.groups()
    name = f"/{divisor}" if divisor else f"{first}{sign}{second}"
    names = {name, f"{second}+{first}"} if sign == "+" else {name}
    results = [after for operation, after in _moves(equation) if operation in names]
    written = Sides(*(tuple(map(_term, side.split(" + "))) for side in sides))
    if not results:
        raise _Fault(f"{name} is not possible in {equation}")
    if written.in_order not in [after.in_order for after in results]:
        raise _Fault(f"after {name} it is {' or '.join(map(str, dict.fromkeys(results)))}, not {written}")
    return written


def _groups(sides: Sequence[Sequence[Term]]) -> bool:
    """Say whether some terms of the left and some of the right, all of one kind, cancel as a group."""
    for of_x in (False, True):
        left, right = (_sums([term.count for term in side if term.of_x == of_x]) for side in sides)
        if left & right:
            return True
    return False


def _sums(counts: Sequence[int]) -> set[int]:
    sums: set[int] = set()
    for count in counts:
        sums |= {count, *(some + count for some in sums)}
    return sums


def _solution(equation: Sides) -> int | None:
    """Return the only x that solves an equation, None where there is none or it is no whole number of 1 or more."""
    x_left, x_right = (sum(term.count for term in side if term.of_x) for side in equation)
    left, right = (sum(term.count for term in side if not term.of_x) for side in equation)
    if x_left == x_right or (right - left) % (x_left - x_right):
        return None
    solution = (right - left) // (x_left - x_right)
    return solution if solution >= 1 else None


def _kind(side: Side) -> str:
    """Return "x" for x alone, "n" for one number, "" for everything else."""
    return "" if len(side) != 1 else "n" if not side[0].of_x else "x" if side[0].count == 1 else ""


def _term(text: str) -> Term:
    return Term(int(text.removesuffix("x") or 1), text.endswith("x"))


def _problem(equation: Sides, lines: int) -> Problem:
    left, right = (tuple(map(str, side)) for side in equation)
    text = f"{equation} in {lines}"
    return Problem(id=text.replace(" ", ""), text=text, data={"left": left, "right": right, "lines": lines})


def _given(problem: Problem) -> tuple[Sides, int]:
    left, right = (tuple(map(_term, cast("Sequence[str]", problem.data[side]))) for side in ("left", "right"))
    return Sides(left, right), cast("int", problem.data["lines"])


class _Fault(Exception):  # noqa: N818 - what is wrong with a text; it never leaves this file
    pass
