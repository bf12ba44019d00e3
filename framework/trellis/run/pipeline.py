"""The engine: runs the stages, one step at a time, and owns progress, checkpoints, stopping and resuming."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, cast

from rich.console import Console

from trellis.contracts import Stage, StageStep
from trellis.errors import CheckpointError, RunDirectoryError, RunError
from trellis.run.build import build_components, build_stages
from trellis.run.directory import Progress, RunDirectory, Saveable
from trellis.run.progress import ProgressLine
from trellis.run.results import Results, Row, StageResults
from trellis.spec import ComponentSpec, Pipeline, StageSpec, load_pipeline
from trellis.types import Rollout


@dataclass(frozen=True, slots=True)
class Run:
    """A run on disk.

    Attributes:
        directory: Its files.
        pipeline: What was run.
        components: The living components by name, in the state the run left them in.
        interrupted: Whether it was stopped before its end.
    """

    directory: RunDirectory
    pipeline: Pipeline
    components: Mapping[str, Any]
    interrupted: bool = False

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def results(self) -> Results:
        """What was measured."""
        return self.directory.results()

    @classmethod
    def open(cls, path: Path | str, *, device: str | None = None) -> Run:
        """Build the components of an earlier run with all they have learned.

        Raises:
            RunDirectoryError: There is no run there.
        """
        directory = RunDirectory(Path(path))
        resolved = directory.path / "resolved.yaml"
        if not resolved.exists():
            raise RunDirectoryError(
                f"{path} holds no run: give the directory that `trellis run` printed", path=Path(path)
            )
        pipeline = load_pipeline(resolved, device=device)
        components = build_components(pipeline)
        progress = directory.progress()
        stages = [*progress.completed, *([progress.checkpoint] if progress.checkpoint else [])]
        _load(directory, components, stages)
        return cls(directory, pipeline, components, interrupted=len(progress.completed) < len(pipeline.stages))


def run(
    pipeline: Pipeline,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Run:
    """Run a pipeline.

    A run that is stopped, by Ctrl-C (which finishes the step and saves) or in any harsher way, is resumed from its last
    checkpoint and ends with the same numbers as one never stopped, on the same machine.

    Args:
        pipeline: From `load_pipeline`.
        out: The run directory; `runs/<name>-<time>` by default.
        resume: Go on with the run in `out`, or, without `out`, with the latest of this pipeline's name.
        console: Where progress is shown; nothing is shown without one.

    Raises:
        RunDirectoryError: `out` holds something else already, or no run to resume.
    """
    directory = RunDirectory(_choose(pipeline, out, resume), secrets=pipeline.secrets)
    resolved = pipeline.to_yaml()
    components = build_components(pipeline)
    stages = build_stages(pipeline, components)
    if resume:
        progress = directory.reopen(resolved=resolved)
        restored = [*progress.completed, *([progress.checkpoint] if progress.checkpoint else [])]
        _load(directory, components, restored)
        directory.event("resumed", stage=progress.stage, step=progress.step, completed=progress.completed)
    else:
        directory.create(resolved=resolved, plugins=_providers(pipeline))
        progress = Progress()
        directory.event("started", pipeline=pipeline.name, seed=pipeline.seed)
    engine = _Engine(directory, pipeline, components, stages, progress)
    with ProgressLine(console) as line, _stop_on_interrupt() as interrupt:
        try:
            interrupted = not engine.run(line, interrupt)
        except BaseException as error:
            directory.event("failed", error=f"{type(error).__name__}: {error}")
            raise
    return Run(directory, pipeline, components, interrupted=interrupted)


@dataclass(slots=True)
class _Interrupt:
    asked: bool = False


@dataclass(slots=True)
class _Engine:
    directory: RunDirectory
    pipeline: Pipeline
    components: Mapping[str, Any]
    stages: Mapping[str, Stage]
    progress: Progress
    results: dict[str, StageResults] = field(default_factory=dict)

    def run(self, line: ProgressLine, interrupt: _Interrupt) -> bool:
        """Run what is left to run; say whether the end was reached."""
        self.results.update(self.directory.results().stages)
        for number, (name, stage) in enumerate(self.stages.items(), start=1):
            if name in self.progress.completed:
                continue
            line.stage(name, number, len(self.stages))
            if not self._run_stage(name, stage, line, interrupt):
                return False
        self.directory.event("finished")
        return True

    def _run_stage(self, name: str, stage: Stage, line: ProgressLine, interrupt: _Interrupt) -> bool:
        metrics: Mapping[str, float] = {}
        rows: list[Row] = []
        if self.progress.stage == name and self.progress.checkpoint is not None:
            stage.restore(self.directory.load_state(self.progress.checkpoint))
            rows = list(self.results[name].rows) if name in self.results else []
        else:
            self.results.pop(name, None)
        self.directory.event("stage-started", stage=name)
        started = time.perf_counter()
        for step in stage.run(_Context(name, self.directory, self.components, self.progress.completed)):
            metrics = step.metrics
            self._record(name, step, time.perf_counter() - started)
            if step.row is not None:
                rows.append(Row.model_validate(step.row))
                self._write_results(name, rows, metrics)
            line.step(name, step.step, step.num_steps, metrics)
            if step.step == step.num_steps:
                continue
            if step.checkpoint or interrupt.asked:
                self._checkpoint(name, stage, step.step)
            if interrupt.asked:
                self.directory.event("interrupted", stage=name, step=step.step)
                return False
        self._write_results(name, rows, metrics)
        self._complete(name, stage)
        self.directory.event("stage-finished", stage=name, seconds=round(time.perf_counter() - started, 3))
        return True

    def _record(self, name: str, step: StageStep, seconds: float) -> None:
        self.directory.metrics(name, step.step, {**step.metrics, "seconds": round(seconds, 4)})
        self.directory.add_rollouts(name, step.step, step.rollouts)

    def _write_results(self, name: str, rows: Sequence[Row], metrics: Mapping[str, float]) -> None:
        self.results[name] = StageResults(rows=tuple(rows), metrics=dict(metrics))
        self.directory.write_results(Results(stages=self.results))

    def _checkpoint(self, name: str, stage: Stage, step: int) -> None:
        previous, checkpoint = self.progress.checkpoint, f"{name}.step-{step}"
        self.directory.save_checkpoint(checkpoint, components=self._changed(stage), state=stage.state())
        self.progress = Progress(self.progress.completed, name, step, checkpoint)
        self.directory.write_progress(self.progress)
        if previous is not None:
            self.directory.remove_checkpoint(previous)
        self.directory.event("checkpoint", stage=name, step=step)

    def _complete(self, name: str, stage: Stage) -> None:
        previous = self.progress.checkpoint
        self.directory.save_checkpoint(name, components=self._changed(stage), state=stage.state())
        self.progress = Progress([*self.progress.completed, name])
        self.directory.write_progress(self.progress)
        if previous is not None:
            self.directory.remove_checkpoint(previous)

    def _changed(self, stage: Stage) -> dict[str, Saveable]:
        changed = stage.changes()
        return {
            name: cast(Saveable, component)
            for name, component in self.components.items()
            if any(component is other for other in changed)
        }


@dataclass(frozen=True, slots=True)
class _Context:
    """What a running stage sees of the run (`trellis.contracts.StageContext`)."""

    stage: str
    run_directory: RunDirectory
    components: Mapping[str, Any]
    completed: Sequence[str]

    @property
    def directory(self) -> Path:
        return self.run_directory.stage_files(self.stage)

    def name_of(self, component: object) -> str:
        return next(name for name, other in self.components.items() if other is component)

    def rollouts(self, stages: Sequence[str] = ()) -> Iterator[Rollout]:
        if unknown := set(stages) - set(self.completed):
            raise RunError(
                f"stage '{self.stage}' wants the rollouts of {', '.join(sorted(unknown))}; the stages before it are "
                f"{', '.join(self.completed)}"
            )
        for stage in stages or self.completed:
            yield from self.run_directory.rollouts(stage)

    def checkpoint(self, stage: str | None, component: object) -> Path:
        name = self.name_of(component)
        if stage is not None and stage not in self.completed:
            raise RunError(
                f"stage '{self.stage}' wants the weights of '{stage}'; the stages before it are {', '.join(self.completed)}"
            )
        stages = self.completed if stage is None else self.completed[: list(self.completed).index(stage) + 1]
        path = self.run_directory.component_checkpoint(stages, name)
        if path is None:
            raise CheckpointError(f"no stage up to '{stage}' changed '{name}'", path=self.run_directory.path)
        return path


def _load(directory: RunDirectory, components: Mapping[str, Any], stages: Sequence[str]) -> None:
    """Give each component the last state saved for it."""
    for name, component in components.items():
        path = directory.component_checkpoint(stages, name)
        if path is not None:
            cast(Saveable, component).load(path)


def _choose(pipeline: Pipeline, out: Path | str | None, resume: bool) -> Path:
    if out is not None:
        return Path(out)
    runs = Path("runs")
    if not resume:
        return runs / f"{pipeline.name}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = sorted(path.parent for path in runs.glob(f"{pipeline.name}-*/state.json"))
    if not candidates:
        raise RunDirectoryError(f"there is no run of '{pipeline.name}' under {runs}/ to resume", path=runs)
    return candidates[-1]


def _providers(pipeline: Pipeline) -> dict[str, dict[str, str]]:
    specs: dict[str, ComponentSpec | StageSpec] = {
        f"components.{name}": spec for name, spec in pipeline.components.items()
    }
    specs |= {f"stages.{stage.name}": stage for stage in pipeline.stages}
    return {
        path: {
            "component": spec.registered.id,
            "distribution": str(spec.registered.distribution),
            "version": str(spec.registered.version),
        }
        for path, spec in specs.items()
    }


@contextmanager
def _stop_on_interrupt() -> Iterator[_Interrupt]:
    """The first Ctrl-C asks to stop after the step; the second is a KeyboardInterrupt as ever."""
    interrupt = _Interrupt()

    def ask(signum: int, frame: FrameType | None) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True

    try:
        previous = signal.signal(signal.SIGINT, ask)
    except ValueError:
        # Only the main thread may set handlers: a run in another thread cannot be stopped by Ctrl-C.
        yield interrupt
        return
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
