"""Rollouts as JSON: one line holds one training step's rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trellis.types import Outcome, Problem, Rollout, Step, Trajectory


def rollout_to_json(rollout: Rollout) -> dict[str, Any]:
    """Return a rollout as JSON values; log-probabilities keep full precision."""
    trajectory = rollout.trajectory
    return {
        "problem": {
            "id": trajectory.problem.id,
            "text": trajectory.problem.text,
            "data": dict(trajectory.problem.data),
        },
        "prompt": trajectory.prompt,
        "steps": [[s.text, s.token_ids, s.log_probs, *([s.choices] if s.choices else [])] for s in trajectory.steps],
        "finished": trajectory.finished,
        "cut": trajectory.cut,
        "answer": trajectory.answer,
        "grammar": trajectory.grammar,
        "outcome": asdict(rollout.outcome),
        "step": rollout.step,
    }


def rollout_from_json(record: Mapping[str, Any]) -> Rollout:
    """Return what `rollout_to_json` was given."""
    trajectory = Trajectory(
        problem=Problem(**record["problem"]),
        prompt=record["prompt"],
        steps=tuple(Step(text, *map(tuple, rest)) for text, *rest in record["steps"]),
        finished=record["finished"],
        cut=record["cut"],
        answer=record["answer"],
        grammar=record.get("grammar"),
    )
    return Rollout(trajectory, Outcome(**record["outcome"]), step=record["step"])
