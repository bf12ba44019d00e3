import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from trellis.contracts.executor import item_seed
from trellis.errors import CapabilityError, TaskError
from trellis.run.executor_config import LocalConfig, ProcessesConfig
from trellis.run.executors import Local, Processes


@pytest.fixture
def functions(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("executor_functions")


@pytest.fixture
def processes():
    with closing(Processes(ProcessesConfig(workers=2))) as executor:
        yield executor


@pytest.fixture
def local():
    return Local(LocalConfig())


def by_index(results):
    return sorted(results, key=lambda result: result.index)


def test_all_executors_give_the_same_results(functions, local, processes):
    here, there = (
        by_index(executor.map_unordered(functions.draw, "abcdefg", seed=5)) for executor in (local, processes)
    )
    assert here == there
    assert [result.value[0] for result in here] == list("abcdefg")
    assert len({result.value[1] for result in here}) == 7
    other = list(local.map_unordered(functions.draw, "abcdefg", seed=6))
    assert not {result.value[1] for result in here} & {result.value[1] for result in other}


def test_the_seed_of_an_item_is_the_same_on_every_machine():
    assert item_seed(7, 0) == 5751740483655848561
    assert {item_seed(7, index) >> 63 for index in range(100)} == {0}


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_a_failure_is_of_its_item_alone_and_keeps_its_type(executor, functions, request):
    results = by_index(request.getfixturevalue(executor).map_unordered(functions.fail_on_odd, range(4)))
    assert [result.value for result in results] == [0, None, 2, None]
    assert [str(result.error) for result in results if result.error] == ["1 is odd", "3 is odd"]
    assert [type(result.error) for result in results if result.error] == [ValueError, ValueError]


def test_an_error_of_a_worker_carries_its_traceback_as_a_note(functions, processes):
    (result,) = processes.map_unordered(functions.fail_on_odd, [1])
    (note,) = result.error.__notes__
    assert 'executor_functions.py", line' in note
    assert "ValueError: 1 is odd" in note


def test_an_error_of_trellis_keeps_its_fields(functions, processes):
    (result,) = processes.map_unordered(functions.fail_with_fields, [9])
    assert isinstance(result.error, TaskError)
    assert (result.error.split, result.error.asked, result.error.found) == ("train", 9, 1)


def test_an_error_that_cannot_be_pickled_is_named(functions, processes):
    (result,) = processes.map_unordered(functions.fail_stubbornly, [1])
    assert isinstance(result.error, RuntimeError)
    assert str(result.error) == "executor_functions.Stubborn: 1 and 2"


@pytest.mark.parametrize(("how", "code"), [("exit", "exit code 3"), ("kill", "killed by signal 9")])
def test_a_worker_that_dies_fails_only_the_item_it_had(functions, processes, how, code):
    results = by_index(processes.map_unordered(functions.misbehave, [0, how, 2, 3, how, 5]))
    assert [result.value and result.value[0] for result in results] == [0, None, 2, 3, None, 5]
    for result in (results[1], results[4]):
        assert isinstance(result.error, ChildProcessError)
        assert str(result.error) == f"the worker process died ({code})"
        assert not hasattr(result.error, "__notes__")


def test_a_hanging_item_is_stopped_and_the_others_go_on(functions, processes):
    begin = time.monotonic()
    results = by_index(processes.map_unordered(functions.misbehave, ["hang", 1, 2, 3], timeout_s=0.5))
    assert time.monotonic() - begin < 30
    assert isinstance(results[0].error, TimeoutError)
    assert str(results[0].error) == "the attempt took longer than 0.5 s"
    assert [result.value[0] for result in results[1:]] == [1, 2, 3]


def test_the_timeout_does_not_count_what_a_worker_needs_to_start(functions, processes):
    slow = (functions.SlowToRead(), 1)
    (result,) = processes.map_unordered(functions.draw, [slow], timeout_s=0.5)
    assert result.error is None


@pytest.mark.parametrize("how", ["exit", "kill", "hang", "raise"])
def test_whatever_failed_is_tried_again_with_the_same_seed(functions, processes, tmp_path, how):
    (result,) = processes.map_unordered(functions.fail_first, [tmp_path / how], seed=3, timeout_s=2.0, retries=1)
    assert result.error is None
    assert result.attempts == 2
    assert result.value == item_seed(3, 0)


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_retries_come_to_an_end(executor, functions, request):
    results = request.getfixturevalue(executor).map_unordered(functions.fail_on_odd, [1, 2], retries=2)
    assert [result.attempts for result in by_index(results)] == [3, 1]


@pytest.mark.parametrize(("executor", "ahead"), [("local", 0), ("processes", 4)])
def test_items_are_taken_when_they_are_needed(executor, ahead, functions, request):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    results = request.getfixturevalue(executor).map_unordered(functions.draw, endless())
    for count in range(1, 6):
        next(results)
        assert len(taken) <= count + ahead


def test_results_come_as_they_end(functions, processes):
    assert len(list(processes.map_unordered(functions.nap, [0.2, 0.2]))) == 2  # both workers are up
    assert [result.index for result in processes.map_unordered(functions.nap, [1.0, 0.0, 0.0])] == [1, 2, 0]


def test_workers_are_kept_for_the_next_call(functions, processes):
    pids = [{r.value[1] for r in processes.map_unordered(functions.misbehave, range(9))} for _ in range(2)]
    assert len(pids[0] | pids[1]) <= 2
    assert os.getpid() not in pids[0]


def test_two_calls_can_be_under_way_at_once(functions, processes):
    pairs = zip(
        processes.map_unordered(functions.fail_on_odd, [0, 2, 4]),
        processes.map_unordered(functions.fail_on_odd, [6, 8, 10]),
        strict=True,
    )
    values = sorted(result.value for pair in pairs for result in pair)
    assert values == [0, 2, 4, 6, 8, 10]


def test_a_worker_lost_while_idle_costs_nothing(functions, processes):
    (first,) = processes.map_unordered(functions.misbehave, [1])
    (child,) = multiprocessing.active_children()
    os.kill(first.value[1], signal.SIGKILL)
    child.join()
    (second,) = processes.map_unordered(functions.misbehave, [2])
    assert second.value[0] == 2
    assert second.attempts == 1


def test_closing_leaves_no_process_and_may_be_repeated(functions):
    executor = Processes(ProcessesConfig(workers=2))
    results = executor.map_unordered(functions.misbehave, [1, "hang", "hang", "hang"])
    pid = next(results).value[1]
    os.kill(pid, 0)
    executor.close()
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert multiprocessing.active_children() == []
    assert list(results) == []


def test_leaving_early_stops_what_is_under_way(functions, processes):
    for result in processes.map_unordered(functions.misbehave, [1, "hang"]):
        assert result.value[0] == 1
        break
    del result
    assert len(multiprocessing.active_children()) == 1
    assert [r.value[0] for r in processes.map_unordered(functions.misbehave, [2])] == [2]


def test_local_refuses_a_timeout_and_says_what_to_use(functions, local):
    with pytest.raises(CapabilityError, match="executor 'processes'"):
        local.map_unordered(functions.draw, [1], timeout_s=1.0)


def test_a_function_that_cannot_be_sent_is_refused_at_once(processes):
    with pytest.raises(CapabilityError, match="Use a function defined at the top of a module, or the executor 'local'"):
        processes.map_unordered(lambda item, seed: item, [1])
    assert multiprocessing.active_children() == []


def test_an_item_or_a_value_that_cannot_be_sent_fails_alone(functions, processes):
    results = by_index(processes.map_unordered(functions.misbehave, [1, lambda: None, "unpicklable", 4]))
    assert [result.error is None for result in results] == [True, False, False, True]
    assert "item 1 cannot be sent to another process" in results[1].error.__notes__


def test_workers_import_nothing_heavy(functions, processes):
    (result,) = processes.map_unordered(functions.heavy_modules, [0])
    assert result.value == []


def test_an_unguarded_script_is_told_why_its_workers_die(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from trellis.run.executors import Processes, ProcessesConfig\n"
        "executor = Processes(ProcessesConfig(workers=1))\n"
        "(result,) = executor.map_unordered(pow, [2])\n"
        "print(result.error.__notes__)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert "__name__ == '__main__'" in ended.stdout


def test_workers_end_when_their_parent_is_killed(tmp_path, functions):
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from trellis.run.executors import Processes, ProcessesConfig\n"
        "import executor_functions\n"
        "if __name__ == '__main__':\n"
        "    executor = Processes(ProcessesConfig(workers=1))\n"
        "    print(list(executor.map_unordered(executor_functions.fail_on_odd, [2])), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    # The workers hold the same pipe: it is not at its end before theirs.
    ended = subprocess.run([sys.executable, script], env=env, stdout=subprocess.PIPE, text=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert "value=2" in ended.stdout
