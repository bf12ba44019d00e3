import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import EquationConfig
from trellis_reasoning.equation import Equation

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 40, "validation_size": 15, "test_size": 20}
CONFIGS = [EquationConfig(difficulty=difficulty, **SMALL) for difficulty in ("easy", "medium", "hard")]
EASY, TASK = Equation(CONFIGS[0]), Equation(CONFIGS[1])
PROBLEM = "4x + 7 = 27 in 3"
SOLVED = "-3: 4x + 4 = 24\n/4: x + 1 = 6\n-1: x = 5"


def written(text, *, problem=PROBLEM, finished=True):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(problem)), steps=steps, finished=finished)


def read(equation):
    """The numbers a, b, c, d of `ax + b = cx + d`."""
    numbers = []
    for side in equation.strip().split(" = "):
        terms = side.split(" + ")
        of_x = sum(int(term.removesuffix("x") or 1) for term in terms if term.endswith("x"))
        numbers += [of_x, sum(int(term) for term in terms if not term.endswith("x"))]
    return tuple(numbers)


def after_all(a, b, c, d):
    """Every equation one operation away, written from the rules: at most three at once."""
    for count in (1, 2, 3):
        yield a, b + count, c, d + count
        if b >= count and d >= count:
            yield a, b - count, c, d - count
        if a >= count and c >= count:
            yield a - count, b, c - count, d
    for divisor in range(2, max(a, b, c, d) + 1):
        if not any(number % divisor for number in (a, b, c, d)):
            yield tuple(number // divisor for number in (a, b, c, d))


def can_be_solved(equation, lines):
    """Try everything, remember nothing."""
    return solved(equation) or (lines > 0 and any(can_be_solved(after, lines - 1) for after in after_all(*equation)))


def solved(equation):
    a, b, c, d = equation
    return (a, b, c) == (1, 0, 0) or (a, c, d) == (0, 1, 0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_every_trace_is_correct_and_every_step_of_it_good(config):
    task = Equation(config)
    for split in SPLITS:
        traces = task.traces(split)
        assert {trace.problem for trace in traces} == set(task.problems(split))
        for trace in traces:
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * len(trace.steps)
            assert len(trace.steps) == trace.problem.data["lines"]
            x = int(trace.answer.removeprefix("x = "))
            a, b, c, d = trace.problem.data["equation"]
            assert a * x + b == c * x + d
            assert 1 <= x <= config.max_solution


def test_a_problem_may_have_several_traces_and_one_canonical_one():
    varied = Equation(EquationConfig(traces_per_problem=3, **SMALL)).traces("train")
    canonical = Equation(EquationConfig(traces_per_problem=3, style="canonical", **SMALL)).traces("train")
    assert len(canonical) == SMALL["train_size"] < len(varied)
    assert len({(trace.problem.id, trace.text) for trace in varied}) == len(varied)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_problems_are_as_the_config_says(config):
    for problem in Equation(config).problems("test"):
        a, b, c, d = problem.data["equation"]
        assert problem.data["lines"] == config.lines
        assert (c > 0) == config.both_sides
        assert 1 <= b <= config.max_number
        assert d <= config.max_total
        assert -(-min(a, c) // 3) - (-b // 3) + (a - c > 1) - config.saved_lines >= config.lines


def test_splits_share_no_problem():
    task = Equation(EquationConfig())
    texts = {split: {problem.text for problem in task.problems(split)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not texts[one] & texts[other]
    for split in SPLITS:
        assert len(texts[split]) == len(task.problems(split)) > 100


@pytest.mark.parametrize("task", [EASY, TASK], ids=["easy", "medium"])
def test_verifier_oracle_and_legal_steps_agree_with_brute_force(task):
    verdicts = set()
    for problem in task.problems("validation")[:6]:
        lines, start = problem.data["lines"], problem.data["equation"]
        assert can_be_solved(start, lines)
        assert not can_be_solved(start, lines - 1)
        open_ = [task.start(problem)]
        for left in range(lines - 1, -1, -1):
            longer = []
            for prefix in open_[::3]:
                before = read(prefix.steps[-1].text.partition(": ")[2]) if prefix.steps else start
                steps = task.legal_steps(prefix)
                made = [read(step.partition(": ")[2]) for step in steps]
                assert sorted(made) == ([] if solved(before) else sorted(after_all(*before)))
                for step, after in zip(steps, made, strict=True):
                    in_time = can_be_solved(after, left)
                    assert step.endswith("\n") != (solved(after) or left == 0)
                    here = replace(prefix, steps=(*prefix.steps, Step(step)))
                    assert task.step_oracle(here)[-1] == in_time, here
                    ended = replace(here, steps=(*prefix.steps, Step(step.rstrip("\n"))), finished=True)
                    assert task.verify(ended).correct == solved(after)
                    verdicts.add((in_time, solved(after)))
                    longer.append(here)
            open_ = longer
    assert verdicts == {(True, True), (True, False), (False, False)}


def test_a_right_operation_can_waste_the_line_that_is_missing_in_the_end():
    good = {"-3: 4x + 4 = 24\n", "+1: 4x + 8 = 28\n"}
    start = written("", finished=False)
    for step in TASK.legal_steps(start):
        assert TASK.step_oracle(replace(start, steps=(Step(step),))) == [step in good]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends with 4x + 7 = 27, which is not solved"),
        ("-3: 4x + 4 = 24\n-3: 4x + 1 = 21", "it ends with 4x + 1 = 21, which is not solved"),
        ("-3: 4x + 4 = 25", "line 1: after -3 it is 4x + 4 = 24, not 4x + 4 = 25"),
        ("-4: 4x + 3 = 23", "line 1: -4 is not possible in 4x + 7 = 27"),
        ("-x: 3x + 7 = 27", "line 1: -x is not possible"),
        ("/2: 2x + 3 = 13", "line 1: /2 is not possible"),
        ("+0: 4x + 7 = 27", "line 1: +0 is not possible"),
        ("4x + 4 = 24", "line 1: '4x + 4 = 24' is not of the form"),
        ("-3: 4x + 4 = 24\n\n", "line 2: '' is not of the form"),
        (SOLVED + "\n", "line 4: there are only 3 lines"),
        ("-3: 4x + 4 = 24\n-3: 4x + 1 = 21\n-1: 4x = 20\n/4: x = 5", "line 4: there are only 3 lines"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(text))
    assert not outcome.correct
    assert outcome.reason.startswith(reason)


def test_a_limit_that_cannot_be_kept_is_read_and_said_to_be_too_low():
    trajectory = written("-3: 4x + 4 = 24", problem="4x + 7 = 27 in 2")
    assert TASK.verify(trajectory).reason.endswith("(4x + 7 = 27 takes 3 lines at least)")
    assert TASK.step_oracle(trajectory) == [False]


def test_fewer_lines_than_the_limit_are_fine_and_nothing_may_follow_the_solution():
    assert TASK.verify(written(SOLVED, problem="4x + 7 = 27 in 8")).correct
    outcome = TASK.verify(written(SOLVED + "\n-1: x = 4", problem="4x + 7 = 27 in 8"))
    assert outcome.reason == "line 4: x is found, nothing may follow"


def test_an_unfinished_solution_is_not_correct():
    assert TASK.verify(written(SOLVED)).correct
    assert not TASK.verify(written(SOLVED, finished=False)).correct
    assert TASK.step_oracle(written(SOLVED, finished=False)) == [True] * 3
    assert TASK.step_oracle(written(SOLVED.rpartition("\n")[0])) == [True, False]


def test_legal_steps_are_every_operation_and_none_after_a_fault_or_the_end():
    assert set(TASK.legal_steps(written("", problem="2x + 2 = x + 4 in 2", finished=False))) == {
        *("-x: x + 2 = 4\n", "-1: 2x + 1 = x + 3\n", "-2: 2x = x + 2\n"),
        *("+1: 2x + 3 = x + 5\n", "+2: 2x + 4 = x + 6\n", "+3: 2x + 5 = x + 7\n"),
    }
    last = TASK.legal_steps(written("", problem="4 = 2x in 1", finished=False))
    assert last == ["+1: 5 = 2x + 1", "+2: 6 = 2x + 2", "+3: 7 = 2x + 3", "/2: 2 = x"]
    for text in ("nonsense", "-3: 4x + 4 = 24", "-3: 4x + 5 = 24\n", SOLVED):
        assert TASK.legal_steps(written(text, finished=False)) == []


LINES = st.lists(
    st.sampled_from(
        [*TASK.split_steps(SOLVED), "-" + "9" * 5000 + ": x = 3", "-٣: 4x + ٤ = 24", "\r\n", "/0: x = 0", "="]
    ),
    max_size=5,
).map("".join)


@settings(deadline=None)
@given(text=st.text() | LINES, finished=st.booleans(), cuts=st.lists(st.integers(0, 80), max_size=4))
def test_whatever_a_model_writes_is_judged(text, finished, cuts):
    places = [0, *sorted(cuts), len(text)]
    odd = [text[begin:end] for begin, end in itertools.pairwise(places)]
    for parts in (TASK.split_steps(text), odd):
        trajectory = Trajectory(TASK.parse(PROBLEM), "", steps=tuple(map(Step, parts)), finished=finished)
        oracle = TASK.step_oracle(trajectory)
        assert len(oracle) == len(parts)
        assert sorted(oracle, reverse=True) == oracle
        assert TASK.verify(trajectory).correct == (finished and text == SOLVED)
        TASK.legal_steps(trajectory)
        assert TASK.answer(trajectory) is None or TASK.answer(trajectory).startswith("x = ")


@settings(deadline=None)
@given(st.data())
def test_one_changed_number_is_caught(data):
    trace = data.draw(st.sampled_from(TASK.traces("train")))
    digits = [i for i, character in enumerate(trace.text) if character.isdigit()]
    place = data.draw(st.sampled_from(digits))
    digit = data.draw(st.sampled_from("123456789").filter(lambda digit: digit != trace.text[place]))
    text = trace.text[:place] + digit + trace.text[place + 1 :]
    corrupted = replace(trace, steps=tuple(map(Step, TASK.split_steps(text))))
    line = text[:place].count("\n") + 1
    outcome = TASK.verify(corrupted)
    assert not outcome.correct
    assert f"line {line}" in outcome.reason
    assert TASK.step_oracle(corrupted)[line - 1 :] == [False] * (len(trace.steps) - line + 1)


@given(st.integers(1, 999))
def test_either_side_may_hold_x_in_the_answer(number):
    assert {TASK.answer(written(f"/2: {sides}")) for sides in (f"x = {number}", f"{number} = x")} == {f"x = {number}"}


@pytest.mark.parametrize("text", ["", SOLVED + "\n", "x = 4", "/2: x = x", "/2: 2x = 8", "/2: x = 4 + 4", "/2: 4 = 4"])
def test_a_text_that_does_not_end_with_x_alone_has_no_answer(text):
    assert TASK.answer(written(text)) is None


@pytest.mark.parametrize("text", ["3x + 6 = x + 14 in 3", " 3 x+6=1x+14 in 3 lines", "3x+06 = x+14"])
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == "3x + 6 = x + 14 in 3"
    assert problem.data == {"equation": (3, 6, 1, 14), "lines": 3}


def test_x_may_end_on_the_right():
    assert TASK.verify(written("-2x: 9 = x + 1\n-1: 8 = x", problem="2x + 9 = 3x + 1")).correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2x + 4", "it takes two sides with one '=' between them"),
        ("2x = 4 = x", "it takes two sides with one '=' between them"),
        (" = 4", "'' is no side"),
        ("2x - 4 = 6", "'2x - 4' is no side"),
        ("2y + 4 = 6", "'2y + 4' is no side"),
        ("2x + = 6", "'2x +' is no side"),
        ("2x 4 = 6", "'2x 4' is no side"),
        ("2x = 6 in many", "'6 in many' is no side"),
        ("2x = " + "9" * 5000, "is no side"),
        ("2x = 5", "there is not one solution, a whole number of 1 or more"),
        ("x + 5 = 2", "there is not one solution"),
        ("x + 5 = x + 5", "there is not one solution"),
        ("5 = 5", "there is not one solution"),
        ("2x + 4 = 8 in 99", "it takes at most 8 lines"),
        ("x + 997 = 998", "it takes more than 8 lines"),
    ],
)
def test_what_is_no_problem_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProblemSyntaxError) as caught:
        TASK.parse(text)
    assert reason in str(caught.value)
    assert PROBLEM in str(caught.value)
