"""Policies over single characters: how text becomes tokens, and how a completion is sampled token by token."""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from trellis.contracts import Policy
from trellis.errors import TokenizerError
from trellis.types import Completion, SampleRequest, Step, Trajectory

CHARACTERS = "0123456789\n"
END = len(CHARACTERS)
"""The end-of-sequence token, after those of the characters."""
VOCABULARY_SIZE = END + 1


def encode(text: str) -> tuple[int, ...]:
    """Return the tokens of a text.

    Raises:
        TokenizerError: A character is not in the vocabulary.
    """
    unknown = sorted(set(text) - set(CHARACTERS))
    if unknown:
        raise TokenizerError(f"the characters {unknown} are not in the vocabulary {CHARACTERS!r}")
    return tuple(CHARACTERS.index(character) for character in text)


def with_tokens(trajectory: Trajectory) -> Trajectory:
    """Encode the steps that have no tokens, each by itself; a finished trajectory's last step ends the sequence."""
    steps = list(trajectory.steps)
    for index, step in enumerate(steps):
        if not step.token_ids:
            ends = trajectory.finished and index == len(steps) - 1
            steps[index] = Step(step.text, encode(step.text) + ((END,) if ends else ()))
    return replace(trajectory, steps=tuple(steps))


class CharacterPolicy(Policy):
    """Samples and scores with nothing but `next_log_probs`."""

    @abstractmethod
    def next_log_probs(self, prompt: str, token_ids: Sequence[int]) -> list[float]:
        """Return log p of each token of the vocabulary, after a prompt and the tokens written so far."""

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Write one completion at a time: nothing in a batch can touch anything else in it."""
        return [[self._write(request, index) for index in range(request.n)] for request in requests]

    def _write(self, request: SampleRequest, index: int) -> Completion:
        rng = random.Random(f"{request.seed}/{index}")
        before = [token for step in with_tokens(request.prefix).steps for token in step.token_ids]
        ids: list[int] = []
        pieces: list[str] = []
        log_probs: list[float] = []
        while len(ids) < request.max_tokens:
            row = self.next_log_probs(request.prefix.prompt, before + ids)
            if request.choices is not None:
                row = _masked(row, _following("".join(pieces), request.choices))
            token = _choose(row, request.temperature, rng)
            ids.append(token)
            log_probs.append(row[token])
            pieces.append("" if token == END else CHARACTERS[token])
            if token == END:
                return Completion(tuple(ids), tuple(pieces), tuple(log_probs), "end")
            if request.choices is not None and not _following("".join(pieces), request.choices):
                return Completion(tuple(ids), tuple(pieces), tuple(log_probs), "stop")
            if request.choices is None and request.stop and "".join(pieces).endswith(request.stop):
                return Completion(tuple(ids), tuple(pieces), tuple(log_probs), "stop")
        return Completion(tuple(ids), tuple(pieces), tuple(log_probs), "length")

    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Score token by token."""
        return [self._score(with_tokens(trajectory)) for trajectory in trajectories]

    def _score(self, trajectory: Trajectory) -> Trajectory:
        before: list[int] = []
        steps = []
        for step in trajectory.steps:
            log_probs = []
            for token in step.token_ids:
                log_probs.append(self.next_log_probs(trajectory.prompt, before)[token])
                before.append(token)
            steps.append(replace(step, log_probs=tuple(log_probs)))
        return replace(trajectory, steps=tuple(steps))


def _following(text: str, choices: Sequence[str]) -> set[int]:
    """Return the tokens that go on with a choice: the end of the sequence where the text is one and begins another."""
    longer = [choice for choice in choices if choice.startswith(text) and choice != text]
    after = {CHARACTERS.index(choice[len(text)]) for choice in longer}
    return after | {END} if after and text in choices else after


def _masked(log_probs: Sequence[float], allowed: set[int]) -> list[float]:
    total = math.log(sum(math.exp(log_probs[token]) for token in allowed))
    return [value - total if token in allowed else -math.inf for token, value in enumerate(log_probs)]


def _choose(log_probs: Sequence[float], temperature: float, rng: random.Random) -> int:
    if temperature == 0:
        return max(range(len(log_probs)), key=log_probs.__getitem__)
    highest = max(log_probs)
    weights = [math.exp((value - highest) / temperature) for value in log_probs]
    return rng.choices(range(len(weights)), weights)[0]
