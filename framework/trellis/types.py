"""The words of Trellis as frozen records.

A *problem* is one item of a task. A *prompt* is the text a policy reads. A *step* is one line of reasoning (or one
plan hint). A *trajectory* is a prompt and the steps so far; sampled from a policy and judged, it is a *rollout*;
given and known to be correct, it is a *trace*. Nothing here has behaviour beyond reading its own fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
Split: TypeAlias = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a task.

    Attributes:
        id: Unique within the task, the same in every process and on every machine.
        text: The statement, as a person reads it.
        data: What the task needs to verify an answer; JSON values only.
    """

    id: str
    text: str
    data: Mapping[str, JSON] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trajectory, its separator included.

    Attributes:
        text: The step's text. The texts of a trajectory's steps, joined, are the whole completion.
        token_ids: The policy's tokens of this step, the end-of-sequence token included in the last step of a
            finished trajectory. Empty when no policy has read the step yet, or where a server did and kept them to itself:
            whoever reads the step then encodes its text.
        log_probs: Natural logarithm of the probability of each token at temperature 1, among what goes on with one of
            `choices` where there are any; as long as `token_ids`, where there are any.
        choices: What the step had to be one of; empty where it could be any text.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def log_prob(self) -> float:
        """The sum of `log_probs`: log π(step | prefix)."""
        return sum(self.log_probs)

    @property
    def num_tokens(self) -> int:
        """How many tokens it is known to have."""
        return len(self.token_ids) or len(self.log_probs)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A prompt and the steps so far.

    Attributes:
        problem: The problem being solved.
        prompt: The text the policy reads before the first step.
        steps: The steps so far, in order.
        finished: Whether the sequence has been ended (by the policy's end-of-sequence token, or as a given trace).
        cut: Whether a token limit cut it short: it can be neither continued nor correct.
        answer: What the task reads as the final answer; None until `finished`, or where there is none.
        grammar: A grammar (GBNF) that all steps together match, as far as they go. A policy with capability "grammar" samples
            under it, and gives log-probabilities under the same mask, when sampling and when scoring alike.
    """

    problem: Problem
    prompt: str
    steps: tuple[Step, ...] = ()
    finished: bool = False
    cut: bool = False
    answer: str | None = None
    grammar: str | None = None

    @property
    def open(self) -> bool:
        """Whether it can be continued."""
        return not (self.finished or self.cut)

    @property
    def text(self) -> str:
        """The completion: all steps joined, without the prompt."""
        return "".join(step.text for step in self.steps)

    @property
    def num_tokens(self) -> int:
        """How many tokens the steps hold, the prompt not counted."""
        return sum(step.num_tokens for step in self.steps)

    @property
    def log_prob(self) -> float:
        """The sum of the steps' `log_prob`: log π(steps | prompt)."""
        return sum(step.log_prob for step in self.steps)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verifier says of a finished trajectory.

    Attributes:
        correct: Whether the problem is solved.
        score: The outcome reward, in [0, 1]; 1.0 exactly when `correct`.
        reason: Why it is not correct, for a person; empty when it is.
        gain: Natural logarithm of how many times better than a reference it was measured to be (of a query: the default plan's
            time over its own); None where nothing was measured.
        bounded: Whether it was stopped before its end, so that `gain` is what it could have reached at most.
    """

    correct: bool
    score: float
    reason: str = ""
    gain: float | None = None
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class Rollout:
    """A trajectory sampled from a policy, and how it ended.

    Attributes:
        trajectory: The sampled trajectory, with tokens and log-probabilities.
        outcome: What the task's verifier says of it.
        step: The training step at which it was sampled, from 0.
    """

    trajectory: Trajectory
    outcome: Outcome
    step: int = 0


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What a policy is asked to continue.

    Attributes:
        prefix: The trajectory to continue; its steps' `token_ids` are used as they are where present. Where it has a grammar, its
            steps and the completion together match it; only policies with capability "grammar" take one.
        n: How many independent completions.
        max_tokens: At most so many new tokens in each.
        stop: A completion ends right after this text; None runs on to the end of the sequence.
        temperature: 0 takes the most probable token each time.
        seed: Fixes the samples of this request, whatever else is in the batch.
        choices: The completion is exactly one of these texts, and ends with its last token (`finish` is "stop"); where one is
            the beginning of another, with the end-of-sequence token after it ("end"). `stop` does nothing then. Only policies
            with capability "choices" take them.
    """

    prefix: Trajectory
    n: int = 1
    max_tokens: int = 256
    stop: str | None = None
    temperature: float = 1.0
    seed: int = 0
    choices: tuple[str, ...] | None = None

    @property
    def grammar(self) -> str | None:
        """The prefix's grammar."""
        return self.prefix.grammar


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy answers.

    Attributes:
        token_ids: The new tokens, the end-of-sequence token included; empty where a server keeps them to itself.
        pieces: The text each token adds; joined they are the completion's text. As long as `token_ids`, or as `log_probs`; one
            piece where there are neither.
        log_probs: Natural log-probability of each token at temperature 1, under the same mask (of grammar or choices)
            as sampling; empty where they are not known, which policies with capability "log-probs" know.
        finish: "end": end of sequence; "stop": the stop text, or the end of a choice; "length": out of tokens.
        count: How many tokens were sampled, where `pieces` does not say.
    """

    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    log_probs: tuple[float, ...]
    finish: Literal["end", "stop", "length"]
    count: int | None = None

    @property
    def num_tokens(self) -> int:
        """How many tokens were sampled: what budgets count."""
        return len(self.pieces) if self.count is None else self.count

    @property
    def text(self) -> str:
        """All pieces joined."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished trajectory that a search considered, and the score it was chosen by (higher is better)."""

    trajectory: Trajectory
    score: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """How a search ended.

    Attributes:
        best: The trajectory the search answers with; None when nothing was finished within the budget.
        candidates: Every finished trajectory considered, in the order found.
    """

    best: Trajectory | None
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """What one search may spend on one problem; None is unlimited.

    Attributes:
        tokens: New tokens sampled from the policy.
        calls: Requests answered (`Extend` and `Score`).
        seconds: Wall-clock seconds since this search was started.
    """

    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TrainStep:
    """What an optimizer reports after one step.

    Attributes:
        step: Steps completed so far, from 1.
        metrics: Named numbers of this step, all finite.
        rollouts: What was sampled in this step, for the run's store of rollouts.
    """

    step: int
    metrics: Mapping[str, float]
    rollouts: tuple[Rollout, ...] = ()
