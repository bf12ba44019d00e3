"""Schedules, the guarded step, state without pickle, and random numbers that follow a key."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trellis.errors import CapabilityError, NumericsError
from trellis.nn import guarded_step, learning_rate, load_optimizer_tensors, optimizer_tensors, seeded


def rates(num_steps, **options):
    return [learning_rate(step, num_steps, peak=1.0, final=0.1, **options) for step in range(num_steps)]


def test_a_linear_schedule_goes_from_peak_to_final_in_equal_steps():
    assert rates(4, schedule="linear") == pytest.approx([1.0, 0.7, 0.4, 0.1])


def test_a_cosine_schedule_is_half_way_in_the_middle():
    assert rates(5, schedule="cosine") == pytest.approx(
        [1.0, 0.55 + 0.45 * math.cos(math.pi / 4), 0.55, 0.55 - 0.45 * math.cos(math.pi / 4), 0.1]
    )


def test_warm_up_rises_to_the_peak_and_then_the_schedule_begins():
    assert rates(6, schedule="linear", warmup=3) == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 0.55, 0.1])
    assert rates(4, schedule="constant", warmup=2) == [0.5, 1.0, 1.0, 1.0]


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 30), st.integers(0, 40), st.integers(0, 10))
def test_a_rate_is_never_above_the_peak_nor_below_the_final_one_once_warm(schedule, num_steps, step, warmup):
    """A step past the last is no reason to learn backwards."""
    rate = learning_rate(step, num_steps, peak=1.0, final=0.1, schedule=schedule, warmup=warmup)
    assert (0.1 - 1e-12 if step >= warmup else 0) <= rate <= 1.0


def test_a_step_clips_the_gradient_and_tells_its_norm():
    weight = torch.nn.Parameter(torch.tensor([0.0, 0.0]))
    optimizer = torch.optim.SGD([weight], lr=99.0)
    norm = guarded_step(
        optimizer, (weight * torch.tensor([3.0, 4.0])).sum(), lr=0.5, max_grad_norm=1.0, step=1, problems=["p"]
    )
    assert norm == pytest.approx(5.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.3, -0.4]))


def test_a_step_forgets_the_gradient_that_was_there():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    weight.grad = torch.tensor([100.0])
    optimizer = torch.optim.SGD([weight], lr=1.0)
    norm = guarded_step(optimizer, (2 * weight).sum(), lr=1.0, max_grad_norm=10.0, step=1, problems=[])
    assert norm == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("loss", "what"),
    [
        (lambda weight: (weight * math.nan).sum(), "the loss"),
        (lambda weight: (weight * math.inf).sum(), "the loss"),
        (lambda weight: weight.sqrt().sum(), "the gradient"),
    ],
)
def test_what_is_not_finite_changes_nothing_and_names_the_batch(loss, what):
    weight = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(NumericsError, match=f"{what} is not finite at step 7") as error:
        guarded_step(optimizer, loss(weight), lr=1.0, max_grad_norm=1.0, step=7, problems=["one", "two"])
    assert error.value.problems == ("one", "two")
    assert weight.tolist() == [0.0, 1.0]
    assert weight.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_refused_as_they_are(dtype):
    weight = torch.nn.Parameter(torch.ones(2, dtype=dtype))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(CapabilityError, match="load the model with `dtype: float32`"):
        guarded_step(optimizer, weight.float().sum(), lr=1.0, max_grad_norm=1.0, step=1, problems=[])
    assert weight.tolist() == [1.0, 1.0]


def test_an_optimizers_state_makes_the_round_trip_and_goes_on_the_same():
    def made():
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        return net, torch.optim.AdamW(net.parameters(), lr=0.1)

    def step(net, optimizer):
        guarded_step(optimizer, net(torch.ones(1, 3)).square().sum(), lr=0.1, max_grad_norm=1.0, step=1, problems=[])

    net, optimizer = made()
    for _ in range(3):
        step(net, optimizer)
    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
    other, restored = made()
    other.load_state_dict(net.state_dict())
    load_optimizer_tensors(restored, tensors)
    assert optimizer_tensors(restored).keys() == tensors.keys()
    for _ in range(2):
        step(net, optimizer)
        step(other, restored)
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_optimizer_that_has_not_stepped_has_no_tensors():
    assert optimizer_tensors(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])) == {}


def test_random_numbers_follow_the_key_and_the_global_ones_go_on_undisturbed():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(3, 1):
        first = torch.rand(4)
    assert torch.equal(torch.rand(2), expected)
    with seeded(3, 1):
        assert torch.equal(torch.rand(4), first)
    with seeded(3, 2):
        assert not torch.equal(torch.rand(4), first)
