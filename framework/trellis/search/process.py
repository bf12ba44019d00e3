"""One search at work on one problem: its generator, its pending request and what it has spent."""

from __future__ import annotations

import time
from typing import Any

from trellis.contracts.search import Extend, Score, SearchAlgorithm
from trellis.errors import BudgetExhausted, ContractError
from trellis.search.tree import Tree
from trellis.types import Budget, SearchResult, Trajectory


class RunningSearch:
    """Advances one search from request to request, and ends it when its budget is spent.

    Attributes:
        name: The search's class, as messages and traces name it.
        root: The problem's empty trajectory.
        tree: Records what is sampled and scored, where a trace is wanted.
        request: What the search wants to know; None when it has ended.
        result: How it ended; None while it runs.
        exhausted: The resource whose budget ended it, if one did.
        num_tokens: New tokens sampled for it so far.
        num_calls: Requests answered so far.
        seconds: Wall-clock seconds from its start to its end, in which the interleaved searches ran too.
    """

    def __init__(self, search: SearchAlgorithm, root: Trajectory, *, budget: Budget, tree: Tree | None) -> None:
        self.root = root
        self.tree = tree
        self.request: Extend | Score | None = None
        self.result: SearchResult | None = None
        self.exhausted: str | None = None
        self.num_tokens = 0
        self.num_calls = 0
        self.seconds = 0.0
        self.name = type(search).__name__
        self._budget = budget
        self._started = time.perf_counter()
        self._process = search.search(root)
        self._advance(None)

    def answer(self, answer: Any, *, num_tokens: int = 0) -> None:
        """Send the answer to `request`, which cost `num_tokens`; then a new one is pending, or the result is there."""
        self.num_calls += 1
        self.num_tokens += num_tokens
        self._advance(answer)

    def tokens_each(self, max_tokens: int) -> int:
        """Return how many tokens each continuation of the pending `Extend` may have, so that all stay in the budget."""
        assert isinstance(self.request, Extend)
        if self._budget.tokens is None:
            return max_tokens
        left = self._budget.tokens - self.num_tokens
        return min(max_tokens, left // (self.request.n * len(self.request.prefixes)))

    def afford(self) -> bool:
        """Say whether the budget allows the pending request; if not, end the search."""
        self.exhausted = self._spent()
        if self.exhausted:
            self._conclude(BudgetExhausted(self.exhausted))
        return self.exhausted is None

    def _spent(self) -> str | None:
        budget = self._budget
        if budget.calls is not None and self.num_calls >= budget.calls:
            return "calls"
        if budget.seconds is not None and time.perf_counter() - self._started >= budget.seconds:
            return "seconds"
        if isinstance(self.request, Extend) and self.tokens_each(max_tokens=1) < 1:
            return "tokens"
        return None

    def _advance(self, answer: Any) -> None:
        try:
            self.request = self._process.send(answer)
        except StopIteration as end:
            self._end(end.value)
        except Exception as error:
            error.add_note(f"in the search '{self.name}', problem {self.root.problem.id}")
            raise
        else:
            self._check(self.request)

    def _conclude(self, spent: BudgetExhausted) -> None:
        try:
            request = self._process.throw(spent)
        except StopIteration as end:
            self._end(end.value)
        except BudgetExhausted:
            self._end(SearchResult(best=None))
        else:
            raise self._broken(f"asked for {type(request).__name__} after {spent}; it must return the best it has")

    def _end(self, result: SearchResult) -> None:
        if not isinstance(result, SearchResult):
            raise self._broken(f"returned {type(result).__name__}; it must return a SearchResult")
        self.request, self.result = None, result
        self.seconds = time.perf_counter() - self._started

    def _check(self, request: Extend | Score) -> None:
        if isinstance(request, Extend):
            if not request.prefixes or request.n < 1:
                raise self._broken(f"asked for {request.n} continuations of {len(request.prefixes)} prefixes")
            if not all(prefix.open for prefix in request.prefixes):
                raise self._broken("asked to extend a trajectory that is finished or cut; filter by `Trajectory.open`")
        elif not isinstance(request, Score):
            raise self._broken(f"yielded {type(request).__name__}; a search yields Extend or Score")

    def _broken(self, what: str) -> ContractError:
        return ContractError(f"the search '{self.name}' (problem {self.root.problem.id}) {what}")
