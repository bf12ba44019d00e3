"""What every learned reward that is a network shares: steps, schedule, average, skips, memory, checkpoints."""

import json
from pathlib import Path

import pytest
import torch

from trellis.errors import CheckpointError, NotFittedError, NumericsError
from trellis.fitting.config import LearningConfig
from trellis.fitting.reward import NetworkReward
from trellis.testing.material import material, trainable
from trellis.testing.material.episodes import rollouts, roots
from trellis.types import Outcome, Rollout


class Level(torch.nn.Module):
    """One number, and a count of how often it was asked for."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("asked", torch.zeros(()))


class Mean(NetworkReward[Level]):
    """Learns one number: how many steps rollouts have. Batches without a finished rollout teach it nothing."""

    def __init__(self, config, *, policy):
        super().__init__(config, policy=policy)
        self.seen: list[str] = []
        self.scale = 1.0

    def make_net(self):
        return Level()

    def objective(self, traces, rollouts):
        if not any(rollout.trajectory.finished for rollout in rollouts):
            return None
        self.seen += [rollout.trajectory.problem.id for rollout in rollouts]
        target = sum(len(rollout.trajectory.steps) for rollout in rollouts) / len(rollouts)

        def loss(net):
            net.asked += 1
            return self.scale * (net.level - target).square(), {"training": torch.tensor(float(net.training))}

        return loss

    @property
    def why_skipped(self):
        return "no rollout was finished"

    def score(self, trajectories):
        return [[self.net.level.item()] * len(t.steps) for t in trajectories]

    def memory(self):
        return {"seen": self.seen}

    def remember(self, memory):
        self.seen = list(memory["seen"]) if memory else []


@pytest.fixture
def task():
    return material("task")


@pytest.fixture
def batch(task):
    return [Rollout(trace, task.verify(trace)) for trace in task.traces("train")[:4]]


def mean(**options) -> Mean:
    return Mean(LearningConfig(**{"learning_rate": 0.1, "weight_decay": 0.0, **options}), policy=trainable())


def saved(reward: Mean, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    reward.save(directory)
    return directory


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


def test_the_average_follows_the_newest_weights_with_a_decay_that_grows_to_the_one_asked_for(batch):
    newest, averaged = mean(), mean(average=0.4)
    expected = 0.0
    for done in range(1, 9):
        newest.update([], batch)
        averaged.update([], batch)
        decay = min(0.4, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * newest.net.level.item()
        assert averaged.net.level.item() == pytest.approx(expected, rel=1e-5)
    assert min(0.4, 2 / 11) < 0.4 == min(0.4, 9 / 18), "both regimes were seen"


def test_the_averages_buffers_are_the_newest(batch):
    reward = mean(average=0.9)
    for _ in range(3):
        reward.update([], batch)
    assert reward.net.asked == 3


def test_the_loss_of_a_batch_is_that_of_what_is_read_and_teaches_nothing(batch):
    reward, other = mean(average=0.9), mean(average=0.9)
    for one in (reward, other):
        one.update([], batch)
    steps = sum(len(rollout.trajectory.steps) for rollout in batch) / len(batch)
    assert reward.loss([], batch) == pytest.approx((reward.net.level.item() - steps) ** 2)
    assert reward.loss([], []) is None
    assert reward.memory() == other.memory()
    assert reward.update([], batch) == other.update([], batch)


def test_what_is_trained_is_in_training_and_what_is_read_is_not(batch):
    reward = mean()
    assert reward.update([], batch)["training"] == 1.0
    assert not reward.net.training


@pytest.mark.parametrize("updates_per_round", [1, 3])
def test_the_rate_falls_over_the_updates_announced_and_not_below_the_last(updates_per_round, batch, learning_rates):
    reward = mean(updates_per_round=updates_per_round, final_fraction=0.1)
    reward.reset(seed=0, num_updates=4)
    for _ in range(5):
        reward.update([], batch)
    count = 4 * updates_per_round
    assert learning_rates[:count] == pytest.approx([0.1 - 0.09 * k / (count - 1) for k in range(count)])
    assert learning_rates[count:] == pytest.approx([0.01] * updates_per_round)


def test_the_rate_is_constant_where_the_number_of_updates_is_not_known(batch, learning_rates):
    reward = mean()
    for _ in range(3):
        reward.update([], batch)
    assert learning_rates == [0.1] * 3


def test_a_round_of_several_updates_is_that_many_gradient_steps(batch):
    one, three = mean(), mean(updates_per_round=3)
    for _ in range(3):
        one.update([], batch)
    three.update([], batch)
    assert three.num_done == one.num_done == 3
    assert three.net.level.item() == one.net.level.item()


def test_a_batch_without_anything_to_learn_from_is_left_out_and_said_so(task, batch):
    reward = mean()
    unfinished = [Rollout(root, Outcome(False, 0.0)) for root in roots(task)]
    assert reward.update([], unfinished) == reward.update([], []) == {"skipped": 1.0}
    assert reward.num_done == 0
    with pytest.raises(NotFittedError, match="Mean has not learned anything: in 2 updates no rollout was finished"):
        reward.score(task.traces("train"))
    assert reward.update([], batch)["skipped"] == 0.0
    assert reward.score(task.traces("train")[:1]) != [[0.0] * 2]


def test_rollouts_without_steps_never_reach_the_objective(task, batch):
    reward = mean()
    reward.update([], [*batch, Rollout(roots(task)[0], Outcome(False, 0.0))])
    assert reward.seen == [rollout.trajectory.problem.id for rollout in batch]


def test_before_any_update_it_says_which_stages_fit_it(task):
    with pytest.raises(NotFittedError, match=r"Mean has not learned anything yet: run a `train` stage .* `fit-reward`"):
        mean().score(task.traces("train"))


def test_reset_forgets_weights_memory_and_skips(task, batch):
    reward = mean()
    reward.update([], [])
    reward.update([], batch)
    reward.reset(seed=3)
    assert (reward.seen, reward.num_done, reward.seed) == ([], 0, 3)
    with pytest.raises(NotFittedError, match="yet"):
        reward.score(task.traces("train"))


def test_a_loss_that_is_not_finite_names_step_and_problems(batch):
    reward = mean()
    reward.update([], batch)
    reward.scale = float("nan")
    with pytest.raises(NumericsError) as error:
        reward.update([], batch)
    assert error.value.step == 2
    assert error.value.problems == tuple(rollout.trajectory.problem.id for rollout in batch)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_it_goes_on_after_loading_with_the_same_numbers(average, task, batch, tmp_path):
    whole, resumed = mean(average=average), mean(average=average)
    whole.reset(seed=9, num_updates=5)
    for _ in range(2):
        whole.update([], batch)
    resumed.load(saved(whole, tmp_path))
    assert (resumed.seen, resumed.num_done, resumed.seed) == (whole.seen, 2, 9)
    other = rollouts(task, whole.policy)
    for rolled in (other, batch):
        assert whole.update([], rolled) == resumed.update([], rolled)
    assert whole.net.level.item() == resumed.net.level.item()


def test_one_that_has_learned_nothing_is_saved_and_loaded_as_such(task, batch, tmp_path):
    other = mean()
    other.update([], batch)
    other.load(saved(mean(), tmp_path))
    assert other.seen == []
    with pytest.raises(NotFittedError):
        other.score(task.traces("train"))


@pytest.mark.parametrize("name", ["reward.safetensors", "reward.json"])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b"none of ours"])
def test_a_checkpoint_that_is_none_is_refused(name, content, batch, tmp_path):
    reward = mean()
    reward.update([], batch)
    path = saved(reward, tmp_path) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not fit this reward") as error:
        mean().load(tmp_path)
    assert error.value.path == tmp_path


@pytest.mark.parametrize("missing", ["done", "num_updates", "seed", "memory"])
def test_a_checkpoint_that_lacks_something_says_what(missing, tmp_path):
    path = saved(mean(), tmp_path) / "reward.json"
    values = json.loads(path.read_text())
    del values[missing]
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"does not fit this reward: it has no '{missing}'"):
        mean().load(tmp_path)


def test_a_checkpoint_without_the_average_that_is_read_is_refused(batch, tmp_path):
    reward = mean()
    reward.update([], batch)
    with pytest.raises(CheckpointError, match="does not fit this reward"):
        mean(average=0.5).load(saved(reward, tmp_path))
