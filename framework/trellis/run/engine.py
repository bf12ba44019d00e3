"""The engine: runs the stages, one step at a time, and owns progress, checkpoints and stopping."""

from __future__ import annotations

import math
import random
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from traceback import walk_tb
from typing import Any, cast

import numpy as np

from trellis.contracts import Finding, Stage, StageStep
from trellis.distributed import agree, barrier, world
from trellis.errors import CollapseError, ContractError
from trellis.run.context import Context
from trellis.run.directory import Progress, RunDirectory, Saveable
from trellis.run.interrupt import Interrupt
from trellis.run.progress import ProgressLine
from trellis.run.results import Results, StageResults
from trellis.spec import Pipeline


@dataclass(slots=True)
class Engine:
    """Runs what is left of a run.

    Order matters in whatever is written: a step's metrics, rollouts and row, then the checkpoint, then `state.json`,
    which makes them count, and only then the checkpoint before it is removed. Killed between any two of these, a
    run is resumed from the checkpoint that `state.json` names.

    On several processes every one of them runs this, over the same stages; only the main one's `directory` writes.
    """

    directory: RunDirectory
    pipeline: Pipeline
    components: Mapping[str, Any]
    stages: Mapping[str, Stage]
    progress: Progress
    results: dict[str, StageResults] = field(default_factory=dict)

    def run(self, line: ProgressLine, interrupt: Interrupt) -> bool:
        """Run what is left to run; say whether the end was reached."""
        self.results.update(self.directory.results().stages)
        for number, (name, stage) in enumerate(self.stages.items(), start=1):
            if name in self.progress.completed:
                continue
            if agree(interrupt.asked):
                self.directory.event("interrupted", stage=name, step=0)
                return False
            line.stage(name, number, len(self.stages))
            if not self._run_stage(name, stage, line, interrupt):
                return False
        self.directory.event("finished")
        return True

    def _run_stage(self, name: str, stage: Stage, line: ProgressLine, interrupt: Interrupt) -> bool:
        done = 0
        try:
            if self.progress.stage == name and self.progress.checkpoint is not None:
                stage.restore(self.directory.load_state(self.progress.checkpoint))
                done = self.progress.step
            metrics: Mapping[str, float] = {}
            results = self.results.get(name, StageResults())
            self.directory.event("stage-started", stage=name, step=done)
            started = time.perf_counter()
            for step in self._steps(name, stage, done, line):
                self._record(name, step, time.perf_counter() - started)
                if step.row is not None:
                    results = results.with_row(step.table, step.row)
                    self._write_results(name, results, step.metrics)
                line.step(name, step.step, step.num_steps, step.metrics)
                for found in step.findings:
                    self._warn(name, step.step, found, line)
                if step.step < step.num_steps:
                    asked = agree(interrupt.asked)
                    if step.checkpoint or asked:
                        self._checkpoint(name, stage, step.step, num_rows=results.num_rows())
                    if asked:
                        self.directory.event("interrupted", stage=name, step=step.step)
                        return False
                done, metrics = step.step, step.metrics
            self._write_results(name, results, metrics)
            self._complete(name, stage)
        except BaseException as error:
            if isinstance(error, CollapseError):
                self.progress = replace(self.progress, stopped=True)
                self.directory.write_progress(self.progress)
            self.directory.event("failed", stage=name, step=done + 1, error=f"{type(error).__name__}: {error}")
            error.add_note(self._where(error, name, done + 1))
            raise
        self.directory.event("stage-finished", stage=name, seconds=round(time.perf_counter() - started, 3))
        return True

    def _steps(self, name: str, stage: Stage, done: int, line: ProgressLine) -> Iterator[StageStep]:
        """Advance a stage; before each step every global generator is seeded for that step.

        Dropout and the like draw from those: so a step draws the same, whether the run was resumed before it or not.
        """
        show = partial(line.within, name)
        steps = stage.run(Context(name, self.directory, self.components, self.progress.completed, show))
        while True:
            _seed_generators(self.pipeline.seed, name, done)
            step = next(steps, None)
            if step is None:
                return
            yield step
            done = step.step

    def _record(self, name: str, step: StageStep, seconds: float) -> None:
        if wrong := [f"{key} = {value}" for key, value in step.metrics.items() if not math.isfinite(value)]:
            raise ContractError(f"a stage's metrics must be finite numbers: {', '.join(wrong)}")
        self.directory.metrics(name, step.step, {**step.metrics, "seconds": round(seconds, 4)})
        self.directory.add_rollouts(name, step.step, step.rollouts)

    def _warn(self, name: str, step: int, found: Finding, line: ProgressLine) -> None:
        self.directory.event("warning", stage=name, step=step, kind=found.kind, message=found.message)
        line.say(f"warning: {name}, step {step}: {found.message}")

    def _write_results(self, name: str, results: StageResults, metrics: Mapping[str, float]) -> None:
        self.results[name] = results.model_copy(update={"metrics": dict(metrics)})
        self.directory.write_results(Results(stages=self.results))

    def _checkpoint(self, name: str, stage: Stage, step: int, *, num_rows: dict[str, int]) -> None:
        checkpoint = f"{name}.step-{step}"
        self.directory.save_checkpoint(checkpoint, components=self._changed(stage), state=stage.state())
        self._advance(Progress(self.progress.completed, name, step, checkpoint, num_rows))
        self.directory.event("checkpoint", stage=name, step=step)

    def _complete(self, name: str, stage: Stage) -> None:
        self.directory.save_checkpoint(name, components=self._changed(stage), state=stage.state())
        self._advance(Progress([*self.progress.completed, name]))

    def _advance(self, progress: Progress) -> None:
        previous, self.progress = self.progress.checkpoint, progress
        self.directory.write_progress(progress)
        # What is saved is read by all.
        barrier()
        if previous is not None:
            self.directory.remove_checkpoint(previous)

    def _changed(self, stage: Stage) -> dict[str, Saveable]:
        changed = stage.changes()
        return {
            name: cast(Saveable, component)
            for name, component in self.components.items()
            if any(component is other for other in changed)
        }

    def _where(self, error: BaseException, stage: str, step: int) -> str:
        """Say in which step an error was raised, and in which component if it was in the code of one."""
        inside = ""
        for frame, _ in walk_tb(error.__traceback__):
            owner = frame.f_locals.get("self")
            name = next((name for name, component in self.components.items() if component is owner), None)
            if name is not None:
                inside = f", in components.{name} ({self.pipeline.components[name].registered.id})"
        at = f"at step {step} of stage '{stage}'{inside}"
        return f"{at}; --out {self.directory.path} --resume goes on from the run's last checkpoint"


def _seed_generators(seed: int, stage: str, step: int) -> None:
    import torch

    words = np.random.SeedSequence([seed, zlib.crc32(stage.encode()), step]).generate_state(1)
    number = int(words[0])
    random.seed(number)
    np.random.seed(number)
    # Dropout alone draws from torch: each of several processes has rows of its own. All else is drawn alike everywhere.
    torch.manual_seed(number + world().rank)
