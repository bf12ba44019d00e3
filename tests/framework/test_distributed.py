"""Two processes under torchrun do what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trellis import load_pipeline, run_pipeline
from trellis.distributed import World, agree, everyone, main_only, spread, start, world
from trellis.errors import CapabilityError

CHECKS = Path(__file__).with_name("distributed_checks.py")
NO_DROPOUT = "components.policy.with.init.resid_pdrop=0.0"
NUM_STEPS = 76


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "--rdzv_endpoint", "localhost:0", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def run_on_two(*arguments):
    return torchrun("-m", "trellis", "run", *arguments)


@pytest.fixture(scope="module")
def one(small, tmp_path_factory):
    pipeline = load_pipeline(small, overrides=[NO_DROPOUT])
    return run_pipeline(pipeline, out=tmp_path_factory.mktemp("runs") / "one").path


def assert_close(ours, theirs):
    """Losses and shares as they are; AdamW makes steps of one size out of gradients that are nothing but rounding."""
    for a, b in zip(ours, theirs, strict=True):
        assert (a["stage"], a["step"]) == (b["stage"], b["step"])
        assert a.keys() == b.keys()
        for name in a.keys() & {"loss", "reward/loss", "accuracy", "outcome", "tokens", "kl", "entropy"}:
            assert a[name] == pytest.approx(b[name], rel=0.02, abs=2e-3), (a["stage"], a["step"], name)


def test_a_process_that_nobody_launched_is_a_world_of_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert start() == world() == World(0, 1)
    assert world().main
    assert spread(lambda items: [item + 1 for item in items], [1, 2]) == [2, 3]
    assert (everyone(lambda: 5), main_only(lambda: 6)) == ([5], 6)
    assert agree(True)


def test_the_variables_of_a_launcher_alone_make_nobody_wait(monkeypatch):
    # As in a worker that one of torchrun's processes has spawned.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert world() == World(0, 1)


@pytest.mark.slow
def test_gradients_metrics_and_rollouts_are_those_of_one_process():
    done = torchrun(CHECKS)
    assert done.returncode == 0, done.stderr[-3000:]
    passed = {line for line in done.stdout.splitlines() if "passed" in line}
    checks = ("exchange", "failure", "unsplit_loss", "experts", "split_weights", "gradients")
    assert passed >= {f"process {rank}: check_{check} passed" for rank in (0, 1) for check in checks}


@pytest.mark.slow
def test_a_pipeline_on_two_processes_gives_the_curves_of_one_and_is_written_once(one, small, read_lines, tmp_path):
    done = run_on_two(small, "--set", NO_DROPOUT, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("the run lies in") == 1
    ours, theirs = (read_lines(path / "metrics.jsonl") for path in (tmp_path / "two", one))
    assert len(ours) == len(theirs) == NUM_STEPS
    assert_close(ours, theirs)
    files = ({str(file.relative_to(path)) for file in path.rglob("*")} for path in (tmp_path / "two", one))
    assert next(files) == next(files)
    results = [json.loads((path / "results.json").read_text(encoding="utf-8")) for path in (tmp_path / "two", one)]
    rows = [[(r["search"], r["accuracy"], r["problems"]) for r in of["stages"]["test"]["rows"]] for of in results]
    assert rows[0] == rows[1]
    trees = [
        [line["problem"] for file in sorted((path / "stages" / "test").iterdir()) for line in read_lines(file)]
        for path in (tmp_path / "two", one)
    ]
    assert trees[0] == trees[1]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(one, small, read_lines, tmp_path):
    broken = tmp_path / "plugin.py"
    broken.write_text(FAILS_IN_THE_SECOND)
    text = small.read_text(encoding="utf-8").replace("version: 1", f"version: 1\nplugins: [{broken.name}]")
    text = text.replace("use: arithmetic", "use: fragile")
    (tmp_path / "pipeline.yaml").write_text(text)
    arguments = (tmp_path / "pipeline.yaml", "--set", NO_DROPOUT, "--out", tmp_path / "run")
    failed = run_on_two(*arguments)
    assert failed.returncode != 0
    assert "RuntimeError: the disk of the second machine is full" in failed.stderr
    events = read_lines(tmp_path / "run" / "events.jsonl")
    assert {(event["event"], event.get("process")) for event in events if event["event"] == "failed"} == {
        ("failed", None),
        ("failed", 1),
    }
    assert any("process 1 of 2 failed: RuntimeError: the disk of" in event.get("error", "") for event in events)
    resumed = run_pipeline(
        load_pipeline(tmp_path / "pipeline.yaml", overrides=[NO_DROPOUT]), out=tmp_path / "run", resume=True
    )
    assert not resumed.interrupted
    ours, theirs = (read_lines(path / "metrics.jsonl") for path in (resumed.path, one))
    assert_close(ours, theirs)


FAILS_IN_THE_SECOND = '''
from trellis import Component, hookimpl
from trellis.distributed import world
from trellis_reasoning.arithmetic import Arithmetic
from trellis_reasoning.config import ArithmeticConfig

class Fragile(Arithmetic):
    """Cannot judge in the second process, once training is under way."""

    judged = 0

    def verify(self, trajectory):
        Fragile.judged += 1
        if world().rank == 1 and Fragile.judged > 40:
            raise RuntimeError("the disk of the second machine is full")
        return super().verify(trajectory)

@hookimpl
def trellis_tasks():
    yield Component("fragile", "breaks in one process", ArithmeticConfig, f"{__name__}:Fragile")
'''


def test_a_stage_that_measures_databases_refuses_several_processes(monkeypatch):
    from trellis.run.stages.config import EvolveConfig
    from trellis.run.stages.evolve import Evolve

    monkeypatch.setattr("trellis.distributed._world", World(0, 2))
    with pytest.raises(CapabilityError, match="would measure each other"):
        Evolve(EvolveConfig(), task=None, database=None, proposer=None)
