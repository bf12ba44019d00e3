import itertools
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError, TaskError
from trellis_reasoning.config import CountdownConfig
from trellis_reasoning.countdown import Countdown

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 60, "validation_size": 20, "test_size": 30}
CONFIGS = [
    CountdownConfig(**SMALL),
    CountdownConfig(numbers=3, operations="+-*/", **SMALL),
    CountdownConfig(numbers=5, operations="+-*", traces_per_problem=3, **SMALL),
    CountdownConfig(numbers=6, operations="+-*/", max_target=60, **SMALL),
]
TASK = Countdown(CONFIGS[0])
ALL_OPERATIONS = Countdown(CountdownConfig(operations="+-*/", **SMALL))


def written(task, problem, text, *, finished=True):
    steps = tuple(map(Step, task.split_steps(text)))
    return replace(task.start(task.parse(problem)), steps=steps, finished=finished)


def reach(left, operations):
    """Play every game to its end, one move after the other: no memory, no parts, fractions and a check."""
    if len(left) == 1:
        return {left[0]}
    results = set()
    for i, j in itertools.permutations(range(len(left)), 2):
        rest = [number for k, number in enumerate(left) if k not in (i, j)]
        a, b = Fraction(left[i]), Fraction(left[j])
        made = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else Fraction(-1)}
        for operation in operations:
            if made[operation] >= 0 and made[operation].denominator == 1:
                results |= reach([*rest, made[operation]], operations)
    return results


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.numbers}{config.operations}")
def test_every_trace_is_correct_and_every_step_of_it_good(config):
    task = Countdown(config)
    for split in SPLITS:
        traces = task.traces(split)
        assert {trace.problem for trace in traces} == set(task.problems(split))
        for trace in traces:
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * (config.numbers - 1)
            assert len(trace.steps) == config.numbers - 1
            assert trace.finished
            assert trace.answer == task.answer(trace)


def test_a_problem_may_have_several_different_traces():
    traces = Countdown(CONFIGS[2]).traces("train")
    assert len(traces) > 2 * SMALL["train_size"]
    assert len({(trace.problem.id, trace.text) for trace in traces}) == len(traces)


def test_splits_share_no_problem_in_any_order():
    task = Countdown(CountdownConfig(train_size=600))
    keys = {
        split: [(sorted(problem.data["numbers"]), problem.data["target"]) for problem in task.problems(split)]
        for split in SPLITS
    }
    for one, other in itertools.combinations(SPLITS, 2):
        assert not [key for key in keys[one] if key in keys[other]]
    for split in ("validation", "test"):
        assert len({str(key) for key in keys[split]}) == len(keys[split])
    assert len({problem.id for problem in task.problems("train")}) == 600


def test_a_smaller_split_begins_a_larger_one_and_a_split_does_not_depend_on_another():
    small = Countdown(CountdownConfig(train_size=20))
    large = Countdown(CountdownConfig(train_size=40))
    large.problems("test")
    assert large.problems("train")[:20] == small.problems("train")


def test_the_data_seed_alone_changes_the_problems():
    assert Countdown(CountdownConfig(data_seed=1, **SMALL)).problems("train") != TASK.problems("train")


def test_more_problems_than_exist_are_refused():
    task = Countdown(CountdownConfig(numbers=3, max_number=2, max_target=3, train_size=6000))
    with pytest.raises(TaskError, match="`train_size` to") as caught:
        task.problems("train")
    assert caught.value.split == "train"
    assert caught.value.asked == 6000
    enough = task.config.model_copy(update={"train_size": caught.value.found})
    assert len(Countdown(enough).problems("train")) == caught.value.found


def test_other_processes_make_the_same_problems_and_traces():
    program = (
        "from trellis_reasoning.countdown import Countdown, CountdownConfig\n"
        "task = Countdown(CountdownConfig(train_size=60, validation_size=20, test_size=30))\n"
        "print([(t.problem.id, t.text) for s in ('train', 'validation', 'test') for t in task.traces(s)])"
    )
    here = str([(trace.problem.id, trace.text) for split in SPLITS for trace in TASK.traces(split)])
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        there = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.strip() == here


@pytest.mark.parametrize("task", [TASK, ALL_OPERATIONS], ids=["+-", "+-*/"])
def test_step_oracle_and_legal_steps_agree_with_brute_force(task):
    operations = task.config.operations
    verdicts = set()
    for problem in task.problems("validation")[:6]:
        target = problem.data["target"]
        assert target in reach(problem.data["numbers"], operations)
        open_ = [task.start(problem)]
        for _ in range(3):
            open_ = [
                replace(prefix, steps=(*prefix.steps, Step(text)))
                for prefix in open_
                for text in task.legal_steps(prefix)
            ][::5]
            for prefix in open_:
                left = [int(number) for number in prefix.steps[-1].text.partition("left:")[2].split()]
                expected = target in reach(left, operations)
                assert task.step_oracle(prefix)[-1] == expected, prefix
                verdicts.add(expected)
                if len(left) == 1:
                    assert task.verify(replace(prefix, finished=True)).correct == expected
    assert verdicts == {True, False}


