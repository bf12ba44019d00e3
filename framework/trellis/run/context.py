"""What a running stage sees of its run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trellis.contracts import Recipe
from trellis.errors import CheckpointError, RunError
from trellis.run.directory import RunDirectory
from trellis.run.elsewhere import RunRecipe
from trellis.types import Rollout


@dataclass(frozen=True, slots=True)
class Context:
    """Implements `trellis.contracts.StageContext` on a run directory.

    Attributes:
        stage: The name of the stage that runs.
        run_directory: The run's files.
        components: The living components by name.
        completed: The names of the stages before this one.
        show: Takes how far the present step is, and how far it goes.
    """

    stage: str
    run_directory: RunDirectory
    components: Mapping[str, Any]
    completed: Sequence[str]
    show: Callable[[int, int], None] = lambda done, total: None

    @property
    def directory(self) -> Path:
        """Where the stage may write files of its own."""
        return self.run_directory.stage_files(self.stage)

    def progress(self, done: int, total: int) -> None:
        """Show how far the present step is."""
        self.show(done, total)

    def name_of(self, component: object) -> str:
        """Return the name a component has in the pipeline."""
        return next(name for name, other in self.components.items() if other is component)

    def rollouts(self, stages: Sequence[str] = ()) -> Iterator[Rollout]:
        """Yield the stored rollouts of earlier stages, of all of them when none is named."""
        for stage in stages:
            self._require(stage, "rollouts")
        for stage in stages or self.completed:
            yield from self.run_directory.rollouts(stage)

    def checkpoint(self, stage: str | None, component: object) -> Path:
        """Return where the component was saved at the end of an earlier stage, or last of all."""
        name, completed = self.name_of(component), list(self.completed)
        if stage is not None:
            self._require(stage, "weights")
            completed = completed[: completed.index(stage) + 1]
        path = self.run_directory.component_checkpoint(completed, name)
        if path is None:
            upto = f"up to '{stage}'" if stage else f"before '{self.stage}'"
            raise CheckpointError(f"'{name}' was trained in no stage {upto}", path=self.run_directory.path)
        return path

    def recipe(self, components: Sequence[object], *, at: Mapping[str, str] | None = None) -> Recipe:
        """Return how to build components as they were last saved, or at the end of an earlier stage."""
        at = at or {}
        checkpoints: list[tuple[str, Path]] = []
        for name, component in self.components.items():
            if name in at:
                path: Path | None = self.checkpoint(at[name], component)
            else:
                path = self.run_directory.component_checkpoint(list(self.completed), name)
            if path is not None:
                checkpoints.append((name, path.resolve()))
        return RunRecipe(self.run_directory.path.resolve(), tuple(map(self.name_of, components)), tuple(checkpoints))

    def _require(self, stage: str, what: str) -> None:
        if stage not in self.completed:
            before = ", ".join(self.completed) or "none"
            raise RunError(
                f"stage '{self.stage}' wants the {what} of '{stage}', which does not run before it; before it: {before}"
            )
