"""The comparison with TRL: a model whose completions never end, of the size asked for, and a page of what was measured."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trellis import SampleRequest, build

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def peer():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("grpo_peer", BENCHMARKS / "grpo_peer.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["grpo_peer"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture
def work(peer):
    return peer.Work(
        hidden=64,
        layers=2,
        numbers=64,
        device="cpu",
        precision="float32",
        prompts=2,
        generations=2,
        max_tokens=12,
        steps=2,
    )


def test_no_completion_of_the_model_ends_before_the_limit(peer, work, tmp_path):
    peer.make(work, tmp_path / "model")
    policy = build("transformers", {"model": str(tmp_path / "model"), "device": "cpu"})
    task = peer.countdown(work)
    prefixes = [task.start(problem) for problem in task.problems("train")]
    answers = policy.sample([SampleRequest(prefix, n=200, max_tokens=12) for prefix in prefixes])
    completions = [completion for answer in answers for completion in answer]
    assert {(completion.finish, completion.num_tokens) for completion in completions} == {("length", 12)}
    assert len({completion.token_ids for completion in completions}) > 300


def test_only_the_counted_steps_are_measured(peer, work, tmp_path):
    peer.make(work, tmp_path / "model")
    measured = peer.run_trellis(work, tmp_path / "model")
    assert measured["tokens"] == work.sampled == 2 * 2 * 2 * 12
    assert replace(work, steps=3).sampled == 3 * 2 * 2 * 12
    # Four numbers, the arrow with its spaces, the target, the line's end; and three spaces between.
    assert measured["prompt_tokens"] == 2 * 10
    assert all(value > 0 for value in measured.values())


@pytest.mark.parametrize(("asked", "numbers"), [(0.5e6, 64), (50e6, 32_000), (125e6, 32_000), (500e6, 32_000)])
def test_a_model_has_about_the_size_asked_for(peer, asked, numbers):
    hidden, layers = peer.shape(asked, numbers)
    size = 12 * layers * hidden**2 + 2 * (numbers + 252) * hidden
    assert 0.75 * asked < size < 1.25 * asked


def test_a_size_that_cannot_be_read_is_named():
    command = [sys.executable, BENCHMARKS / "grpo_peer.py", "--parameters", "huge"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "'huge' is no size: write 500K, 50M or 1B" in answer.stderr


def test_the_page_is_written_from_the_results(peer):
    results = peer.saved()
    assert results
    assert peer.report(results) == peer.REPORT.read_text(encoding="utf-8")


def test_both_did_the_same_work_in_every_measurement(peer):
    for result in peer.saved():
        assert result["trellis"]["steps_per_s"]["runs"] == result["trl"]["steps_per_s"]["runs"] >= 5
        assert result["prompt_tokens"] >= 10 * result["work"]["prompts"]
