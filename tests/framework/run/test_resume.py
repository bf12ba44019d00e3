"""A run that was killed, wherever that was, ends with the numbers of one that never was."""

import importlib
import json
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest

from trellis import load_pipeline
from trellis.errors import CheckpointError, RunDirectoryError
from trellis.run.pipeline import Run, run_pipeline

DIRECTORY = "trellis.run.directory:RunDirectory"

MOMENTS = {
    "warm-up, before its first checkpoint": (f"{DIRECTORY}.metrics", "after", 7),
    "warm-up, between checkpoints": (f"{DIRECTORY}.metrics", "after", 30),
    "between stages": (f"{DIRECTORY}.write_progress", "after", 4),
    "joint, before its first checkpoint": (f"{DIRECTORY}.metrics", "after", 61),
    "joint, between a step's metrics and its rollouts": (f"{DIRECTORY}.metrics", "after", 63),
    "joint, after a step between checkpoints": (f"{DIRECTORY}.add_rollouts", "after", 65),
    "fit, in the first": (f"{DIRECTORY}.metrics", "after", 67),
    "fit, in the second": (f"{DIRECTORY}.metrics", "after", 71),
    "fit, with the best put by but no checkpoint since": ("trellis.run.stages.fit_reward.rename_directory", "after", 1),
    "fit, in the middle of putting the best by": ("trellis_airl.airl:AIRL.save", "after", 5),
    "test, in the middle of a row": ("trellis.search.tree:TreeWriter.write", "after", 9),
    "test, with a row in results.json and no checkpoint": (f"{DIRECTORY}.write_results", "after", 5),
    "test, with the other weights loaded": (f"{DIRECTORY}.metrics", "after", 75),
    "test, complete but not yet marked so": (f"{DIRECTORY}.save_checkpoint", "after", 14),
    "in a line of metrics.jsonl": ("trellis.run.directory.append_line", "in the middle of", 25),
    "in a line of events.jsonl": ("trellis.run.directory.append_line", "in the middle of", 71),
    "in a line of rollouts": ("trellis.run.directory.append_line", "in the middle of", 73),
    "in a checkpoint, with a component saved": ("trellis_transformers.policy:TransformersPolicy.save", "after", 4),
    "in a checkpoint, before it gets its name": ("trellis.run.directory.rename_directory", "before", 4),
    "checkpoint there, state.json not written": (f"{DIRECTORY}.write_progress", "before", 6),
    "state.json written, the checkpoint before it still there": (f"{DIRECTORY}.write_progress", "after", 6),
    "stage's last checkpoint there, the stage not complete": (f"{DIRECTORY}.write_progress", "before", 7),
    "stage complete, its checkpoint on the way still there": (f"{DIRECTORY}.write_progress", "after", 7),
}


