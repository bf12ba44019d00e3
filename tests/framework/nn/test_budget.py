"""A budget of tokens: how rows are cut, that parts make the whole, and what happens where memory runs out."""

import logging
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trellis.errors import MemoryExhaustedError
from trellis.nn import TokenBudget, in_parts, module_log_probs, within
from trellis.testing.material import material, trainable


@pytest.fixture(scope="module")
def policy():
    return trainable()


@pytest.fixture(scope="module")
def batch(policy):
    traces = material("task").traces("train")[:9]
    return policy.batch([*traces, replace(traces[0], steps=(), finished=False)])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 100))
def test_parts_hold_every_row_once_and_keep_to_the_budget(lengths, tokens):
    parts = TokenBudget(tokens).parts(lengths)
    assert sorted(row for part in parts for row in part) == [*range(len(lengths))]
    for part in parts:
        assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= tokens
    longest = [lengths[row] for part in parts for row in part]
    assert longest == sorted(longest), "rows of like length go together"


@pytest.mark.parametrize("tokens", [1, 20, 40, 10_000])
def test_parts_give_the_whole_batchs_values_and_gradients(tokens, policy, batch):
    def gradients(budget):
        policy.module.zero_grad(set_to_none=True)
        values_BT = in_parts(lambda part: module_log_probs(policy.module, part), batch, budget)
        # No mean over rows: what a row's gradient is depends on all other rows.
        (values_BT * batch.mask_BT).sum(1).square().sum().sqrt().backward()
        return values_BT.detach() * batch.mask_BT, [p.grad.clone() for p in policy.module.parameters()]

    whole, parts = gradients(None), gradients(TokenBudget(tokens))
    torch.testing.assert_close(parts[0], whole[0])
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-4, atol=1e-5)


def test_no_more_than_the_budget_goes_through_at_once_and_every_part_but_one_twice(policy, batch):
    sizes = []

    def run(part):
        sizes.append(part.ids_BT.numel())
        return module_log_probs(policy.module, part)

    budget = TokenBudget(30)
    in_parts(run, batch, budget).sum().backward()
    num_parts = len(budget.parts(batch.attention_BT.sum(1).tolist()))
    assert num_parts > 2
    assert len(sizes) == 2 * num_parts - 1
    assert max(sizes) <= 30
    policy.module.zero_grad(set_to_none=True)


def test_dropout_draws_the_same_for_the_gradient_as_for_the_value(batch):
    weight = torch.nn.Parameter(torch.ones(()))

    def run(part):
        return torch.nn.functional.dropout(weight * torch.ones(part.ids_BT.shape), p=0.5)

    torch.manual_seed(3)
    values = in_parts(run, batch, TokenBudget(30))
    values.square().sum().backward()
    assert weight.grad == pytest.approx(2 * values.square().sum().item())


def small_device(limit):
    """Give what holds `limit` tokens at once, and a list of what was asked of it."""
    asked = []

    def run(part):
        asked.append(part.ids_BT.numel())
        if asked[-1] > limit:
            raise torch.OutOfMemoryError("tried to allocate too much")
        return part.ids_BT.float()

    return run, asked


def test_where_memory_runs_out_the_budget_is_halved_for_good_and_told_once(batch, caplog):
    run, asked = small_device(limit=32)
    budget = TokenBudget(1000)
    with caplog.at_level(logging.WARNING):
        values = budget.within(lambda: in_parts(run, batch, budget))
        again = within(budget, lambda: in_parts(run, batch, budget))
    for answer in (values, again):
        assert (answer * batch.attention_BT).equal(batch.ids_BT.float() * batch.attention_BT)
    assert budget.tokens == 31
    (record,) = caplog.records
    assert "1000 tokens at once: from here on at most 31 are. Set `batch_tokens: 31`" in record.getMessage()
    assert sum(size > 32 for size in asked) == 5, "1000, 500, 250, 125 and 62"


def test_a_single_row_that_does_not_fit_says_what_can_be_done(batch):
    run, asked = small_device(limit=3)
    budget = TokenBudget(40)
    with pytest.raises(MemoryExhaustedError, match=r"one trajectory at a time.*`lora: \{\}`.*tried to allocate"):
        budget.within(lambda: in_parts(run, batch, budget))
    assert len(asked) < 15


def test_what_is_not_cut_into_parts_is_not_tried_again():
    calls = []

    def run():
        calls.append(1)
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(MemoryExhaustedError):
        TokenBudget(1000).within(run)
    assert calls == [1]
