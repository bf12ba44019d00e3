"""Stage: one named phase of a pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from trellis.contracts.optimizer import State
from trellis.types import JSON, Rollout


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know of while a stage runs: an event, and a line on the terminal.

    Attributes:
        kind: What was found, in a word or two joined by hyphens.
        message: One sentence or two: what, the numbers, the likely cause, what to change.
    """

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class StageStep:
    """What a stage reports after a step; after each, the run can be stopped and resumed.

    Attributes:
        step: Steps completed so far, from 1.
        num_steps: How many there will be.
        metrics: Named numbers, one line of `metrics.jsonl`.
        rollouts: What was sampled, kept for later stages.
        row: A row of `results.json`, if the step measured one.
        table: Which list of the stage's results the row belongs to: "rows", "policies" or "rewards".
        checkpoint: Whether this is a good place to save; at a stage's end everything is saved anyway.
        findings: What a person should know of.
    """

    step: int
    num_steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    row: Mapping[str, JSON] | None = None
    table: Literal["rows", "policies", "rewards"] = "rows"
    checkpoint: bool = False
    findings: tuple[Finding, ...] = ()


class Recipe(Protocol):
    """How components are built in another process, in a state that the run has saved. Can be pickled."""

    def __call__(self) -> Mapping[str, Any]:
        """Return the components by name; a process builds them once."""


class StageContext(Protocol):
    """What the engine offers a running stage."""

    @property
    def directory(self) -> Path:
        """Where the stage may write files of its own; made when asked for."""

    def progress(self, done: int, total: int) -> None:
        """Show how far the present step is, where a step takes long."""

    def name_of(self, component: object) -> str:
        """Return the name a component has in the pipeline."""

    def rollouts(self, stages: Sequence[str] = ()) -> Iterator[Rollout]:
        """Yield the stored rollouts of earlier stages, of all of them when none is named."""

    def checkpoint(self, stage: str | None, component: object) -> Path:
        """Return where the component was saved at the end of an earlier stage, or last of all."""

    def recipe(self, components: Sequence[object], *, at: Mapping[str, str] | None = None) -> Recipe:
        """Return how to build components, for an executor's workers.

        Args:
            components: Which; those that they need come along.
            at: By a component's name the earlier stage at whose end its state is taken; others are as last saved, and as
                built where that is never.
        """


class Stage(ABC):
    """One phase: an iterator of steps, resumable between any two.

    All stages are constructed before the first one runs: what does not fit is said by the constructor, not after hours.
    """

    @abstractmethod
    def run(self, context: StageContext) -> Iterator[StageStep]:
        """Do the work, yielding after each step, from the step after the restored one."""

    def changes(self) -> Sequence[object]:
        """Return the components whose learned state the stage changes; they are saved in its checkpoints."""
        return ()

    def state(self) -> State:
        """Return what must be kept between two steps beside the changed components' own `save`."""
        return State()

    def restore(self, state: State) -> None:
        """Take what `state` returned."""
        return None