@pytest.fixture(scope="module")
def run_killed():
    """Let a run be killed in a process of its own, from a server that has imported what is slow to import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        target = importlib.import_module("killed_runs").run_until
        context = multiprocessing.get_context("forkserver")
        plugins = ("trellis_transformers.policy", "trellis_sft.sft", "trellis_grpo.grpo", "trellis_airl.airl")
        context.set_forkserver_preload([*plugins, "transformers.models.gpt2.modeling_gpt2", "trellis.run.pipeline"])

        def kill(out, moment, *, resume=False):
            process = context.Process(target=target, args=(out, *moment, resume))
            process.start()
            process.join(60)
            assert process.exitcode == -signal.SIGKILL

        yield kill


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_run_killed_at_any_moment_ends_with_the_same_numbers(
    moment, run_killed, undisturbed, numbers, read_lines, small, tmp_path
):
    run_killed(tmp_path / "run", moment)
    resumed = run_pipeline(load_pipeline(small), out=tmp_path / "run", resume=True)
    assert not resumed.interrupted
    assert numbers(resumed.path) == numbers(undisturbed.path)
    events = [line["event"] for line in read_lines(resumed.path / "events.jsonl")]
    assert events.count("resumed") == events.count("finished") == 1


def test_a_run_killed_twice_the_second_time_while_it_is_being_resumed(
    run_killed, undisturbed, numbers, small, tmp_path
):
    run_killed(tmp_path / "run", (f"{DIRECTORY}.metrics", "after", 65))
    run_killed(tmp_path / "run", ("trellis.run.directory.write_atomic", "after", 2), resume=True)
    resumed = run_pipeline(load_pipeline(small), out=tmp_path / "run", resume=True)
    assert numbers(resumed.path) == numbers(undisturbed.path)


def test_a_run_killed_while_it_was_set_up_has_not_begun(run_killed, small, tmp_path):
    out = tmp_path / "run"
    run_killed(out, (f"{DIRECTORY}.write_progress", "before", 1))
    with pytest.raises(RunDirectoryError, match=r"holds no run to resume: start one without --resume, in an empty"):
        run_pipeline(load_pipeline(small), out=out, resume=True)
    with pytest.raises(RunDirectoryError, match="is not empty: empty it, or choose another --out"):
        run_pipeline(load_pipeline(small), out=out)


@pytest.fixture
def copy(undisturbed, tmp_path):
    return shutil.copytree(undisturbed.path, tmp_path / "copy")


def test_to_resume_a_finished_run_changes_nothing(copy, undisturbed, numbers, small):
    resumed = run_pipeline(load_pipeline(small), out=copy, resume=True)
    assert not resumed.interrupted
    assert resumed.results == undisturbed.results
    assert numbers(copy) == numbers(undisturbed.path)


def test_a_run_is_not_resumed_with_another_pipeline(copy, undisturbed, numbers, small):
    changed = load_pipeline(small, overrides=["components.sft.with.steps=61", "stages.fit.with.fits=3"], seed=4)
    with pytest.raises(RunDirectoryError) as caught:
        run_pipeline(changed, out=copy, resume=True)
    first, *lines, last = str(caught.value).splitlines()
    assert first == f"the pipeline differs from {copy / 'resolved.yaml'}, which the run was started with:"
    assert lines == [
        "  seed: 3 then, 4 now",
        "  components.sft.with.steps: 60 then, 61 now",
        "  stages.fit.with.fits: 2 then, 3 now",
    ]
    assert last == "Resume with the same file, --set, --seed and --device, or start a new run in another directory"
    assert numbers(copy) == numbers(undisturbed.path)


def test_a_directory_that_holds_a_run_takes_no_other(copy, small):
    with pytest.raises(RunDirectoryError, match="holds a run: go on with it by --resume, or choose another --out"):
        run_pipeline(load_pipeline(small), out=copy)


def test_a_file_is_no_run_directory(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match="is a file: choose another --out"):
        run_pipeline(load_pipeline(small), out=tmp_path / "file")


def test_resume_without_a_directory_takes_the_latest_run_of_that_name(copy, small, monkeypatch):
    monkeypatch.chdir(copy.parent)
    with pytest.raises(RunDirectoryError, match="there is no run of 'small' under runs/ to resume"):
        run_pipeline(load_pipeline(small), resume=True)
    for name in ("small-20250101-000000", "small-20250102-000000", "small-er-20250103-000000"):
        shutil.copytree(copy, Path("runs", name))
    resumed = run_pipeline(load_pipeline(small), resume=True)
    assert resumed.path == Path("runs", "small-20250102-000000")


def test_a_checkpoint_that_is_missing_is_named_and_nothing_is_touched(copy, small):
    shutil.rmtree(copy / "checkpoints" / "joint")
    before = (copy / "metrics.jsonl").read_bytes()
    for attempt in (lambda: run_pipeline(load_pipeline(small), out=copy, resume=True), lambda: Run.open(copy)):
        with pytest.raises(CheckpointError, match=r"the checkpoint .*joint is missing") as caught:
            attempt()
        assert caught.value.path == copy / "checkpoints" / "joint"
    assert (copy / "metrics.jsonl").read_bytes() == before


def test_a_checkpoint_that_does_not_fit_is_an_error_of_its_own(copy, small):
    state = json.loads((copy / "state.json").read_text())
    (copy / "checkpoints" / "fit" / "reward" / "reward.safetensors").write_bytes(b"cut short")
    with pytest.raises(CheckpointError, match="does not fit this reward"):
        run_pipeline(load_pipeline(small), out=copy, resume=True)
    assert json.loads((copy / "state.json").read_text()) == state
