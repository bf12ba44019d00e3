"""Hints from a language model, one join decision a line (`trellis.sql.steps`).

Each line is sampled from the policy among those that may follow, so that every sample, whatever the weights, is read, names real
relations and is a legal order. A sample's score is the sum of its lines' log-probabilities under that mask: log π of the hints
given that they are legal.

Deliberate deviation from SEFRQO (https://arxiv.org/abs/2508.17556), which samples free text and drops what does not parse.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from trellis import Policy, PromptBuilder, Proposal, Proposer, SampleRequest, Situation, Task, Trajectory
from trellis.errors import CapabilityError
from trellis.sql.query import Query
from trellis.sql.renaming import Renaming
from trellis.sql.steps import hints_of, next_lines
from trellis_proposers.config import LanguageModelConfig
from trellis_proposers.picking import picked


class LanguageModel(Proposer):
    """Samples sequences of lines, and proposes the most probable ones.

    Without a prompt builder the model reads the problem as the task puts it, and answers in canonical names.
    """

    Config = LanguageModelConfig

    def __init__(
        self, config: LanguageModelConfig, *, policy: Policy, task: Task, prompt: PromptBuilder | None = None
    ) -> None:
        self.config = config
        self.policy = policy
        self.task = task
        self.prompt = prompt

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n of the sampled hints, the most probable first."""
        renaming = self.renaming(situation)
        query = renaming.query(situation.query)
        best: dict[str, Proposal] = {}
        for trajectory in self.sample(situation, n * self.config.samples, seed=seed):
            lines = trajectory.text.split(self.task.separator)
            hints = renaming.undo(hints_of(query, lines))
            proposal = Proposal(
                hints, f"language-model: log-probability {trajectory.log_prob:.1f}", trajectory.log_prob
            )
            # The same hints come about in several orders of making.
            if (other := best.get(str(hints))) is None or other.score < proposal.score:  # type: ignore[operator]
                best[str(hints)] = proposal
        ranked = sorted(best.values(), key=lambda proposal: (-(proposal.score or 0.0), str(proposal.hints)))
        return picked(ranked, situation, n)

    def renaming(self, situation: Situation) -> Renaming:
        """Return the names under which the model answers."""
        if self.prompt is not None:
            return self.prompt.renaming(situation.query)
        return Renaming.canonical(situation.query)

    def sample(self, situation: Situation, count: int, *, seed: int = 0) -> list[Trajectory]:
        """Return finished sequences of lines with tokens and log-probabilities; none where there is nothing to join.

        The end is implied by the last line: no end-of-sequence token is sampled.

        Raises:
            CapabilityError: The policy was cut short within a line.
        """
        text = None if self.prompt is None else self.prompt.build(situation.problem, situation)
        query = self.renaming(situation).query(situation.query)
        growing = [self.task.start(situation.problem, text) for _ in range(count)] if next_lines(query) else []
        rng = Random(seed)
        done: list[Trajectory] = []
        followers: dict[str, tuple[str, ...]] = {}
        while growing:
            for trajectory in growing:
                # Most samples have begun alike, and what may follow takes longer to list than to sample.
                if trajectory.text not in followers:
                    followers[trajectory.text] = self._choices(query, trajectory)
            choices = [followers[trajectory.text] for trajectory in growing]
            requests = [
                SampleRequest(
                    trajectory,
                    max_tokens=self.config.max_tokens,
                    temperature=self.config.temperature,
                    seed=rng.getrandbits(48),
                    choices=lines,
                )
                for trajectory, lines in zip(growing, choices, strict=True)
            ]
            answers = [completion for (completion,) in self.policy.sample(requests)]
            extended = [self.task.extend(each, answer) for each, answer in zip(growing, answers, strict=True)]
            if any(trajectory.cut for trajectory in extended):
                raise CapabilityError(
                    "language-model",
                    capability="enough tokens for a line",
                    mend=f"query {situation.problem.id}: give the policy a longer context, the prompt fewer tokens, or raise "
                    f"`max_tokens` ({self.config.max_tokens}).",
                )
            whole = [not trajectory.text.endswith(self.task.separator) for trajectory in extended]
            ended = [replace(each, finished=True) for each, last in zip(extended, whole, strict=True) if last]
            done += [replace(trajectory, answer=self.task.answer(trajectory)) for trajectory in ended]
            growing = [trajectory for trajectory, last in zip(extended, whole, strict=True) if not last]
        return done

    def _choices(self, query: Query, trajectory: Trajectory) -> tuple[str, ...]:
        """Return the lines that may follow, as steps: all but the very last end with the separator."""
        c = self.config
        separator = self.task.separator
        lines = trajectory.text.split(separator)[:-1]
        found = next_lines(
            query, lines, free=c.free_methods, bushy=c.bushy, cross_products=c.cross_products, sides=c.sides
        )
        if len(found) == 1 and not next_lines(query, [*lines, *found]):
            return tuple(found)
        return tuple(line + separator for line in found)
