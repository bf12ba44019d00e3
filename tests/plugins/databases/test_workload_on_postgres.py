"""A workload as a task on a real server: legal rollouts, what the journal remembers, and rewards that read it."""

from dataclasses import replace
from math import log

import pytest

from trellis import build
from trellis.memory.journal import Journal, MeasurementEntry
from trellis.run.sampling import sample_rollouts
from trellis.sql import parse_hints

SQL = (
    "SELECT count(*) FROM customer u, orders o, item i WHERE u.id = o.customer_id AND o.id = i.order_id AND u.id < 20 "
    "AND o.status = 'open'"
)
FAST, SLOW, STOPPED = "Leading(((u o) i))", "Leading(((o i) u))", "Leading(((i o) u))"


@pytest.fixture
def task(postgres, tmp_path):
    (tmp_path / "queries.sql").write_text(SQL + ";\n", encoding="utf-8")
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    key = journal.add_query(postgres.parse(SQL))
    for hints, judgement, speedup, pairs in (
        (FAST, "faster", 1.1, 5),
        (SLOW, "slower", 0.5, 5),
        (STOPPED, "timed out", 0.2, 0),
        (FAST, "faster", 2.0, 5),
    ):
        journal.add_measurement(
            MeasurementEntry(
                key, postgres.identity, hints, judgement, speedup, None, None, 10.0, 10.0 / speedup, pairs, None, "test",
                postgres.catalog().version, postgres.server_version,
            )
        )  # fmt: skip
    journal.close()
    config = {"paths": [str(tmp_path / "queries.sql")], "journal": str(path), "measure": {"pairs": 1, "min_pairs": 1}}
    return build("queries", config, database=postgres, prompt=build("compact"))


def split_of(task):
    return next(split for split in ("train", "validation", "test") if task.problems(split))


def test_every_measured_plan_is_experience_with_its_newest_gain(task):
    found = {r.outcome.gain: r for r in task.experience(split_of(task))}
    assert found.keys() == {log(2.0), log(0.5), log(0.2)}
    assert found[log(2.0)].outcome.correct
    assert not found[log(0.5)].outcome.correct
    assert [gain for gain, r in found.items() if r.outcome.bounded] == [log(0.2)]
    (leading,) = task.hints(found[log(2.0)].trajectory).leading
    assert str(leading) in {"Leading(((u o) i))", "Leading(((o u) i))"}
    (trace,) = task.traces(split_of(task))
    assert trace == found[log(2.0)].trajectory


def test_a_prompt_shows_the_rows_that_conditions_leave_not_those_of_a_look_up(task):
    (problem,) = task.problems(split_of(task))
    (item,) = [line for line in task.start(problem).prompt.splitlines() if " item " in line]
    assert item.endswith(" 0"), "no condition is on item: all its rows are left, whatever a nested loop looks up"


def test_rollouts_of_untrained_weights_are_measured_not_refused(task):
    policy = build("transformers", {"init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2}, "seed": 1})
    rollouts = sample_rollouts(policy, task, task.problems(split_of(task)), n=6, max_tokens=128)
    assert all(rollout.trajectory.finished for rollout in rollouts)
    assert all(rollout.outcome.gain is not None for rollout in rollouts)


def test_words_of_a_decision_do_not_depend_on_later_ones_and_those_of_the_plan_come_last(task):
    for rollout in task.experience(split_of(task)):
        whole = rollout.trajectory
        words = task.step_words(whole)
        assert len(words) == len(whole.steps)
        for count in range(1, len(whole.steps)):
            prefix = replace(whole, steps=whole.steps[:count], finished=False, answer=None)
            assert task.step_words(prefix) == words[:count]
        methods = [word for word in words[-1] if word in {"HashJoin", "MergeJoin", "NestLoop"}]
        assert len(methods) == 2, "two joins are planned, each by one method"
        assert all(len(of_step) == 1 for of_step in words[:-1])


def test_what_is_no_order_of_the_query_has_words_of_no_plan(task):
    (whole, *_) = [rollout.trajectory for rollout in task.experience(split_of(task))]
    broken = replace(whole, steps=(replace(whole.steps[0], text="Join(t1 t9)\n"), *whole.steps[1:]))
    assert task.step_words(broken)[-1] == []


def test_the_planners_cost_of_its_own_order_is_the_defaults(task, postgres):
    (problem,) = task.problems(split_of(task))
    reward = build("plan-cost", {}, task=task, database=postgres)
    own = task.trajectory(problem, parse_hints(""))
    others = [rollout.trajectory for rollout in task.experience(split_of(task))]
    first, *rest = reward.score([own, *others])
    assert first[-1] == pytest.approx(0, abs=1e-6)
    assert min(row[-1] for row in rest) < -0.01
    assert max(row[-1] for row in rest) <= 1e-6
    assert all(len(row) == len(t.steps) for row, t in zip(rest, others, strict=True))


def test_rewards_learn_from_the_journal_which_of_its_plans_are_fast(task):
    policy = build("transformers", {"init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2}, "seed": 1})
    experience = task.experience(split_of(task))
    order = sorted(experience, key=lambda rollout: rollout.outcome.gain)
    for reward in (
        build("latency-predictor", {"learning_rate": 0.01}, policy=policy),
        build("airl", {"experts": "graded", "search_score": "l", "learning_rate": 0.01}, policy=policy),
        build("latency-predictor", {"reads": "words", "learning_rate": 0.03}, policy=policy, task=task),
        build(
            "airl", {"reads": "words", "experts": "graded", "search_score": "l", "learning_rate": 0.03},
            policy=policy, task=task,
        ),
    ):  # fmt: skip
        for _ in range(60):
            reward.update([], experience)
        scores = [row[-1] for row in reward.score([rollout.trajectory for rollout in order])]
        assert scores[-1] - max(scores[:-1]) > 1
