"""From requests to completions, on an engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trellis import Completion, SampleRequest, Trajectory
from trellis.contracts.executor import item_seed
from trellis.errors import CapabilityError, ContractError
from trellis.nn import Encoding
from trellis_vllm.engine import Ask, Engine, Written

CUT = Completion((), (), (), "length")
"""The answer where the prefix leaves no room for a token."""


def sample(
    engine: Engine, encoding: Encoding, requests: Sequence[SampleRequest], prefixes: Sequence[tuple[int, ...]]
) -> list[list[Completion]]:
    """Answer each request, in order.

    Args:
        engine: Where the model is.
        encoding: How it reads and what ends a completion.
        requests: What is asked for.
        prefixes: The tokens of each request's prefix, prompt and steps.
    """
    asks: list[Ask] = []
    chosen: list[_Choosing] = []
    for request, prefix in zip(requests, prefixes, strict=True):
        room = min(request.max_tokens, engine.max_model_len - len(prefix))
        if room < 1:
            continue
        if request.grammar is not None and request.choices is not None:
            raise ContractError("a request has a grammar and `choices`: leave one of them out")
        if request.choices is not None:
            sequences = frozenset(encoding.choices(request.choices))
            chosen += [_Choosing(prefix, room, request, sequences, index) for index in range(request.n)]
        else:
            asks += _asks(request, prefix, room, tuple(sorted(encoding.end_ids)))
    _choose(engine, encoding, chosen)
    written, choosing = iter(engine.generate(asks) if asks else ()), iter(chosen)
    answers = []
    for request, prefix in zip(requests, prefixes, strict=True):
        if len(prefix) >= engine.max_model_len or request.max_tokens < 1:
            answers.append([CUT] * request.n)
        elif request.choices is not None:
            answers.append([next(choosing).completion(encoding) for _ in range(request.n)])
        elif request.temperature == 0:
            answers.append([_completion(next(written), request, encoding)] * request.n)
        else:
            answers.append([_completion(next(written), request, encoding) for _ in range(request.n)])
    return answers


def _asks(request: SampleRequest, prefix: tuple[int, ...], room: int, end_ids: tuple[int, ...]) -> list[Ask]:
    """Ask for each completion apart: vLLM's own `n` takes the seeds s, s + 1, …, which are those of other requests.

    The prefix still runs once: the engine's cache has it for the second. What takes the most probable tokens is asked once.
    """
    if request.grammar is not None and request.prefix.steps:
        raise CapabilityError(
            "vllm",
            capability="grammar that begins before the completion",
            mend="vLLM matches what it writes from the first token on: ask for whole completions, or take the transformers "
            "policy for a search that goes step by step.",
        )
    return [
        Ask(prefix, room, request.temperature, item_seed(request.seed, index), request.stop, end_ids, request.grammar)
        for index in range(request.n if request.temperature > 0 else 1)
    ]


def _completion(written: Written, request: SampleRequest, encoding: Encoding) -> Completion:
    """Give each token its text, and end right after the end token, or the token with which the stop text is complete."""
    decoder, text, pieces = encoding.decoder(), "", []
    finish = "length"
    for token in written.ids:
        piece = decoder.add(token)
        pieces.append(piece)
        text += piece
        if token in encoding.end_ids:
            finish = "end"
            break
        if request.stop is not None and request.stop in text[-len(request.stop) - len(piece) :]:
            finish = "stop"
            break
    count = len(pieces)
    return Completion(written.ids[:count], tuple(pieces), written.log_probs[:count], finish)  # type: ignore[arg-type]


@dataclass(slots=True)
class _Choosing:
    """A completion that is one of given sequences, and how far it is."""

    prefix: tuple[int, ...]
    room: int
    request: SampleRequest
    open: frozenset[tuple[int, ...]]
    index: int
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    def following(self) -> list[int]:
        """Return the tokens that may come next, none where it is complete or out of room."""
        at = len(self.ids)
        return sorted({ids[at] for ids in self.open if len(ids) > at}) if at < self.room else []

    def add(self, token: int, log_prob: float) -> None:
        at = len(self.ids)
        self.ids.append(token)
        self.log_probs.append(log_prob)
        self.open = frozenset(ids for ids in self.open if ids[at] == token)

    def draw(self, log_probs: Sequence[float]) -> int:
        """Return the place of the token drawn by inverse transform, from the uniform number of this completion and position."""
        temperature = self.request.temperature
        if temperature == 0:
            return int(np.argmax(log_probs))
        key = np.array([self.request.seed % 2**64, self.index], dtype=np.uint64)
        uniform = np.random.Generator(np.random.Philox(key=key)).random(len(self.ids) + 1)[-1]
        weights = np.exp((np.array(log_probs) - max(log_probs)) / temperature)
        total = weights.cumsum()
        return int((total <= uniform * total[-1]).sum())

    def completion(self, encoding: Encoding) -> Completion:
        decoder = encoding.decoder()
        pieces = tuple(decoder.add(token) for token in self.ids)
        whole = tuple(self.ids) in self.open
        finish = "end" if whole and self.ids[-1] == encoding.end_id else "stop" if whole else "length"
        return Completion(tuple(self.ids), pieces, tuple(self.log_probs), finish)  # type: ignore[arg-type]


def _choose(engine: Engine, encoding: Encoding, rows: Sequence[_Choosing]) -> None:
    """Write every row to its end, token by token, each time among those that go on with a choice.

    Not by vLLM's own choices: they admit any tokens that spell a choice, and whoever learns from a choice's probability wants
    that of the tokens the choice is read with.
    """
    while True:
        waiting = []
        for row in rows:
            while len(following := row.following()) == 1:
                row.add(following[0], 0.0)
            if following:
                waiting.append((row, following))
        if not waiting:
            return
        asked = dict.fromkeys((row.prefix + tuple(row.ids), tuple(following)) for row, following in waiting)
        found = dict(
            zip(asked, engine.next_log_probs([ids for ids, _ in asked], [tokens for _, tokens in asked]), strict=True)
        )
        for row, following in waiting:
            values = found[row.prefix + tuple(row.ids), tuple(following)]
            total = _log_sum_exp(list(values.values()))
            log_probs = [values[token] - total for token in following]
            place = row.draw(log_probs)
            row.add(following[place], log_probs[place])


def among_choices(
    engine: Engine, encoding: Encoding, trajectories: Sequence[Trajectory], values: Sequence[list[float]]
) -> None:
    """Put log-probabilities under the mask of a step's choices in place of those without, for all steps that have some.

    Args:
        engine: Where the model is.
        encoding: How it reads.
        trajectories: Prompts and steps, with tokens.
        values: Of each trajectory, log p of every token but the first; changed in place.

    Raises:
        ContractError: A step is none of its choices.
    """
    asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    places: list[tuple[list[float], int, int]] = []
    for trajectory, row in zip(trajectories, values, strict=True):
        ids = encoding.read(trajectory)
        at = len(ids) - trajectory.num_tokens
        for step in trajectory.steps:
            open_ = encoding.choices(step.choices) if step.choices else []
            for place, token in enumerate(step.token_ids if step.choices else ()):
                # After the last token of a choice there is nothing but the end.
                following = {each[place] for each in open_ if len(each) > place} or {encoding.end_id}
                if token not in following:
                    raise ContractError(
                        f"problem {trajectory.problem.id}: the step {step.text!r} is none of its choices"
                    )
                row[at + place - 1] = 0.0
                if len(following) > 1:
                    asked.append((ids[: at + place], tuple(sorted(following))))
                    places.append((row, at + place - 1, token))
                open_ = [each for each in open_ if len(each) > place and each[place] == token]
            at += len(step.token_ids)
    found = engine.next_log_probs([ids for ids, _ in asked], [tokens for _, tokens in asked]) if asked else []
    for (row, index, token), log_probs in zip(places, found, strict=True):
        row[index] = log_probs[token] - _log_sum_exp(list(log_probs.values()))


def _log_sum_exp(values: Sequence[float]) -> float:
    highest = max(values)
    return highest + math.log(math.fsum(math.exp(value - highest) for value in values))
