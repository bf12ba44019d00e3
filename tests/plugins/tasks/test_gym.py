"""Data sets of reasoning-gym as tasks: problems, scorers, splits, and what models write."""

import ast
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import reasoning_gym
from pydantic import ValidationError

from trellis import Step
from trellis.errors import TaskError
from trellis.testing.checks.task import ODD_TEXTS, digest
from trellis_gym import arithmetic, catalog
from trellis_gym.answers import read_answer, write_answer
from trellis_gym.codec import decode, encode
from trellis_gym.config import GymConfig
from trellis_gym.task import Gym

SPLITS = ("train", "validation", "test")
DATASETS = (
    "chain_sum",
    "countdown",
    "graph_color",
    "knights_knaves",
    "mini_sudoku",
    "polynomial_multiplication",
    "propositional_logic",
    "shortest_path",
    "word_ladder",
)
HOSTILE = (
    *ODD_TEXTS,
    "9**9**9**9",
    "(((9**64)**64)**64)**64 + 1e999999",
    "__import__('os').system('echo run')",
    "[[1]]",
    "{}",
    '{"a": {"b": [null]}}',
    "<answer>",
    "</answer><answer>",
    "[" * 3000,
    "\ud800",
)


def gym(dataset="chain_sum", **config):
    return Gym(GymConfig(dataset=dataset, **{"train_size": 6, "validation_size": 3, "test_size": 3, **config}))


def finished(task, problem, text):
    return replace(task.start(problem), steps=tuple(map(Step, task.split_steps(text))), finished=True)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_reference_is_correct_and_anothers_is_not(dataset):
    task = gym(dataset)
    traces = task.traces("train")
    assert len(traces) == len(task.problems("train")) == 6
    assert [task.verify(trace).reason for trace in traces] == [""] * 6
    others = [task.verify(replace(a, problem=b.problem)) for a in traces for b in traces if a.answer != b.answer]
    assert not all(outcome.correct for outcome in others)
    assert len(others) > 0


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("answer_prefix", [None, "answer: "])
def test_whatever_a_model_writes_is_judged_and_not_correct(dataset, answer_prefix):
    task = gym(dataset, answer_prefix=answer_prefix)
    problem = task.problems("train")[0]
    begin = time.monotonic()
    for text in HOSTILE:
        for written in (text, write_answer(text, answer_prefix)):
            outcome = task.verify(finished(task, problem, written))
            assert not outcome.correct
            assert outcome.score == 0
            assert outcome.reason
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("dataset", ["knights_knaves", "polynomial_multiplication", "word_ladder"])
def test_problems_are_the_same_whatever_the_process_hashes_to(dataset):
    program = (
        "from trellis_gym.task import Gym; from trellis.testing.checks.task import digest; "
        f"print(digest(Gym(Gym.Config(dataset={dataset!r}, train_size=6, validation_size=3, test_size=3))))"
    )
    code = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); {program}"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sys.path)], capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == digest(gym(dataset)), done.stderr


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_no_question_is_in_two_splits(seeds):
    # 82 questions at most: every split would meet those of the others.
    parameters = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1, "allow_negation": False}
    tasks = [Gym(GymConfig(dataset="chain_sum", parameters=parameters, data_seed=seed)) for seed in seeds]
    texts = [{problem.text for problem in tasks[k % 2].problems(split)} for k, split in enumerate(SPLITS)]
    assert sum(map(len, texts)) == len(set().union(*texts)) > 100


def test_a_smaller_split_is_the_beginning_of_a_larger_one():
    small, large = gym(train_size=5), gym(train_size=250)
    assert tuple(small.problems("train")) == tuple(large.problems("train")[:5])
    assert len({problem.text for problem in large.problems("train")}) == 250


def test_too_many_problems_are_refused_with_how_many_there_are():
    with pytest.raises(TaskError, match="split 'test' is to hold 5000 different problems, but only") as error:
        gym("chain_sum", parameters={"max_terms": 2, "max_digits": 1}, test_size=5000).problems("test")
    assert 10 < error.value.found < 200


def test_data_are_json_and_enough_to_judge_by():
    for dataset in ("rearc", "graph_color", "codeio", "knights_knaves"):
        trace = gym(dataset).traces("train")[0]
        again = replace(trace.problem, data=json.loads(json.dumps(trace.problem.data, allow_nan=False)))
        assert gym(dataset).verify(replace(trace, problem=again)).correct, dataset


def test_an_entry_comes_back_from_json_as_it_was():
    entry = {"a": (1, [2.5, ("x",)]), "b": {1: None, (2, 3): True}, "$c": [{}, ()], "d": "ü"}
    assert decode(json.loads(json.dumps(encode(entry)))) == entry
    with pytest.raises(TypeError, match="a set has no form in JSON"):
        encode({"a": {1}})


