"""What holds of every search, whatever the policy and the reward answer."""

import math
import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from trellis.contracts import Extend
from trellis.errors import BudgetExhausted
from trellis.types import Problem, SearchResult, Step, Trajectory
from trellis_beam.beam import Beam
from trellis_beam.config import BeamConfig, DvtsConfig
from trellis_beam.dvts import Dvts
from trellis_best_of_n.best_of_n import BestOfN
from trellis_best_of_n.config import BestOfNConfig, MajorityConfig, WeightedMajorityConfig
from trellis_best_of_n.majority import Majority
from trellis_best_of_n.weighted_majority import WeightedMajority
from trellis_mcts.config import MctsConfig
from trellis_mcts.mcts import Mcts
from trellis_particle.config import ParticleConfig
from trellis_particle.particle import Particle

ROOT = Trajectory(Problem("p", "spell"), "spell\n")
MAX_STEPS = 5

small = st.integers(1, 5)
aggregates = st.sampled_from(["last", "min", "mean", "sum", "product"])
settles = st.none() | st.sampled_from([0.6, 0.9])
searches = st.one_of(
    st.builds(Majority, st.builds(MajorityConfig, n=small, batch=small, settle=settles)),
    st.builds(BestOfN, st.builds(BestOfNConfig, n=small, batch=small, settle=settles, aggregate=aggregates)),
    st.builds(WeightedMajority, st.builds(WeightedMajorityConfig, n=small, batch=small, settle=settles)),
    st.builds(Beam, st.builds(BeamConfig, width=small, expand=small, dedupe=st.booleans())),
    st.builds(Dvts, st.builds(DvtsConfig, trees=small, expand=small, dedupe=st.booleans())),
    st.builds(
        Mcts,
        st.builds(
            MctsConfig,
            simulations=st.integers(0, 12),
            batch=small,
            root_children=small,
            children=small,
            widening=st.sampled_from([0.0, 0.5, 2.0]),
            backup=st.sampled_from(["mean", "max"]),
            prior=st.sampled_from(["duplicates", "uniform"]),
            choose=st.sampled_from(["score", "value", "visits"]),
            standardise=st.booleans(),
            aggregate=aggregates,
        ),
    ),
    st.builds(
        Particle,
        st.builds(
            ParticleConfig,
            particles=small,
            weights=st.sampled_from(["score", "increment"]),
            ess_threshold=st.sampled_from([0.0, 0.5, 1.0]),
            choose=st.sampled_from(["best", "weighted-majority"]),
        ),
    ),
)


def step_of(prefix, rng):
    """Return a longer trajectory: open, finished with or without an answer, or cut."""
    text = rng.choice("ab")
    longer = replace(prefix, steps=(*prefix.steps, Step(text, (1,), (-rng.random(),))))
    ending = rng.random()
    if ending < 0.3:
        return replace(longer, finished=True, answer=rng.choice(["x", "y", None]))
    return replace(longer, cut=True) if ending < 0.4 or len(longer.steps) >= MAX_STEPS else longer


def continuation(prefix, until, rng):
    longer = step_of(prefix, rng)
    while until == "end" and longer.open:
        longer = step_of(longer, rng)
    return longer


def answer(request, rng):
    if isinstance(request, Extend):
        return [[continuation(prefix, request.until, rng) for _ in range(request.n)] for prefix in request.prefixes]
    return [[rng.choice([-1.0, 0.0, 0.5, 2.0]) for _ in trajectory.steps] for trajectory in request.trajectories]


def converse(search, seed, *, at_most=math.inf):
    """Run a search to its end, or to the end of its budget of requests; return requests, answers and result."""
    rng = random.Random(seed)
    process = search.search(ROOT)
    requests, answers = [next(process)], []
    try:
        while len(answers) < at_most:
            answers.append(answer(requests[-1], rng))
            requests.append(process.send(answers[-1]))
        process.throw(BudgetExhausted("calls"))
    except StopIteration as end:
        return requests, answers, end.value
    raise AssertionError("it asks for more after its budget is spent")


@settings(max_examples=300, deadline=None)
@given(searches, st.integers(0, 10**6), st.integers(0, 12) | st.just(math.inf))
def test_the_answer_is_the_best_of_the_finished_and_asking_is_fair(search, seed, at_most):
    requests, answers, result = converse(search, seed, at_most=at_most)
    assert isinstance(result, SearchResult)
    for request in requests:
        asked = request.prefixes if isinstance(request, Extend) else request.trajectories
        assert asked
        assert all(one.open if isinstance(request, Extend) else not one.cut for one in asked)
    sampled = [
        one
        for request, rows in zip(requests, answers, strict=False)
        if isinstance(request, Extend)
        for row in rows
        for one in row
        if one.finished
    ]
    found = [one.trajectory for one in result.candidates]
    assert all(one in sampled for one in found)
    assert {one.text for one in found} == {one.text for one in sampled}
    assert (result.best is None) == (not found)
    if found:
        best = max(one.score for one in result.candidates)
        assert best in [one.score for one in result.candidates if one.trajectory == result.best]


@settings(max_examples=100, deadline=None)
@given(searches, st.integers(0, 10**6))
def test_equal_answers_give_equal_results(search, seed):
    assert converse(search, seed) == converse(search, seed)


@settings(max_examples=200, deadline=None)
@given(searches, st.integers(0, 10**6))
def test_no_more_is_sampled_than_the_config_says(search, seed):
    requests, _, _ = converse(search, seed)
    sizes = [request.n * len(request.prefixes) for request in requests if isinstance(request, Extend)]
    config = search.config
    match search:
        case Majority() | BestOfN() | WeightedMajority():
            assert sum(sizes) <= config.n
            assert config.settle is None or max(sizes) <= config.batch
        case Beam():
            assert max(sizes) <= config.width * config.expand
        case Dvts():
            assert max(sizes) <= config.trees * config.expand
        case Particle():
            assert max(sizes) <= config.particles
        case Mcts() if config.widening == 0:
            assert sum(sizes) <= config.root_children + config.simulations * config.children
            assert max(sizes) <= max(config.root_children, config.batch * config.children)
