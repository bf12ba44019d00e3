"""Arithmetic: a chain of operations, worked out one operation per line.

    47 + 38 - 16 =
    47 + 38 = 85
    85 - 16 = 69

There is no precedence: `2 + 3 * 4 =` is 20. Operations that may change places without changing the result, `+` and `-`
in a row or `*` in a row, may be worked out in any order: `47 - 16 = 31`, `31 + 38 = 69` is right as well. Traces go from
left to right unless their style is "varied". With a modulus, `12 + 7 - 5 mod 17 =`, every result is reduced to
0 … modulus - 1.

The mistakes to be made are those of carrying: a step is good as long as all lines so far are right. A problem of one
operation, or one that alternates `*` with `+` or `-`, has exactly one solution.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from random import Random
from typing import NamedTuple, cast

from trellis import Problem, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import ArithmeticConfig
from trellis_reasoning.moves import Fault, MovesTask

_RESULT = re.compile(r"[^=\n]+ = (-?[0-9]{1,400})")
_PROBLEM = re.compile(
    r"\s*(?P<chain>[0-9]{1,12}(\s*[-+*]\s*[0-9]{1,12})+)\s*(\bmod\s+(?P<modulus>[0-9]{1,12})\s*)?=?\s*"
)


class State(NamedTuple):
    """The running value, and the operations that are left, each with its number."""

    value: int
    rest: tuple[tuple[str, int], ...]


class Arithmetic(MovesTask[State]):
    """Chains of operations with their solutions, an exact verifier and an exact step oracle.

    The tokens of a line are separated by exactly one space, the last line has no newline after it. Running values may
    be negative and are written `-3`.
    """

    Config = ArithmeticConfig

    def __init__(self, config: ArithmeticConfig) -> None:
        super().__init__(config)
        self.config = config
        width = len(str(config.max_number))
        self._least, self._most = (0 if width == 1 else 10 ** (width - 1)), 10**width - 1
        self._fixed_width = config.fixed_width and config.modulus is None

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw numbers and the operations between them."""
        c = self.config
        value = random.randint(max(1, self._least) if self._fixed_width else 1, c.max_number)
        tokens = [str(value)]
        for _ in range(c.length):
            operation, number = self._draw_operation(random, value)
            value = _apply(value, operation, number)
            tokens += [operation, str(number)]
        problem = _problem(tokens, c.modulus)
        return _key(tokens, c.modulus), problem

    def _draw_operation(self, random: Random, value: int) -> tuple[str, int]:
        """Draw an operation and a number; with fixed width, among those whose result has it."""
        c = self.config
        if not self._fixed_width:
            return random.choice(c.operations), random.randint(1, c.max_number)
        least = max(1, self._least)
        most = {"+": self._most - value, "-": value - self._least, "*": self._most // value if value else 0}
        operation = random.choice([each for each in c.operations if min(most[each], c.max_number) >= least])
        return operation, random.randint(least, min(most[operation], c.max_number))

    def accepts(self, problem: Problem) -> bool:
        """Say whether enough operations, taken from left to right, carry or borrow."""
        state = self.initial(problem)
        carrying = 0
        for operation, number in state.rest:
            carrying += carries(state.value, operation, number)
            state = _after(problem, state, operation, number)
        return carrying >= self.config.min_carries

    def solution(self, problem: Problem, random: Random | None) -> list[str]:
        """Take a random order (or left to right) in which, with fixed width, all results have that width."""
        lines = self._written(problem, self.initial(problem), random)
        return self.split_steps(self.separator.join(lines or []))

    def _written(self, problem: Problem, state: State, random: Random | None) -> list[str] | None:
        if not state.rest:
            return []
        moves = list(self.moves(problem, state).items())
        if random:
            random.shuffle(moves)
        for line, after in moves:
            if not self._fixed_width or self._least <= after.value <= self._most:
                lines = self._written(problem, after, random)
                if lines is not None:
                    return [line, *lines]
        return None

    def initial(self, problem: Problem) -> State:
        """Return the first number and all operations."""
        first, *rest = cast("Sequence[str]", problem.data["tokens"])
        return State(int(first), tuple(zip(rest[::2], map(int, rest[1::2]), strict=True)))

    def moves(self, problem: Problem, state: State) -> dict[str, State]:
        """Return the right line of each operation whose turn it may be."""
        moves: dict[str, State] = {}
        for operation, number in _whose_turn(state):
            after = _after(problem, state, operation, number)
            moves[f"{state.value} {operation} {number} = {after.value}"] = after
        return moves

    def after(self, problem: Problem, state: State, line: str) -> State:
        """Return the state after a right line."""
        if self.solved(problem, state):
            raise Fault("nothing may follow, the problem is solved")
        moves = self.moves(problem, state)
        if line not in moves:
            left, _, _ = line.partition(" = ")
            right = [move for move in moves if move.startswith(f"{left} = ")] or list(moves)
            raise Fault(f"{line[:60]!r} should be {right[0]!r}")
        return moves[line]

    def solved(self, problem: Problem, state: State) -> bool:
        """Say whether no operation is left."""
        return not state.rest

    def solvable(self, problem: Problem, state: State) -> bool:
        """Say that right lines can always be followed by right lines."""
        return True

    def lacking(self, problem: Problem, state: State) -> str:
        """Say which line is missing."""
        return f"line {len(self.initial(problem).rest) - len(state.rest) + 1}: missing"

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return lines of the right form: of each operation whose turn it may be the right line, then plausible slips.

        In arithmetic the rules allow right lines only, and nobody who knows them needs to search. So here a legal step
        is what somebody could write who reckons badly: a result off by one or by ten (a carry forgotten, or one too
        many), that of another operation, or one with two neighbouring digits swapped. A slip has the sign and the
        number of digits of the right result: its form does not give it away. Deterministic; empty where the trajectory
        has ended, or a line so far is wrong.
        """
        steps: list[str] = []
        for right in super().legal_steps(trajectory):
            left, _, result = right.partition(" = ")
            end = self.separator if right.endswith(self.separator) else ""
            modulus = cast("int | None", trajectory.problem.data["modulus"])
            slips = dict.fromkeys(_slips(left, int(result), modulus))
            steps += [right, *(f"{left} = {slip}{end}" for slip in slips)]
        return steps

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the result of the last line; None where it has none."""
        match = _RESULT.fullmatch(trajectory.text.rpartition(self.separator)[2])
        return str(int(match[1])) if match else None

    def parse(self, text: str) -> Problem:
        """Read a problem like `12 + 7 - 5 + 9 =`, with or without `=` and spaces.

        Numbers, length and operations may be others than the config's. `mod 17` at the end sets a modulus; without it
        the config's holds.

        Raises:
            ProblemSyntaxError: The text is no such problem.
        """
        if not (match := _PROBLEM.fullmatch(text)):
            reason = "it takes whole numbers with + - * between them, at least one operation"
            raise ProblemSyntaxError(text, reason=reason, expected="12 + 7 - 5 + 9 =")
        modulus = int(match["modulus"]) if match["modulus"] else self.config.modulus
        if modulus is not None and modulus < 2:
            raise ProblemSyntaxError(text, reason="a modulus is at least 2", expected="12 + 7 - 5 mod 17 =")
        tokens = re.findall("[0-9]+|[-+*]", match["chain"])
        return _problem([str(int(token)) if token.isdigit() else token for token in tokens], modulus)


def carries(a: int, operation: str, b: int) -> bool:
    """Say whether a sum or difference carries or borrows a ten; a product does not count.

    However the signs are, the largest of the three numbers is the sum of the other two. It carries exactly if the digit
    sums do not add up.
    """
    if operation == "*":
        return False
    result = _apply(a, operation, b)
    small, middle, large = (sum(map(int, str(number))) for number in sorted(map(abs, (a, b, result))))
    return small + middle != large


def _slips(left: str, result: int, modulus: int | None) -> Iterator[int]:
    """Yield wrong results of a line, with repetitions."""
    a, operation, b = left.split(" ")
    digits = str(abs(result))
    swaps = [digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :] for i in range(len(digits) - 1)]
    others = [_apply(int(a), other, int(b)) for other in "+-*" if other != operation]
    reduced = others if modulus is None else [other % modulus for other in others]
    swapped = [int(f"-{swap}" if result < 0 else swap) for swap in swaps]
    for slip in (result + 1, result - 1, result + 10, result - 10, *reduced, *swapped):
        alike = len(str(slip)) == len(str(result)) and (slip < 0) == (result < 0)
        if slip != result and alike and (modulus is None or 0 <= slip < modulus):
            yield slip


