"""The run directory: everything a run leaves behind, and all that is needed to go on with it.

resolved.yaml     the pipeline with every default written out
plugins.json      which plugin, distribution and version provided each component
metrics.jsonl     one line per step
events.jsonl      what happened when
results.json      what was measured (see `trellis.run.results`)
state.json        which stages are complete, and where the current one was last saved
checkpoints/      safetensors and JSON: `<stage>/` at its end, `<stage>.step-<n>/` on the way
rollouts/         what training sampled, `<stage>.jsonl`
stages/<stage>/   files of a stage's own, e.g. search trees
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from trellis.contracts import State
from trellis.distributed import world
from trellis.errors import CheckpointError, RunDirectoryError
from trellis.records import rollout_from_json, rollout_to_json
from trellis.run.difference import differences, only_settings_differ
from trellis.run.files import append_line, read_lines, rename_directory, sync, write_atomic
from trellis.run.results import Results
from trellis.types import Rollout


class Saveable(Protocol):
    """A component with learned state."""

    def save(self, directory: Path) -> None:
        """Write it into an empty directory."""

    def load(self, directory: Path) -> None:
        """Take what `save` wrote."""


@dataclass(slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        completed: Names of the stages that ended.
        stage: The stage that was under way at the last checkpoint.
        step: Its steps done at that checkpoint.
        checkpoint: The checkpoint's directory name.
        rows: How many rows of each table it had measured by then.
        stopped: Whether the stage itself ended the run there: then it may be resumed with other settings.
    """

    completed: list[str] = field(default_factory=list)
    stage: str | None = None
    step: int = 0
    checkpoint: str | None = None
    rows: dict[str, int] = field(default_factory=dict)
    stopped: bool = False