def test_legal_steps_are_every_move_once():
    assert TASK.legal_steps(written(TASK, "5 2 2 -> 1", "", finished=False)) == [
        "5 + 2 = 7 | left: 2 7\n",
        "5 - 2 = 3 | left: 2 3\n",
        "2 + 2 = 4 | left: 5 4\n",
        "2 - 2 = 0 | left: 5 0\n",
    ]
    last = written(ALL_OPERATIONS, "5 2 2 -> 1", "2 - 2 = 0 | left: 0 5\n", finished=False)
    assert ALL_OPERATIONS.legal_steps(last) == [
        "0 + 5 = 5 | left: 5",
        "5 - 0 = 5 | left: 5",
        "0 * 5 = 0 | left: 0",
        "0 / 5 = 0 | left: 0",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "5 + 2 = 7 | le",
        "2 - 2 = 1 | left: 5 1\n",
        "2 - 2 = 0 | left: 5 0",
        "5 + 2 = 7 | left: 2 7\n2 + 7 = 9 | left: 9",
    ],
)
def test_no_step_is_legal_after_a_faulty_or_a_last_one(text):
    assert TASK.legal_steps(written(TASK, "5 2 2 -> 1", text, finished=False)) == []


@settings(deadline=None)
@given(st.data())
def test_one_changed_number_is_caught(data):
    trace = data.draw(st.sampled_from(TASK.traces("train")))
    tokens = trace.text.replace("\n", " \n ").split(" ")
    place = data.draw(st.sampled_from([i for i, token in enumerate(tokens) if token.isdigit()]))
    tokens[place] = data.draw(st.integers(0, 99).map(str).filter(lambda number: number != tokens[place]))
    text = " ".join(tokens).replace(" \n ", "\n")
    corrupted = replace(trace, steps=tuple(map(Step, TASK.split_steps(text))))
    outcome = TASK.verify(corrupted)
    assert not outcome.correct
    assert outcome.score == 0.0
    line = tokens[:place].count("\n") + 1
    assert f"line {line}" in outcome.reason
    assert TASK.step_oracle(corrupted)[line - 1 :] == [False] * (len(trace.steps) - line + 1)


LINES = st.lists(
    st.sampled_from(
        [line for trace in TASK.traces("train")[:3] for line in TASK.split_steps(trace.text)]
        + ["9" * 5000 + " + 1 = 2 | left: 3", "٣ + ٤ = ٤ | left: ٤", "\r\n", "3 - 7 = 4 | left: 1", "", "|"]
    ),
    max_size=5,
).map("".join)


@settings(deadline=None)
@given(text=st.text() | LINES, finished=st.booleans(), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_whatever_a_model_writes_is_judged_and_nothing_is_lost(text, finished, cuts):
    problem = TASK.problems("train")[0]
    assert "".join(TASK.split_steps(text)) == text
    places = [0, *sorted(cuts), len(text)]
    odd = [text[begin:end] for begin, end in itertools.pairwise(places)]
    for parts in (TASK.split_steps(text), odd):
        trajectory = Trajectory(problem, "", steps=tuple(map(Step, parts)), finished=finished)
        outcome = TASK.verify(trajectory)
        oracle = TASK.step_oracle(trajectory)
        assert len(oracle) == len(parts)
        assert sorted(oracle, reverse=True) == oracle
        if finished and parts is not odd:
            assert outcome.correct == (len(oracle) == 3 and oracle[-1])
        TASK.legal_steps(trajectory)
        assert TASK.answer(trajectory) is None or TASK.answer(trajectory).count(" = ") == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends with 3 7 8 2 left, the target is 16"),
        ("3 + 7 = 10 | left: 8 2 10\n", "it ends with 8 2 10 left, the target is 16"),
        ("3 + 7 = 10  | left: 8 2 10", "line 1: '3 + 7 = 10  | left: 8 2 10' is not of the form"),
        ("3 + 7 = 11 | left: 8 2 11", "line 1: 3 + 7 is 10, not 11"),
        ("3 + 7 = 10 | left: 8 10", "line 1: what is left is 8 2 10, not 8 10"),
        ("3 + 7 = 10 | left: 8 2 10\n3 + 8 = 11 | left: 2 10 11", "line 2: 3 is not left"),
        ("3 + 3 = 6 | left: 7 8 2 6", "line 1: 3 is not left"),
        ("3 - 7 = 4 | left: 8 2 4", "line 1: 3 - 7 is no whole number of 0 or more"),
        ("3 * 7 = 21 | left: 8 2 21", "line 1: '*' is not among the operations '+-'"),
        ("3 + 7 = 10 | left: 8 2 10\n8 - 2 = 6 | left: 10 6\n10 - 6 = 4 | left: 4", "it ends with 4 left"),
        ("3 + 7 = 10 | left: 8 2 10\n8 - 2 = 6 | left: 10 6\n10 + 6 = 16 | left: 16\n", "line 4: '' is not"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(TASK, "3 7 8 2 -> 16", text))
    assert not outcome.correct
    assert outcome.reason.startswith(reason)


def test_the_numbers_left_may_stand_in_any_order_and_operands_may_be_swapped():
    text = "7 + 3 = 10 | left: 10 8 2\n8 - 2 = 6 | left: 6 10\n6 + 10 = 16 | left: 16"
    assert TASK.verify(written(TASK, "3 7 8 2 -> 16", text)).correct


def test_an_unfinished_solution_is_not_correct():
    trace = TASK.traces("train")[0]
    assert not TASK.verify(replace(trace, finished=False)).correct
    assert TASK.step_oracle(replace(trace, finished=False)) == [True] * 3
    assert TASK.step_oracle(replace(trace, steps=trace.steps[:2])) == [True, False]


def test_a_step_that_only_ends_the_sequence_changes_nothing():
    trace = TASK.traces("train")[0]
    ended = replace(trace, steps=(*trace.steps, Step("", (0,), (-0.1,))))
    assert TASK.verify(ended).correct
    assert TASK.step_oracle(ended) == [True] * 4


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (
            [
                "3 + 7 = 10 | left: 8 2 10\n8 - 2 = 6 | left: 10 6\n10 + 6 = 16 | left: 16",
                "8 + 7 = 15 | left: 3 2 15\n3 - 2 = 1 | left: 1 15\n15 + 1 = 16 | left: 16",
                "7 + 8 = 15 | left: 2 3 15\n15 - 2 = 13 | left: 3 13\n3 + 13 = 16 | left: 16",
            ],
            "3 + 7 + 8 - 2 = 16",
        ),
        (
            [
                "2 * 3 = 6 | left: 7 8 6\n8 - 7 = 1 | left: 6 1\n6 / 1 = 6 | left: 6",
                "8 - 7 = 1 | left: 3 2 1\n3 / 1 = 3 | left: 2 3\n3 * 2 = 6 | left: 6",
            ],
            "2 * 3 / (8 - 7) = 6",
        ),
        (["3 + 7 = 10 | left: 8 2 10", "7 + 3 = 10 | left: 1"], "3 + 7 = 10"),
        (["", "3 + 7 = 10", "3 + 7 = 10 | left: 1\n", "1 + 2 = 3 | left: 4\n5 + 6 = 11 | left: 3"], None),
    ],
)
def test_equal_solutions_have_equal_answers(texts, answer):
    assert {ALL_OPERATIONS.answer(written(ALL_OPERATIONS, "3 7 8 2 -> 16", text)) for text in texts} == {answer}


