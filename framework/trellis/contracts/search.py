"""SearchAlgorithm: sans-I/O search over steps.

A search never calls a policy or a reward. It is a generator that yields what it wants to know and is sent the answer,
so a driver can interleave hundreds of searches into full batches, and a test can answer from a list:

    process = search.search(root)
    request = next(process)                  # Extend(prefixes=(root,), n=4)
    request = process.send([[a, b, c, d]])   # Score((a, b, c, d))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from trellis.types import SearchResult, Trajectory


@dataclass(frozen=True, slots=True)
class Extend:
    """Asks for continuations; answered with a list per prefix of `n` extended trajectories.

    Attributes:
        prefixes: Unfinished trajectories.
        n: How many continuations of each.
        until: "step" for one more step, "end" for a whole completion.
        temperature: 0 for the most probable continuation.
    """

    prefixes: tuple[Trajectory, ...]
    n: int = 1
    until: Literal["step", "end"] = "step"
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Score:
    """Asks for rewards; answered with a list per trajectory of one float per step."""

    trajectories: tuple[Trajectory, ...]


Extended: TypeAlias = Sequence[Sequence[Trajectory]]
Scored: TypeAlias = Sequence[Sequence[float]]
SearchProcess: TypeAlias = Generator[Extend | Score, Any, SearchResult]


class SearchAlgorithm(ABC):
    """A way to spend samples on one problem.

    Capabilities: "sampling" (its result depends on the seed), "reward" (it yields `Score`: says `needs_reward` before the
    class is imported).

    Attributes:
        needs_reward: Whether it yields `Score`.
        aggregate: How it makes one number of a trajectory's step scores; None where it makes none.
    """

    needs_reward: ClassVar[bool] = False
    aggregate: str | None = None

    @abstractmethod
    def search(self, root: Trajectory) -> SearchProcess:
        """Search for a solution, from the problem's empty trajectory.

        The driver throws `BudgetExhausted` at a `yield` when the budget is spent; the search then returns the best
        it has, without asking for more. Only `open` trajectories may be extended: a continuation may come back
        `finished`, or `cut` by its token limit.
        """
