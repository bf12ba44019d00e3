import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis import Problem, Step, Trajectory
from trellis.errors import ProblemSyntaxError, TaskError
from trellis_code.config import ListInstruction, ListProgramConfig
from trellis_code.lists import INSTRUCTIONS, ListLanguage, ListProgram

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 40, "validation_size": 15, "test_size": 20}
CONFIGS = [
    ListProgramConfig(lines=3, values=True, min_length=3, max_length=5, **SMALL),
    ListProgramConfig(traces_per_problem=3, **SMALL),
    ListProgramConfig(difficulty="hard", style="canonical", **SMALL),
    ListProgramConfig(examples=3, held_out=0, instructions=("sort", "double", "keep odd", "drop last"), **SMALL),
]
TASK = ListProgram(CONFIGS[0])
NAMES = get_args(ListInstruction)
STATEMENT = "3 1 4 2 -> 4 8; 6 5 0 -> 0 12; 3 lines"
SOLUTION = "sort | 1 2 3 4\nkeep even | 2 4\ndouble | 4 8"


def written(text, *, finished=True, statement=STATEMENT):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(statement)), steps=steps, finished=finished)


def independent(name, numbers):
    """What an instruction does, written another way, on plain lists; None out of bounds."""
    numbers = list(numbers)
    if name == "sort":
        numbers.sort()
    elif name == "reverse":
        numbers = [numbers[-1 - i] for i in range(len(numbers))]
    elif name == "unique":
        numbers = [n for i, n in enumerate(numbers) if n not in numbers[:i]]
    elif name == "drop first":
        del numbers[0]
    elif name == "drop last":
        numbers.pop()
    elif name in ("keep even", "keep odd"):
        numbers = list(filter(lambda n: (n & 1) == (name == "keep odd"), numbers))
    elif name == "add 1":
        numbers = [n - -1 for n in numbers]
    elif name == "double":
        numbers = [n + n for n in numbers]
    return None if not numbers or any(n > 99 for n in numbers) else numbers


def pairs_of(problem):
    texts = [*problem.data["examples"], *problem.data["held_out"]]
    return [([*map(int, a.split())], [*map(int, b.split())]) for a, b in texts]


def runs(program, numbers):
    for name in program:
        numbers = numbers if numbers is None else independent(name, numbers)
    return numbers


def some_program_continues(problem, prefix, names):
    """Try every program that begins with the prefix: no memory, no joint states."""
    for length in range(problem.data["lines"] - len(prefix) + 1):
        for rest in itertools.product(names, repeat=length):
            if all(runs([*prefix, *rest], first) == second for first, second in pairs_of(problem)):
                return True
    return False


@given(st.lists(st.integers(0, 99), min_size=1, max_size=8), st.sampled_from(NAMES))
def test_each_instruction_does_what_it_is_called(numbers, name):
    result = ListLanguage(NAMES).apply(name, tuple(numbers))
    assert result == (None if (expected := independent(name, numbers)) is None else tuple(expected))


def test_the_config_names_the_instructions_there_are():
    assert tuple(INSTRUCTIONS) == NAMES


@pytest.mark.parametrize("config", CONFIGS, ids=["values", "medium", "hard", "few"])
def test_every_trace_is_correct_and_every_step_of_it_good(config):
    task = ListProgram(config)
    for split in SPLITS:
        traces = task.traces(split)
        assert {trace.problem for trace in traces} == set(task.problems(split))
        for trace in traces:
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * config.lines
            assert trace.answer == "; ".join(line.split(" | ")[0] for line in trace.text.split("\n"))
            assert (" | " in trace.text) == config.values


def test_traces_differ_where_there_are_several_solutions_and_canonical_ones_are_one_each():
    varied = ListProgram(CONFIGS[1]).traces("train")
    assert len({(trace.problem.id, trace.text) for trace in varied}) == len(varied) > SMALL["train_size"]
    assert len(ListProgram(CONFIGS[2]).traces("train")) == SMALL["train_size"]


