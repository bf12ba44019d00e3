import json

import pytest

from trellis import LearnedReward, Policy, State, build
from trellis.errors import NotFittedError, RunError
from trellis.run.context import Context
from trellis.run.directory import RunDirectory
from trellis.run.stages.config import FitRewardConfig
from trellis.run.stages.fit_reward import FitReward
from trellis.types import Outcome, Problem, Rollout, Step, Trajectory


class Present(Policy):
    """Finds every step as probable as it was."""

    def sample(self, requests):
        raise AssertionError("fitting samples nothing")

    def log_probs(self, trajectories):
        return list(trajectories)


class Judge(LearnedReward):
    """Tells right from wrong as well as its seed allows: in the share of the problems given by `skill`."""

    def __init__(self, skill=()):
        self.skill = dict(enumerate(skill))
        self.fit = None
        self.batches = []

    def update(self, traces, rollouts):
        self.batches.append((self.fit, [trace.problem.id for trace in traces], rollouts))
        return {"loss": 0.0}

    def reset(self, *, seed, num_updates=None):
        self.fit = seed

    def score(self, trajectories):
        known = {problem for problem in map(str, range(10)) if int(problem) < 10 * self.skill[self.fit]}
        return [[float(t.steps[-1].text == "right" and t.problem.id in known)] for t in trajectories]

    def loss(self, traces, rollouts):
        assert {trace.problem.id for trace in traces} <= {rollout.trajectory.problem.id for rollout in rollouts}
        return 1.0 - self.skill[self.fit]

    def save(self, directory):
        (directory / "judge.json").write_text(json.dumps(self.fit))

    def load(self, directory):
        self.fit = json.loads((directory / "judge.json").read_text())


def rollout(problem, correct):
    trajectory = Trajectory(Problem(problem, problem), problem, (Step("right" if correct else "wrong"),), finished=True)
    return Rollout(trajectory, Outcome(correct, float(correct)))


ROLLOUTS = [rollout(str(problem), correct) for problem in range(10) for correct in (True, False, False)]


class Problems:
    def traces(self, split):
        return [rollout(str(problem), True).trajectory for problem in range(10) if problem != 3]


