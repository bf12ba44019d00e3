"""Countdown: reach a target from a few numbers, each used exactly once.

    3 7 8 2 -> 16
    3 + 7 = 10 | left: 8 2 10
    8 - 2 = 6 | left: 10 6
    10 + 6 = 16 | left: 16

Every line takes two of the numbers that are left and puts back one result, so a problem of n numbers has n - 1 lines.
A result is never negative, and a division leaves no remainder. Most wrong solutions are dead ends: every line is right,
but from some line on the target is out of reach. Whether it is can be decided exactly, so a learned step reward can be
measured against the truth.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import combinations
from random import Random
from typing import NamedTuple, TypeAlias, cast

from trellis import Outcome, Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import CountdownConfig
from trellis_reasoning.moves import Fault, MovesTask

# At most 40 digits: Python refuses to read endless ones, and a verifier must not raise.
_NUMBER = r"(?:0|[1-9][0-9]{0,39})"
_LINE = re.compile(rf"({_NUMBER}) ([-+*/]) ({_NUMBER}) = ({_NUMBER}) \| left:((?: {_NUMBER})+)")
_EXAMPLE = "3 7 8 2 -> 24"

Numbers: TypeAlias = tuple[int, ...]


class Countdown(MovesTask[Numbers]):
    """Countdown problems, an exact verifier and an exact step oracle; the state is the numbers that are left.

    The tokens of a line are separated by exactly one space, the last line has no newline after it. `left` lists what
    remains and the result; traces write the remaining numbers in their order and then the result, the verifier takes
    any order.
    """

    Config = CountdownConfig

    def __init__(self, config: CountdownConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw numbers and a target."""
        numbers = tuple(random.choices(range(1, self.config.max_number + 1), k=self.config.numbers))
        target = random.randint(1, self.config.max_target)
        return _text(sorted(numbers), target), _problem(numbers, target)

    def accepts(self, problem: Problem) -> bool:
        """Say whether it can be solved."""
        return self.solvable(problem, self.initial(problem))

    def initial(self, problem: Problem) -> Numbers:
        """Return the numbers given."""
        return _given(problem)[0]

    def moves(self, problem: Problem, state: Numbers) -> dict[str, Numbers]:
        """Return each operation on two of the numbers once, the operands of + and * in the order in which they are left."""
        moves: dict[str, Numbers] = {}
        for i, j in combinations(range(len(state)), 2):
            for a, operation, b, result in _combine(state[i], state[j], self.config.operations):
                after = (*state[:i], *state[i + 1 : j], *state[j + 1 :], result)
                moves[f"{a} {operation} {b} = {result} | left: {_join(after)}"] = after
        return moves

    def after(self, problem: Problem, state: Numbers, line: str) -> Numbers:
        """Return the numbers left after a line, in the order in which it writes them."""
        if not (match := _LINE.fullmatch(line)):
            raise Fault(f"{line[:60]!r} is not of the form 'a op b = c | left: …'")
        first, operation, second, claimed, listed = match.groups()
        if operation not in self.config.operations:
            raise Fault(f"'{operation}' is not among the operations '{self.config.operations}'")
        a, b, written = int(first), int(second), tuple(map(int, listed.split()))
        rest = list(state)
        for number in (a, b):
            if number not in rest:
                raise Fault(f"{number} is not left (any more)")
            rest.remove(number)
        result = _apply(a, operation, b)
        if result is None:
            raise Fault(f"{a} {operation} {b} is no whole number of 0 or more")
        if int(claimed) != result:
            raise Fault(f"{a} {operation} {b} is {result}, not {claimed}")
        if sorted(written) != sorted([*rest, result]):
            raise Fault(f"what is left is {_join([*rest, result])}, not {_join(written)}")
        return written

    def solved(self, problem: Problem, state: Numbers) -> bool:
        """Say whether the target alone is left."""
        return state == (_given(problem)[1],)

    def solvable(self, problem: Problem, state: Numbers) -> bool:
        """Say whether what is left can make the target."""
        return solvable(state, _given(problem)[1], operations=self.config.operations)

    def over(self, problem: Problem, state: Numbers) -> bool:
        """Say whether one number is left, the target or not."""
        return len(state) == 1

    def lacking(self, problem: Problem, state: Numbers) -> str:
        """Say what is left, and what the target is."""
        return f"it ends with {_join(state)} left, the target is {_given(problem)[1]}"

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory; `reason` also says that the problem has no solution if that is so."""
        problem, outcome = trajectory.problem, super().verify(trajectory)
        if outcome.correct or self.accepts(problem):
            return outcome
        (numbers, target), operations = _given(problem), self.config.operations
        none = f" (nothing made of {_join(numbers)} with the operations {operations} is {target})"
        return replace(outcome, reason=outcome.reason + none)

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the solution as one expression and what it is said to be, e.g. `2 + 3 + 8 - 7 = 6`.

        Sums and products are flattened and sorted, so the same solution in another order is the same string. None
        where a line is malformed, or the lines do not join into one expression.
        """
        results: defaultdict[str, list[Expression]] = defaultdict(list)
        result = ""
        for line in trajectory.text.split(self.separator):
            if not (match := _LINE.fullmatch(line)):
                return None
            first, operation, second, result, _ = match.groups()
            # A number that is both given and a result is taken to be the result: either way has the same value.
            operands = [
                results[number].pop() if results[number] else Expression.of(number) for number in (first, second)
            ]
            results[result].append(operands[0].joined(operation, operands[1]))
        (expression, *others) = [expression for made in results.values() for expression in made]
        return None if others else f"{expression} = {result}"

    def parse(self, text: str) -> Problem:
        """Read a problem like `3 7 8 2 -> 24`: commas, extra spaces, and `=>` or `to` for the arrow are fine.

        3 to 6 numbers are taken whatever the config says, and so are problems without a solution.

        Raises:
            ProblemSyntaxError: The text is no such problem.
        """
        sides = re.split(r"->|=>|→|\bto\b", text)
        if len(sides) != 2:
            raise ProblemSyntaxError(text, reason="one '->' must stand before the target", expected=_EXAMPLE)
        numbers, target = ([word for word in re.split(r"[\s,]+", side) if word] for side in sides)
        for word in numbers + target:
            if not re.fullmatch("[0-9]{1,12}", word):
                reason = f"'{word}' is no whole number from 0 to 999999999999"
                raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        if not 3 <= len(numbers) <= 6:
            reason = f"there are {len(numbers)} numbers, it takes 3 to 6"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        if len(target) != 1:
            reason = f"there are {len(target)} targets, it takes one"
            raise ProblemSyntaxError(text, reason=reason, expected=_EXAMPLE)
        return _problem(tuple(map(int, numbers)), int(target[0]))