def _whose_turn(state: State) -> list[tuple[str, int]]:
    """Return the operations that may be next: all up to the first that does not change places with them."""
    count = 0
    while count < len(state.rest) and (state.rest[count][0] == "*") == (state.rest[0][0] == "*"):
        count += 1
    return list(state.rest[:count])


def _after(problem: Problem, state: State, operation: str, number: int) -> State:
    modulus = cast("int | None", problem.data["modulus"])
    result = _apply(state.value, operation, number)
    place = state.rest.index((operation, number))
    return State(result if modulus is None else result % modulus, state.rest[:place] + state.rest[place + 1 :])


def _key(tokens: Sequence[str], modulus: int | None) -> str:
    """Return the same text for every order that the rules take for the same: each run of operations of a kind, sorted."""
    first, *rest = tokens
    operations = [("*" if rest[0] == "*" else "+", first), *zip(rest[::2], rest[1::2], strict=True)]
    runs = groupby(operations, key=lambda operation: operation[0] == "*")
    return " ".join(sign + number for _, run in runs for sign, number in sorted(run)) + f" mod {modulus}"


def _problem(tokens: Sequence[str], modulus: int | None) -> Problem:
    suffix = "" if modulus is None else f" mod {modulus}"
    return Problem(
        id="".join(tokens) + suffix.replace(" ", "-"),
        text=f"{' '.join(tokens)}{suffix} =",
        data={"tokens": tuple(tokens), "modulus": modulus},
    )


def _apply(a: int, operation: str, b: int) -> int:
    return a + b if operation == "+" else a - b if operation == "-" else a * b
