"""The engine beside resuming: stopping, failing, seeding, what a library user gets."""

import os
import pickle
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from ruamel.yaml import YAML

import trellis
from trellis import Run, load_pipeline, run_pipeline
from trellis.errors import ContractError
from trellis.run.directory import RunDirectory
from trellis.spec import Pipeline

SEARCHES = {"greedy", "best-of-n"}
DATA = Path(__file__).parent / "data"


@pytest.fixture
def ctrl_c(monkeypatch):
    """Press Ctrl-C during a step: the so manieth of the run, so many times."""

    def during(step, times=1):
        original, calls = RunDirectory.metrics, []

        def metrics(self, *args):
            original(self, *args)
            calls.append(args)
            for _ in range(times if len(calls) == step else 0):
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(RunDirectory, "metrics", metrics)

    return during


def awkward(stages, components=None):
    return Pipeline.from_dict(
        {
            "version": 1,
            "name": "awkward",
            "plugins": [str(DATA / "awkward.py")],
            "components": components or {},
            "stages": stages,
        }
    )


@pytest.mark.parametrize(
    ("step", "where"),
    [
        (7, ("warm-up", 7)),
        (60, ("joint", 0)),
        (63, ("joint", 3)),
        (67, ("fit", 1)),
        (75, ("test", 3)),
    ],
    ids=["warm-up", "a stage's last step", "joint", "fit", "test"],
)
def test_ctrl_c_finishes_the_step_saves_and_stops(
    step, where, ctrl_c, monkeypatch, small, tmp_path, undisturbed, numbers, read_lines
):
    ctrl_c(step)
    stopped = run_pipeline(load_pipeline(small), out=tmp_path / "run")
    assert stopped.interrupted
    assert len(read_lines(stopped.path / "metrics.jsonl")) == step
    last = read_lines(stopped.path / "events.jsonl")[-1]
    assert (last["event"], last["stage"], last["step"]) == ("interrupted", *where)
    monkeypatch.undo()
    resumed = run_pipeline(load_pipeline(small), out=tmp_path / "run", resume=True)
    assert not resumed.interrupted
    assert numbers(resumed.path) == numbers(undisturbed.path)
    assert len(read_lines(resumed.path / "metrics.jsonl")) == len(read_lines(undisturbed.path / "metrics.jsonl"))


def test_ctrl_c_in_the_very_last_step_stops_nothing(ctrl_c, small, tmp_path):
    ctrl_c(76)
    assert not run_pipeline(load_pipeline(small), out=tmp_path / "run").interrupted


def test_ctrl_c_twice_stops_at_once_and_the_run_can_still_be_resumed(
    ctrl_c, monkeypatch, small, tmp_path, undisturbed, numbers, read_lines
):
    ctrl_c(63, times=2)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_pipeline(load_pipeline(small), out=tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert caught.value.__notes__ == [
        f"at step 3 of stage 'joint'; --out {tmp_path / 'run'} --resume goes on from the run's last checkpoint"
    ]
    assert read_lines(tmp_path / "run" / "events.jsonl")[-1]["event"] == "failed"
    monkeypatch.undo()
    resumed = run_pipeline(load_pipeline(small), out=tmp_path / "run", resume=True)
    assert numbers(resumed.path) == numbers(undisturbed.path)


def test_the_first_ctrl_c_says_what_will_happen(ctrl_c, small, tmp_path, capsys):
    ctrl_c(7)
    run_pipeline(load_pipeline(small), out=tmp_path / "run", console=Console())
    assert "stopping after this step; Ctrl-C once more stops at once" in capsys.readouterr().out


def test_an_interrupted_evaluation_leaves_the_policy_its_latest_weights(ctrl_c, small, tmp_path, undisturbed):
    ctrl_c(73)
    stopped = run_pipeline(load_pipeline(small), out=tmp_path / "run")
    for run in (stopped, undisturbed):
        policy = run.components["policy"]
        saved = Run.open(run.path).components["policy"].module.state_dict()
        assert all(torch.equal(tensor, saved[name]) for name, tensor in policy.module.state_dict().items())


def test_a_run_in_another_thread_ends_with_the_same_numbers(small, tmp_path, undisturbed, numbers):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(run_pipeline(load_pipeline(small), out=tmp_path / "run")))
    thread.start()
    thread.join()
    assert numbers(runs[0].path) == numbers(undisturbed.path)


def test_the_function_is_found_after_the_package_of_the_engine_is_imported(small):
    load_pipeline(small)
    assert trellis.run.__name__ == "trellis.run"
    assert callable(trellis.run_pipeline)


