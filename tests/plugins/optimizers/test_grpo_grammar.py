"""GRPO on rollouts under a grammar: old, new and reference policy are under one mask."""

import math
from dataclasses import replace

from trellis import build
from trellis.testing.material import Successor, SuccessorConfig
from trellis_grpo.config import GRPOConfig
from trellis_grpo.grpo import GRPO

TWO_OF_THREE = 'root ::= digit "\\n" digit "\\n"\ndigit ::= "2" | "5" | "7"\n'


class Constrained(Successor):
    """What is written is two lines of one of three digits."""

    def start(self, problem, prompt=None):
        return replace(super().start(problem, prompt), grammar=TWO_OF_THREE)


def test_ratios_and_entropies_are_those_of_the_mask():
    policy = build("transformers", {"seed": 2, "cpu_threads": 1, "device": "cpu"})
    config = GRPOConfig(
        steps=2, problems_per_step=4, group_size=4, max_tokens=8, kl_weight=0.1, entropy_weight=0.01, temperature=0.8
    )
    first, second = GRPO(config).train(policy=policy, task=Constrained(SuccessorConfig()))
    for rollout in first.rollouts:
        assert rollout.trajectory.finished
        assert set(rollout.trajectory.text) <= set("257\n")
    # Of five tokens two are digits and have up to log 3 nats, the others none at all.
    assert 0 < first.metrics["exact_entropy"] <= 2 / 5 * math.log(3) + 1e-5
    assert 0 < first.metrics["entropy"] < 1.1
    # The reference is the policy itself in the first step: under another mask they would differ.
    assert abs(first.metrics["kl"]) < 1e-6
    assert math.isfinite(second.metrics["loss"])
