"""Runs sans-I/O searches over many problems, interleaved so that the policy and the reward see full batches.

Work goes in rounds. In each, the pending `Extend` requests of all running searches become one call of the policy, and
then their pending `Score` requests one call of the reward; a search that has ended makes room for the next problem.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from trellis.contracts.policy import Policy
from trellis.contracts.reward import RewardModel
from trellis.contracts.search import Extend, Score, SearchAlgorithm
from trellis.contracts.task import Task
from trellis.errors import CapabilityError, ContractError
from trellis.sampling import sample_trajectories
from trellis.search.process import RunningSearch
from trellis.search.tree import Tree, TreeLines, TreeWriter
from trellis.seeds import derived_seed
from trellis.types import Budget, Outcome, Problem, SampleRequest, SearchResult, Trajectory


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What a search found for one problem and what it spent.

    Attributes:
        problem: The problem.
        result: What the search returned.
        outcome: What the task's verifier says of `result.best`; not correct where there is none.
        num_tokens: New tokens sampled from the policy.
        num_calls: Requests answered (`Extend` and `Score`).
        seconds: Wall-clock seconds from start to end. Interleaved searches share the clock, so these do not add up.
        exhausted: "tokens", "calls" or "seconds" where that budget ended the search; None where it ended by itself.
    """

    problem: Problem
    result: SearchResult
    outcome: Outcome
    num_tokens: int
    num_calls: int
    seconds: float
    exhausted: str | None


def run_searches(
    problems: Sequence[Problem],
    *,
    search: SearchAlgorithm,
    policy: Policy,
    task: Task,
    reward: RewardModel | None = None,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    max_tokens: int = 256,
    max_steps: int = 64,
    seed: int = 0,
    batch_problems: int = 256,
    progress: Callable[[int, int], None] | None = None,
    trace: TreeWriter | TreeLines | None = None,
) -> Iterator[SearchReport]:
    """Search for a solution of each problem and yield the reports in the order of the problems.

    A problem's result depends on `seed` and the problem alone, not on the other problems nor on `batch_problems` (a
    budget of seconds excepted). To stop early, leave the loop: searches still running are dropped.

    Args:
        problems: What to solve.
        search: How.
        policy: Writes the steps.
        task: Cuts completions into steps, and verifies.
        reward: Answers `Score`; needed by searches that say so (`needs_reward`).
        budget: What each problem may cost. Tokens are never overspent: a completion is cut where its share ends.
        max_tokens: New tokens of one continuation at most: of one step, or of one whole completion.
        max_steps: A trajectory with so many steps that is not finished is cut.
        seed: Fixes all samples.
        batch_problems: How many searches are interleaved at once.
        progress: Called with the number of problems done so far, in whatever order, and of all problems.
        trace: Takes the trees of all that was sampled, a line per report.

    Raises:
        CapabilityError: The search asks for scores and there is no reward.
        ContractError: The search, the policy or the reward breaks its contract.
    """
    answers = _Answers(policy, task, reward, max_tokens=max_tokens, max_steps=max_steps, seed=seed)
    waiting = iter(problems)
    running: list[RunningSearch] = []
    unreported: deque[RunningSearch] = deque()
    num_done = 0
    while True:
        started = [
            RunningSearch(search, task.start(problem), budget=budget, tree=Tree() if trace else None)
            for problem in islice(waiting, batch_problems - len(running))
        ]
        running += started
        unreported += started
        if not running:
            return
        answers.extend(running)
        answers.score(running)
        num_running = len(running)
        running = [one for one in running if one.result is None]
        if progress and len(running) < num_running:
            num_done += num_running - len(running)
            progress(num_done, len(problems))
        while unreported and (result := unreported[0].result) is not None:
            ended = unreported.popleft()
            report = _report(ended, result, task=task)
            if trace and ended.tree:
                trace.write(ended.tree, report.problem, search=ended.name, best=result.best, outcome=report.outcome)
            yield report


def _report(ended: RunningSearch, result: SearchResult, *, task: Task) -> SearchReport:
    best = result.best
    return SearchReport(
        problem=ended.root.problem,
        result=result,
        outcome=task.verify(best) if best else Outcome(correct=False, score=0.0, reason="no finished trajectory"),
        num_tokens=ended.num_tokens,
        num_calls=ended.num_calls,
        seconds=ended.seconds,
        exhausted=ended.exhausted,
    )


