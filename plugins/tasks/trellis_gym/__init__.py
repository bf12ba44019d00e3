"""Every data set of the library reasoning-gym as a task.

`trellis_gym.task.Gym(GymConfig(dataset="countdown", parameters={"min_numbers": 3, "max_numbers": 3}))` is a task like any
other: its `problems("train")` are texts, its `verify` is the library's own scorer. In a pipeline it is
`{use: gym/gym, with: {dataset: countdown, answer_prefix: "answer: "}}`, after `pip install 'trellis[gym]'`.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_gym.config import GymConfig


@hookimpl
def trellis_tasks() -> Iterable[Component]:
    """Return the task of this plugin."""
    yield Component(
        "gym",
        "any data set of reasoning-gym: puzzles, logic, arithmetic, graphs, games",
        GymConfig,
        "trellis_gym.task:Gym",
        capabilities=frozenset({"traces"}),
        extra="gym",
        modules=("reasoning_gym",),
    )
