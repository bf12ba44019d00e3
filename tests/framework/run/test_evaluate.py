import json

import pytest
import torch

from trellis import LearnedReward, RewardModel, build, evaluate, load_pipeline
from trellis.errors import CapabilityError, CheckpointError, RunError, SpecError
from trellis.run.context import Context
from trellis.run.directory import RunDirectory
from trellis.run.pipeline import run_pipeline
from trellis.run.results import wilson_interval
from trellis.run.stages.config import EvaluateConfig
from trellis.run.stages.evaluate import Evaluate


@pytest.fixture(scope="module")
def parts(undisturbed):
    return undisturbed.components


class Length(RewardModel):
    def score(self, trajectories):
        return [[float(len(step.text)) for step in trajectory.steps] for trajectory in trajectories]


def test_a_row_per_search_and_for_those_that_need_one_per_reward(parts, tmp_path):
    searches = {"greedy": parts["greedy"], "best": parts["best-of-n"]}
    rewards = {"airl": parts["reward"], "length": Length()}
    rows = list(
        evaluate(
            policy=parts["policy"],
            task=parts["task"],
            searches=searches,
            rewards=rewards,
            num_problems=4,
            max_tokens=20,
            policy_name="mine",
            trees=tmp_path,
        )
    )
    assert [(row.policy, row.search, row.reward) for row in rows] == [
        ("mine", "greedy", None),
        ("mine", "best", "airl"),
        ("mine", "best", "length"),
    ]
    assert [row.aggregate for row in rows] == [None, "last", "last"]
    assert all(row.problems == 4 and row.ci95 == wilson_interval(round(4 * row.accuracy), 4) for row in rows)
    files = ["mine-best-airl.jsonl", "mine-best-length.jsonl", "mine-greedy.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert all(len((tmp_path / name).read_text().splitlines()) == 4 for name in files)


def test_the_same_row_measured_twice_is_the_same_and_replaces_its_tree(parts, tmp_path):
    rows = [
        next(
            evaluate(
                policy=parts["policy"],
                task=parts["task"],
                searches={"best": parts["best-of-n"]},
                rewards={"r": parts["reward"]},
                seed=1,
                max_tokens=20,
                trees=tmp_path,
            )
        )
        for _ in range(2)
    ]
    first, second = (row.model_dump(exclude={"seconds"}) for row in rows)
    assert first == second
    assert len((tmp_path / "policy-best-r.jsonl").read_text().splitlines()) == 5


def test_no_problems_are_an_error_and_not_a_division_by_zero(parts):
    rows = evaluate(policy=parts["policy"], task=parts["task"], searches={"g": parts["greedy"]}, split="validation")
    with pytest.raises(RunError, match="the task's split 'validation' holds no problems"):
        next(rows)


def test_a_search_without_the_reward_it_needs_is_refused_when_the_pipeline_is_checked(small):
    with pytest.raises(SpecError) as caught:
        load_pipeline(small, overrides=["stages.test.needs.reward=[]"])
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("stages[3].needs.searches[1]", 27)
    assert problem.message == (
        "'best-of-n' (best-of-n/best-of-n) works with a reward: write 'reward: NAME' under the needs of this evaluate. "
        "In this pipeline these fit: reward"
    )
    with pytest.raises(SpecError) as caught:
        load_pipeline(small, overrides=["stages.test.needs.reward=[]", "stages.test.needs.searches=[greedy]"])
    assert [problem.path for problem in caught.value.problems] == ["components.best-of-n"]


def test_a_search_that_says_too_late_that_it_needs_a_reward_is_refused_when_the_stage_is_built(parts):
    with pytest.raises(CapabilityError, match="'best' has no reward to search by: name one under"):
        Evaluate(
            EvaluateConfig(),
            policy=parts["policy"],
            task=parts["task"],
            searches={"best": parts["best-of-n"]},
            reward={},
        )


def test_rows_have_the_weights_of_the_stage_they_name(undisturbed, parts):
    rows = undisturbed.results.stages["test"].rows
    policy = build("transformers", undisturbed.pipeline.components["policy"].config.model_dump())
    for row in rows:
        stage = row.policy.partition("@")[2]
        policy.load(undisturbed.path / "checkpoints" / stage / "policy")
        rewards = {row.reward: parts["reward"]} if row.reward else {}
        (again,) = evaluate(
            policy=policy,
            task=parts["task"],
            searches={row.search: parts[row.search]},
            rewards=rewards,
            budget=None,
            max_tokens=20,
            seed=3,
        )
        assert (again.accuracy, again.tokens_per_problem) == (row.accuracy, row.tokens_per_problem)


def test_afterwards_the_policy_has_its_latest_weights(undisturbed, parts):
    saved = build("transformers", undisturbed.pipeline.components["policy"].config.model_dump())
    saved.load(undisturbed.path / "checkpoints" / "joint" / "policy")
    ours, theirs = (policy.module.state_dict() for policy in (parts["policy"], saved))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_weights_after_a_stage_that_left_the_policy_alone_are_those_it_had(small, tmp_path, undisturbed):
    run = run_pipeline(load_pipeline(small, overrides=["stages.test.with.weights=[fit]"]), out=tmp_path / "run")
    rows = run.results.stages["test"].rows
    of_joint = undisturbed.results.stages["test"].rows[2:]
    assert [row.policy for row in rows] == ["policy@fit", "policy@fit"]
    assert [(row.accuracy, row.tokens_per_problem) for row in rows] == [
        (row.accuracy, row.tokens_per_problem) for row in of_joint
    ]


def test_weights_of_a_policy_that_was_never_trained_are_missed_in_words(tmp_path):
    context = Context("test", RunDirectory(tmp_path), {"policy": "the policy"}, ("fit",))
    with pytest.raises(CheckpointError, match="'policy' was trained in no stage up to 'fit'"):
        context.checkpoint("fit", "the policy")
    with pytest.raises(CheckpointError, match="'policy' was trained in no stage before 'test'"):
        context.checkpoint(None, "the policy")


def test_training_changes_the_policy_and_the_reward_and_stores_rollouts(undisturbed, read_lines):
    checkpoints = {
        path.name: {part.name for part in path.iterdir() if part.is_dir()}
        for path in (undisturbed.path / "checkpoints").iterdir()
    }
    assert checkpoints == {"warm-up": {"policy"}, "joint": {"policy", "reward"}, "fit": {"reward"}, "test": set()}
    stored = read_lines(undisturbed.path / "rollouts" / "joint.jsonl")
    assert [(line["step"], len(line["rollouts"])) for line in stored] == [(step, 24) for step in range(1, 7)]
    assert isinstance(undisturbed.components["reward"], LearnedReward)
    joint = [line for line in read_lines(undisturbed.path / "metrics.jsonl") if line["stage"] == "joint"]
    for line, record in zip(joint, stored, strict=True):
        correct = [rollout["outcome"]["correct"] for rollout in record["rollouts"]]
        assert line["accuracy"] == sum(correct) / len(correct)
    assert {json.dumps(r["step"]) for line in stored for r in line["rollouts"]} == {str(step) for step in range(6)}
