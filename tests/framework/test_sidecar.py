"""A function in a process of its own: answers, faults, time limits, threads."""

import gc
import json
import os
import pickle
import sys
import threading
import time

import pytest

from trellis.sidecar import Sidecar, SidecarError, SidecarTimeoutError

HELPERS = """
import os, sys, time

def act(value):
    match value:
        case "raise": raise ValueError("odd \u00fc\\ntwo lines")
        case "sleep": time.sleep(60)
        case "compute": return len(str(9 ** 9 ** 9))
        case "exit": os._exit(3)
        case "print": print("hello"); return "printed"
        case "hash": return hash("trellis")
        case "pid": return os.getpid()
    return [value]
"""


@pytest.fixture
def sidecar(tmp_path, monkeypatch):
    (tmp_path / "sidecar_helpers.py").write_text(HELPERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    sidecar = Sidecar("sidecar_helpers:act")
    yield sidecar
    sidecar.close()


@pytest.mark.parametrize("value", [None, 1.5, "ü\u2028\n", {"a": [1, {"b": None}]}, "\ud800"])
def test_a_value_goes_there_and_back(sidecar, value):
    assert sidecar.call(value) == [value]


def test_an_error_is_told_and_the_next_call_answered(sidecar):
    with pytest.raises(SidecarError, match="ValueError: odd ü\ntwo lines"):
        sidecar.call("raise")
    assert sidecar.call(1) == [1]


def test_a_process_that_ends_is_replaced(sidecar):
    with pytest.raises(SidecarError, match="exit code 3"):
        sidecar.call("exit")
    assert sidecar.call(1) == [1]


@pytest.mark.parametrize("endless", ["sleep", "compute"])
def test_what_takes_too_long_is_given_up(sidecar, endless):
    sidecar.call(1)
    begin = time.monotonic()
    with pytest.raises(SidecarTimeoutError, match=r"within 0\.5 s"):
        sidecar.call(endless, seconds=0.5)
    assert time.monotonic() - begin < 10
    assert sidecar.call(1, seconds=30) == [1]


def test_what_the_function_prints_is_no_answer(sidecar):
    assert sidecar.call("print") == "printed"


def test_names_hash_alike_in_every_process(sidecar):
    first = sidecar.call("hash")
    sidecar.close()
    assert sidecar.call("hash") == first


def test_threads_are_answered_each_their_own(sidecar):
    answers = {}

    def ask(number):
        answers[number] = [sidecar.call([number, k]) for k in range(20)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [[[number, k]] for k in range(20)] for number in range(4)}


def test_a_pickled_one_starts_a_process_of_its_own(sidecar):
    copy = pickle.loads(pickle.dumps(sidecar))
    assert copy.call("pid") != sidecar.call("pid")
    copy.close()


def test_the_process_ends_with_the_object(sidecar):
    copy = Sidecar(sidecar.function)
    pid = copy.call("pid")
    del copy
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("function", ["no_such_module:act", "sidecar_helpers:no_such_function"])
def test_a_function_that_is_not_there_is_named(sidecar, function):
    with pytest.raises(SidecarError, match="no_such"):
        Sidecar(function).call(1)


def test_the_environment_of_this_process_is_left_alone(sidecar):
    before = (dict(os.environ), json.dumps(sys.path))
    sidecar.call(1)
    assert (dict(os.environ), json.dumps(sys.path)) == before
