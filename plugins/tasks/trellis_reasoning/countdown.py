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
from functools import cache, lru_cache
from itertools import combinations
from random import Random
from typing import NamedTuple, cast

from trellis import Outcome, Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis.procedural import ProceduralTask
from trellis_reasoning.config import CountdownConfig

# At most 40 digits: Python refuses to read endless ones, and a verifier must not raise.
_NUMBER = r"(?:0|[1-9][0-9]{0,39})"
_LINE = re.compile(rf"({_NUMBER}) ([-+*/]) ({_NUMBER}) = ({_NUMBER}) \| left:((?: {_NUMBER})+)")
_EXAMPLE = "3 7 8 2 -> 24"


class Countdown(ProceduralTask):
    """Countdown problems with random solutions, an exact verifier and an exact step oracle.

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
        numbers, target = _given(problem)
        return solvable(numbers, target, operations=self.config.operations)

    def solution(self, problem: Problem, random: Random | None) -> list[str]:
        """Take a random step (or the first) among those that keep the target in reach, until it is reached."""
        left, target = _given(problem)
        steps: list[str] = []
        while len(left) > 1:
            moves = list(self._moves(left).items())
            if random:
                random.shuffle(moves)
            text, left = next(move for move in moves if solvable(move[1], target, operations=self.config.operations))
            steps.append(text)
        return steps

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory by its text and the problem alone; `reason` names the first faulty line."""
        left, target = _given(trajectory.problem)
        reason = self._fault(trajectory, left, target)
        if reason is None:
            return Outcome(True, 1.0)
        if not solvable(left, target, operations=self.config.operations):
            reason += f" (nothing made of {_join(left)} with the operations {self.config.operations} is {target})"
        return Outcome(False, 0.0, reason)

    def _fault(self, trajectory: Trajectory, left: tuple[int, ...], target: int) -> str | None:
        if not trajectory.finished:
            return "it is not finished"
        try:
            left = self._replay(left, trajectory.text)
        except _Fault as fault:
            return str(fault)
        return None if left == (target,) else f"it ends with {_join(left)} left, the target is {target}"

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """Say for each step whether all is right so far and the target is still in reach. Exact."""
        verdicts: list[bool] = []
        text, good = "", True
        for place, step in enumerate(trajectory.steps, start=1):
            text += step.text
            ended = trajectory.finished and place == len(trajectory.steps)
            good = good and self._in_reach(trajectory.problem, text, ended=ended)
            verdicts.append(good)
        return verdicts

    def _in_reach(self, problem: Problem, text: str, *, ended: bool) -> bool:
        left, target = _given(problem)
        try:
            left = self._replay(left, text)
        except _Fault:
            return False
        return left == (target,) if ended else solvable(left, target, operations=self.config.operations)

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return the text of every step that the rules allow next, whether or not it leads to the target.

        Each move is there once, as traces write it: the operands of + and * in the order in which they are left.
        Every text but that of a last step ends with the separator, as `Step.text` does. Empty where the steps so far
        break the rules or end within a line, or nothing is left to do.
        """
        text = trajectory.text
        if not trajectory.open or (text and not text.endswith(self.separator)):
            return []
        left, _ = _given(trajectory.problem)
        try:
            left = self._replay(left, text)
        except _Fault:
            return []
        return list(self._moves(left))

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

    def _moves(self, left: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the text of each legal step, and the numbers left after it."""
        moves: dict[str, tuple[int, ...]] = {}
        for i, j in combinations(range(len(left)), 2):
            for a, operation, b, result in _combine(left[i], left[j], self.config.operations):
                after = (*left[:i], *left[i + 1 : j], *left[j + 1 :], result)
                end = self.separator if len(after) > 1 else ""
                moves[f"{a} {operation} {b} = {result} | left: {_join(after)}{end}"] = after
        return moves

    def _replay(self, left: tuple[int, ...], text: str) -> tuple[int, ...]:
        """Return the numbers left after the lines of a text; raise `_Fault` at the first that is wrong."""
        lines = text.split(self.separator)
        # An empty last line: the text is empty, or ends with a separator, as every step but the last does.
        if not lines[-1] and len(lines) < len(left):
            lines.pop()
        for place, line in enumerate(lines, start=1):
            try:
                left = self._after(left, line)
            except _Fault as fault:
                raise _Fault(f"line {place}: {fault}") from None
        return left

    def _after(self, left: tuple[int, ...], line: str) -> tuple[int, ...]:
        """Return the numbers left after one line, in the order in which it writes them."""
        if not (match := _LINE.fullmatch(line)):
            raise _Fault(f"{line[:60]!r} is not of the form 'a op b = c | left: …'")
        first, operation, second, claimed, listed = match.groups()
        if operation not in self.config.operations:
            raise _Fault(f"'{operation}' is not among the operations '{self.config.operations}'")
        a, b, written = int(first), int(second), tuple(map(int, listed.split()))
        rest = list(left)
        for number in (a, b):
            if number not in rest:
                raise _Fault(f"{number} is not left (any more)")
            rest.remove(number)
        result = _apply(a, operation, b)
        if result is None:
            raise _Fault(f"{a} {operation} {b} is no whole number of 0 or more")
        if int(claimed) != result:
            raise _Fault(f"{a} {operation} {b} is {result}, not {claimed}")
        if sorted(written) != sorted([*rest, result]):
            raise _Fault(f"what is left is {_join([*rest, result])}, not {_join(written)}")
        return written


class _Fault(Exception):  # noqa: N818 - what is wrong with a text; it never leaves this file
    pass


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


def _problem(numbers: tuple[int, ...], target: int) -> Problem:
    text = _text(numbers, target)
    id_ = text.replace(" -> ", "-to-").replace(" ", "-")
    return Problem(id=id_, text=text, data={"numbers": numbers, "target": target})


def _given(problem: Problem) -> tuple[tuple[int, ...], int]:
    return tuple(cast("Sequence[int]", problem.data["numbers"])), cast("int", problem.data["target"])


def _text(numbers: Iterable[int], target: int) -> str:
    return f"{_join(numbers)} -> {target}"


def _join(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))
