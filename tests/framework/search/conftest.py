"""A toy world that is exact: spell a word letter by letter, one letter a step."""

import math
import random
from collections.abc import Sequence

import pytest

from trellis import Completion, Outcome, Policy, Problem, RewardModel, SampleRequest, Task, Trajectory

LETTERS = "abc"
NEWLINE, END = 3, 4


class Spelling(Task):
    def problems(self, split):
        words = ["".join(random.Random(i).choices(LETTERS, k=6)) for i in range(12)]
        return [Problem(id=f"word-{i}", text=f"spell {word}", data={"word": word}) for i, word in enumerate(words)]

    def verify(self, trajectory: Trajectory) -> Outcome:
        correct = trajectory.finished and trajectory.text.replace("\n", "") == trajectory.problem.data["word"]
        return Outcome(correct, float(correct), "" if correct else "another word")


class Letters(Policy):
    """Each letter with its probability, until the word is as long as `length`; "\\n" and the end have probability 1."""

    def __init__(self, length: int, probabilities: Sequence[float] = (0.5, 0.3, 0.2)) -> None:
        self.length = length
        self.probabilities = probabilities
        self.num_calls = 0
        self.num_tokens = 0
        self.num_sequences: list[int] = []

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        self.num_calls += 1
        self.num_sequences.append(sum(request.n for request in requests))
        return [[self._complete(request, index) for index in range(request.n)] for request in requests]

    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        return list(trajectories)

    def _complete(self, request: SampleRequest, index: int) -> Completion:
        rng = random.Random(f"{request.seed}/{index}")
        text = request.prefix.text
        ids: list[int] = []
        pieces: list[str] = []
        log_probs: list[float] = []
        finish = "length"
        while len(ids) < request.max_tokens:
            token, log_prob = self._next(text, rng, request.temperature)
            ids.append(token)
            pieces.append((*LETTERS, "\n", "")[token])
            log_probs.append(log_prob)
            text += pieces[-1]
            if token == END or (request.stop and text.endswith(request.stop)):
                finish = "end" if token == END else "stop"
                break
        self.num_tokens += len(ids)
        return Completion(tuple(ids), tuple(pieces), tuple(log_probs), finish)

    def _next(self, text: str, rng: random.Random, temperature: float) -> tuple[int, float]:
        if text and not text.endswith("\n"):
            return (END if text.count("\n") == self.length - 1 else NEWLINE), 0.0
        best = max(range(3), key=self.probabilities.__getitem__)
        token = rng.choices(range(3), self.probabilities)[0] if temperature else best
        return token, math.log(self.probabilities[token])


class Oracle(RewardModel):
    """1 while the word is still right, 0 after the first wrong letter."""

    def __init__(self) -> None:
        self.num_calls = 0

    def score(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        self.num_calls += 1
        return [[self._worth(t, i + 1) for i in range(len(t.steps))] for t in trajectories]

    def _worth(self, trajectory: Trajectory, num_steps: int) -> float:
        word = str(trajectory.problem.data["word"])
        return float(word.startswith("".join(step.text.strip() for step in trajectory.steps[:num_steps])))


@pytest.fixture
def task():
    return Spelling()


@pytest.fixture
def policy():
    return Letters(length=6)


@pytest.fixture
def make_policy():
    return Letters


@pytest.fixture
def oracle():
    return Oracle()
