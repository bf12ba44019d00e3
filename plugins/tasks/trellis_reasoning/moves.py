"""What tasks share in which a solution is a row of moves, one per line, through states that can be searched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from random import Random
from typing import Generic, TypeVar

from trellis import Outcome, Problem, Trajectory
from trellis.procedural import ProceduralTask

State = TypeVar("State")


class Fault(Exception):  # noqa: N818 - what is wrong with a line; it never leaves a task
    """A line that is not of the right form, or breaks the rules."""


class MovesTask(ProceduralTask, Generic[State]):
    """A task whose subclass says what the moves are; solving, judging and the oracle follow from that.

    The state before the first line is `initial`; each line is one move. The line that solves the problem, or the last
    that the rules allow, has no separator after it.
    """

    @abstractmethod
    def initial(self, problem: Problem) -> State:
        """Return the state before the first move."""

    @abstractmethod
    def moves(self, problem: Problem, state: State) -> Mapping[str, State]:
        """Return each line that the rules allow in a state that is not solved, and the state after it."""

    @abstractmethod
    def after(self, problem: Problem, state: State, line: str) -> State:
        """Return the state after any line.

        Raises:
            Fault: The line is malformed or breaks the rules, or nothing may follow; the message says why.
        """

    @abstractmethod
    def solved(self, problem: Problem, state: State) -> bool:
        """Say whether the problem is solved."""

    @abstractmethod
    def solvable(self, problem: Problem, state: State) -> bool:
        """Say whether moves lead from a state to the solution, or it is there. Exact."""

    def over(self, problem: Problem, state: State) -> bool:
        """Say whether not even an empty line may follow: once the problem is solved, unless a task says otherwise."""
        return self.solved(problem, state)

    @abstractmethod
    def lacking(self, problem: Problem, state: State) -> str:
        """Say for a person what a state lacks that is not solved."""

    def solution(self, problem: Problem, random: Random | None) -> list[str]:
        """Take a random move (or the first) among those that keep the solution in reach, until it is there."""
        state, steps = self.initial(problem), list[str]()
        while not self.solved(problem, state):
            moves = list(self.moves(problem, state).items())
            if random:
                random.shuffle(moves)
            line, state = next(move for move in moves if self.solvable(problem, move[1]))
            steps.append(line + self._end(problem, state))
        return steps

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory by its text and the problem alone; `reason` names the first faulty line."""
        problem = trajectory.problem
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        try:
            state = self._replay(problem, trajectory.text)
        except Fault as fault:
            return Outcome(False, 0.0, str(fault))
        if self.solved(problem, state):
            return Outcome(True, 1.0)
        return Outcome(False, 0.0, self.lacking(problem, state))

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """Say for each step whether all is right so far and the solution is still in reach. Exact."""
        verdicts: list[bool] = []
        text, good = "", True
        for place, step in enumerate(trajectory.steps, start=1):
            text += step.text
            ended = trajectory.finished and place == len(trajectory.steps)
            good = good and self._in_reach(trajectory.problem, text, ended=ended)
            verdicts.append(good)
        return verdicts

    def _in_reach(self, problem: Problem, text: str, *, ended: bool) -> bool:
        try:
            state = self._replay(problem, text)
        except Fault:
            return False
        return self.solved(problem, state) if ended else self.solvable(problem, state)

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return the text of every step that the rules allow next, whether or not it leads to the solution.

        Each move is there once, as traces write it; one that solves the problem, or is the last that the rules allow,
        has no separator. Empty where the steps so far break the rules or end within a line, or no move is left.
        """
        problem, text = trajectory.problem, trajectory.text
        if not trajectory.open or (text and not text.endswith(self.separator)):
            return []
        try:
            state = self._replay(problem, text)
        except Fault:
            return []
        moves = {} if self.solved(problem, state) else self.moves(problem, state)
        return [line + self._end(problem, after) for line, after in moves.items()]

    def _end(self, problem: Problem, state: State) -> str:
        return "" if self.solved(problem, state) or self.over(problem, state) else self.separator

    def _replay(self, problem: Problem, text: str) -> State:
        """Return the state after the lines of a text; raise `Fault` at the first that is wrong."""
        state = self.initial(problem)
        lines = text.split(self.separator) if text else []
        for place, line in enumerate(lines, start=1):
            # An empty last line: the text ends with a separator, as every step but the last does.
            if not line and place == len(lines) and not self.over(problem, state):
                break
            try:
                state = self.after(problem, state, line)
            except Fault as fault:
                raise Fault(f"line {place}: {fault}") from None
        return state