@pytest.fixture
def context(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.create(resolved="", plugins={})

    def of(reward, rollouts=ROLLOUTS, stages=("joint",)):
        for stage in stages:
            directory.add_rollouts(stage, 1, rollouts)
        return Context("fit", directory, {"reward": reward}, stages)

    return of


def fit(reward, **settings):
    config = FitRewardConfig(**{"steps": 3, "fits": 3, "batch_size": 6, "holdout": 0.5, **settings})
    return FitReward(config, reward=reward, policy=Present(), task=Problems())


@pytest.mark.parametrize("skill", [(0.2, 1.0, 0.5), (1.0, 0.0, 0.5), (0.0, 0.5, 1.0)])
def test_the_fit_that_tells_best_on_problems_held_out_is_kept(skill, context):
    reward = Judge(skill)
    steps = list(fit(reward).run(context(reward)))
    assert reward.fit == skill.index(1.0)
    measured = [step.metrics["held_out_auc"] for step in steps if "held_out_auc" in step.metrics]
    assert len(measured) == 3
    assert measured[skill.index(1.0)] == steps[-1].metrics["best_auc"] == max(measured) == 1.0


@pytest.mark.parametrize("skill", [(0.2, 0.9, 0.5), (0.9, 0.0, 0.5)])
def test_the_fit_whose_loss_is_lowest_on_problems_held_out_is_kept_on_request(skill, context):
    reward = Judge(skill)
    without_outcomes = [rollout(str(problem), False) for problem in range(10)]
    steps = list(fit(reward, keep="loss").run(context(reward, without_outcomes)))
    assert reward.fit == skill.index(0.9)
    assert steps[-1].metrics["best_loss"] == pytest.approx(0.1)
    assert [s.metrics["held_out_loss"] for s in steps if "held_out_loss" in s.metrics] == [1 - one for one in skill]


def test_fits_that_no_loss_tells_apart_are_refused(context, monkeypatch):
    monkeypatch.setattr(Judge, "loss", LearnedReward.loss)
    reward = Judge([1.0, 0.5, 0.2])
    with pytest.raises(RunError, match=r"cannot tell the best of 3 fits: the reward Judge has no loss.*`keep: auc`"):
        list(fit(reward, keep="loss").run(context(reward)))
    list(fit(reward, keep="loss", fits=1).run(context(reward)))
    assert reward.fit == 0


def test_whole_problems_are_held_out(context):
    reward = Judge([1.0])
    list(fit(reward, fits=1, steps=40).run(context(reward)))
    fitted = {r.trajectory.problem.id for _, _, rollouts in reward.batches for r in rollouts}
    assert len(fitted) == 5
    assert all(rollout.trajectory.problem.id in fitted for _, _, rollouts in reward.batches for rollout in rollouts)


def test_a_batch_comes_with_the_traces_of_its_problems(context):
    reward = Judge([1.0])
    list(fit(reward, fits=1, steps=10).run(context(reward)))
    for _, traces, rollouts in reward.batches:
        assert sorted(traces) == sorted({r.trajectory.problem.id for r in rollouts} - {"3"})


def test_fits_differ_by_their_batches_and_seeds(context):
    reward = Judge([1.0, 1.0, 1.0])
    list(fit(reward).run(context(reward)))
    batches = {seed: [rollouts for s, _, rollouts in reward.batches if s == seed] for seed in range(3)}
    assert len(batches[0]) == 3
    assert batches[0] != batches[1] != batches[2]


@pytest.mark.parametrize(("size", "problems"), [(2, 1), (3, 1), (7, 2), (9, 3), (1000, 5)])
def test_a_batch_by_problem_holds_whole_problems_as_many_as_fit(size, problems, context):
    reward = Judge([1.0])
    list(fit(reward, fits=1, steps=20, batch_by="problem", batch_size=size).run(context(reward)))
    for _, _, rollouts in reward.batches:
        ids = [r.trajectory.problem.id for r in rollouts]
        assert len(set(ids)) == problems
        assert all(ids.count(name) == 3 for name in ids)
    assert len({r.trajectory.problem.id for _, _, rollouts in reward.batches for r in rollouts}) == 5


def test_rollouts_are_those_of_the_stages_that_are_named(context):
    reward = Judge([1.0])
    other = [rollout("other", True), rollout("another", False)]
    here = context(reward, stages=("joint",))
    here.run_directory.add_rollouts("later", 1, other)
    both = Context("fit", here.run_directory, here.components, ("joint", "later"))
    list(fit(reward, fits=1, rollouts=("later",), holdout=0.1).run(both))
    assert {r.trajectory.problem.id for _, _, rollouts in reward.batches for r in rollouts} <= {"other", "another"}


def test_something_is_left_to_fit_on_however_much_is_held_out(context):
    reward = Judge([1.0])
    two = [r for r in ROLLOUTS if r.trajectory.problem.id in "01"]
    list(fit(reward, fits=1, holdout=0.99).run(context(reward, two)))
    assert all(len(rollouts) == 3 for _, _, rollouts in reward.batches)


def test_one_problem_is_enough_to_fit_and_nothing_is_measured(context):
    reward = Judge([1.0])
    steps = list(fit(reward, fits=1).run(context(reward, ROLLOUTS[:3])))
    assert "held_out_auc" not in steps[-1].metrics
    assert reward.fit == 0


def test_without_stored_rollouts_it_says_what_to_do(context):
    reward = Judge([1.0])
    with pytest.raises(
        RunError, match=r"found no stored rollouts: let a stage `sample`, or a `train` stage that samples"
    ):
        next(iter(fit(reward).run(context(reward, []))))


def test_a_stage_that_has_not_run_is_named(context):
    reward = Judge([1.0])
    with pytest.raises(
        RunError, match="'fit' wants the rollouts of 'late', which does not run before it; before it: j"
    ):
        next(iter(fit(reward, rollouts=("late",)).run(context(reward))))


def test_experts_that_no_rollout_is_are_asked_for_in_words(context):
    policy = build("transformers", {"init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2}})
    reward = build("airl", {"experts": "rollouts"}, policy=policy)
    wrong = [r for r in ROLLOUTS if not r.outcome.correct]
    with pytest.raises(NotFittedError, match="in 3 updates no rollout was correct, and `experts: rollouts`"):
        list(fit(reward, fits=1).run(context(reward, wrong)))


def test_its_state_goes_on_where_it_was(context):
    whole, broken = Judge([0.5, 1.0, 0.0]), Judge([0.5, 1.0, 0.0])
    first = context(whole)
    list(fit(whole).run(first))
    here = Context("other", first.run_directory, {"reward": broken}, ("joint",))
    stage = fit(broken)
    iterator = stage.run(here)
    steps = [next(iterator) for _ in range(4)]
    later = fit(broken)
    later.restore(State(values=json.loads(json.dumps(stage.state().values))))
    steps += list(later.run(here))
    assert [step.step for step in steps] == list(range(1, 10))
    assert broken.fit == whole.fit == 1
    assert [ids for _, ids, _ in broken.batches] == [ids for _, ids, _ in whole.batches]
