"""Program synthesis from examples: find the instructions that make of each input the output beside it.

    3 1 4 2 -> 4 8; 6 5 0 -> 0 12; 3 lines
    sort | 1 2 3 4
    keep even | 2 4
    double | 4 8

One instruction a line, applied in order, at most as many as the problem allows. After ` | ` a line may write what has
become of the first example; if it does, the verifier checks it. A program is correct if it makes every output shown, and
that of the examples held out, which are part of the problem's data but not of its text: so it must not only fit, but
generalise. Most wrong programs are dead ends: every line is right, but after some line no program of the lines left makes
all outputs. Whether one does is decided exactly, by search through all of them on all examples at once.

A model's text is looked up and compared, never read as numbers, evaluated or executed; see `trellis_code.language`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from random import Random
from typing import Generic, NamedTuple, cast

from trellis import Outcome, Problem, Trajectory
from trellis.errors import ProblemSyntaxError, TrellisError
from trellis.procedural import ProceduralTask
from trellis_code.config import MAX_EXAMPLES, MAX_LINES, ProgramConfig
from trellis_code.language import Language, Value

MAX_TEXT = 2000
_MAX_TRIES = 10_000
"""Characters; no program is as long, and nothing beyond is looked at."""
_BAR = " | "


class State(NamedTuple, Generic[Value]):
    """How far a program has come.

    Attributes:
        values: What has become of the inputs, those shown before those held out; None is out of bounds.
        lines: Lines the program may still have.
    """

    values: tuple[Value | None, ...]
    lines: int


class Goal(NamedTuple, Generic[Value]):
    """A problem, read.

    Attributes:
        start: Where every program starts.
        outputs: What it is to make, in the order of the values.
        shown: How many of the values the problem's text shows.
    """

    start: State[Value]
    outputs: tuple[Value, ...]
    shown: int


class ProgramTask(ProceduralTask, Generic[Value]):
    """Examples drawn from random programs, an exact verifier and an exact step oracle, for any language.

    The last line has no separator after it, though the verifier lets one pass. Of the problem `…; 3 lines` a program
    may be shorter, but none is drawn that a shorter one solves.
    """

    example: str
    """A problem that can be parsed."""
    value_form: str
    """What a value is, in words."""

    def __init__(self, config: ProgramConfig, language: Language[Value]) -> None:
        super().__init__(config)
        self.language = language
        self._config = config

    @abstractmethod
    def draw_input(self, random: Random) -> Value:
        """Draw the input of an example."""

    def draw(self, random: Random) -> tuple[str, Problem]:
        """Draw a program and inputs that it can be applied to, different ones; what it makes of them is the problem."""
        c = self._config
        names = tuple(self.language.instructions)
        for _ in range(_MAX_TRIES):
            program = random.choices(names, k=c.lines)
            inputs = tuple(self.draw_input(random) for _ in range(c.examples + c.held_out))
            outputs: tuple[Value | None, ...] = inputs
            for name in program:
                outputs = self.language.apply_all(name, outputs)
            if None not in outputs and len(set(inputs)) == len(inputs):
                break
        else:
            raise TrellisError(
                f"no program of {c.lines} lines was found that can be applied to {len(inputs)} different inputs of "
                f"{c.min_length} to {c.max_length}: set `lines`, `examples` or `held_out` lower, `max_length` higher, or allow "
                "more `instructions`"
            )
        write = self.language.write
        pairs = [(write(a), write(b)) for a, b in zip(inputs, cast("tuple[Value, ...]", outputs), strict=True)]
        shown, held_out = pairs[: c.examples], pairs[c.examples :]
        return _text(sorted(shown), c.lines), _problem(shown, held_out, lines=c.lines)

    def accepts(self, problem: Problem) -> bool:
        """Say whether the examples shown take all the lines it allows, so that a trace never ends before the last."""
        (values, lines), outputs, shown = self._goal(problem)
        return not self.language.reaches(values[:shown], outputs[:shown], lines=lines - 1)

    def solution(self, problem: Problem, random: Random | None) -> list[str]:
        """Take a random line (or the first) among those that keep all outputs in reach, until they are reached."""
        goal = self._goal(problem)
        state = goal.start
        steps: list[str] = []
        while state.values != goal.outputs:
            moves = list(self._moves(state, goal).items())
            if random:
                random.shuffle(moves)
            text, state = next(move for move in moves if self._in_reach(move[1], goal))
            steps.append(text)
        return steps

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory by its text and the problem alone; `reason` names the first faulty line or example."""
        goal = self._goal(trajectory.problem)
        reason = self._fault(trajectory, goal)
        if reason is None:
            return Outcome(True, 1.0)
        if not self._in_reach(goal.start, goal):
            reason += f" (no program of {_lines_allowed(goal.start.lines)} makes all outputs)"
        return Outcome(False, 0.0, reason)

    def _fault(self, trajectory: Trajectory, goal: Goal[Value]) -> str | None:
        if not trajectory.finished:
            return "it is not finished"
        try:
            state = self._replay(trajectory.text, goal)
        except _Fault as fault:
            return str(fault)
        for place, (value, output) in enumerate(zip(state.values, goal.outputs, strict=True), start=1):
            if value != output:
                which = f"example {place}" if place <= goal.shown else "an example that is not shown"
                return f"of {which} it makes {self._written(value)}, not {self._written(output)}"
        return None

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """Say for each step whether all is right so far and all outputs are still in reach. Exact."""
        goal = self._goal(trajectory.problem)
        verdicts: list[bool] = []
        text, good = "", True
        for place, step in enumerate(trajectory.steps, start=1):
            if good:
                text += step.text
                ended = trajectory.finished and place == len(trajectory.steps)
                good = self._is_good(text, goal, ended=ended)
            verdicts.append(good)
        return verdicts

    def _is_good(self, text: str, goal: Goal[Value], *, ended: bool) -> bool:
        try:
            state = self._replay(text, goal)
        except _Fault:
            return False
        return state.values == goal.outputs if ended else self._in_reach(state, goal)

    def _in_reach(self, state: State[Value], goal: Goal[Value]) -> bool:
        return self.language.reaches(state.values, goal.outputs, lines=state.lines)

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return a line for each instruction that can be applied to all examples shown, as traces write it.

        Whether it leads to the outputs, or can be applied to what is held out, does not count. A line ends with the
        separator unless it is the last one allowed, or makes all outputs shown. Empty where the lines so far break the
        rules or end within a line, or no more are allowed.
        """
        text = trajectory.text
        if not trajectory.open or (text and not text.endswith(self.separator)):
            return []
        goal = self._goal(trajectory.problem)
        try:
            state = self._replay(text, goal)
        except _Fault:
            return []
        return list(self._moves(state, goal))

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the program without the values it writes, e.g. `sort; keep even`; None where a line has no instruction."""
        try:
            names = [name for name, _ in self._lines(trajectory.text)]
        except _Fault:
            return None
        return "; ".join(names)

    def parse(self, text: str) -> Problem:
        """Read a problem like `3 1 4 2 -> 4 8; 6 5 0 -> 0 12; 3 lines`.

        A new line for the semicolon, extra spaces, and `=>` for the arrow are fine. The examples may be 1 to 4, with 1 to
        5 lines, whatever the config says, and there may be no solution. Nothing is held out.

        Raises:
            ProblemSyntaxError: The text is no such problem.
        """
        *sides, last = (part.strip() for part in re.split(r"[;\n]", text.strip()))
        if not (match := re.fullmatch(r"(?:in )?([0-9]{1,9})(?: lines?)?", last)):
            raise self._refused(text, "it must end with the number of lines allowed")
        if not 1 <= (lines := int(match[1])) <= MAX_LINES:
            raise self._refused(text, f"{lines} lines are allowed, it takes 1 to {MAX_LINES}")
        if not 1 <= len(sides) <= MAX_EXAMPLES:
            raise self._refused(text, f"there are {len(sides)} examples, it takes 1 to {MAX_EXAMPLES}")
        return _problem([self._example(text, side) for side in sides], (), lines=lines)

    def _example(self, text: str, part: str) -> tuple[str, str]:
        words = re.split(r"->|=>|→", part)
        if len(words) != 2:
            raise self._refused(text, f"in {part!r} one '->' must stand between input and output")
        values = [self.language.read(word) for word in words]
        for word, value in zip(words, values, strict=True):
            if value is None:
                raise self._refused(text, f"{word.strip()!r} is not made of {self.value_form}")
        first, second = (self._written(value) for value in values)
        return first, second

    def _refused(self, text: str, reason: str) -> ProblemSyntaxError:
        return ProblemSyntaxError(text, reason=reason, expected=self.example)

    def _goal(self, problem: Problem) -> Goal[Value]:
        examples, held_out = (cast("Sequence[Sequence[str]]", problem.data[name]) for name in ("examples", "held_out"))
        inputs, outputs = zip(*examples, *held_out, strict=True)
        start = State(tuple(map(self.language.read, inputs)), cast("int", problem.data["lines"]))
        return Goal(start, cast("tuple[Value, ...]", tuple(map(self.language.read, outputs))), len(examples))

    def _moves(self, state: State[Value], goal: Goal[Value]) -> dict[str, State[Value]]:
        """Return the text of each legal step, and the state after it."""
        moves: dict[str, State[Value]] = {}
        if state.lines:
            for name in self.language.instructions:
                values = self.language.apply_all(name, state.values)
                if None in values[: goal.shown]:
                    continue
                ends = state.lines == 1 or values[: goal.shown] == goal.outputs[: goal.shown]
                note = _BAR + self._written(values[0]) if self._config.values else ""
                moves[name + note + ("" if ends else self.separator)] = State(values, state.lines - 1)
        return moves

    def _replay(self, text: str, goal: Goal[Value]) -> State[Value]:
        """Return the state after the lines of a text; raise `_Fault` at the first that is wrong."""
        values, lines = goal.start
        for place, (name, note) in enumerate(self._lines(text), start=1):
            if place > lines:
                raise _Fault(f"line {place}: only {_lines_allowed(lines)} may be written")
            values = self.language.apply_all(name, values)
            if None in values[: goal.shown]:
                raise _Fault(f"line {place}: '{name}' makes of example {values.index(None) + 1} no {self.value_form}")
            written = self._written(values[0])
            if note is not None and note != written:
                raise _Fault(f"line {place}: example 1 is {written} now, not {note[:60]!r}")
        return State(values, lines - len(self._lines(text)))

    def _lines(self, text: str) -> list[tuple[str, str | None]]:
        """Return the instruction of each line, and what is written after it; raise `_Fault` if one has none."""
        if len(text) > MAX_TEXT:
            raise _Fault(f"it has {len(text)} characters, no program has more than {MAX_TEXT}")
        lines = text.split(self.separator)
        if not lines[-1]:
            lines.pop()
        program: list[tuple[str, str | None]] = []
        for place, line in enumerate(lines, start=1):
            name, bar, note = line.partition(_BAR)
            if name not in self.language.instructions:
                raise _Fault(f"line {place}: {name[:60]!r} is none of {', '.join(self.language.instructions)}")
            program.append((name, note if bar else None))
        return program

    def _written(self, value: Value | None) -> str:
        return "nothing" if value is None else self.language.write(value)


class _Fault(Exception):  # noqa: N818 - what is wrong with a text; it never leaves this file
    pass


def _problem(shown: Sequence[tuple[str, str]], held_out: Sequence[tuple[str, str]], *, lines: int) -> Problem:
    text = _text(shown, lines)
    id_ = text.replace(" -> ", "-to-").replace("; ", "--").replace(" ", "-")
    return Problem(id=id_, text=text, data={"examples": tuple(shown), "held_out": tuple(held_out), "lines": lines})


def _text(examples: Iterable[tuple[str, str]], lines: int) -> str:
    return "; ".join([*(f"{first} -> {second}" for first, second in examples), _lines_allowed(lines)])


def _lines_allowed(lines: int) -> str:
    return "1 line" if lines == 1 else f"{lines} lines"
