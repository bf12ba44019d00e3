"""Searches on a real task, with a perfect reward and a policy that knows the rules and nothing else."""

import math
import random

import pytest

from trellis.contracts import Policy, RewardModel
from trellis.search import run_searches
from trellis.types import Budget, Completion
from trellis_beam.beam import Beam
from trellis_beam.config import BeamConfig, DvtsConfig
from trellis_beam.dvts import Dvts
from trellis_best_of_n.best_of_n import BestOfN
from trellis_best_of_n.config import BestOfNConfig
from trellis_mcts.config import MctsConfig
from trellis_mcts.mcts import Mcts
from trellis_particle.config import ParticleConfig
from trellis_particle.particle import Particle
from trellis_reasoning.config import CountdownConfig
from trellis_reasoning.countdown import Countdown

TASK = Countdown(CountdownConfig(numbers=5, max_target=60, train_size=1, validation_size=1, test_size=40))
NUM_TOKENS = 80
"""What each problem may cost: a token is one move, or the end."""


class RandomMoves(Policy):
    """Any legal move, all with the same probability; ends when there is none."""

    def sample(self, requests):
        return [[self._write(request, index) for index in range(request.n)] for request in requests]

    def _write(self, request, index):
        rng = random.Random(f"{request.seed}/{index}")
        start = TASK.start(request.prefix.problem)
        text, pieces, log_probs = request.prefix.text, [], []
        while len(pieces) < request.max_tokens:
            moves = TASK.legal_steps(TASK.extend(start, Completion((0,), (text,), (0.0,), "stop")))
            pieces.append(rng.choice(moves) if moves else "")
            log_probs.append(-math.log(max(1, len(moves))))
            text += pieces[-1]
            if not moves:
                return Completion((1,) * len(pieces), tuple(pieces), tuple(log_probs), "end")
            if request.stop and text.endswith(request.stop):
                return Completion((1,) * len(pieces), tuple(pieces), tuple(log_probs), "stop")
        return Completion((1,) * len(pieces), tuple(pieces), tuple(log_probs), "length")

    def log_probs(self, trajectories):
        return list(trajectories)


class Oracle(RewardModel):
    def score(self, trajectories):
        return [[float(good) for good in TASK.step_oracle(trajectory)] for trajectory in trajectories]


def accuracy(search, *, num_tokens=NUM_TOKENS, seed=0):
    reports = list(
        run_searches(
            TASK.problems("test"),
            search=search,
            policy=RandomMoves(),
            task=TASK,
            reward=Oracle(),
            budget=Budget(tokens=num_tokens),
            max_tokens=8,
            seed=seed,
        )
    )
    assert max(report.num_tokens for report in reports) <= num_tokens
    return sum(report.outcome.correct for report in reports) / len(reports)


SEARCHES = {
    "beam": Beam(BeamConfig(width=4, expand=4)),
    "dvts": Dvts(DvtsConfig(trees=4, expand=4)),
    "mcts": Mcts(MctsConfig(simulations=100)),
    "mcts, mean": Mcts(MctsConfig(simulations=100, backup="mean", batch=1)),
    "mcts, widening": Mcts(MctsConfig(simulations=100, widening=1.0)),
    "particle": Particle(ParticleConfig(particles=16, score_temperature=0.1)),
    "particle, increments": Particle(ParticleConfig(particles=16, score_temperature=0.1, weights="increment")),
}


@pytest.fixture(scope="module")
def best_of_n():
    return accuracy(BestOfN(BestOfNConfig(n=16)))


@pytest.mark.parametrize("name", SEARCHES)
def test_steps_judged_one_by_one_beat_whole_completions_at_equal_cost(name, best_of_n):
    assert accuracy(SEARCHES[name]) > best_of_n
