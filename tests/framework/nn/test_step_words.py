"""A weight for each word, summed over the steps so far."""

import copy

import torch

from trellis.nn import StepWords
from trellis.testing.material import material, trainable


def two_of_different_lengths():
    traces = material("task").traces("train")
    return [next(t for t in traces if len(t.steps) == n) for n in (2, 3)]


def words_of(trajectory):
    return [["step", f"{trajectory.problem.id} {step}"] for step in range(len(trajectory.steps))]


def test_the_output_at_a_step_is_the_sum_over_the_words_so_far():
    batch = trainable().batch(two_of_different_lengths())
    net = StepWords(words_of)
    assert net(batch).equal(torch.zeros(batch.step_mask_BS.shape))
    torch.nn.init.normal_(net.weights.weight)
    places = net._places
    expected = torch.zeros(batch.step_mask_BS.shape)
    for row, trajectory in enumerate(batch.trajectories):
        total = 0.0
        for step, of_step in enumerate(places(trajectory)):
            total += sum(net.weights.weight[place].item() for place in of_step)
            expected[row, step] = total
    assert torch.allclose(net(batch), expected, atol=1e-5)


def test_a_step_without_words_is_worth_what_was_before_it():
    batch = trainable().batch(two_of_different_lengths())
    net = StepWords(lambda trajectory: [["first"], *([] for _ in trajectory.steps[1:])])
    torch.nn.init.ones_(net.weights.weight)
    assert net(batch).equal(batch.step_mask_BS.float())


def test_a_copy_has_weights_of_its_own_and_the_task_in_common():
    net = StepWords(words_of)
    twin = copy.deepcopy(net)
    torch.nn.init.ones_(net.weights.weight)
    assert not twin.weights.weight.any()
    assert twin._places is net._places
