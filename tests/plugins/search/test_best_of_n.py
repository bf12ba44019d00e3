import math

import pytest
from pydantic import ValidationError

from trellis.contracts import Extend, Score
from trellis.errors import BudgetExhausted
from trellis.types import Candidate, Problem, SearchResult, Step, Trajectory
from trellis_best_of_n.best_of_n import BestOfN
from trellis_best_of_n.config import BestOfNConfig, GreedyConfig, MajorityConfig, WeightedMajorityConfig
from trellis_best_of_n.greedy import Greedy
from trellis_best_of_n.majority import Majority
from trellis_best_of_n.weighted_majority import WeightedMajority

ROOT = Trajectory(Problem("p", "1 + 1"), "1 + 1\n")


SEARCHES = [
    Greedy(GreedyConfig()),
    Majority(MajorityConfig()),
    WeightedMajority(WeightedMajorityConfig()),
    BestOfN(BestOfNConfig()),
]


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


@pytest.mark.parametrize("search", SEARCHES)
def test_a_budget_of_nothing_finds_nothing(search):
    process = search.search(ROOT)
    next(process)
    assert conclude(process) == SearchResult(None)


@pytest.mark.parametrize("values", [{"n": 0}, {"temperature": -1.0}, {"aggregate": "median"}, {"width": 3}])
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ValidationError):
        BestOfNConfig(**values)


def test_votes_are_weighted_by_the_exponential_of_the_score():
    process = WeightedMajority(WeightedMajorityConfig(n=4, temperature=0.7)).search(ROOT)
    assert next(process) == Extend((ROOT,), n=4, until="end", temperature=0.7)
    samples = [ended("2", -5.0), ended("3"), ended("2", -2.0), ended(None, text="?")]
    assert process.send([samples]) == Score(tuple(samples))
    result = conclude(process, [[math.log(2)], [math.log(3)], [math.log(2)], [9.0]])
    assert result.best == samples[2]
    assert [candidate.score for candidate in result.candidates] == pytest.approx([4 / 7, 3 / 7, 4 / 7, 0.0])


@pytest.mark.parametrize(("temperature", "answer"), [(0.1, "3"), (10.0, "2")])
def test_the_score_temperature_says_how_much_the_best_completion_counts(temperature, answer):
    process = WeightedMajority(WeightedMajorityConfig(n=3, score_temperature=temperature)).search(ROOT)
    next(process)
    process.send([[ended("2"), ended("3"), ended("2")]])
    assert conclude(process, [[0.1], [0.5], [0.1]]).best.answer == answer


def test_unscored_completions_have_no_vote():
    process = WeightedMajority(WeightedMajorityConfig(n=4, settle=0.99, batch=2)).search(ROOT)
    next(process)
    first = [ended("2", -3.0), ended(None, text="?")]
    process.send([first])
    assert process.send([[0.1], [0.1]]) == Extend((ROOT,), n=2, until="end")
    process.send([[ended("3", -1.0), ended("3", -1.0)]])
    result = conclude(process)
    assert result.best == first[0]
    assert [candidate.score for candidate in result.candidates] == [1.0, 0.0, -math.inf, -math.inf]


def test_a_vote_ends_when_it_is_settled():
    process = Majority(MajorityConfig(n=16, settle=0.95, batch=2, temperature=0.7)).search(ROOT)
    request = Extend((ROOT,), n=2, until="end", temperature=0.7)
    assert next(process) == request
    # Ahead by 2 : 0 with 1 - 1/8, by 4 : 0 with 1 - 1/32.
    assert process.send([[ended("2"), ended("2")]]) == request
    result = conclude(process, [[ended("2"), ended("2")]])
    assert result.best.answer == "2"
    assert len(result.candidates) == 4


def test_a_vote_ends_when_what_is_left_cannot_change_it():
    process = Majority(MajorityConfig(n=5, settle=0.999, batch=4)).search(ROOT)
    assert next(process).n == 4
    assert conclude(process, [[ended("2"), ended("2"), ended("2"), ended("3")]]).best.answer == "2"
    process = Majority(MajorityConfig(n=5, settle=0.999, batch=4)).search(ROOT)
    next(process)
    assert process.send([[ended("2"), ended("2"), ended("4"), ended("3")]]).n == 1


def test_a_vote_cut_off_by_its_budget_counts_what_it_has():
    process = Majority(MajorityConfig(n=16, settle=0.99, batch=2)).search(ROOT)
    next(process)
    process.send([[ended("2"), ended("2")]])
    assert conclude(process).best.answer == "2"


def test_a_weighted_vote_ends_when_it_is_settled():
    process = WeightedMajority(WeightedMajorityConfig(n=16, settle=0.95, batch=4)).search(ROOT)
    next(process)
    process.send([[ended("2")] * 4])
    assert len(conclude(process, [[0.3]] * 4).candidates) == 4
    # One weight far above the others is one vote, however large it is.
    process = WeightedMajority(WeightedMajorityConfig(n=16, settle=0.95, batch=4)).search(ROOT)
    next(process)
    process.send([[ended("2")] * 4])
    assert process.send([[30.0], [0.0], [0.0], [0.0]]).n == 4


def test_best_of_n_ends_when_the_best_agree():
    process = BestOfN(BestOfNConfig(n=16, settle=0.85, batch=4)).search(ROOT)
    assert next(process).n == 4
    process.send([[ended("2"), ended("2"), ended("2"), ended("3")]])
    # 4/16 + 12/16 · 4/5 = 0.85
    assert len(conclude(process, [[0.9], [0.8], [0.7], [0.1]]).candidates) == 4
    process = BestOfN(BestOfNConfig(n=16, settle=0.85, batch=4)).search(ROOT)
    next(process)
    process.send([[ended("2"), ended("2"), ended("2"), ended("3")]])
    assert process.send([[0.9], [0.8], [0.1], [0.7]]).n == 4


def test_without_settle_all_samples_come_at_once_whatever_the_batch():
    for search in (Majority(MajorityConfig(n=9, batch=2)), BestOfN(BestOfNConfig(n=9, batch=2))):
        assert next(search.search(ROOT)).n == 9


@pytest.mark.parametrize("values", [{"settle": 0.5}, {"settle": 1.0}, {"batch": 0}, {"score_temperature": 0.0}])
def test_settling_at_what_cannot_be_is_refused(values):
    with pytest.raises(ValidationError):
        WeightedMajorityConfig(**values)