def test_an_opened_run_has_what_it_learned(undisturbed):
    opened = Run.open(undisturbed.path)
    assert not opened.interrupted
    assert opened.results == undisturbed.results
    task = opened.components["task"]
    policies = [run.components["policy"] for run in (opened, undisturbed)]
    (traces,) = [list(task.traces("train"))]
    ours, theirs = (policy.log_probs(traces) for policy in policies)
    assert ours == theirs
    ours, theirs = (run.components["reward"].score(ours) for run in (opened, undisturbed))
    assert ours == theirs


def test_an_error_of_a_component_gets_a_note_of_where_and_is_an_event(small, tmp_path, read_lines):
    document = YAML(typ="safe").load(small)
    document["components"]["reward"] = {"use": "picky"}
    document["stages"] = document["stages"][:2]
    pipeline = awkward(document["stages"], {k: v for k, v in document["components"].items() if k not in SEARCHES})
    with pytest.raises(LookupError, match="no entry") as caught:
        run_pipeline(pipeline, out=tmp_path / "run")
    (note,) = caught.value.__notes__
    assert note.startswith("at step 3 of stage 'joint', in components.reward (awkward/picky); --out ")
    last = read_lines(tmp_path / "run" / "events.jsonl")[-1]
    assert {key: last[key] for key in ("event", "stage", "step", "error")} == {
        "event": "failed",
        "stage": "joint",
        "step": 3,
        "error": "LookupError: no entry",
    }


def test_a_component_that_cannot_be_built_is_named_and_leaves_no_directory(small, tmp_path):
    bad = load_pipeline(small, overrides=["components.policy.with.init.model_type=no-such-model"])
    with pytest.raises(Exception, match="no-such-model") as caught:
        run_pipeline(bad, out=tmp_path / "run")
    assert caught.value.__notes__ == [f"while building components.policy (transformers/transformers) of {small}"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_a_metric_that_is_not_finite_is_refused(value, tmp_path):
    pipeline = awkward([{"name": "only", "run": "metrics", "with": {"value": float(value.lstrip("."))}}])
    with pytest.raises(ContractError, match=r"metrics must be finite numbers: loss = (nan|inf)"):
        run_pipeline(pipeline, out=tmp_path / "run")


def test_no_file_of_a_run_holds_a_secret(monkeypatch, tmp_path):
    # Such a value would break JSON that is searched as text.
    secret = 's"e\\cret\n,é'
    monkeypatch.setenv("TOKEN", secret)
    monkeypatch.setenv("EMPTY", "")
    stages = [
        {"name": name, "run": "leak", "with": {"token": value}}
        for name, value in (("a", "${env:TOKEN}"), ("b", "${env:EMPTY}x"))
    ]
    with pytest.raises(ValueError, match="refused"):
        run_pipeline(awkward(stages), out=tmp_path / "run")
    with pytest.raises(ValueError, match="refused"):
        run_pipeline(awkward(stages), out=tmp_path / "run", resume=True)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    written = [path for path in files if "[secret]" in path.read_text(encoding="utf-8")]
    assert {path.name for path in written} == {"events.jsonl", "results.json", "a.jsonl"}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "cret" not in text.replace("[secret]", ""), path
    (rollout,) = RunDirectory(tmp_path / "run").rollouts("a")
    assert rollout.trajectory.problem.text == "say [secret]"


def test_global_generators_are_seeded_for_each_step_of_each_stage(small, tmp_path, monkeypatch):
    drawn = []
    original = RunDirectory.metrics

    def metrics(self, *args):
        original(self, *args)
        drawn.append((random.random(), np.random.random(), torch.rand(()).item()))

    monkeypatch.setattr(RunDirectory, "metrics", metrics)
    random.seed(0)
    torch.manual_seed(0)
    run_pipeline(load_pipeline(small), out=tmp_path / "one")
    first = drawn.copy()
    drawn.clear()
    random.seed(1)
    torch.manual_seed(1)
    run_pipeline(load_pipeline(small), out=tmp_path / "two")
    assert drawn == first
    assert len({draw[0] for draw in drawn}) == len(drawn)


def test_a_run_holds_no_pickle_and_only_files_of_these_types(undisturbed):
    files = [path for path in undisturbed.path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".jsonl", ".yaml", ".safetensors"}
    for path in files:
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, it cannot be unpickled
            pickle.loads(path.read_bytes())


def test_no_source_writes_or_reads_pickles():
    root = Path(__file__).parents[3]
    # Worker processes, and the engine's, are spoken to in pickles; nothing of that is kept.
    sources = {*root.glob("framework/**/*.py"), *root.glob("plugins/**/*.py")} - {
        root / "framework" / "trellis" / "run" / "executors.py",
        root / "plugins" / "policies" / "trellis_vllm" / "transfer.py",
    }
    for path in sources:
        text = path.read_text(encoding="utf-8")
        for word in ("torch.save", "torch.load", "import pickle", "from pickle", "joblib", "dill", "allow_pickle=True"):
            assert word not in text, f"{path} has {word}"
