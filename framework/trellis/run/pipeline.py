"""Running a pipeline, and opening what a run left behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from trellis.contracts import Executor
from trellis.distributed import barrier, main_only, start, world
from trellis.errors import RunDirectoryError
from trellis.run.build import build_components, build_stages
from trellis.run.directory import Progress, RunDirectory, Saveable, WatchedDirectory
from trellis.run.engine import Engine
from trellis.run.interrupt import stop_on_interrupt
from trellis.run.progress import ProgressLine
from trellis.run.results import Results
from trellis.spec import ComponentSpec, Pipeline, StageSpec, load_pipeline


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
            CheckpointError: A checkpoint of it is missing.
        """
        directory = RunDirectory(Path(path))
        if not directory.holds_run:
            raise RunDirectoryError(
                f"{path} holds no run: give the directory that `trellis run` printed", path=Path(path)
            )
        pipeline = load_pipeline(directory.path / "resolved.yaml", device=device)
        progress = directory.progress()
        components = build_components(pipeline)
        _load(directory, components, progress)
        return cls(directory, pipeline, components, interrupted=len(progress.completed) < len(pipeline.stages))


def run_pipeline(
    pipeline: Pipeline,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Run:
    """Run a pipeline.

    A run that is stopped, by Ctrl-C (which finishes the step and saves) or in any harsher way, is resumed from its last
    checkpoint and ends with the same numbers as one never stopped, on the same machine. For this the global random
    generators of Python, NumPy and torch are seeded before each step.

    Under a launcher such as torchrun it is called in every process (`trellis.distributed`); the run directory must lie where
    all of them can read it. A run may be resumed on another number of processes.

    Args:
        pipeline: From `load_pipeline`.
        out: The run directory; `runs/<name>-<time>` by default.
        resume: Go on with the run in `out`, or, without `out`, with the latest of this pipeline's name. A run that has
            reached its end is left as it is.
        console: Where progress is shown; nothing is shown without one.

    Raises:
        RunDirectoryError: `out` holds something else already, or no run to resume.
    """
    start()
    path = main_only(lambda: _choose(pipeline, out, resume))
    directory = (RunDirectory if world().main else WatchedDirectory)(path, secrets=pipeline.secrets)
    resolved = pipeline.to_yaml()
    if resume:
        progress = main_only(lambda: directory.reopen(resolved=resolved))
    else:
        main_only(directory.check_unused)
        progress = Progress()
    components = build_components(pipeline)
    stages = build_stages(pipeline, components)
    if resume:
        _load(directory, components, progress)
        directory.event("resumed", stage=progress.stage, step=progress.step, completed=progress.completed)
    else:
        directory.create(resolved=resolved, plugins=_providers(pipeline))
        directory.event("started", pipeline=pipeline.name, seed=pipeline.seed, processes=world().size)
    barrier()
    engine = Engine(directory, pipeline, components, stages, progress)
    try:
        with ProgressLine(console if world().main else None) as line, stop_on_interrupt(line.say) as interrupt:
            finished = engine.run(line, interrupt)
    finally:
        for component in components.values():
            if isinstance(component, Executor):
                component.close()
    return Run(directory, pipeline, components, interrupted=not finished)


def _load(directory: RunDirectory, components: Mapping[str, Any], progress: Progress) -> None:
    """Give each component the last state saved for it."""
    checkpoints = directory.checkpoints(progress)
    for name, component in components.items():
        path = directory.component_checkpoint(checkpoints, name)
        if path is not None:
            cast(Saveable, component).load(path)


def _choose(pipeline: Pipeline, out: Path | str | None, resume: bool) -> Path:
    if out is not None:
        return Path(out)
    runs = Path("runs")
    if not resume:
        return runs / f"{pipeline.name}-{datetime.now():%Y%m%d-%H%M%S}"
    # Another pipeline's name may begin with this one's.
    of_this_name = re.compile(re.escape(pipeline.name) + r"-\d{8}-\d{6}")
    candidates = sorted(path.parent for path in runs.glob("*/state.json") if of_this_name.fullmatch(path.parent.name))
    if not candidates:
        raise RunDirectoryError(
            f"there is no run of '{pipeline.name}' under {runs}/ to resume: name its directory with --out, or start one "
            "without --resume",
            path=runs,
        )
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