@pytest.mark.parametrize(
    ("text", "prefix", "answer"),
    [
        ("I think\n<answer>1</answer> no\n<answer> 2 </answer>", None, "2"),
        ("first\nlast line\n\n", None, "last line"),
        ("", None, None),
        ("answer: 1\nanswer: 2\n3", "answer: ", "2\n3"),
        ("2", "answer: ", None),
        ("answer: ", "answer: ", None),
    ],
)
def test_where_the_final_answer_stands(text, prefix, answer):
    assert read_answer(text, prefix) == answer


def test_a_board_is_one_step_a_line():
    trace = gym("mini_sudoku", answer_prefix="answer: ").traces("train")[0]
    assert len(trace.steps) == 4
    assert trace.steps[0].text.startswith("answer: ")


def test_a_wrong_answer_of_the_right_form_earns_something_only_if_asked_for():
    scores = {}
    for partial in (False, True):
        task = gym("countdown", partial_score=partial)
        scores[partial] = task.verify(finished(task, task.problems("train")[0], "<answer>1 + 1</answer>")).score
    assert scores == {False: 0.0, True: 0.05}


def test_threads_are_judged_as_well():
    task = gym("countdown")
    verdicts = []
    threads = [
        threading.Thread(target=lambda t=t: verdicts.append(task.verify(t).correct)) for t in task.traces("train")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * 6


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dataset": "coutdown"}, r"no data set 'coutdown'; did you mean 'countdown'\? Valid: .*mini_sudoku"),
        ({"dataset": "composite"}, "use one task for each of them"),
        ({"dataset": "game_of_life_halting"}, "calls every answer correct"),
        (
            {"dataset": "countdown", "parameters": {"min_number": 3}},
            r"'countdown' has no field 'min_number'; did you mean 'min_numbers'\? Valid: .*max_target",
        ),
        ({"parameters": {"seed": 1}}, "'seed' is not set here: set `data_seed`"),
        ({"parameters": {"size": 1}}, "'size' is not set here: set `train_size`"),
        (
            {"parameters": {"min_terms": 9, "max_terms": 2}},
            "'chain_sum' refuses min_terms=9, max_terms=2: max_terms must",
        ),
        ({"parameters": {"min_terms": "x"}}, "'chain_sum' refuses min_terms='x'"),
    ],
)
def test_a_config_that_cannot_work_is_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        GymConfig(**config)


def test_parameters_reach_the_data_set():
    task = gym("chain_sum", parameters={"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1})
    assert all(problem.text.count(" + ") + problem.text.count(" - ") == 2 for problem in task.problems("train"))


@pytest.mark.parametrize("text", ["1 + 2*(3 - 4)/5", "x**2 - 3*x*y + 1", "exp(2*x)/2 + C", "sqrt(x)*2**x", "x**(3/2)"])
def test_arithmetic_is_read_as_sympy_reads_it(text):
    assert arithmetic.parse_arithmetic(text) == arithmetic._parse_expr(text)


@pytest.mark.parametrize(
    "text", ["9**9**9", "x.args", "f(1)", "[1]", "a if b else c", "'a'", "1e99", "__x", "lambda: 1"]
)
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(ValueError, match="is no arithmetic"):
        arithmetic.parse_arithmetic(text)


def test_every_scorer_that_runs_an_answer_is_known():
    """A new version of the library may bring another one."""
    root = Path(reasoning_gym.__file__).parent
    running = {"eval": set(), "parse_expr": set()}
    for file in root.glob("*/*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(function, ast.FunctionDef) and function.name == "score_answer"):
                continue
            for call in ast.walk(function):
                name = ast.unparse(call.func).rpartition(".")[2] if isinstance(call, ast.Call) else ""
                if name in ("eval", "exec", "sympify", "parse_expr", "literal_eval", "solve"):
                    running.setdefault(name, set()).add(f"{file.parent.name}.{file.stem}")
    assert running == {
        "eval": set(arithmetic.EVALUATING),
        "parse_expr": {*arithmetic.PARSING, *arithmetic.PARSING_THROUGH_SYMPY},
    }


WITHOUT_TRACES = {"boxnet", "rush_hour"}
"""The library gives no answer that its scorer calls correct."""


@pytest.mark.slow
@pytest.mark.parametrize("dataset", catalog.names())
def test_every_data_set_is_a_task(dataset):
    task = gym(dataset, train_size=4, validation_size=1, test_size=1)
    json.dumps([problem.data for problem in task.problems("train")], allow_nan=False)
    traces = task.traces("train")
    assert len(traces) == (0 if dataset in WITHOUT_TRACES else 4)
    assert [task.verify(trace).reason for trace in traces] == [""] * len(traces)
    for text in HOSTILE:
        outcome = task.verify(finished(task, task.problems("train")[0], write_answer(text, None)))
        assert not outcome.correct, text
        assert "within" not in outcome.reason


def test_the_library_has_what_cannot_be_a_task():
    assert set(catalog.UNUSABLE) <= set(catalog.DATASETS)