def test_no_problem_can_be_solved_in_fewer_lines():
    for problem in TASK.problems("test"):
        fewer = replace(problem, data={**problem.data, "lines": 2})
        assert some_program_continues(problem, [], NAMES)
        assert not some_program_continues(fewer, [], NAMES)


def test_splits_share_no_problem_in_any_order():
    task = ListProgram(ListProgramConfig(train_size=600))
    keys = {split: {str(sorted(p.data["examples"])) for p in task.problems(split)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not keys[one] & keys[other]
    assert all(len(keys[split]) == len(task.problems(split)) for split in ("validation", "test"))


def test_what_is_held_out_is_not_shown():
    for problem in TASK.problems("train"):
        assert not {a for a, _ in problem.data["held_out"]} & {a for a, _ in problem.data["examples"]}
        assert problem.text == "; ".join([*map(" -> ".join, problem.data["examples"]), "3 lines"])


def test_more_problems_than_exist_are_refused():
    shown = {"lines": 1, "examples": 1, "held_out": 0, "instructions": ("add 1",)}
    few = ListProgramConfig(max_number=1, min_length=1, max_length=1, train_size=9, **shown)
    with pytest.raises(TaskError, match="`train_size` to") as caught:
        ListProgram(few).problems("train")
    assert caught.value.found < 9


def test_other_processes_make_the_same_problems_and_traces():
    program = (
        "from trellis_code.lists import ListProgram, ListProgramConfig\n"
        "config = dict(train_size=40, validation_size=15, test_size=20, lines=3, values=True, min_length=3, max_length=5)\n"
        "task = ListProgram(ListProgramConfig(**config))\n"
        "print([(t.problem.id, t.text) for s in ('train', 'validation', 'test') for t in task.traces(s)])"
    )
    here = str([(trace.problem.id, trace.text) for split in SPLITS for trace in TASK.traces(split)])
    env = os.environ | {"PYTHONHASHSEED": "1"}
    there = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_verifier_step_oracle_and_legal_steps_agree_with_brute_force():
    verdicts = set()
    for problem in TASK.problems("validation")[:4]:
        shown = pairs_of(problem)[: len(problem.data["examples"])]
        open_ = [TASK.start(problem)]
        for place in range(3):
            extended = []
            for prefix in open_:
                program = [step.text.partition(" | ")[0] for step in prefix.steps]
                texts = TASK.legal_steps(prefix)
                named = [text.partition(" | ")[0] for text in texts]
                assert named == [n for n in NAMES if all(runs([*program, n], first) for first, _ in shown)]
                extended += [replace(prefix, steps=(*prefix.steps, Step(text))) for text in texts]
            open_ = extended if place == 2 else extended[::4]
            for prefix in open_:
                program = [step.text.partition(" | ")[0] for step in prefix.steps]
                expected = some_program_continues(problem, program, NAMES)
                assert TASK.step_oracle(prefix)[-1] == expected, prefix
                correct = all(runs(program, first) == second for first, second in pairs_of(problem))
                assert TASK.verify(replace(prefix, finished=True)).correct == correct
                verdicts.add((expected, correct))
    assert len(verdicts) == 3


def test_legal_steps_end_where_the_program_may_end():
    steps = TASK.legal_steps(written("sort\nkeep even | 2 4\n", finished=False))
    assert steps == [
        "sort | 2 4",
        "reverse | 4 2",
        "unique | 2 4",
        "drop first | 4",
        "drop last | 2",
        "keep even | 2 4",
        "add 1 | 3 5",
        "double | 4 8",
    ]
    early = TASK.legal_steps(written("", finished=False, statement="3 1 -> 1 3; 2 lines"))
    assert [text for text in early if not text.endswith("\n")] == ["sort | 1 3", "reverse | 1 3"]


@pytest.mark.parametrize("text", ["nonsense\n", "sort", "sort | 1 2 3\n", SOLUTION, SOLUTION + "\n"])
def test_no_step_is_legal_after_a_faulty_or_a_last_one(text):
    assert TASK.legal_steps(written(text, finished=False)) == []


@pytest.mark.parametrize(
    "text", [SOLUTION, "sort\nkeep even\ndouble", "sort\nkeep even | 2 4\ndouble\n", "keep even\ndouble\nsort | 4 8"]
)
def test_values_may_be_left_out(text):
    assert TASK.verify(written(text)).correct
    assert TASK.step_oracle(written(text)) == [True] * 3


def test_a_shorter_program_is_a_solution_too():
    trajectory = written("sort | 1 3", statement="3 1 -> 1 3; 3 lines")
    assert TASK.verify(trajectory).correct
    assert TASK.step_oracle(trajectory) == [True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "of example 1 it makes 3 1 4 2, not 4 8"),
        ("sort", "of example 1 it makes 1 2 3 4, not 4 8"),
        ("drop last\ndrop first\ndouble", "of example 1 it makes 2 8, not 4 8"),
        ("sort\nkeep even | 2 4\ndouble | 4 9", "line 3: example 1 is 4 8 now, not '4 9'"),
        ("sort | 1 2 3 4 \nkeep even", "line 1: example 1 is 1 2 3 4 now, not '1 2 3 4 '"),
        ("sort \nkeep even", "line 1: 'sort ' is none of sort, reverse"),
        ("sort\n\ndouble", "line 2: '' is none of sort, reverse"),
        ("keep odd\nkeep even", "line 2: 'keep even' makes of example 1 no 1 to 8 whole numbers from 0 to 99"),
        ("keep odd\ndrop first\ndrop first", "line 2: 'drop first' makes of example 2 no"),
        ("sort\nsort\nsort\nsort", "line 4: only 3 lines may be written"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(text))
    assert not outcome.correct
    assert outcome.score == 0.0
    assert outcome.reason.startswith(reason)


def test_a_program_that_fits_only_what_is_shown_is_not_correct():
    data = {"examples": (("3 1", "1 3"),), "held_out": (("1 2 0", "0 2 1"),), "lines": 1}
    start = TASK.start(Problem("p", "3 1 -> 1 3; 1 line", data))
    fits, generalises = (replace(start, steps=(Step(name),), finished=True) for name in ("sort", "reverse"))
    assert TASK.verify(generalises).correct
    assert TASK.verify(fits).reason == "of an example that is not shown it makes 0 1 2, not 0 2 1"
    assert TASK.step_oracle(fits) == [False]


def test_an_unfinished_solution_is_not_correct():
    assert not TASK.verify(written(SOLUTION, finished=False)).correct
    assert TASK.step_oracle(written(SOLUTION, finished=False)) == [True] * 3


def test_a_problem_without_a_solution_is_read_and_said_to_have_none():
    trajectory = written("sort", statement="3 1 -> 7; 2 lines")
    assert TASK.verify(trajectory).reason == (
        "of example 1 it makes 1 3, not 7 (no program of 2 lines makes all outputs)"
    )
    assert TASK.step_oracle(trajectory) == [False]


@settings(deadline=None)
@given(st.data())
def test_one_changed_value_is_caught(data):
    trace = data.draw(st.sampled_from(TASK.traces("train")))
    lines = trace.text.split("\n")
    place = data.draw(st.integers(0, 2))
    name, _, value = lines[place].partition(" | ")
    other = data.draw(st.lists(st.integers(0, 99), max_size=8).map(lambda n: " ".join(map(str, n))))
    lines[place] = f"{name} | {other}"
    corrupted = replace(trace, steps=tuple(map(Step, TASK.split_steps("\n".join(lines)))))
    assert TASK.verify(corrupted).correct == (other == value)
    assert TASK.step_oracle(corrupted) == [other == value or i < place for i in range(3)]


LINES = st.lists(
    st.sampled_from(["sort\n", "double | 6 2 8 4\n", "keep even", "add 1 | ٣\n", "\r\n", " | ", "\x00", "sort | " * 9]),
    max_size=6,
).map("".join)


@settings(deadline=None)
@given(text=st.text() | LINES, finished=st.booleans(), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_whatever_a_model_writes_is_judged_and_nothing_is_lost(text, finished, cuts):
    problem = TASK.parse(STATEMENT)
    places = [0, *sorted(cuts), len(text)]
    odd = [text[begin:end] for begin, end in itertools.pairwise(places)]
    for parts in (TASK.split_steps(text), odd):
        trajectory = Trajectory(problem, "", steps=tuple(map(Step, parts)), finished=finished)
        oracle = TASK.step_oracle(trajectory)
        assert len(oracle) == len(parts)
        assert sorted(oracle, reverse=True) == oracle
        if finished and parts:
            assert TASK.verify(trajectory).correct == (oracle[-1])
        TASK.legal_steps(trajectory)
        TASK.answer(trajectory)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 3_000_000,
        "sort | " + "9" * 3_000_000,
        "sort\n" * 600_000,
        "\n" * 3_000_000,
        "(" * 3_000_000,
        "double\n" * 200,
        "__import__('os').system('true')",
        "sort; raise SystemExit",
        "\ud800\U0010ffff\u202e" * 1000,
        "ＳＯＲＴ | １ ２",
    ],
    ids=lambda text: f"{text[:6]!a}-{len(text)}",
)
def test_hostile_text_is_judged_fast(text):
    trajectory = Trajectory(TASK.parse(STATEMENT), "", steps=(Step(text),), finished=True)
    started = time.perf_counter()
    assert not TASK.verify(trajectory).correct
    assert TASK.step_oracle(trajectory) == [False]
    assert TASK.legal_steps(replace(trajectory, finished=False)) == []
    TASK.answer(trajectory)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (SOLUTION, "sort; keep even; double"),
        ("sort\nkeep even\ndouble\n", "sort; keep even; double"),
        ("sort | anything", "sort"),
        ("sort\nnonsense", None),
        ("", ""),
    ],
)
def test_the_answer_is_the_program_without_values(text, answer):
    assert TASK.answer(written(text)) == answer


