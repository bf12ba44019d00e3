import itertools
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError, TaskError
from trellis_reasoning.arithmetic import Arithmetic
from trellis_reasoning.config import ArithmeticConfig

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 60, "validation_size": 20, "test_size": 30}
CONFIGS = [
    ArithmeticConfig(length=4, max_number=20, fixed_width=False, min_carries=0, style="varied", **SMALL),
    ArithmeticConfig(operations="+-*", length=6, max_number=20, fixed_width=False, **SMALL),
    ArithmeticConfig(operations="+-*", modulus=7, length=2, **SMALL),
    *(ArithmeticConfig(difficulty=difficulty, style="varied", **SMALL) for difficulty in ("easy", "medium", "hard")),
]
TASK = Arithmetic(CONFIGS[0])


def written(problem, text, *, finished=True):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(problem)), steps=steps, finished=finished)


def value_of(text):
    """Let Python work out the problem: brackets make it go from left to right, the modulus once at the end."""
    chain, _, modulus = text.removesuffix(" =").partition(" mod ")
    first, *rest = chain.split()
    expression = "(" * (len(rest) // 2) + first
    for operation, number in zip(rest[::2], rest[1::2], strict=True):
        expression += f"{operation}{number})"
    return eval(expression) % int(modulus) if modulus else eval(expression)


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: f"{config.operations}{config.modulus}{config.difficulty}"
)
def test_every_trace_is_correct_and_ends_with_the_value(config):
    task = Arithmetic(config)
    for split in SPLITS:
        assert [trace.problem for trace in task.traces(split)] == list(task.problems(split))
        for trace in task.traces(split):
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * config.length
            assert trace.answer == str(value_of(trace.problem.text))
            for step in trace.steps:
                left, _, result = step.text.strip().partition(" = ")
                assert (eval(left) - int(result)) % (config.modulus or 10**9) == 0


def test_a_trace_reads_as_documented():
    (problem,) = [TASK.parse("12 + 7 - 25 + 9 =")]
    text = "12 + 7 = 19\n19 - 25 = -6\n-6 + 9 = 3"
    assert TASK.verify(written(problem.text, text)).correct
    assert TASK.verify(written("2 + 3 * 4", "2 + 3 = 5\n5 * 4 = 20")).correct
    assert TASK.verify(written("12 - 15 * 2 mod 17", "12 - 15 = 14\n14 * 2 = 11")).correct


def test_splits_are_disjoint_and_hold_no_problem_twice():
    task = Arithmetic(
        ArithmeticConfig(
            length=2, max_number=6, fixed_width=False, min_carries=0, train_size=300, validation_size=30, test_size=50
        )
    )
    ids = {split: {problem.id for problem in task.problems(split)} for split in SPLITS}
    assert [len(ids[split]) for split in SPLITS] == [300, 30, 50]
    for one, other in itertools.combinations(SPLITS, 2):
        assert not ids[one] & ids[other]


def test_no_problem_stands_in_two_splits_in_another_order():
    task = Arithmetic(ArithmeticConfig(train_size=3000))

    def runs(problem):
        first, *rest = problem.data["tokens"]
        return tuple(sorted([f"+{first}", *(a + b for a, b in zip(rest[::2], rest[1::2], strict=True))]))

    train, test = ({runs(problem) for problem in task.problems(split)} for split in ("train", "test"))
    assert not train & test
    assert len(train) < 3000, "without another order of any the test shows nothing"


def test_more_problems_than_exist_are_refused():
    with pytest.raises(TaskError, match="`train_size` to"):
        Arithmetic(ArithmeticConfig(length=1, max_number=9, min_carries=0, train_size=6000)).problems("train")


def test_other_processes_make_the_same_problems():
    program = (
        "from trellis_reasoning.arithmetic import Arithmetic, ArithmeticConfig\n"
        "task = Arithmetic(ArithmeticConfig(length=4, max_number=20, fixed_width=False, min_carries=0, style='varied',"
        " train_size=60, validation_size=20, test_size=30))\n"
        "print([(t.problem.id, t.text) for s in ('train', 'validation', 'test') for t in task.traces(s)])"
    )
    here = str([(trace.problem.id, trace.text) for split in SPLITS for trace in TASK.traces(split)])
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        there = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.strip() == here


