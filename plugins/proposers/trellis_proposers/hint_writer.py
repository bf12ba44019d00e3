"""Hints from a language model that writes them whole, as SEFRQO's does (https://arxiv.org/abs/2508.17556), under their grammar.

Where `language-model` says how joins are made, line by line, this one says all that hints can say: scans, the method of each
join, the order, switches. The grammar has the query's own aliases and indexes alone, so that every sample is read, whatever the
weights (for blocks of up to `trellis.sql.decoding.EXACT_ALIASES` aliases; in larger ones, those are dropped that are not). What
does not fit the rest of a sample, such as a join that its tree does not make, is left out of it.

Deliberate deviation from SEFRQO, which samples free text and drops what does not parse.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from trellis import Policy, PromptBuilder, Proposal, Proposer, SampleRequest, Situation, Task, Trajectory
from trellis.errors import CapabilityError, HintSyntaxError
from trellis.sql import PlanHints, Query, alias_indexes, gbnf, parse_hints
from trellis.sql.fit import misfits
from trellis.sql.grammar import gathered
from trellis.sql.renaming import Renaming
from trellis_proposers.config import HintWriterConfig
from trellis_proposers.picking import picked


class HintWriter(Proposer):
    """Samples hints, and proposes the most probable ones; of a policy without log-probabilities, those sampled most often.

    Without a prompt builder the model reads the problem as the task puts it, and answers in canonical names.
    """

    Config = HintWriterConfig

    def __init__(
        self, config: HintWriterConfig, *, policy: Policy, task: Task, prompt: PromptBuilder | None = None
    ) -> None:
        self.config = config
        self.policy = policy
        self.task = task
        self.prompt = prompt

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n of the sampled hints, the most probable first."""
        renaming = self.renaming(situation)
        score: dict[PlanHints, float] = {}
        times: Counter[PlanHints] = Counter()
        unknown = False
        for trajectory in self.sample(situation, n * self.config.samples, seed=seed):
            hints = _read(trajectory.text, renaming.query(situation.query), situation)
            if not hints:
                continue
            named = renaming.undo(hints)
            times[named] += 1
            score[named] = max(trajectory.log_prob, score.get(named, trajectory.log_prob))
            unknown |= not all(step.log_probs for step in trajectory.steps)
        if unknown:
            proposals = [Proposal(h, f"hint-writer: {times[h]} of {times.total()} samples", times[h]) for h in times]
        else:
            proposals = [Proposal(h, f"hint-writer: log-probability {score[h]:.1f}", score[h]) for h in times]
        ranked = sorted(proposals, key=lambda proposal: (-(proposal.score or 0.0), str(proposal.hints)))
        return picked(ranked, situation, n)

    def renaming(self, situation: Situation) -> Renaming:
        """Return the names under which the model answers."""
        if self.prompt is not None:
            return self.prompt.renaming(situation.query)
        return Renaming.canonical(situation.query)

    def sample(self, situation: Situation, count: int, *, seed: int = 0) -> list[Trajectory]:
        """Return samples that came to their end; none where the query leaves nothing to say.

        Raises:
            CapabilityError: None came to its end.
        """
        c = self.config
        text = None if self.prompt is None else self.prompt.build(situation.problem, situation)
        query = self.renaming(situation).query(situation.query)
        try:
            grammar = gbnf(query, indexes=alias_indexes(query, situation.catalog), kinds=c.kinds)
        except ValueError:
            return []
        prefix = replace(self.task.start(situation.problem, text), grammar=grammar)
        request = SampleRequest(prefix, n=count, max_tokens=c.max_tokens, temperature=c.temperature, seed=seed)
        (completions,) = self.policy.sample([request])
        whole = [self.task.extend(prefix, completion) for completion in completions if completion.finish != "length"]
        if not whole:
            raise CapabilityError(
                "hint-writer",
                capability="enough tokens for hints",
                mend=f"query {situation.problem.id}: give the policy a longer context, the prompt fewer tokens, or raise "
                f"`max_tokens` ({c.max_tokens}).",
            )
        return whole


def _read(text: str, query: Query, situation: Situation) -> PlanHints | None:
    """Return what of a sample fits the query; None where it is not read."""
    try:
        hints = parse_hints(text)
    except HintSyntaxError:
        return None
    # Without the tree that does not fit, a join may fit that it did not make, and the other way round.
    while wrong := {hint for hint, _ in misfits(hints, query, situation.catalog)}:
        hints = gathered([hint for hint in hints if hint not in wrong])
    return hints
