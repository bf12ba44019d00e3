"""Forks share what is frozen, and nothing else."""

import pytest
import torch

from trellis.nn import fork, load_own_tensors, own_tensors, trainable


@pytest.fixture
def half_frozen():
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    module[0].requires_grad_(False)
    return module


def test_frozen_weights_are_held_once_and_the_others_go_their_own_way(half_frozen):
    other = fork(half_frozen)
    assert other[0].weight is half_frozen[0].weight
    assert other[2].weight is not half_frozen[2].weight
    assert other[2].weight.equal(half_frozen[2].weight)
    assert [p.shape for p in trainable(other)] == [p.shape for p in trainable(half_frozen)]
    with torch.no_grad():
        other[2].weight.add_(1)
    assert not other[2].weight.equal(half_frozen[2].weight)


def test_a_fork_begins_without_gradients(half_frozen):
    half_frozen(torch.ones(4, 3)).sum().backward()
    assert all(parameter.grad is None for parameter in fork(half_frozen).parameters())
    assert half_frozen[2].weight.grad is not None


def test_a_module_that_is_frozen_altogether_is_copied_whole_and_can_be_trained(half_frozen):
    half_frozen.requires_grad_(False)
    other = fork(half_frozen)
    assert {id(p) for p in other.parameters()}.isdisjoint(id(p) for p in half_frozen.parameters())
    assert len(trainable(other)) == 6
    assert not trainable(half_frozen)


def test_what_a_fork_has_of_its_own_makes_the_round_trip(half_frozen):
    other = fork(half_frozen)
    with torch.no_grad():
        other[2].bias.fill_(7)
        other[1].running_mean.fill_(5)
    own = own_tensors(other, beside=half_frozen)
    assert {name.split(".")[0] for name in own} == {"1", "2"}
    third = fork(half_frozen)
    load_own_tensors(third, own, beside=half_frozen)
    assert third.state_dict().keys() == other.state_dict().keys()
    assert all(value.equal(other.state_dict()[name]) for name, value in third.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"), [("lacks", "'2.bias' is missing"), ("adds", "'0.bias' is not a weight of it")]
)
def test_the_tensors_of_another_module_are_refused(change, words, half_frozen):
    other = fork(half_frozen)
    own = own_tensors(other, beside=half_frozen)
    tensors = {k: v for k, v in own.items() if k != "2.bias"} if change == "lacks" else own | {"0.bias": torch.zeros(3)}
    with pytest.raises(RuntimeError, match=words):
        load_own_tensors(other, tensors, beside=half_frozen)