@settings(deadline=None)
@given(st.data())
def test_one_changed_number_is_caught(data):
    trace = data.draw(st.sampled_from(TASK.traces("train")))
    tokens = trace.text.replace("\n", " \n ").split(" ")
    place = data.draw(st.sampled_from([i for i, token in enumerate(tokens) if token.lstrip("-").isdigit()]))
    tokens[place] = data.draw(st.integers(-99, 99).map(str).filter(lambda number: number != tokens[place]))
    text = " ".join(tokens).replace(" \n ", "\n")
    corrupted = replace(trace, steps=tuple(map(Step, TASK.split_steps(text))))
    line = tokens[:place].count("\n") + 1
    assert TASK.verify(corrupted).reason.startswith(f"line {line}: ")
    assert TASK.step_oracle(corrupted) == [True] * (line - 1) + [False] * (len(trace.steps) - line + 1)


LINES = st.lists(
    st.sampled_from(
        [line for trace in TASK.traces("train")[:2] for line in TASK.split_steps(trace.text)]
        + ["1 + 1 = " + "9" * 5000, "٣ + ٤ = ٤", "\r\n", "= =", " = 3", ""]
    ),
    max_size=6,
).map("".join)


@settings(deadline=None)
@given(text=st.text() | LINES, finished=st.booleans(), cuts=st.lists(st.integers(0, 100), max_size=4))
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
            assert outcome.correct == (len(oracle) == 4 and oracle[-1])
        assert TASK.answer(trajectory) is None or TASK.answer(trajectory) == str(int(TASK.answer(trajectory)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: missing"),
        ("12 + 7 = 19", "line 2: missing"),
        ("12 - 5 = 8\n8 + 7 = 15", "line 1: '12 - 5 = 8' should be '12 - 5 = 7'"),
        ("12 + 7 = 18\n18 - 5 = 13", "line 1: '12 + 7 = 18' should be '12 + 7 = 19'"),
        ("12 + 7 = 19\n19 - 5 = 14\n", "line 3: nothing may follow"),
        ("12 + 7 = 19\n19  - 5 = 14", "line 2: '19  - 5 = 14' should be"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written("12 + 7 - 5", text))
    assert not outcome.correct
    assert outcome.reason.startswith(reason)


def test_only_an_ended_solution_is_correct_and_only_a_whole_one_ends_well():
    trace = TASK.traces("train")[0]
    assert not TASK.verify(replace(trace, finished=False)).correct
    assert TASK.step_oracle(replace(trace, finished=False)) == [True] * 4
    assert TASK.step_oracle(replace(trace, steps=trace.steps[:2])) == [True, False]
    assert TASK.step_oracle(replace(trace, steps=(*trace.steps, Step("", (0,), (-0.1,))))) == [True] * 5


@pytest.mark.parametrize(
    ("text", "answer"), [("1 + 1 = 2", "2"), ("x\n1 - 4 = -03", "-3"), ("2", None), ("1 + 1 = 2\n", None), ("", None)]
)
def test_the_answer_is_the_last_result(text, answer):
    assert TASK.answer(written("1 + 1", text)) == answer


@pytest.mark.parametrize("text", ["12 + 7 - 5 =", "12+7-5", "  12 +7 -  05= "])
def test_problems_are_read_as_people_write_them(text):
    assert TASK.parse(text).text == "12 + 7 - 5 ="


def test_a_typed_modulus_wins_over_the_configured_one():
    task = Arithmetic(CONFIGS[2])
    assert task.parse("12 * 7").text == "12 * 7 mod 7 ="
    assert task.parse("12 * 7 mod 5 =").text == "12 * 7 mod 5 ="


@pytest.mark.parametrize(
    "text", ["", "12 =", "12 + =", "12 + x", "12 / 3", "12 + 7 = 19", "1 + 1 mod 1", "1+" + "9" * 5000]
)
def test_what_is_no_problem_is_refused(text):
    with pytest.raises(ProblemSyntaxError, match="Expected something like"):
        TASK.parse(text)


def carrying(line):
    """Add or take away column by column, and say whether a ten was carried or borrowed."""
    a, operation, b = line.split(" = ")[0].split(" ")
    columns = itertools.zip_longest(reversed(a), reversed(b), fillvalue="0")
    return any(int(x) + int(y) > 9 if operation == "+" else int(x) < int(y) for x, y in columns)


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_preset_problems_carry_and_keep_their_width(difficulty):
    config = ArithmeticConfig(difficulty=difficulty, style="canonical", **SMALL)
    width = len(str(config.max_number))
    for trace in Arithmetic(config).traces("validation"):
        assert sum(carrying(step.text) for step in trace.steps) >= config.min_carries > 0
        assert all(len(number) == width for number in re.findall("[0-9]+", trace.text))


def test_what_can_change_places_is_right_in_any_order():
    assert TASK.verify(written("47 + 38 - 16", "47 - 16 = 31\n31 + 38 = 69")).correct
    assert TASK.verify(written("2 * 3 * 4 + 1 - 5", "2 * 4 = 8\n8 * 3 = 24\n24 - 5 = 19\n19 + 1 = 20")).correct
    assert not TASK.verify(written("2 * 3 + 4", "2 + 4 = 6\n6 * 3 = 18")).correct
    assert not TASK.verify(written("2 + 3 - 4", "2 + 3 = 5\n5 + 3 = 8")).correct


def test_varied_traces_take_other_orders_and_canonical_ones_go_from_left_to_right():
    varied = Arithmetic(ArithmeticConfig(style="varied", **SMALL)).traces("train")
    canonical = Arithmetic(ArithmeticConfig(style="canonical", **SMALL)).traces("train")
    assert [trace.problem for trace in varied] == [trace.problem for trace in canonical]
    assert all(trace.prompt.startswith(trace.text.partition(" = ")[0]) for trace in canonical)
    others = sum(one.text != other.text for one, other in zip(varied, canonical, strict=True))
    assert SMALL["train_size"] // 5 < others < SMALL["train_size"]


def test_legal_steps_are_right_lines_and_plausible_slips():
    start = written("47 + 38 - 16", "", finished=False)
    assert TASK.legal_steps(start) == [
        *(f"47 + 38 = {result}\n" for result in (85, 86, 84, 95, 75, 58)),
        *(f"47 - 16 = {result}\n" for result in (31, 32, 30, 41, 21, 63, 13)),
    ]
    last = written("47 + 38 - 16", "47 + 38 = 85\n", finished=False)
    assert TASK.legal_steps(last) == [f"85 - 16 = {result}" for result in (69, 70, 68, 79, 59, 96)]
    assert TASK.legal_steps(written("3 - 4", "", finished=False)) == ["3 - 4 = -1", "3 - 4 = -2"]
    assert TASK.legal_steps(written("3 - 4 mod 2", "", finished=False)) == ["3 - 4 = 1", "3 - 4 = 0"]


@pytest.mark.parametrize(
    "text", ["x", "47 + 38 = 84\n", "47 + 38 = 85", "47 + 38 = 85\n85 - 16 = 69", "47 + 38 = 85\n85 - 16 = 69\n"]
)
def test_no_step_is_legal_after_a_faulty_or_a_last_one(text):
    assert TASK.legal_steps(written("47 + 38 - 16", text, finished=False)) == []


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: f"{config.operations}{config.modulus}{config.difficulty}"
)
def test_legal_steps_hold_right_and_wrong_ones_of_one_form(config):
    task = Arithmetic(config)
    for trace in task.traces("validation"):
        for place, step in enumerate(trace.steps):
            prefix = replace(trace, steps=trace.steps[:place], finished=False)
            texts = task.legal_steps(prefix)
            verdicts = {
                text: task.step_oracle(replace(prefix, steps=(*prefix.steps, Step(text))))[-1] for text in texts
            }
            assert verdicts[step.text]
            assert set(verdicts.values()) == {True, False}
            rights = {text.partition(" = ")[0]: text for text, right in verdicts.items() if right}
            assert all(len(text) == len(rights[text.partition(" = ")[0]]) for text in texts)


@pytest.mark.parametrize("config", [{"length": 2, "min_carries": 3}, {"max_number": 9}])
def test_carries_that_cannot_be_are_refused(config):
    with pytest.raises(ValidationError, match="carr"):
        ArithmeticConfig(**config)