class RunDirectory:
    """One run's files."""

    def __init__(self, path: Path, *, secrets: frozenset[str] = frozenset()) -> None:
        self.path = path
        self._secrets = secrets

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun here: `state.json` is the last file that `create` writes."""
        return (self.path / "state.json").exists()

    def check_unused(self) -> None:
        """Raise RunDirectoryError unless a run can begin here."""
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"{self.path} is a file: choose another --out", path=self.path)
        if self.path.exists() and any(self.path.iterdir()):
            why = "holds a run: go on with it by --resume" if self.holds_run else "is not empty: empty it"
            raise RunDirectoryError(f"{self.path} {why}, or choose another --out", path=self.path)

    def create(self, *, resolved: str, plugins: Mapping[str, Any]) -> None:
        """Begin a new run."""
        for folder in ("checkpoints", "rollouts"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / "resolved.yaml", resolved)
        write_atomic(self.path / "plugins.json", json.dumps(plugins, indent=2) + "\n")
        self.write_progress(Progress())

    def reopen(self, *, resolved: str) -> Progress:
        """Go back to the last checkpoint: whatever was written after it is removed.

        Raises:
            RunDirectoryError: There is no run here, or it is of another pipeline: settings alone may differ, and they only
                where a stage itself has stopped the run.
            CheckpointError: A checkpoint that is needed is missing.
        """
        if not self.holds_run:
            raise RunDirectoryError(
                f"{self.path} holds no run to resume: start one without --resume, in an empty directory", path=self.path
            )
        known = self.path / "resolved.yaml"
        before = known.read_text(encoding="utf-8")
        if before != resolved and not (self.progress().stopped and only_settings_differ(before, resolved)):
            lines = "".join(f"\n  {line}" for line in differences(before, resolved))
            raise RunDirectoryError(
                f"the pipeline differs from {known}, which the run was started with:{lines}\n"
                "Resume with the same file, --set, --seed and --device, or start a new run in another directory",
                path=self.path,
            )
        progress = self.progress()
        self.checkpoints(progress)
        self._forget_after(progress)
        if before != resolved:
            write_atomic(known, resolved)
            self.event("changed", changes=differences(before, resolved, most=1000))
        return progress

    def progress(self) -> Progress:
        """Return how far the run has come."""
        return Progress(**json.loads((self.path / "state.json").read_text(encoding="utf-8")))

    def write_progress(self, progress: Progress) -> None:
        """Make a point to which the run can be resumed: all that was written up to it is on the disk first."""
        for path in (self.path / "metrics.jsonl", *(self.path / "rollouts").glob("*.jsonl")):
            if path.exists():
                sync(path)
        write_atomic(self.path / "state.json", json.dumps(asdict(progress), indent=2) + "\n")

    def checkpoints(self, progress: Progress) -> list[str]:
        """Return the names of the checkpoints that a run's state is made of, oldest first.

        Raises:
            CheckpointError: One is missing.
        """
        names = [*progress.completed, *([progress.checkpoint] if progress.checkpoint else [])]
        for name in names:
            path = self.path / "checkpoints" / name
            if not path.exists():
                raise CheckpointError(
                    f"the checkpoint {path} is missing: put it back, or start a new run in another directory", path=path
                )
        return names

    def event(self, name: str, /, **fields: Any) -> None:
        """Note that something happened."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._append("events.jsonl", {"time": time, "event": name, **fields})

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Append one step's metrics."""
        self._append("metrics.jsonl", {"stage": stage, "step": step, **values})

    def write_results(self, results: Results) -> None:
        """Write `results.json`."""
        record = self._without_secrets(results.model_dump(mode="json"))
        write_atomic(self.path / "results.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def results(self) -> Results:
        """Read `results.json`."""
        path = self.path / "results.json"
        return Results.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else Results()

    def add_rollouts(self, stage: str, step: int, rollouts: Sequence[Rollout]) -> None:
        """Append what a step sampled."""
        if rollouts:
            record = {"step": step, "rollouts": [rollout_to_json(rollout) for rollout in rollouts]}
            self._append(f"rollouts/{stage}.jsonl", record)

    def rollouts(self, stage: str) -> Iterator[Rollout]:
        """Yield what a stage sampled."""
        for record in read_lines(self.path / "rollouts" / f"{stage}.jsonl"):
            for rollout in record["rollouts"]:
                yield rollout_from_json(rollout)

    def save_checkpoint(self, name: str, *, components: Mapping[str, Saveable], state: State) -> None:
        """Write a checkpoint under a temporary name, and rename it when all of it is on disk."""
        from safetensors.torch import save_file

        temporary = self.path / "checkpoints" / f".{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for component_name, component in components.items():
            (temporary / component_name).mkdir()
            component.save(temporary / component_name)
        tensors = {key: tensor.detach().contiguous().clone() for key, tensor in state.tensors.items()}
        save_file(tensors, temporary / "stage.safetensors")
        (temporary / "stage.json").write_text(json.dumps(dict(state.values)), encoding="utf-8")
        self.remove_checkpoint(name)
        rename_directory(temporary, self.path / "checkpoints" / name)

    def load_state(self, name: str) -> State:
        """Return the stage's state in a checkpoint."""
        from safetensors.torch import load_file

        path = self.path / "checkpoints" / name
        values = json.loads((path / "stage.json").read_text(encoding="utf-8"))
        return State(load_file(path / "stage.safetensors"), values)

    def remove_checkpoint(self, name: str) -> None:
        """Remove a checkpoint that is no longer needed."""
        shutil.rmtree(self.path / "checkpoints" / name, ignore_errors=True)

    def component_checkpoint(self, stages: Sequence[str], component: str) -> Path | None:
        """Return the last of the stages' checkpoints of a component, None where there is none."""
        paths = [self.path / "checkpoints" / stage / component for stage in stages]
        return next((path for path in reversed(paths) if path.exists()), None)

    def stage_files(self, stage: str) -> Path:
        """Return the directory of a stage's own files."""
        path = self.path / "stages" / stage
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _forget_after(self, progress: Progress) -> None:
        def keep(record: Mapping[str, Any], stage: str) -> bool:
            return stage in progress.completed or (stage == progress.stage and record["step"] <= progress.step)

        _filter(self.path / "metrics.jsonl", lambda record: keep(record, record["stage"]))
        for path in (self.path / "rollouts").glob("*.jsonl"):
            _filter(path, partial(keep, stage=path.stem))
        # Events are history and stay; only a last line that was cut goes, for another is about to follow it.
        _filter(self.path / "events.jsonl", lambda record: True)
        stages = self.results().stages
        kept = {name: stage for name, stage in stages.items() if name in progress.completed}
        if progress.stage in stages:
            kept[progress.stage] = stages[progress.stage].first(progress.rows)
        if kept != stages:
            self.write_results(Results(stages=kept))
        wanted = set(self.checkpoints(progress))
        for path in (self.path / "checkpoints").iterdir():
            if path.name not in wanted:
                shutil.rmtree(path)

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        append_line(self.path / name, self._without_secrets(record))

    def _without_secrets(self, value: Any) -> Any:
        """Return JSON values with every secret in them blotted out."""
        if not self._secrets:
            return value
        if isinstance(value, Mapping):
            return {key: self._without_secrets(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._without_secrets(item) for item in value]
        if isinstance(value, str):
            # Longest first: one secret may be part of another.
            for secret in sorted(self._secrets, key=len, reverse=True):
                value = value.replace(secret, "[secret]")
        return value


class WatchedDirectory(RunDirectory):
    """The run directory in a process that is not the main one: it reads, and writes only that it failed."""

    def create(self, *, resolved: str, plugins: Mapping[str, Any]) -> None:
        """Leave it to the main process."""

    def write_progress(self, progress: Progress) -> None:
        """Leave it to the main process."""

    def event(self, name: str, /, **fields: Any) -> None:
        """Note a failure, with this process's number: the main process may not learn of it."""
        if name == "failed" and self.path.is_dir():
            super().event(name, process=world().rank, **fields)

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Leave it to the main process."""

    def write_results(self, results: Results) -> None:
        """Leave it to the main process."""

    def add_rollouts(self, stage: str, step: int, rollouts: Sequence[Rollout]) -> None:
        """Leave it to the main process."""

    def save_checkpoint(self, name: str, *, components: Mapping[str, Saveable], state: State) -> None:
        """Leave it to the main process, but for giving it this process's share of weights that are split."""
        from trellis.nn import is_split

        for component in components.values():
            if is_split(getattr(component, "module", None)):
                component.save(self.path)

    def remove_checkpoint(self, name: str) -> None:
        """Leave it to the main process."""

    def stage_files(self, stage: str) -> Path:
        """Return the directory of a stage's own files, which the main process makes."""
        return self.path / "stages" / stage


def _filter(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    if path.exists():
        kept = [json.dumps(record, ensure_ascii=False) + "\n" for record in read_lines(path) if wanted(record)]
        write_atomic(path, "".join(kept))
