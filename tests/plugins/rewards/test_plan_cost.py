"""A reward of query plans is for tasks whose solutions are plans: others are refused before anything runs."""

import pytest

from trellis.errors import SpecError
from trellis.spec import Pipeline


def test_a_task_without_plan_hints_is_refused_at_check():
    with pytest.raises(SpecError, match="plan-hints"):
        Pipeline.from_dict(
            {
                "version": 1,
                "name": "wrong",
                "components": {
                    "task": {"use": "countdown"},
                    "database": {"use": "postgres"},
                    "policy": {"use": "transformers"},
                    "reward": {"use": "plan-cost", "needs": {"task": "task", "database": "database"}},
                    "beam": {"use": "beam"},
                },
                "stages": [
                    {
                        "name": "test",
                        "run": "evaluate",
                        "needs": {"policy": "policy", "task": "task", "reward": "reward", "searches": ["beam"]},
                    }
                ],
            }
        )