@dataclass(frozen=True, slots=True)
class _Answers:
    """Answers the pending requests of many searches with one call of the policy and one of the reward."""

    policy: Policy
    task: Task
    reward: RewardModel | None
    max_tokens: int
    max_steps: int
    seed: int

    def extend(self, running: Sequence[RunningSearch]) -> None:
        """Answer every `Extend`; a search that cannot pay for it is ended."""
        asking = [(one, one.request) for one in running if isinstance(one.request, Extend) and one.afford()]
        sampled = iter(self._sample([request for one, extend in asking for request in self._requests(one, extend)]))
        for one, extend in asking:
            rows = [next(sampled) for _ in extend.prefixes]
            children = [[child for child, _ in row] for row in rows]
            if one.tree:
                one.tree.add_samples(extend.prefixes, children)
            one.answer(children, num_tokens=sum(count for row in rows for _, count in row))

    def score(self, running: Sequence[RunningSearch]) -> None:
        """Answer every `Score`; a search that cannot pay for it is ended."""
        asking = [(one, one.request) for one in running if isinstance(one.request, Score) and one.afford()]
        if asking and self.reward is None:
            mend = "it ranks by rewards, so give the stage one (`needs: {reward: NAME}`; in Python, `reward=`)."
            raise CapabilityError(asking[0][0].name, capability="reward", mend=mend)
        scored = iter(self._rewards([trajectory for _, score in asking for trajectory in score.trajectories]))
        for one, score in asking:
            scores = [next(scored) for _ in score.trajectories]
            if one.tree:
                one.tree.add_scores(score.trajectories, scores)
            one.answer(scores)

    def _requests(self, one: RunningSearch, extend: Extend) -> list[SampleRequest]:
        return [
            SampleRequest(
                prefix,
                n=extend.n,
                max_tokens=one.tokens_each(self.max_tokens),
                stop=self.task.separator if extend.until == "step" else None,
                temperature=extend.temperature,
                seed=derived_seed(self.seed, one.root.problem.id, one.num_calls, index),
            )
            for index, prefix in enumerate(extend.prefixes)
        ]

    def _sample(self, requests: list[SampleRequest]) -> list[list[tuple[Trajectory, int]]]:
        """Return what each request's prefix became, and how many tokens that took."""
        if self.task.constrained:
            rows = sample_trajectories(self.policy, self.task, requests)
            return [
                [(self._bound(child), child.num_tokens - request.prefix.num_tokens) for child in row]
                for request, row in zip(requests, rows, strict=True)
            ]
        answers = self.policy.sample(requests) if requests else []
        name = type(self.policy).__name__
        if len(answers) != len(requests):
            raise ContractError(f"the policy '{name}' answered {len(requests)} requests with {len(answers)} lists")
        for request, row in zip(requests, answers, strict=True):
            longest = max((completion.num_tokens for completion in row), default=0)
            if len(row) != request.n or longest > request.max_tokens:
                raise ContractError(
                    f"the policy '{name}' was asked for {request.n} completions of at most {request.max_tokens} tokens"
                    f" and gave {len(row)} of up to {longest} (problem {request.prefix.problem.id})"
                )
        return [
            [(self._bound(self.task.extend(request.prefix, one)), one.num_tokens) for one in row]
            for request, row in zip(requests, answers, strict=True)
        ]

    def _bound(self, child: Trajectory) -> Trajectory:
        return replace(child, cut=True) if child.open and len(child.steps) >= self.max_steps else child

    def _rewards(self, trajectories: list[Trajectory]) -> list[list[float]]:
        if self.reward is None or not trajectories:
            return []
        rows = self.reward.score(trajectories)
        name = type(self.reward).__name__
        if len(rows) != len(trajectories):
            raise ContractError(f"the reward '{name}' scored {len(trajectories)} trajectories with {len(rows)} lists")
        for trajectory, row in zip(trajectories, rows, strict=True):
            if len(row) != len(trajectory.steps) or not all(map(math.isfinite, row)):
                raise ContractError(
                    f"the reward '{name}' must give one finite number per step; for the {len(trajectory.steps)} steps "
                    f"{trajectory.text!r} of problem {trajectory.problem.id} it gave {list(row)}"
                )
        return rows
