"""Supervised fine-tuning: what is learned, what is not, and that it goes on the same."""

from itertools import islice

import pytest
import torch

from trellis.errors import CapabilityError
from trellis.testing.material import Successor, SuccessorConfig
from trellis_reasoning.arithmetic import Arithmetic
from trellis_reasoning.config import ArithmeticConfig
from trellis_sft.config import SFTConfig
from trellis_sft.sft import SFT


def sft(**options) -> SFT:
    return SFT(SFTConfig(**{"steps": 20, "batch_size": 5, "learning_rate": 1e-2, "warmup": 2, **options}))


def weights(policy) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy.module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def mean_log_prob(policy, traces) -> float:
    scored = policy.log_probs(traces)
    return sum(t.log_prob for t in scored) / sum(t.num_tokens for t in scored)


@pytest.mark.parametrize("name", ["successor", "arithmetic"])
def test_the_loss_falls_and_traces_become_more_probable(name, task, make_policy):
    if name == "arithmetic":
        task = Arithmetic(ArithmeticConfig(train_size=40, validation_size=5, test_size=5))
    policy = make_policy()
    traces = task.traces("train")
    before = mean_log_prob(policy, traces)
    losses = [step.metrics["loss"] for step in sft(steps=40, batch_size=20).train(policy=policy, task=task)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert mean_log_prob(policy, traces) > before + 1


def test_the_loss_is_the_mean_surprise_per_token_of_the_steps_with_their_end(task, make_policy):
    policy = make_policy()
    traces = policy.log_probs(task.traces("train"))
    assert all(t.steps[-1].token_ids[-1] == policy.tokenizer.eos_token_id for t in traces)
    first = next(sft().train(policy=policy, task=task))
    expected = -sum(t.log_prob for t in traces) / sum(t.num_tokens for t in traces)
    assert first.metrics["loss"] == pytest.approx(expected, abs=1e-4)


def test_the_prompt_is_not_trained_on(task, make_policy):
    """The gradient reaches the logits that predict tokens of steps, and no others."""
    policy, seen = make_policy(), []

    def remember(module, args, output):
        output.logits.retain_grad()
        seen.append(output.logits)

    handle = policy.module.register_forward_hook(remember)
    next(sft().train(policy=policy, task=task))
    handle.remove()
    batch = policy.batch(task.traces("train"))
    predicts_step_BT = torch.nn.functional.pad(batch.mask_BT[:, 1:], (0, 1))
    (logits,) = seen
    touched_BT = logits.grad.abs().sum(-1) > 0
    # No logits are made for what only prompts hold.
    left_out = predicts_step_BT.shape[1] - touched_BT.shape[1]
    assert not predicts_step_BT[:, :left_out].any()
    # Batches are shuffled, and every row of this task is as long as the others.
    assert sorted(touched_BT.tolist()) == sorted(predicts_step_BT[:, left_out:].tolist())
    assert not predicts_step_BT.all(), "the batch holds a prompt"


class WithoutTraces(Successor):
    def traces(self, split):
        return ()


def test_a_task_without_traces_is_refused(task, make_policy):
    with pytest.raises(CapabilityError, match="'WithoutTraces' has no traces: sft needs a task that has some"):
        next(sft().train(policy=make_policy(), task=WithoutTraces(task.config)))


def test_every_trace_is_seen_once_an_epoch(task, make_policy):
    policy, seen = make_policy(), []
    batch = policy.batch

    def noting(trajectories):
        seen.extend(t.problem.id for t in trajectories)
        return batch(trajectories)

    policy.batch = noting
    list(sft(steps=10, batch_size=1).train(policy=policy, task=task))
    ids = sorted(problem.id for problem in task.problems("train"))
    assert sorted(seen[:5]) == sorted(seen[5:]) == ids
    assert seen[:5] != seen[5:], "in another order"


@pytest.mark.parametrize("dropout", [False, True], ids=["plain", "dropout"])
def test_a_stopped_training_goes_on_with_the_same_numbers(dropout, task, make_policy, copy_of, through_disk):
    whole = make_policy(dropout=dropout)
    expected = [step.metrics for step in sft(steps=8, batch_size=2).train(policy=whole, task=task, seed=3)]
    stopped, first = make_policy(dropout=dropout), sft(steps=8, batch_size=2)
    found = [step.metrics for step in islice(first.train(policy=stopped, task=task, seed=3), 3)]
    resumed, second = copy_of(stopped, dropout=dropout), sft(steps=8, batch_size=2)
    second.restore(through_disk(first.state()))
    torch.manual_seed(77)
    found += [step.metrics for step in second.train(policy=resumed, task=task, seed=3)]
    assert found == expected
    assert equal(weights(resumed), weights(whole))


def test_dropout_follows_the_seed_and_nothing_else(task, make_policy):
    def trained(seed):
        policy = make_policy(dropout=True)
        torch.manual_seed(torch.seed() % 2**31)
        list(sft(steps=2).train(policy=policy, task=task, seed=seed))
        assert not policy.module.training
        return weights(policy)

    assert equal(trained(1), trained(1))
    assert not equal(trained(1), trained(2))


@pytest.mark.parametrize("dropout", [False, True], ids=["plain", "dropout"])
def test_dropout_is_drawn_anew_in_every_step(dropout, make_policy):
    task = Successor(SuccessorConfig(size=1))
    steps = sft(steps=2, learning_rate=1e-12).train(policy=make_policy(dropout=dropout), task=task)
    first, second = (step.metrics["loss"] for step in steps)
    assert (abs(first - second) > 1e-3) == dropout


def test_the_state_between_restore_and_the_first_step_is_the_restored_one(task, make_policy, through_disk):
    first = sft()
    next(first.train(policy=make_policy(), task=task))
    state = through_disk(first.state())
    second = sft()
    second.restore(state)
    assert second.state() == state


def test_one_optimizer_trains_in_each_of_two_stages(task, make_policy):
    policy, optimizer = make_policy(), sft(steps=3)
    for _ in range(2):
        assert [step.step for step in optimizer.train(policy=policy, task=task)] == [1, 2, 3]
