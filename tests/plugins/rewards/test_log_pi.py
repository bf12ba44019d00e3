"""The policy's own likelihood as a reward."""

from dataclasses import replace
from itertools import accumulate

import pytest

from trellis import Policy, SampleRequest
from trellis.testing.material import Successor, SuccessorConfig, Table, TableConfig
from trellis_likelihood.config import LogPiConfig
from trellis_likelihood.log_pi import LogPi


class Counting(Policy):
    """Scores as `Table` does and remembers how many trajectories it was asked for."""

    def __init__(self):
        self.table, self.scored = Table(TableConfig()), 0

    def sample(self, requests):
        return self.table.sample(requests)

    def log_probs(self, trajectories):
        self.scored += len(trajectories)
        return self.table.log_probs(trajectories)


@pytest.fixture
def task():
    return Successor(SuccessorConfig())


@pytest.fixture
def policy():
    return Counting()


def test_the_last_score_is_log_pi_of_the_whole_trajectory(task, policy):
    traces = policy.log_probs(task.traces("train")[:5])
    for trace, scores in zip(traces, LogPi(LogPiConfig(), policy=policy).score(traces), strict=True):
        assert scores == list(accumulate(step.log_prob for step in trace.steps))
        assert scores[-1] == pytest.approx(trace.log_prob)


def test_a_step_alone_may_be_scored(task, policy):
    traces = policy.log_probs(task.traces("train")[:5])
    reward = LogPi(LogPiConfig(span="step"), policy=policy)
    assert reward.score(traces) == [[step.log_prob for step in trace.steps] for trace in traces]


def test_what_was_sampled_is_taken_at_its_word_and_only_the_rest_is_scored(task, policy):
    """One step without log-probs is enough; the order of the call is kept."""
    root = task.start(task.problems("train")[0])
    sampled = [task.extend(root, c) for c in policy.sample([SampleRequest(root, n=3, max_tokens=8)])[0]]
    halfway = replace(sampled[1], steps=(*sampled[1].steps[:-1], replace(sampled[1].steps[-1], log_probs=())))
    trace = task.traces("train")[1]
    reward = LogPi(LogPiConfig(), policy=policy)
    scores = reward.score([trace, sampled[0], halfway, sampled[2]])
    assert policy.scored == 2
    assert scores == [row for t in (trace, sampled[0], sampled[1], sampled[2]) for row in reward.score([t])]


def test_nothing_is_scored_as_nothing(task, policy):
    reward = LogPi(LogPiConfig(), policy=policy)
    assert reward.score([]) == []
    assert reward.score([task.start(task.problems("train")[0])]) == [[]]
