"""Rewards that are linear in what the task says of steps."""

from dataclasses import replace

import pytest

from trellis import build
from trellis.errors import CapabilityError, SpecError
from trellis.testing.material import Successor, SuccessorConfig
from trellis.testing.material.episodes import rollouts
from trellis.types import Outcome

CONFIGS = {
    "airl": {"experts": "graded", "grade_temperature": 1.0, "search_score": "l"},
    "latency-predictor": {"center": True},
}


class Spoken(Successor):
    """Says how long each step's text is, and nothing of the problem."""

    def step_words(self, trajectory):
        return [["letter"] * len(step.text.strip()) for step in trajectory.steps]


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_learned_of_words_holds_for_problems_that_were_never_seen(name, skilled):
    task = Spoken(SuccessorConfig(size=6))
    rolled = [r for r in rollouts(task, skilled, count=6, n=6) if r.trajectory.steps]

    def length(trajectory):
        return sum(len(step.text.strip()) for step in trajectory.steps)

    measured = [replace(r, outcome=Outcome(False, 0.0, gain=-0.2 * length(r.trajectory))) for r in rolled]
    reward = build(name, {"reads": "words", "learning_rate": 0.03, **CONFIGS[name]}, policy=skilled, task=task)
    for _ in range(150):
        reward.update([], measured)
    short = next(t for t in task.traces("test") if len(t.steps) > 1)
    long = replace(short, steps=(*short.steps[:-1], replace(short.steps[-1], text=short.steps[-1].text * 4)))
    assert reward.score([short])[0][-1] > reward.score([long])[0][-1]


@pytest.mark.parametrize("name", CONFIGS)
def test_words_take_a_task_that_says_them(name, skilled):
    with pytest.raises(CapabilityError, match=r"needs: \{task: NAME\}"):
        build(name, {"reads": "words"}, policy=skilled)


@pytest.mark.parametrize("form", ["shaped", "lm-density"])
def test_forms_that_read_tokens_read_no_words(form, skilled):
    with pytest.raises(SpecError, match="reads tokens"):
        build("airl", {"reads": "words", "form": form}, policy=skilled)
