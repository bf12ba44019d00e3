"""The stages `sample` and `assess`: on a policy that writes what its seed says, and in whole runs."""

import json
from dataclasses import replace

import jsonschema
import pytest

from trellis import Policy, RewardModel, Task, load_pipeline, run_pipeline
from trellis.errors import NotFittedError, RunError
from trellis.report.table import policies_table, rewards_table
from trellis.run.assess import assess_policy, assess_reward, step_labels
from trellis.run.context import Context
from trellis.run.directory import RunDirectory
from trellis.run.measures import pass_at_k
from trellis.run.results import Results, results_schema
from trellis.run.sampling import sample_rollouts
from trellis.run.stages.assess import Assess
from trellis.run.stages.config import AssessConfig, SampleConfig
from trellis.run.stages.sample import Sample
from trellis.types import Completion, Outcome, Problem, Rollout, Step, Trajectory


class Coin(Policy):
    """Writes "right" or "wrong" as the seed of the request falls."""

    def __init__(self):
        self.requests = []

    def sample(self, requests):
        self.requests += requests
        return [
            [
                Completion((1, 2), ("think\n", ("right", "wrong")[(r.seed >> i) & 1]), (-0.1, -0.7), "end")
                for i in range(r.n)
            ]
            for r in requests
        ]

    def log_probs(self, trajectories):
        return list(trajectories)


class Known(Task):
    """Five problems; knows what is right."""

    def problems(self, split):
        return [Problem(f"{split}-{i}", f"{i}?") for i in range(0 if split == "validation" else 5)]

    def verify(self, trajectory):
        correct = trajectory.finished and trajectory.answer == "right"
        return Outcome(correct, float(correct))


class Oracle(Known):
    def step_oracle(self, trajectory):
        return [step.text != "wrong" for step in trajectory.steps]


class Judge(RewardModel):
    """Likes what is right, or what is wrong."""

    def __init__(self, sign=1.0):
        self.sign = sign

    def score(self, trajectories):
        return [[self.sign * (step.text != "wrong") for step in t.steps] for t in trajectories]


