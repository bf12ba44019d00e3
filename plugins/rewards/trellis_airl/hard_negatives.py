"""Hard negatives: correct traces with one step replaced by another legal one, and finished by the policy.

A discriminator between given traces and the policy's rollouts learns the traces' style. A hard negative is in the traces'
style up to its replaced step, where it leaves what is right, or at least what the trace does: telling the two apart
takes knowing what is right. It needs no verifier and no labels, only the rules of the task (`Task.legal_steps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, NamedTuple

from trellis import Policy, SampleRequest, Step, Task, Trajectory
from trellis.distributed import spread
from trellis.records import rollout_from_json, rollout_to_json
from trellis.sampling import sample_trajectories
from trellis.seeds import derived_seed
from trellis.types import Outcome, Rollout
from trellis_airl.config import HardNegativesConfig


class HardNegative(NamedTuple):
    """A trace made wrong.

    Attributes:
        trajectory: The steps of the trace up to the replaced one, and what follows.
        num_shared: How many steps it shares with the trace; these say nothing of either.
        made_at: The update it was made at.
    """

    trajectory: Trajectory
    num_shared: int
    made_at: int


class HardNegatives:
    """Makes and remembers one hard negative per trace."""

    def __init__(self, config: HardNegativesConfig, *, task: Task, policy: Policy) -> None:
        self.config = config
        self.task = task
        self.policy = policy
        self._made: dict[str, HardNegative | None] = {}

    def of(self, traces: Sequence[Trajectory], *, update: int, seed: int) -> list[HardNegative]:
        """Return a hard negative of each trace that has one; all that are missing or too old are made in one call.

        Args:
            traces: Correct trajectories.
            update: The number of updates made so far.
            seed: Fixes, with the trace and `update`, which step is replaced by what, and how the policy goes on.
        """
        keyed = {f"{trace.problem.id}\n{trace.text}": trace for trace in traces}
        wanted = {key: trace for key, trace in keyed.items() if self._is_due(key, update)}
        begun: dict[str, tuple[Trajectory, int]] = {}
        for key, trace in wanted.items():
            found = self._replace_a_step(trace, Random(f"{seed}/{update}/{key}"))
            self._made[key] = HardNegative(*found, update) if found else None
            if found and found[0].open:
                begun[key] = found
        requests = [
            SampleRequest(prefix, max_tokens=self.config.max_tokens, seed=derived_seed(seed, update, key))
            for key, (prefix, _) in begun.items()
        ]
        answers = spread(partial(sample_trajectories, self.policy, self.task), requests)
        for (key, (_, num_shared)), (trajectory,) in zip(begun.items(), answers, strict=True):
            self._made[key] = HardNegative(trajectory, num_shared, update)
        return [made for key in keyed if (made := self._made[key]) is not None]

    def _is_due(self, key: str, update: int) -> bool:
        made = self._made.get(key)
        if made is None:
            return key not in self._made
        return self.config.refresh is not None and update - made.made_at >= self.config.refresh

    def _replace_a_step(self, trace: Trajectory, random: Random) -> tuple[Trajectory, int] | None:
        """Cut a trace before a random step and put another legal step there; None where no step has another."""
        places = list(range(len(trace.steps)))
        random.shuffle(places)
        for place in places:
            prefix = replace(trace, steps=trace.steps[:place], finished=False, answer=None)
            others = [text for text in self.task.legal_steps(prefix) if text != trace.steps[place].text]
            if others:
                steps = (*prefix.steps, Step(random.choice(others)))
                ended = not steps[-1].text.endswith(self.task.separator)
                return self.task.constrain(replace(prefix, steps=steps, finished=ended)), place
        return None

    def memory(self) -> list[Any]:
        """Return all that was made as JSON values."""
        return [
            [key, made and [rollout_to_json(Rollout(made.trajectory, Outcome(False, 0.0))), *made[1:]]]
            for key, made in self._made.items()
        ]

    def remember(self, memory: Sequence[Any]) -> None:
        """Take what `memory` returned."""
        self._made = {key: made and _negative(*made) for key, made in memory}


def _negative(record: Mapping[str, Any], num_shared: int, made_at: int) -> HardNegative:
    return HardNegative(rollout_from_json(record).trajectory, num_shared, made_at)
