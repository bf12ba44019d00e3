import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis.contracts import Extend, Score
from trellis.errors import BudgetExhausted
from trellis.types import Problem, SearchResult, Step, Trajectory
from trellis_particle.config import ParticleConfig
from trellis_particle.particle import Particle, Weighted, systematic

ROOT = Trajectory(Problem("p", "spell"), "spell\n")


def grow(prefix, text, log_prob=-1.0, **flags):
    return replace(prefix, steps=(*prefix.steps, Step(text, (1,), (log_prob,))), **flags)


def start(**settings):
    process = Particle(ParticleConfig(**settings)).search(ROOT)
    return process, next(process)


def conclude(process, answer=None):
    """Send the last answer, or say that the budget is spent, and return the result."""
    with pytest.raises(StopIteration) as end:
        process.throw(BudgetExhausted("calls")) if answer is None else process.send(answer)
    return end.value.value


def resample(scores, *, uniform=0.5, bases=None, **settings):
    population = [
        Weighted(grow(ROOT, str(index)), score, base)
        for index, (score, base) in enumerate(zip(scores, bases or [0.0] * len(scores), strict=True))
    ]
    drawn = Particle(ParticleConfig(particles=len(scores), **settings)).resample(population, uniform)
    return [int(one.trajectory.text) for one in drawn], drawn


def test_every_open_particle_grows_by_a_step_of_its_own():
    process, request = start(particles=3, temperature=0.8)
    assert request == Extend((ROOT,) * 3, n=1, until="step", temperature=0.8)
    a, b = grow(ROOT, "a"), grow(ROOT, "b")
    assert process.send([[a], [b], [a]]) == Score((a, b, a))


def test_a_particle_takes_places_in_proportion_to_its_weight():
    # exp(log 3) : 1 : 1 : 1 is half of the places and a sixth of them each: 2, then 2/3 of a place each.
    assert resample([math.log(3), 0, 0, 0])[0] == [0, 0, 1, 3]
    assert resample([2 * math.log(3), 0, 0, 0], score_temperature=2.0)[0] == [0, 0, 1, 3]


def test_increments_select_for_what_is_new():
    places, drawn = resample([5.0, math.log(3)], bases=[5.0, 0.0], weights="increment", uniform=0.4)
    # 1 : 3, so (0.4 / 2) falls in the first quarter.
    assert places == [0, 1]
    assert [one.base for one in drawn] == [5.0, math.log(3)]
    assert resample([5.0, math.log(3)], weights="score", uniform=0.4)[0] == [0, 0]


def test_a_population_of_nearly_equal_weights_is_left_alone():
    # Weights 3/4 and 1/4: an effective size of 1 / (9/16 + 1/16) = 1.6 of 2.
    scores = [math.log(3), 0.0]
    assert resample(scores, ess_threshold=0.7, uniform=0.0)[0] == [0, 1]
    kept = resample(scores, ess_threshold=0.7, weights="increment")[1]
    assert [one.base for one in kept] == [0.0, 0.0]
    assert resample(scores, ess_threshold=0.9, uniform=0.0)[0] == [0, 0]


def test_a_finished_particle_stays_and_its_copies_are_neither_grown_nor_scored_again():
    process, _ = start(particles=2, ess_threshold=0)
    end, a = grow(ROOT, "z", finished=True, answer="z"), grow(ROOT, "a")
    process.send([[end], [a]])
    assert process.send([[0.9], [0.1]]) == Extend((a,), n=1)
    b = grow(a, "b", finished=True, answer="ab")
    assert process.send([[b]]) == Score((b,))
    result = conclude(process, [[0.1, 0.2]])
    assert result.best == end
    assert [(one.trajectory, one.score) for one in result.candidates] == [(end, 0.9), (b, 0.2)]


def test_a_search_whose_places_all_went_to_finished_particles_is_at_its_end():
    process, _ = start(particles=2)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end], [a]])
    assert conclude(process, [[100.0], [0.0]]).best == end


def test_cut_particles_lose_their_place():
    process, _ = start(particles=2)
    a = grow(ROOT, "a")
    assert process.send([[grow(ROOT, "b", cut=True)], [a]]) == Score((a,))
    assert process.send([[0.0]]) == Extend((a, a), n=1)
    assert conclude(process, [[grow(a, "c", cut=True)]] * 2) == SearchResult(None)


def test_the_answer_may_be_voted_for():
    process, _ = start(particles=3, choose="weighted-majority")
    votes = [grow(ROOT, text, finished=True, answer=text[0]) for text in ("x1", "y1", "y2")]
    process.send([[vote] for vote in votes])
    result = conclude(process, [[math.log(3)], [math.log(2)], [math.log(2)]])
    assert result.best == votes[1]
    assert [one.score for one in result.candidates] == pytest.approx([3 / 7, 4 / 7, 4 / 7])


def test_resampling_depends_on_the_seed_and_the_problem_alone():
    def kept(seed, id_="p"):
        root = Trajectory(Problem(id_, "spell"), "spell\n")
        process = Particle(ParticleConfig(particles=8, seed=seed)).search(root)
        next(process)
        process.send([[grow(root, letter)] for letter in "abcdefgh"])
        return "".join(prefix.text for prefix in process.send([[index / 4] for index in range(8)]).prefixes)

    assert kept(1) == kept(1)
    assert kept(None) == kept(0)
    assert len({kept(seed) for seed in range(20)}) > 1
    assert len({kept(0, id_) for id_ in "pqrstuvw"}) > 1


def test_a_spent_budget_leaves_the_best_finished_so_far_and_what_is_unscored_last():
    process, _ = start(particles=2, ess_threshold=0)
    end, a = grow(ROOT, "z", finished=True), grow(ROOT, "a")
    process.send([[end], [a]])
    process.send([[-5.0], [0.9]])
    process.send([[grow(a, "b", finished=True)]])
    result = conclude(process)
    assert result.best == end
    assert [one.score for one in result.candidates] == [-5.0, -math.inf]


def test_a_budget_of_nothing_finds_nothing():
    process, _ = start()
    assert conclude(process) == SearchResult(None)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=20),
    st.integers(1, 40),
    st.floats(0, 1, exclude_max=True),
)
def test_each_index_is_drawn_as_often_as_its_share_rounded_up_or_down(weights, n, uniform):
    shares = [weight / math.fsum(weights) for weight in weights]
    drawn = systematic(shares, n, uniform)
    assert len(drawn) == n
    assert drawn == sorted(drawn)
    for index, share in enumerate(shares):
        assert math.floor(n * share - 1e-9) <= drawn.count(index) <= math.ceil(n * share + 1e-9)


@pytest.mark.parametrize("values", [{"particles": 0}, {"score_temperature": 0.0}, {"ess_threshold": 1.1}, {"n": 3}])
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ValidationError):
        ParticleConfig(**values)