@pytest.fixture
def context(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.create(resolved="", plugins={})
    return lambda **components: Context("here", directory, components, ())


def sample(policy, **settings):
    return Sample(SampleConfig(**{"n": 4, "per_step": 2, "seed": 7, **settings}), policy=policy, task=Known())


def test_rollouts_are_judged_and_come_in_steps_of_some_problems(context):
    policy = Coin()
    steps = list(sample(policy, problems=4, temperature=0.7, max_tokens=9).run(context(policy=policy)))
    assert [(step.step, step.num_steps, len(step.rollouts)) for step in steps] == [(1, 2, 8), (2, 2, 8)]
    assert all(step.checkpoint for step in steps)
    assert {(r.n, r.temperature, r.max_tokens, r.stop) for r in policy.requests} == {(4, 0.7, 9, None)}
    for number, step in enumerate(steps):
        right = [rollout.trajectory.text == "think\nright" for rollout in step.rollouts]
        assert [rollout.outcome.correct for rollout in step.rollouts] == right
        assert step.metrics == {"accuracy": sum(right) / 8, "tokens": 2.0, "steps": 2.0, "finished": 1.0}
        ids = [rollout.trajectory.problem.id for rollout in step.rollouts]
        assert ids == [f"train-{2 * number}"] * 4 + [f"train-{2 * number + 1}"] * 4


def test_rollouts_depend_on_seed_and_problem_and_on_nothing_else(context):
    def of(**settings):
        policy = Coin()
        steps = sample(policy, **settings).run(context(policy=policy))
        return [rollout.trajectory for step in steps for rollout in step.rollouts]

    assert of() == of(per_step=5) == [*of(problems=3), *of()[12:]]
    assert of() != of(seed=8)
    assert len({request.seed for request in _requests()}) == 5


def _requests():
    policy = Coin()
    sample_rollouts(policy, Known(), Known().problems("train"), n=1)
    return policy.requests


def test_sampling_goes_on_where_it_was(context):
    policy = Coin()
    whole = list(sample(policy).run(context(policy=policy)))
    stage = sample(policy)
    iterator = stage.run(context(policy=policy))
    steps = [next(iterator)]
    later = sample(policy)
    later.restore(stage.state())
    assert [*steps, *later.run(context(policy=policy))] == whole


@pytest.mark.parametrize("stage", [sample, lambda policy, **s: assess(policy, {}, **s)])
def test_a_split_without_problems_is_an_error_in_words(stage, context):
    policy = Coin()
    with pytest.raises(
        RunError, match=r"there is nothing to (sample|assess on): the task's split 'validation' holds no"
    ):
        next(iter(stage(policy, split="validation").run(context(policy=policy))))


def assess(policy, rewards, task=None, **settings):
    config = AssessConfig(**{"n": 4, "per_step": 2, "seed": 7, **settings})
    return Assess(config, policy=policy, task=task or Oracle(), reward=rewards)


def rows(steps):
    return [(step.table, dict(step.row)) for step in steps if step.row]


def test_every_reward_judges_the_same_rollouts_which_no_later_stage_gets(context):
    policy, rewards = Coin(), {"good": Judge(), "bad": Judge(-1.0)}
    steps = list(assess(policy, rewards, n=6).run(context(policy=policy, **rewards)))
    assert [step.step for step in steps] == list(range(1, 7))
    assert all(step.num_steps == 6 and not step.rollouts and step.checkpoint for step in steps)
    assert len(policy.requests) == 5
    (of_policy, one), (of_good, good), (of_bad, bad) = rows(steps)
    assert (of_policy, of_good, of_bad) == ("policies", "rewards", "rewards")
    assert (one["policy"], one["problems"], one["rollouts"]) == ("policy", 5, 30)
    assert [each["k"] for each in one["pass_at_k"]] == [1, 2, 4, 6]
    assert one["pass_at_k"][0]["value"] == pytest.approx(one["accuracy"])
    assert 0.2 < one["accuracy"] < 0.8
    assert (good["auc"], good["spearman"], good["step_auc"], good["step_auc_within"]) == (1.0, 1.0, 1.0, 1.0)
    assert (bad["auc"], bad["spearman"], bad["step_auc"], bad["step_auc_within"]) == (0.0, -1.0, 0.0, 0.0)
    assert good["selected"] == one["pass_at_k"][-1]["value"]
    assert good["gain"] == pytest.approx(good["selected"] - one["accuracy"])
    assert good["gain_ci95"][0] <= good["gain"] <= good["gain_ci95"][1]
    assert bad["gain"] < 0 < good["gain"]
    assert steps[4].metrics == {key: good[key] for key in ("auc", "step_auc", "selected", "ece")}


def test_without_a_step_oracle_the_auc_of_steps_is_left_out_and_that_is_said_once(context):
    policy, rewards = Coin(), {"good": Judge(), "bad": Judge(-1.0)}
    steps = list(assess(policy, rewards, task=Known()).run(context(policy=policy, **rewards)))
    assert [row["step_auc"] for table, row in rows(steps) if table == "rewards"] == [None, None]
    (found,) = [finding for step in steps for finding in step.findings]
    assert found.kind == "step-oracle"
    assert found.message.startswith("the task 'Known' has no step oracle: the AUC of steps is left out")
    sampled = sample_rollouts(Coin(), Known(), Known().problems("train"), n=1)
    assert step_labels(Known(), sampled) is None


@pytest.mark.parametrize("cut", range(1, 6))
def test_assessing_goes_on_where_it_was_and_samples_nothing_twice(cut, context):
    policy, rewards = Coin(), {"good": Judge(), "bad": Judge(-1.0)}
    here = context(policy=policy, **rewards)
    whole = list(assess(policy, rewards).run(here))
    stage = assess(policy, rewards)
    iterator = stage.run(here)
    steps = [next(iterator) for _ in range(cut)]
    later, again = assess(policy, rewards), Coin()
    later.policy = again
    later.restore(stage.state())
    steps += later.run(Context("here", here.run_directory, {"policy": again, **rewards}, ()))
    assert steps == whole
    assert len(again.requests) == 5 - min(2 * cut, 5)


def test_a_policy_is_measured_by_the_mean_over_its_problems():
    def of(problem, correct):
        return Rollout(Trajectory(Problem(problem, "?"), "?", finished=True), Outcome(correct, float(correct)))

    row = assess_policy([of("a", i < 1) for i in range(4)] + [of("b", i < 3) for i in range(4)], name="mine")
    assert row.accuracy == 0.5
    assert [(p.k, p.value) for p in row.pass_at_k] == [
        (k, pytest.approx((pass_at_k(4, 1, k) + pass_at_k(4, 3, k)) / 2)) for k in (1, 2, 4)
    ]
    assert row.pass_at_k[0].ci95 == (0.25, 0.75)


def test_what_has_not_ended_is_not_selected_and_what_has_no_steps_is_not_scored():
    def of(steps, correct, finished=True):
        trajectory = Trajectory(Problem("a", "?"), "?", tuple(map(Step, steps)), finished=finished, cut=not finished)
        return Rollout(trajectory, Outcome(correct, float(correct)))

    rollouts = [of(["right"], False, finished=False), of(["wrong"], True), of([], False)]
    row = assess_reward(Judge(), rollouts)
    assert (row.selected, row.auc, row.problems, row.rollouts) == (1.0, 0.0, 1, 3)
    assert (row.ece, row.brier, row.step_auc) == (None, None, None)
    assert assess_reward(Judge(), rollouts[:1]).selected == 0.0


STAGES = """[
  {name: warm-up, run: train, with: {checkpoint_every: 20}, needs: {optimizer: sft, policy: policy, task: task}},
  {name: draw, run: sample, with: {n: 4, per_step: 6, max_tokens: 20}, needs: {policy: policy, task: task}},
  {name: fit, run: fit-reward, with: {steps: 3, fits: 1, batch_size: 12, batch_by: problem, holdout: 0.3},
   needs: {reward: reward, policy: policy, task: task}},
  {name: measured, run: assess, with: {n: 4, per_step: 3, max_tokens: 20},
   needs: {policy: policy, task: task, reward: [reward, pi]}}
]"""


@pytest.fixture(scope="module")
def without_rl(small, tmp_path_factory):
    """A pipeline that fits a reward on samples of the SFT policy and measures it, with no reinforcement learning."""
    path = tmp_path_factory.mktemp("pipelines") / "without_rl.yaml"
    text = small.read_text(encoding="utf-8").split("stages:")[0]
    kept = [line for line in text.splitlines() if "greedy" not in line and "best-of-n" not in line]
    body = "\n".join(kept).replace("  grpo:\n    use: grpo\n", "  pi: {use: log-pi, needs: {policy: policy}}\n")
    lines = [line for line in body.splitlines() if "problems_per_step" not in line]
    path.write_text("\n".join(lines) + f"\nstages: {STAGES}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def measured(without_rl, tmp_path_factory):
    return run_pipeline(load_pipeline(without_rl), out=tmp_path_factory.mktemp("runs") / "run")


def test_a_reward_is_fitted_and_measured_without_reinforcement_learning(measured, read_lines):
    lines = read_lines(measured.path / "rollouts" / "draw.jsonl")
    assert [(line["step"], len(line["rollouts"])) for line in lines] == [(1, 24), (2, 24), (3, 24)]
    found = measured.results.stages["measured"]
    assert [row.reward for row in found.rewards] == ["reward", "pi"]
    assert [row.policy for row in found.policies] == ["policy"]
    assert all(row.problems == 5 and row.rollouts == 20 for row in (*found.policies, *found.rewards))
    text = (measured.path / "results.json").read_text(encoding="utf-8")
    jsonschema.validate(Results.model_validate_json(text).model_dump(mode="json"), results_schema())
    assert policies_table("", found.policies).row_count == 1
    assert rewards_table("", found.rewards).row_count == 2


@pytest.mark.parametrize("step", [61, 63, 68, 69, 70])
def test_a_run_stopped_in_any_of_these_stages_ends_with_the_same_numbers(
    step, without_rl, measured, numbers, monkeypatch, tmp_path
):
    original, calls = RunDirectory.add_rollouts, []

    def fails(self, *args):
        calls.append(args)
        if len(calls) == step:
            raise OSError("the disk is full")
        original(self, *args)

    monkeypatch.setattr(RunDirectory, "add_rollouts", fails)
    with pytest.raises(OSError, match="the disk is full"):
        run_pipeline(load_pipeline(without_rl), out=tmp_path / "run")
    monkeypatch.undo()
    resumed = run_pipeline(load_pipeline(without_rl), out=tmp_path / "run", resume=True)
    assert json.dumps(sorted(numbers(resumed.path))) == json.dumps(sorted(numbers(measured.path)))
    assert numbers(resumed.path) == numbers(measured.path)


def test_a_reward_that_has_not_learned_anything_is_not_measured(without_rl, tmp_path):
    pipeline = load_pipeline(without_rl, overrides=["stages.fit.with.rollouts=[draw]", "components.sft.with.steps=1"])
    stages = tuple(stage for stage in pipeline.stages if stage.name != "fit")
    with pytest.raises(NotFittedError, match="the reward AIRL has not learned anything yet"):
        run_pipeline(replace(pipeline, stages=stages), out=tmp_path / "run")