@pytest.mark.parametrize(
    "text", [STATEMENT, " 3,1, 4 2=>4 8 ;06 5 0→0 12\nin 3", "3 1 4 2->4 8\n6 5 0->0 12\n3 lines\n"]
)
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == STATEMENT
    assert problem.data == {
        "examples": (("3 1 4 2", "4 8"), ("6 5 0", "0 12")),
        "held_out": (),
        "lines": 3,
    }


def test_problems_drawn_are_read_back_from_their_text():
    for problem in TASK.problems("validation"):
        assert TASK.parse(problem.text).data == {**problem.data, "held_out": ()}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it must end with the number of lines allowed"),
        ("3 1 -> 1 3", "it must end with the number of lines allowed"),
        ("3 lines", "there are 0 examples, it takes 1 to 4"),
        ("1 -> 1; " * 5 + "3 lines", "there are 5 examples, it takes 1 to 4"),
        ("3 1 -> 1 3; 0 lines", "0 lines are allowed, it takes 1 to 5"),
        ("3 1 -> 1 3; 6 lines", "6 lines are allowed, it takes 1 to 5"),
        ("3 1; 2 lines", "in '3 1' one '->' must stand between input and output"),
        ("3 -> 1 -> 3; 2 lines", "one '->' must stand between input and output"),
        ("3 x -> 1; 2 lines", "'3 x' is not made of 1 to 8 whole numbers from 0 to 99"),
        ("3 100 -> 1; 2 lines", "'3 100' is not made of"),
        ("3 -> ; 2 lines", "'' is not made of"),
        ("1 2 3 4 5 6 7 8 9 -> 1; 2 lines", "'1 2 3 4 5 6 7 8 9' is not made of"),
    ],
)
def test_what_is_no_problem_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProblemSyntaxError) as caught:
        TASK.parse(text)
    assert reason in str(caught.value)
    assert ListProgram.example in str(caught.value)


def test_lengths_out_of_order_are_refused():
    with pytest.raises(ValidationError, match="min_length is 5: it must be at most max_length, 4"):
        ListProgramConfig(min_length=5)
