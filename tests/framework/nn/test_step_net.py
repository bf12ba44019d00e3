"""Scalars per step: what is read where, against loops."""

from dataclasses import replace

import pytest
import torch

from trellis.nn import StepNet, at_steps, sum_over_steps
from trellis.testing.material import material, trainable


@pytest.fixture
def policy():
    return trainable()


@pytest.fixture
def traces():
    """Trajectories of two, three and no steps."""
    task = material("task")
    (two, three) = (next(t for t in task.traces("train") if len(t.steps) == n) for n in (2, 3))
    return [two, three, replace(two, steps=(), finished=False)]


def test_a_value_is_read_at_the_last_token_of_each_step(policy, traces):
    batch = policy.batch(traces)
    values = torch.randn(batch.ids_BT.shape)
    read = at_steps(values, batch)
    for row in range(len(traces)):
        for step in range(read.shape[1]):
            tokens = [t for t, owner in enumerate(batch.step_BT[row].tolist()) if owner == step]
            assert read[row, step] == (values[row, tokens[-1]] if tokens else 0.0)


def test_values_are_summed_over_the_tokens_of_each_step(policy, traces):
    batch = policy.batch(traces)
    values = torch.randn(batch.ids_BT.shape)
    sums = sum_over_steps(values, batch)
    for row in range(len(traces)):
        for step in range(sums.shape[1]):
            own = [values[row, t].item() for t, owner in enumerate(batch.step_BT[row].tolist()) if owner == step]
            assert sums[row, step].item() == pytest.approx(sum(own), abs=1e-6)


def test_sums_pass_the_gradient_to_every_token_of_the_steps_and_to_no_other(policy, traces):
    batch = policy.batch(traces)
    values = torch.randn(batch.ids_BT.shape, requires_grad=True)
    sum_over_steps(values, batch).sum().backward()
    assert values.grad.equal(batch.mask_BT.float())


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_heads_begin_at_zero_and_every_output_has_one(num_outputs, policy, traces):
    batch = policy.batch(traces)
    net = StepNet(policy.module, num_outputs=num_outputs)
    assert net.at_tokens(batch).equal(torch.zeros(*batch.ids_BT.shape, num_outputs))
    assert net(batch).equal(torch.zeros(batch.step_mask_BS.shape))


def test_what_is_read_at_a_step_does_not_depend_on_later_ones_nor_on_other_rows(policy, traces):
    net = StepNet(policy.module)
    torch.nn.init.normal_(net.head.weight)
    whole = net(policy.batch(traces))
    first = replace(traces[1], steps=traces[1].steps[:1], finished=False)
    torch.testing.assert_close(net(policy.batch([first]))[0, :1], whole[1, :1])
    assert whole[2].equal(torch.zeros(3)), "no steps, no values"


def test_the_trunk_is_a_copy_that_takes_gradients(policy, traces):
    for parameter in policy.module.parameters():
        parameter.requires_grad_(False)
    net = StepNet(policy.module)
    torch.nn.init.ones_(net.head.weight)
    net(policy.batch(traces)).sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in net.trunk.parameters())
    assert all(parameter.grad is None for parameter in policy.module.parameters())
