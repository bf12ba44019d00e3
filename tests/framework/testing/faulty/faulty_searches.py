"""Searches with one fault each."""

import random
from dataclasses import replace

from faults import breaks

from trellis import Candidate, Config, Extend, Score, SearchAlgorithm, SearchResult
from trellis.errors import BudgetExhausted

SAMPLING = frozenset({"sampling", "reward"})


class PairsConfig(Config):
    width: int = 2
    """How many are kept after each step."""


class Pairs(SearchAlgorithm):
    """A small beam search. Nothing is wrong with this one."""

    Config = PairsConfig
    needs_reward = True

    def __init__(self, config):
        self.config = config

    def search(self, root):
        candidates, beam = [], [root]
        try:
            while beam:
                extended = yield Extend(tuple(beam), n=3)
                found = [trajectory for row in extended for trajectory in row]
                scores = yield Score(tuple(found))
                ranked = sorted(zip(found, scores, strict=True), key=lambda pair: -sum(pair[1]))
                candidates += [Candidate(t, sum(row)) for t, row in ranked if t.finished]
                beam = [t for t, _ in ranked if t.open][: self.config.width]
        except BudgetExhausted:
            pass
        return self.conclude(candidates)

    def conclude(self, candidates):
        best = max(candidates, key=lambda candidate: candidate.score, default=None)
        return SearchResult(best and best.trajectory, tuple(candidates))


@breaks("search-returns-a-result", "search", capabilities=SAMPLING)
class ReturnsATrajectory(Pairs):
    def search(self, root):
        process, spent = super().search(root), False
        answer = None
        while True:
            try:
                request = process.throw(BudgetExhausted("calls")) if spent else process.send(answer)
            except StopIteration as stop:
                return stop.value if spent else stop.value.best
            try:
                answer = yield request
            except BudgetExhausted:
                spent = True


@breaks("search-asks-what-can-be-answered", "search", capabilities=SAMPLING)
class AsksForNothing(Pairs):
    def search(self, root):
        try:
            yield Score(())
        except BudgetExhausted:
            return SearchResult(None)
        return (yield from super().search(root))


@breaks("only-open-trajectories-are-extended", "search", capabilities=SAMPLING)
class ExtendsTheEnded(Pairs):
    def search(self, root):
        try:
            yield Extend((replace(root, cut=True),))
        except BudgetExhausted:
            return SearchResult(None)
        return (yield from super().search(root))


@breaks("best-is-a-candidate", "search", capabilities=SAMPLING)
class HidesItsCandidates(Pairs):
    def conclude(self, candidates):
        return replace(super().conclude(candidates), candidates=())


@breaks("best-has-the-highest-score", "search", capabilities=SAMPLING)
class PrefersTheWorst(Pairs):
    def conclude(self, candidates):
        worst = min(candidates, key=lambda candidate: candidate.score, default=None)
        return replace(super().conclude(candidates), best=worst and worst.trajectory)


@breaks("candidates-are-finished", "search", capabilities=SAMPLING)
class CollectsTheCut(Pairs):
    def conclude(self, candidates):
        result = super().conclude(candidates)
        cut = [replace(c, trajectory=replace(c.trajectory, finished=False, cut=True), score=-9.0) for c in candidates]
        return replace(result, candidates=(*candidates, *cut))


@breaks("nothing-finished-is-no-answer", "search", capabilities=SAMPLING)
class AnswersAnyway(Pairs):
    def search(self, root):
        result = yield from super().search(root)
        return result if result.best else SearchResult(replace(root, cut=True))


@breaks("search-concludes-when-the-budget-is-spent", "search", capabilities=SAMPLING)
class IgnoresTheBudget(Pairs):
    def search(self, root):
        process, answer = super().search(root), None
        while True:
            try:
                request = process.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = yield request


@breaks("search-follows-its-answers", "search", capabilities=SAMPLING)
class RandomWidth(Pairs):
    def search(self, root):
        try:
            yield Extend((root,), n=random.choice(range(1, 60)))
        except BudgetExhausted:
            return SearchResult(None)
        return (yield from super().search(root))


@breaks("search-follows-its-answers", "search", capabilities=SAMPLING)
class RemembersOtherSearches(Pairs):
    searches = 0

    def search(self, root):
        self.searches += 1
        try:
            yield Extend((root,), n=self.searches)
        except BudgetExhausted:
            return SearchResult(None)
        return (yield from super().search(root))


@breaks("searches-can-be-interleaved", "search", capabilities=SAMPLING)
class KeepsItsRootOnSelf(Pairs):
    def search(self, root):
        self.root = root
        try:
            yield Extend((root,))
            yield Extend((self.root,))
        except BudgetExhausted:
            return SearchResult(None)
        return (yield from super().search(root))


@breaks("score-is-asked-for-as-declared", "search", capabilities=SAMPLING)
class AsksForScoresUndeclared(Pairs):
    needs_reward = False
