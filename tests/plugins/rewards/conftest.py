"""A task, a trainable policy that solves some of it, and how well a reward learns to tell its rollouts apart."""

import numpy as np
import pytest

from trellis.run.measures import within_problem_auc
from trellis.testing.material import Successor, SuccessorConfig, Table, TableConfig
from trellis.testing.material.episodes import rollouts
from trellis.testing.material.tiny import Tiny, TinyConfig


class Skilled(Tiny):
    """Writes as the kit's table of probabilities does; its network is there to be copied."""

    def __init__(self, config: TinyConfig, *, skill: float) -> None:
        super().__init__(config)
        self.table = Table(TableConfig(skill=skill))

    def next_log_probs(self, prompt, token_ids):
        return self.table.next_log_probs(prompt, token_ids)


@pytest.fixture
def skilled():
    """A policy that writes the right token eight times of ten."""
    return Skilled(TinyConfig(hidden_size=32), skill=0.8)


@pytest.fixture
def fitted_auc(skilled):
    """Fit a reward on rollouts of some problems; return its within-problem AUC on rollouts of others."""
    task = Successor(SuccessorConfig(size=240))
    rolled = rollouts(task, skilled, count=240, n=6)
    fitting, held_out = rolled[: 6 * 180], rolled[6 * 180 :]

    def fit(reward, *, updates: int, batch_size: int = 128) -> float:
        reward.reset(seed=1, num_updates=updates)
        for update in range(updates):
            chosen = np.random.default_rng([1, update]).choice(len(fitting), size=batch_size, replace=False)
            reward.update([], [fitting[i] for i in chosen])
        scored = [r for r in held_out if r.trajectory.steps]
        scores = [row[-1] for row in reward.score([r.trajectory for r in scored])]
        auc = within_problem_auc(scored, scores)
        assert auc is not None
        return auc

    return fit