def test_the_answer_of_a_trace_is_an_expression_of_the_target():
    for trace in ALL_OPERATIONS.traces("train"):
        expression, _, result = trace.answer.partition(" = ")
        assert eval(expression) == int(result) == trace.problem.data["target"]


@pytest.mark.parametrize("text", ["3 7 8 2 -> 24", " 3,7, 8   2=>24 ", "3 7 8 2 to 24", "03 7 8 2 → 24\n"])
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == "3 7 8 2 -> 24"
    assert problem.data == {"numbers": (3, 7, 8, 2), "target": 24}


def test_a_problem_without_a_solution_is_read_and_never_solved():
    problem = TASK.parse("1 1 1 -> 25")
    start = TASK.start(problem)
    assert len(TASK.legal_steps(start)) == 2
    for text in TASK.legal_steps(start):
        assert TASK.step_oracle(replace(start, steps=(Step(text),))) == [False]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3 7 8 2", "one '->' must stand before the target"),
        ("3 7 -> 8 -> 2", "one '->' must stand before the target"),
        ("3 7 -> 8", "there are 2 numbers, it takes 3 to 6"),
        ("1 2 3 4 5 6 7 -> 8", "there are 7 numbers, it takes 3 to 6"),
        ("1 2 3 -> 4 5", "there are 2 targets, it takes one"),
        ("1 2 3 ->", "there are 0 targets, it takes one"),
        ("1 2 x -> 4", "'x' is no whole number"),
        ("1 2 -3 -> 4", "'-3' is no whole number"),
        ("1 2 " + "9" * 5000 + " -> 4", "is no whole number"),
    ],
)
def test_what_is_no_problem_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProblemSyntaxError) as caught:
        TASK.parse(text)
    assert reason in str(caught.value)
    assert "3 7 8 2 -> 24" in str(caught.value)


def test_a_problem_without_a_solution_is_said_to_have_none():
    task = Countdown(CountdownConfig())
    problem = task.parse("3 7 8 2 -> 24")
    lines = "3 + 7 = 10 | left: 8 2 10\n2 + 8 = 10 | left: 10 10\n10 + 10 = 20 | left: 20"
    trajectory = replace(task.start(problem), steps=(Step(lines),), finished=True)
    assert task.verify(trajectory).reason == (
        "it ends with 20 left, the target is 24 (nothing made of 3 7 8 2 with the operations +- is 24)"
    )


def test_a_size_left_out_takes_what_there_is():
    task = Countdown(CountdownConfig(numbers=3, max_target=20, max_number=4))
    assert 0 < len(task.problems("train")) < 6000
    assert 0 < len(task.problems("test")) < 500
