"""What two processes are to agree on, run under torchrun by `test_distributed.py`; each check raises if they do not."""

import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

import trellis.distributed as distributed
from trellis import build
from trellis.distributed import World, agree, everyone, main_only, spread, start, world
from trellis.errors import CapabilityError, RunError
from trellis.nn import is_split, load_full_state, sharded
from trellis.nn.sharding import average_gradients

TASK = {
    "length": 1,
    "max_number": 4,
    "min_carries": 0,
    "modulus": 3,
    "train_size": 18,
    "validation_size": 0,
    "test_size": 5,
}
DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
POLICY = {
    "init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 64, **DROPOUT},
    "tokenizer": {"words": [" + ", " - ", " mod ", " ="], "numbers": 9},
    "seed": 5,
    "device": "cpu",
}
GRPO = {"steps": 1, "problems_per_step": 7, "group_size": 5, "max_tokens": 20, "process_from": 0, "process_weight": 0.5}
ALL_TERMS = {"kl_weight": 0.3, "entropy_weight": 0.1, "epochs": 2, "process_scale": "std"}
OPTIMIZERS = {
    "sft": ("sft", {"steps": 2, "batch_size": 7, "warmup": 0}, None),
    "rft": (
        "rft",
        {"rounds": 1, "steps_per_round": 1, "samples_per_problem": 8, "max_tokens": 20, "batch_size": 3},
        None,
    ),
    "grpo": ("grpo", GRPO | ALL_TERMS, "airl"),
    "grpo, a mean of sequences": ("grpo", GRPO | {"loss_average": "sequences", "ratio": "sequence"}, "airl"),
    **{f"grpo with {reward}": ("grpo", GRPO, reward) for reward in ("orm", "outcome-value", "implicit", "monte-carlo")},
}


@contextmanager
def alone():
    """For as long as it lasts this process is the only one."""
    here, distributed._world = distributed._world, World()
    try:
        yield
    finally:
        distributed._world = here


@contextmanager
def steps_recorded():
    """Record the gradients of every step of AdamW; weights stay as they are, so that rounding has nothing to grow from."""
    recorded = []

    def step(self, closure=None):
        recorded.append([p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None])

    original, torch.optim.AdamW.step = torch.optim.AdamW.step, step
    try:
        yield recorded
    finally:
        torch.optim.AdamW.step = original


@cache
def warm():
    """Return weights with which some rollouts are correct and some are not."""
    policy, task = build("transformers", POLICY), build("arithmetic", TASK)
    with alone():
        for _ in build("sft", {"steps": 100, "batch_size": 18, "learning_rate": 0.02}).train(policy=policy, task=task):
            pass
    return policy.module.state_dict()


def trained(optimizer, config, reward):
    """Return the metrics, rollouts and gradients of a training."""
    task = build("arithmetic", TASK)
    policy = build("transformers", POLICY)
    if reward is not None:
        needs = {"task": task} if reward == "monte-carlo" else {}
        reward = build(reward, {"updates_per_round": 2}, policy=policy, **needs)
    policy.module.load_state_dict(warm())
    with steps_recorded() as gradients:
        done = list(build(optimizer, config).train(policy=policy, task=task, reward=reward, seed=3))
    return done, gradients


def check_gradients():
    for name, case in OPTIMIZERS.items():
        with alone():
            expected, expected_gradients = trained(*case)
        done, gradients = trained(*case)
        assert len(gradients) == len(expected_gradients) > 0, name
        for step, (ours, theirs) in enumerate(zip(gradients, expected_gradients, strict=True)):
            size = max(gradient.abs().max() for gradient in theirs)
            assert size > 1e-4, (name, step)
            for a, b in zip(ours, theirs, strict=True):
                assert (a - b).abs().max() < 2e-3 * size, (name, step, float((a - b).abs().max() / size))
        for ours, theirs in zip(done, expected, strict=True):
            texts = [[r.trajectory.text for r in one.rollouts] for one in (ours, theirs)]
            assert texts[0] == texts[1], name
            assert ours.metrics.keys() == theirs.metrics.keys(), name
            for key, value in theirs.metrics.items():
                assert abs(ours.metrics[key] - value) < 2e-3 * max(1, abs(value)), (name, key, ours.metrics[key], value)
            everywhere = everyone(lambda metrics=ours.metrics: dict(metrics))
            assert everywhere[0] == everywhere[1], name


def check_exchange():
    assert spread(lambda items: [10 * item for item in items], range(7)) == [0, 10, 20, 30, 40, 50, 60]
    assert spread(lambda items: list(items), ["alone"]) == ["alone"]
    assert spread(lambda items: list(items), []) == []
    nested = spread(lambda items: spread(lambda again: [len(again)] * len(again), items), range(5))
    assert nested == [3, 2, 3, 2, 3]
    assert main_only(lambda: world().rank) == 0
    assert agree(world().rank == 1)
    assert not agree(False)


