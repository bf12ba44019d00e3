"""The AIRL reward over its life: updates, schedule, reset, save and load, devices."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trellis.errors import CheckpointError, NotFittedError
from trellis.testing.material import material, trainable
from trellis.testing.material.episodes import rollouts, traces_for
from trellis_airl.airl import AIRL
from trellis_airl.config import AIRLConfig
from trellis_transformers.config import TransformersConfig
from trellis_transformers.policy import TransformersPolicy

FORMS = ["policy-skip", "scalar-head", "shaped", "lm-density", "gail"]
DROPOUT = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 64}


@pytest.fixture
def task():
    return material("task")


@pytest.fixture
def policy():
    return trainable()


def airl(policy, **options) -> AIRL:
    return AIRL(AIRLConfig(**{"learning_rate": 1e-2, **options}), policy=policy)


def rounds(task, policy, count: int):
    found = [rollouts(task, policy, seed=100 * index) for index in range(count)]
    return [(traces_for(task, batch), batch) for batch in found]


def reloaded(reward: AIRL, other: AIRL, directory: Path) -> AIRL:
    reward.save(directory)
    other.load(directory)
    return other


@pytest.fixture
def learning_rates(monkeypatch):
    """The rates of all gradient steps made, in order."""
    from trellis.fitting import reward as module

    seen, step = [], module.guarded_step

    def noting(*args, lr, **options):
        seen.append(lr)
        return step(*args, lr=lr, **options)

    monkeypatch.setattr(module, "guarded_step", noting)
    return seen


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy_with", ["recurrent", "dropout"])
def test_it_goes_on_after_loading_with_the_same_numbers(form, policy_with, task, tmp_path):
    def made():
        if policy_with == "recurrent":
            return trainable()
        return TransformersPolicy(TransformersConfig(init=DROPOUT, seed=4, device="cpu"))

    policy = made()
    batches = rounds(task, policy, 4)
    whole = airl(policy, form=form)
    whole.reset(seed=9, num_updates=4)
    for batch in batches[:2]:
        whole.update(*batch)
    resumed = reloaded(whole, airl(made(), form=form), tmp_path)
    torch.manual_seed(123)
    for batch in batches[2:]:
        assert whole.update(*batch) == resumed.update(*batch)
    trajectories = [rollout.trajectory for rollout in batches[0][1]]
    assert whole.score(trajectories) == resumed.score(trajectories)
    assert whole.reward(trajectories) == resumed.reward(trajectories)


def test_one_that_has_learned_nothing_is_saved_and_loaded_as_such(policy, tmp_path, task):
    other = airl(policy)
    other.update(*rounds(task, policy, 1)[0])
    reloaded(airl(policy), other, tmp_path)
    with pytest.raises(NotFittedError):
        other.score(task.traces("train"))


@pytest.mark.parametrize("content", [None, b"", b"not safetensors"])
def test_a_checkpoint_that_is_none_is_refused(content, policy, tmp_path):
    if content is not None:
        (tmp_path / "reward.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="does not fit this reward") as error:
        airl(policy).load(tmp_path)
    assert error.value.path == tmp_path


def test_a_checkpoint_of_another_form_is_refused(policy, tmp_path, task):
    reward = airl(policy, form="shaped")
    reward.update(*rounds(task, policy, 1)[0])
    with pytest.raises(CheckpointError, match="does not fit this reward"):
        reloaded(reward, airl(policy), tmp_path)


def test_reset_forgets_and_begins_from_the_policys_present_weights(policy, task):
    batch = rounds(task, policy, 1)[0]
    old = airl(policy)
    for _ in range(3):
        old.update(*batch)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.mul_(1.1)
    old.reset(seed=2)
    with pytest.raises(NotFittedError):
        old.score(task.traces("train"))
    new = airl(policy)
    new.reset(seed=2)
    assert old.update(*batch) == new.update(*batch)
    assert old.score(task.traces("train")) == new.score(task.traces("train"))


@pytest.mark.parametrize("updates_per_round", [1, 3])
def test_the_rate_falls_over_the_updates_announced_and_not_below_the_last(
    updates_per_round, policy, task, learning_rates
):
    reward = airl(policy, updates_per_round=updates_per_round, learning_rate=1e-2, final_fraction=0.1)
    batch = rounds(task, policy, 1)[0]
    reward.reset(seed=0, num_updates=4)
    for _ in range(4):
        reward.update(*batch)
    count = 4 * updates_per_round
    assert learning_rates == pytest.approx([1e-2 - 0.9e-2 * k / (count - 1) for k in range(count)])
    reward.update(*batch)
    assert learning_rates[count:] == pytest.approx([1e-3] * updates_per_round)


def test_the_rate_is_constant_where_the_number_of_updates_is_not_known(policy, task, learning_rates):
    reward = airl(policy, learning_rate=1e-2)
    for batch in rounds(task, policy, 3):
        reward.update(*batch)
    assert learning_rates == [1e-2] * 3


def test_dropout_follows_the_seed_of_the_reset(task):
    policy = TransformersPolicy(TransformersConfig(init=DROPOUT, seed=4, device="cpu"))
    batch = rounds(task, policy, 1)[0]

    def fitted(seed):
        reward = airl(policy)
        reward.reset(seed=seed)
        for _ in range(2):
            reward.update(*batch)
        return reward.score(task.traces("train")[:5])

    assert fitted(1) == fitted(1)
    assert fitted(1) != fitted(2)


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]
)
def test_the_discriminator_is_where_the_policy_is(device, task):
    policy = TransformersPolicy(TransformersConfig(init=DROPOUT, seed=4, device=device))
    reward = airl(policy)
    batch = rounds(task, policy, 1)[0]
    reward.update(*batch)
    assert {parameter.device.type for parameter in reward.net.parameters()} == {device}
    assert len(reward.score(batch[0])) == len(batch[0])


def test_a_checkpoint_that_lacks_something_says_what(tmp_path):
    save_file({}, tmp_path / "reward.safetensors")
    (tmp_path / "reward.json").write_text(json.dumps({"done": 3, "skipped": 0, "num_updates": None}))
    with pytest.raises(CheckpointError, match="does not fit this reward: it has no 'seed'"):
        AIRL(AIRLConfig(), policy=trainable()).load(tmp_path)