class Expression(NamedTuple):
    """A number, a sum or a product, in normal form.

    Attributes:
        family: "+" for sums and differences, "*" for products and quotients, "" for a single number.
        direct: What is added, or multiplied; sorted.
        inverse: What is subtracted, or divided by; sorted.
    """

    family: str
    direct: tuple[str, ...]
    inverse: tuple[str, ...]

    @classmethod
    def of(cls, number: str) -> Expression:
        """Return a single number."""
        return cls("", (number,), ())

    def joined(self, operation: str, other: Expression) -> Expression:
        """Return `self operation other`, flattened where the operations associate."""
        family = "+" if operation in "+-" else "*"
        direct, inverse = self._parts(family)
        more, less = other._parts(family)
        if operation in "-/":
            more, less = less, more
        return Expression(family, tuple(sorted(direct + more)), tuple(sorted(inverse + less)))

    def _parts(self, family: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if self.family == family:
            return self.direct, self.inverse
        return ((f"({self})" if self.family else str(self),), ())

    def __str__(self) -> str:
        opposite = "-" if self.family == "+" else "/"
        return f" {self.family} ".join(self.direct) + "".join(f" {opposite} {part}" for part in self.inverse)


def solvable(numbers: Iterable[int], target: int, *, operations: str) -> bool:
    """Say whether the numbers, each used once, can make the target."""
    key = tuple(sorted(numbers))
    few = len(key) <= 4 or "*" not in operations
    return target in _reachable(key, operations) if few else _found(key, target, operations)


@lru_cache(maxsize=1 << 18)
def _found(numbers: tuple[int, ...], target: int, operations: str) -> bool:
    # Five or six numbers make thousands of products and sums of them; most targets are among the first.
    return target in _results(numbers, operations)


@lru_cache(maxsize=1 << 16)
def _reachable(numbers: tuple[int, ...], operations: str) -> frozenset[int]:
    return frozenset(_results(numbers, operations))


def _results(numbers: tuple[int, ...], operations: str) -> Iterator[int]:
    """Yield whatever sorted numbers can make, with repetitions.

    The last operation joins a result of some of the numbers and a result of the others, and the rules for a result do
    not look at the rest of the game: so the results of the parts are enough, and the parts of a sorted tuple recur.
    """
    if len(numbers) == 1:
        yield numbers[0]
    for some, others in _parts(len(numbers)):
        firsts = _reachable(tuple(numbers[i] for i in some), operations)
        seconds = _reachable(tuple(numbers[i] for i in others), operations)
        for first in firsts:
            for second in seconds:
                for *_, result in _combine(first, second, operations):
                    yield result


@cache
def _parts(count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the ways to part `count` places in two, even ones first: their results are the cheapest to know."""
    ways = []
    for mask in range(1, 1 << (count - 1)):
        some = tuple(i for i in range(count) if mask >> i & 1)
        ways.append((some, tuple(i for i in range(count) if i not in some)))
    return sorted(ways, key=lambda way: abs(len(way[0]) - len(way[1])))


def _combine(a: int, b: int, operations: str) -> Iterator[tuple[int, str, int, int]]:
    """Yield every legal `a op b = result` and `b op a = result`; one of the two where the operation commutes."""
    for operation in operations:
        for first, second in ((a, b),) if operation in "+*" else ((a, b), (b, a)):
            if (result := _apply(first, operation, second)) is not None:
                yield first, operation, second, result


def _apply(a: int, operation: str, b: int) -> int | None:
    """Return `a operation b`, None where the rules forbid it."""
    if operation == "+":
        return a + b
    if operation == "-":
        return a - b if a >= b else None
    if operation == "*":
        return a * b
    return a // b if b and a % b == 0 else None


def _problem(numbers: Numbers, target: int) -> Problem:
    text = _text(numbers, target)
    id_ = text.replace(" -> ", "-to-").replace(" ", "-")
    return Problem(id=id_, text=text, data={"numbers": numbers, "target": target})


def _given(problem: Problem) -> tuple[Numbers, int]:
    return tuple(cast("Sequence[int]", problem.data["numbers"])), cast("int", problem.data["target"])


def _text(numbers: Iterable[int], target: int) -> str:
    return f"{_join(numbers)} -> {target}"


def _join(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))
