import math

import pytest
from pydantic import ValidationError

from trellis.contracts import Extend, Score
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Problem, SearchResult, Step, Trajectory
from trellis_best_of_n.best_of_n import BestOfN
from trellis_best_of_n.config import BestOfNConfig, GreedyConfig, MajorityConfig
from trellis_best_of_n.greedy import Greedy
from trellis_best_of_n.majority import Majority

ROOT = Trajectory(Problem("p", "1 + 1"), "1 + 1\n")


def ended(answer, log_prob=-1.0, *, finished=True, text=None):
    step = Step(text or f"= {answer}", token_ids=(1,), log_probs=(log_prob,))
    return Trajectory(ROOT.problem, ROOT.prompt, (step,), finished=finished, cut=not finished, answer=answer)


def conclude(process, answer=None):
    """Send the last answer, or say that the budget is spent, and return the result."""
    with pytest.raises(StopIteration) as end:
        process.throw(BudgetExhausted("tokens")) if answer is None else process.send(answer)
    return end.value.value


def test_greedy_takes_the_most_probable_completion():
    process = Greedy(GreedyConfig()).search(ROOT)
    assert next(process) == Extend((ROOT,), n=1, until="end", temperature=0.0)
    found = ended("2")
    assert conclude(process, [[found]]) == SearchResult(found, (Candidate(found, -1.0),))


def test_greedy_answers_with_nothing_when_it_did_not_finish():
    process = Greedy(GreedyConfig()).search(ROOT)
    next(process)
    assert conclude(process, [[ended(None, finished=False)]]) == SearchResult(None)


def test_the_majority_is_right():
    process = Majority(MajorityConfig(n=4, temperature=0.7)).search(ROOT)
    assert next(process) == Extend((ROOT,), n=4, until="end", temperature=0.7)
    samples = [ended("3", -0.1), ended("2", -5.0), ended("2", -2.0), ended("4", -0.1)]
    result = conclude(process, [samples])
    assert result.best == samples[2]
    assert [candidate.score for candidate in result.candidates] == [0.25, 0.5, 0.5, 0.25]


def test_a_tied_vote_goes_to_the_more_probable_then_to_the_first():
    def vote(*samples):
        process = Majority(MajorityConfig(n=len(samples))).search(ROOT)
        next(process)
        return conclude(process, [samples]).best

    assert vote(ended("3", -2.0), ended("2", -1.0)).answer == "2"
    assert vote(ended("3", -1.0), ended("2", -1.0)).answer == "3"


def test_only_finished_completions_with_an_answer_vote():
    process = Majority(MajorityConfig(n=5)).search(ROOT)
    next(process)
    samples = [
        ended("3", finished=False),
        ended("3", finished=False),
        ended(None, text="?"),
        ended(None, text="?"),
        ended("2"),
    ]
    result = conclude(process, [samples])
    assert result.best == samples[4]
    assert [candidate.score for candidate in result.candidates] == [0.0, 0.0, 1.0]


def test_without_any_vote_the_most_probable_completion_is_left():
    process = Majority(MajorityConfig(n=2)).search(ROOT)
    next(process)
    samples = [ended(None, -2.0, text="?"), ended(None, -1.0, text="!")]
    assert conclude(process, [samples]).best == samples[1]


@pytest.mark.parametrize(("how", "winner"), [("last", 1), ("min", 0), ("sum", 0)])
def test_best_of_n_ranks_by_the_aggregated_score(how, winner):
    process = BestOfN(BestOfNConfig(n=3, aggregate=how)).search(ROOT)
    assert next(process) == Extend((ROOT,), n=3, until="end", temperature=1.0)
    samples = [ended("1"), ended("2"), ended("3", finished=False)]
    assert process.send([samples]) == Score((samples[0], samples[1]))
    result = conclude(process, [[0.5, 0.6], [0.2, 0.7]])
    assert result.best == samples[winner]
    assert [candidate.trajectory for candidate in result.candidates] == samples[:2]


def test_best_of_n_breaks_ties_by_probability():
    process = BestOfN(BestOfNConfig(n=2)).search(ROOT)
    next(process)
    samples = [ended("1", -2.0), ended("2", -1.0)]
    process.send([samples])
    assert conclude(process, [[0.5], [0.5]]).best == samples[1]


def test_best_of_n_asks_for_no_scores_when_nothing_finished():
    process = BestOfN(BestOfNConfig(n=1)).search(ROOT)
    next(process)
    assert conclude(process, [[ended("1", finished=False)]]) == SearchResult(None)


def test_best_of_n_without_scores_answers_with_the_most_probable():
    process = BestOfN(BestOfNConfig(n=2)).search(ROOT)
    next(process)
    samples = [ended("1", -2.0), ended("2", -1.0)]
    process.send([samples])
    result = conclude(process)
    assert result.best == samples[1]
    assert {candidate.score for candidate in result.candidates} == {-math.inf}


@pytest.mark.parametrize("search", [Greedy(GreedyConfig()), Majority(MajorityConfig()), BestOfN(BestOfNConfig())])
def test_a_budget_of_nothing_finds_nothing(search):
    process = search.search(ROOT)
    next(process)
    assert conclude(process) == SearchResult(None)


@pytest.mark.parametrize("values", [{"n": 0}, {"temperature": -1.0}, {"aggregate": "median"}, {"width": 3}])
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ValidationError):
        BestOfNConfig(**values)
