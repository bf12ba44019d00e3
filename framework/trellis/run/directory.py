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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from trellis.contracts import State
from trellis.errors import CheckpointError, RunDirectoryError
from trellis.run.files import append_line, read_lines, rename_directory, write_atomic
from trellis.run.records import rollout_from_json, rollout_to_json
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
    """

    completed: list[str] = field(default_factory=list)
    stage: str | None = None
    step: int = 0
    checkpoint: str | None = None


class RunDirectory:
    """One run's files."""

    def __init__(self, path: Path, *, secrets: frozenset[str] = frozenset()) -> None:
        self.path = path
        self._secrets = secrets

    def create(self, *, resolved: str, plugins: Mapping[str, Any]) -> None:
        """Begin a new run.

        Raises:
            RunDirectoryError: There is something in the directory already.
        """
        if self.path.exists() and any(self.path.iterdir()):
            raise RunDirectoryError(
                f"{self.path} is not empty: resume the run in it with --resume, or choose another --out", path=self.path
            )
        for folder in ("checkpoints", "rollouts"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / "resolved.yaml", resolved)
        write_atomic(self.path / "plugins.json", json.dumps(plugins, indent=2) + "\n")
        self.write_progress(Progress())

    def reopen(self, *, resolved: str) -> Progress:
        """Go back to the last checkpoint: whatever was written after it is removed.

        Raises:
            RunDirectoryError: There is no run here, or it is of another pipeline.
        """
        known = self.path / "resolved.yaml"
        if not known.exists() or not (self.path / "state.json").exists():
            raise RunDirectoryError(f"{self.path} holds no run to resume: start one without --resume", path=self.path)
        if known.read_text(encoding="utf-8") != resolved:
            raise RunDirectoryError(
                f"the pipeline differs from {known}, which the run was started with: compare it with `trellis fill`, "
                "and resume with the same file, --set and --seed, or start a new run",
                path=self.path,
            )
        progress = self.progress()
        self._forget_after(progress)
        return progress

    def progress(self) -> Progress:
        """Return how far the run has come."""
        return Progress(**json.loads((self.path / "state.json").read_text(encoding="utf-8")))

    def write_progress(self, progress: Progress) -> None:
        """Make a point to which the run can be resumed."""
        write_atomic(self.path / "state.json", json.dumps(asdict(progress), indent=2) + "\n")

    def event(self, name: str, /, **fields: Any) -> None:
        """Note that something happened."""
        record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **fields}
        text = json.dumps(record, ensure_ascii=False)
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        append_line(self.path / "events.jsonl", json.loads(text))

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Append one step's metrics."""
        append_line(self.path / "metrics.jsonl", {"stage": stage, "step": step, **values})

    def write_results(self, results: Results) -> None:
        """Write `results.json`."""
        write_atomic(self.path / "results.json", results.model_dump_json(indent=2) + "\n")

    def results(self) -> Results:
        """Read `results.json`."""
        path = self.path / "results.json"
        return Results.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else Results()

    def add_rollouts(self, stage: str, step: int, rollouts: Sequence[Rollout]) -> None:
        """Append what a step sampled."""
        if rollouts:
            record = {"step": step, "rollouts": [rollout_to_json(rollout) for rollout in rollouts]}
            append_line(self.path / "rollouts" / f"{stage}.jsonl", record)

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
        if not path.exists():
            raise CheckpointError(f"the checkpoint {path} is missing", path=path)
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
            _filter(path, lambda record, stage=path.stem: keep(record, stage))
        wanted = {*progress.completed, progress.checkpoint}
        for path in (self.path / "checkpoints").iterdir():
            if path.name not in wanted:
                shutil.rmtree(path)


def _filter(path: Path, wanted: Any) -> None:
    if path.exists():
        kept = [json.dumps(record, ensure_ascii=False) + "\n" for record in read_lines(path) if wanted(record)]
        write_atomic(path, "".join(kept))