def check_failure():
    def fail_in_second():
        if world().rank == 1:
            raise KeyError("in the second")

    try:
        everyone(fail_in_second)
    except KeyError:
        assert world().rank == 1
        return
    except RunError as error:
        assert world().rank == 0
        message = str(error)
    assert message == "process 1 of 2 failed: KeyError: 'in the second'"


def check_unsplit_loss():
    """A loss that no process splits has the gradient it would have alone; so has one of which a part is split."""
    from trellis.nn import guarded_step

    task = build("arithmetic", TASK)
    traces = task.traces("train")[:5]
    policy = build("transformers", POLICY)
    batch = policy.batch(traces)

    def gradient(forward):
        with steps_recorded() as gradients:
            adamw = torch.optim.AdamW(policy.module.parameters())
            penalty = sum(p.square().sum() for p in policy.module.parameters())
            loss = -forward(batch).mean() + 0.01 * penalty
            guarded_step(adamw, loss, lr=0.1, max_grad_norm=1e9, step=1, problems=[])
        return gradients[0]

    with alone():
        expected = gradient(policy.token_log_probs)
    for forward in (policy.token_log_probs, lambda rows: sharded(policy.token_log_probs, rows)):
        for a, b in zip(gradient(forward), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def check_experts():
    """A parameter that only one process's rows have used has half of its gradient, and one that nobody used has none."""
    used_here, used_nowhere = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    if world().rank == 1:
        used_here.grad = torch.tensor([2.0, 4.0])
    average_gradients([used_here, used_nowhere])
    assert used_here.grad.tolist() == [1.0, 2.0]
    assert used_nowhere.grad is None


def check_split_weights():
    """FSDP2: the same losses, samples and checkpoints, each process with a share of every weight."""
    task = build("arithmetic", TASK)
    stages = [
        ("sft", {"steps": 3, "batch_size": 7, "warmup": 0}),
        ("grpo", GRPO | {"process_weight": 0.0, "epochs": 2}),
    ]

    def run(policy, path):
        metrics, states = [], []
        for name, config in stages:
            optimizer = build(name, config)
            metrics += [done.metrics for done in optimizer.train(policy=policy, task=task, seed=3)]
            states.append(optimizer.state())
        path.mkdir()
        policy.save(path)
        return metrics, states

    def policy(**more):
        made = build("transformers", POLICY | more)
        load_full_state(made.module, warm())
        return made

    with tempfile.TemporaryDirectory() as directory:
        with alone():
            expected, expected_states = run(policy(), Path(directory) / "alone")
        ours = policy(shard=True)
        assert is_split(ours.module)
        held = sum(p.to_local().numel() for p in ours.module.parameters())
        assert held < 0.6 * sum(p.numel() for p in ours.module.parameters())
        metrics, states = run(ours, Path(directory) / "split")
        for one, other in zip(metrics, expected, strict=True):
            for key, value in other.items():
                assert abs(one[key] - value) < 5e-3 * max(1, abs(value)), (key, one[key], value)
        for one, other in zip(states, expected_states, strict=True):
            assert one.tensors.keys() == other.tensors.keys()
            assert all(one.tensors[key].shape == other.tensors[key].shape for key in other.tensors)
        saved = main_only(lambda: str(Path(directory) / "split"))
        with alone():
            whole = build("transformers", POLICY)
            whole.load(Path(saved))
        again = policy(shard=True)
        again.load(Path(saved))
        trace = task.traces("train")[0]
        for_whole, for_split = whole.log_probs([trace])[0], again.log_probs([trace])[0]
        assert abs(for_whole.log_prob - for_split.log_prob) < 1e-4
        # AdamW goes on from its moments, of which each process takes its share.
        resumed = build("sft", {"steps": 5, "batch_size": 7, "warmup": 0})
        resumed.restore(states[0])
        assert [done.step for done in resumed.train(policy=again, task=task, seed=3)] == [4, 5]
        for name, config in (("grpo", GRPO | {"kl_weight": 0.1, "process_weight": 0.0}), ("rft", {"from_start": True})):
            try:
                next(iter(build(name, config).train(policy=again, task=task)))
            except CapabilityError as error:
                message = str(error)
            assert "`shard`" in message, name
            message = ""


if __name__ == "__main__":
    assert start().size == 2
    for check in (
        check_exchange,
        check_failure,
        check_unsplit_loss,
        check_experts,
        check_split_weights,
        check_gradients,
    ):
        if not sys.argv[1:] or check.__name__ in sys.argv[1:]:
            check()
            sys.stdout.write(f"process {world().rank}: {check.__name__} passed\n")
