"""The Ray executor on a cluster of two workers."""

import importlib
import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from trellis import build, run_pipeline
from trellis.contracts.executor import item_seed
from trellis.errors import CapabilityError, TaskError
from trellis.spec import Pipeline

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def functions(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("ray_functions")


@pytest.fixture
def executor():
    with closing(build("ray", {"workers": 2})) as executor:
        yield executor


def by_index(results):
    return sorted(results, key=lambda result: result.index)


def test_it_gives_what_the_other_executors_give_and_keeps_its_workers(executor, functions):
    with closing(build("local")) as local:
        here = by_index(local.map_unordered(functions.draw, "abcdef", seed=5))
    there = by_index(executor.map_unordered(functions.draw, "abcdef", seed=5))
    assert [result.value[:2] for result in there] == [result.value[:2] for result in here]
    processes = {result.value[2] for result in there}
    assert os.getpid() not in processes
    again = {result.value[2] for result in executor.map_unordered(functions.draw, "ab", seed=5)}
    assert again <= processes


@pytest.mark.timeout(60)
def test_a_worker_killed_in_the_middle_loses_nothing(executor, functions, tmp_path):
    items = [(number, str(tmp_path), (2, 5)) for number in range(8)]

    def kill():
        for number in (2, 5):
            file = tmp_path / f"{number}-0"
            while not (file.exists() and file.read_text()):
                time.sleep(0.02)
            os.kill(int(file.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    results = by_index(executor.map_unordered(functions.wait_to_be_killed, items, seed=1))
    killer.join()
    assert [result.value for result in results] == [(number, item_seed(1, number)) for number in range(8)]
    assert [result.attempts for result in results] == [1, 1, 2, 1, 1, 2, 1, 1]


def test_an_item_that_kills_every_worker_fails_alone(functions):
    with closing(build("ray", {"workers": 2, "lost_workers": 1})) as executor:
        results = by_index(executor.map_unordered(functions.die, range(3), retries=3))
    assert [result.value for result in results] == [0, None, 2]
    assert isinstance(results[1].error, ChildProcessError)
    assert results[1].attempts == 2


def test_an_error_keeps_its_fields_and_says_where_it_was_raised(executor, functions):
    (result,) = executor.map_unordered(functions.fail_with_fields, [8])
    assert isinstance(result.error, TaskError)
    assert result.error.asked == 8
    assert "In a worker on " in result.error.__notes__[0]
    assert "fail_with_fields" in result.error.__notes__[0]


def test_what_cannot_be_sent_fails_by_itself(executor, functions):
    lock = threading.Lock()
    results = by_index(executor.map_unordered(functions.draw, ["a", lock, "b"]))
    assert [result.error is None for result in results] == [True, False, True]
    assert "item 1 cannot be sent" in results[1].error.__notes__[0]
    with pytest.raises(CapabilityError, match="holds no open file"):
        executor.map_unordered(lambda item, seed: lock, [1])


def test_a_cluster_without_room_for_a_worker_says_so_at_once():
    with (
        closing(build("ray", {"gpus": 1.0})) as executor,
        pytest.raises(CapabilityError, match=r"takes 1 GPU and the cluster has 0"),
    ):
        executor.map_unordered(print, [1])


@pytest.mark.slow
def test_an_evaluation_on_the_cluster_is_three_lines_of_a_pipeline(tmp_path):
    search = {
        "name": "test",
        "run": "evaluate",
        "with": {"budget": {"tokens": 30}, "max_tokens": 10, "problems_per_item": 2},
        "needs": {"policy": "policy", "task": "task", "searches": ["greedy", "best-of-n"], "reward": "log-pi"},
    }
    document = {
        "version": 1,
        "name": "cluster",
        "seed": 3,
        "device": "cpu",
        "components": {
            "task": {
                "use": "arithmetic",
                "with": {
                    "length": 1,
                    "max_number": 4,
                    "min_carries": 0,
                    "modulus": 3,
                    "train_size": 18,
                    "validation_size": 0,
                    "test_size": 5,
                },
            },
            "policy": {
                "use": "transformers",
                "with": {"init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 64}},
            },
            "log-pi": {"use": "log-pi", "needs": {"policy": "policy"}},
            "sft": {"use": "sft", "with": {"steps": 5, "batch_size": 6}},
            "greedy": {"use": "greedy"},
            "best-of-n": {"use": "best-of-n", "with": {"n": 2}},
        },
        "stages": [
            {"name": "train", "run": "train", "needs": {"optimizer": "sft", "policy": "policy", "task": "task"}},
            search,
        ],
    }
    here = run_pipeline(Pipeline.from_dict(document), out=tmp_path / "here")
    document["components"]["cluster"] = {"use": "ray", "with": {"workers": 2}}
    search["needs"]["executor"] = "cluster"
    there = run_pipeline(Pipeline.from_dict(document), out=tmp_path / "there")
    without = {"seconds"}
    assert [row.model_dump(exclude=without) for row in there.results.stages["test"].rows] == [
        row.model_dump(exclude=without) for row in here.results.stages["test"].rows
    ]
    trees = sorted(file.name for file in (here.path / "stages" / "test").iterdir())
    assert trees == sorted(file.name for file in (there.path / "stages" / "test").iterdir())
