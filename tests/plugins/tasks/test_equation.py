import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis.procedural import split_of
from trellis_reasoning.config import EquationConfig
from trellis_reasoning.equation import Equation

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 40, "validation_size": 15, "test_size": 20}
CONFIGS = [EquationConfig(difficulty=difficulty, **SMALL) for difficulty in ("easy", "medium", "hard")]
EASY, TASK = Equation(CONFIGS[0]), Equation(CONFIGS[1])
PROBLEM = "2x + 5 + 3 = x + 8 + 4 in 3"
SOLVED = "5+3: 2x + 8 = x + 8 + 4\n8-8: 2x = x + 4\n2x-x: x = 4"


def written(text, *, problem=PROBLEM, finished=True):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(problem)), steps=steps, finished=finished)


def as_pairs(side):
    return sorted((int(term.removesuffix("x") or 1), term.endswith("x")) for term in side.split(" + "))


def after_all(left, right):
    """Every equation one operation away, without its name: written from the rules, sides as sorted pairs."""
    for mine, other, swapped in ((left, right, False), (right, left, True)):
        for i, j in itertools.permutations(range(len(mine)), 2):
            if i < j and mine[i][1] == mine[j][1]:
                rest = [term for k, term in enumerate(mine) if k not in (i, j)]
                made = sorted([*rest, (mine[i][0] + mine[j][0], mine[i][1])])
                yield (other, made) if swapped else (made, other)
        for i, j in itertools.product(range(len(mine)), range(len(other))):
            (a, kind), (b, other_kind) = mine[i], other[j]
            if kind == other_kind and a >= b:
                here = sorted([*mine[:i], *mine[i + 1 :], *([(a - b, kind)] if a > b else [])])
                there = [*other[:j], *other[j + 1 :]]
                if here and there:
                    yield (there, here) if swapped else (here, there)
    counts = [count for count, _ in left + right]
    for divisor in range(2, min(counts) + 1):
        if all(count % divisor == 0 for count in counts):
            yield tuple([(count // divisor, of_x) for count, of_x in side] for side in (left, right))


def can_be_solved(left, right, lines):
    """Try everything, remember nothing."""
    if solved(left, right):
        return True
    return lines > 0 and any(can_be_solved(*after, lines - 1) for after in after_all(left, right))


def solved(left, right):
    return len(left) == len(right) == 1 and (1, True) in left + right and left[0][1] != right[0][1]


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
            number = int(trace.answer.removeprefix("x = "))
            left, right = (
                sum(count * (number if of_x else 1) for count, of_x in as_pairs(" + ".join(trace.problem.data[side])))
                for side in ("left", "right")
            )
            assert left == right
            assert 1 <= number <= config.max_solution


def test_a_problem_may_have_several_traces_and_one_canonical_one():
    varied = Equation(EquationConfig(traces_per_problem=3, **SMALL)).traces("train")
    canonical = Equation(EquationConfig(traces_per_problem=3, style="canonical", **SMALL)).traces("train")
    assert len(canonical) == SMALL["train_size"] < len(varied)
    assert len({(trace.problem.id, trace.text) for trace in varied}) == len(varied)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_problems_are_as_the_config_says(config):
    for problem in Equation(config).problems("test"):
        terms = [*problem.data["left"], *problem.data["right"]]
        assert sum(term.endswith("x") for term in terms) == config.x_terms
        assert len(terms) == config.x_terms + config.numbers
        assert max(int(term) for term in terms if term.isdigit()) <= config.max_number


def test_splits_share_no_problem_in_another_order_or_with_sides_swapped():
    task = Equation(EquationConfig(difficulty="easy", train_size=400))
    keys = {
        split: [
            str(sorted(as_pairs(" + ".join(problem.data[side])) for side in ("left", "right")))
            for problem in task.problems(split)
        ]
        for split in SPLITS
    }
    for one, other in itertools.combinations(SPLITS, 2):
        assert not set(keys[one]) & set(keys[other])
    assert len(set(keys["test"])) == len(keys["test"])
    assert split_of("a key") in SPLITS


@pytest.mark.parametrize("task", [EASY, TASK], ids=["easy", "medium"])
def test_verifier_oracle_and_legal_steps_agree_with_brute_force(task):
    verdicts = set()
    for problem in task.problems("validation")[:6]:
        lines = problem.data["lines"]
        start = tuple(as_pairs(" + ".join(problem.data[side])) for side in ("left", "right"))
        assert can_be_solved(*start, lines)
        assert not can_be_solved(*start, lines - 1)
        open_ = [task.start(problem)]
        for place in range(1, lines + 1):
            longer = []
            for prefix in open_[::4]:
                before = start
                if prefix.steps:
                    sides = prefix.steps[-1].text.strip().partition(": ")[2].split(" = ")
                    before = tuple(map(as_pairs, sides))
                steps = task.legal_steps(prefix)
                made = [tuple(map(as_pairs, step.strip().partition(": ")[2].split(" = "))) for step in steps]
                expected = [] if solved(*before) else list(after_all(*before))
                assert sorted(map(str, set(map(str, made)))) == sorted(set(map(str, expected)))
                for step, after in zip(steps, made, strict=True):
                    here = replace(prefix, steps=(*prefix.steps, Step(step)))
                    assert step.endswith("\n") != (solved(*after) or place == lines)
                    assert task.step_oracle(here)[-1] == can_be_solved(*after, lines - place), here
                    ended = replace(here, steps=(*prefix.steps, Step(step.rstrip("\n"))), finished=True)
                    assert task.verify(ended).correct == solved(*after)
                    verdicts.add((can_be_solved(*after, lines - place), solved(*after)))
                    longer.append(here)
            open_ = longer
    assert verdicts == {(True, True), (True, False), (False, False)}


def test_a_right_operation_can_waste_the_line_that_is_missing_in_the_end():
    wasted = "8-4: 2x + 5 + 3 = x + 4 + 4\n"
    assert TASK.verify(written(SOLVED)).correct
    with pytest.raises(AssertionError):
        assert TASK.step_oracle(written("8-4: 2x + 1 = x\n", finished=False)) == [True]
    assert TASK.step_oracle(written(wasted, finished=False)) == [False]
    assert TASK.step_oracle(written("8-3: 2x + 5 = x + 5 + 4\n", finished=False)) == [True]
    assert TASK.step_oracle(written("8+4: 2x + 5 + 3 = x + 12\n", finished=False)) == [False]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends with 2x + 5 + 3 = x + 8 + 4, which is not solved"),
        ("5+3: 2x + 8 = x + 8 + 4\n8+4: 2x + 8 = x + 12", "it ends with 2x + 8 = x + 12, which is not solved"),
        ("5+3: 2x + 9 = x + 8 + 4", "line 1: after 5+3 it is 2x + 8 = x + 8 + 4, not 2x + 9 = x + 8 + 4"),
        ("5+8: 2x + 3 = x + 13 + 4", "line 1: 5+8 is not possible in 2x + 5 + 3 = x + 8 + 4"),
        ("5-8: 2x + 3 = x + 3 + 4", "line 1: 5-8 is not possible"),
        ("/2: x + 5 + 3 = x + 8 + 4", "line 1: /2 is not possible"),
        ("2x-5: 5 + 3 = x + 8 + 4", "line 1: 2x-5 is not possible"),
        ("2x + 8 = x + 8 + 4", "line 1: '2x + 8 = x + 8 + 4' is not of the form"),
        ("5+3: 2x + 8 = x + 8 + 4\n\n", "line 2: '' is not of the form"),
        (SOLVED + "\n", "line 4: there are only 3 lines"),
        ("5+3: 2x + 8 = x + 8 + 4\n8+4: 2x + 8 = x + 12\n12-8: 2x = x + 4\n2x-x: x = 4", "line 4: there are only 3"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(text))
    assert not outcome.correct
    assert outcome.reason.startswith(reason)


def test_a_limit_that_cannot_be_kept_is_read_and_said_to_be_too_low():
    trajectory = written("5+3: 2x + 8 = x + 8 + 4", problem="2x + 5 + 3 = x + 8 + 4 in 2")
    assert TASK.verify(trajectory).reason.endswith("(2x + 5 + 3 = x + 8 + 4 takes 3 lines at least)")
    assert TASK.step_oracle(trajectory) == [False]


def test_fewer_lines_than_the_limit_are_fine_and_nothing_may_follow_the_solution():
    assert TASK.verify(written(SOLVED, problem="2x + 5 + 3 = x + 8 + 4 in 9")).correct
    outcome = TASK.verify(written(SOLVED + "\n/2: x = 2", problem="2x + 5 + 3 = x + 8 + 4 in 9"))
    assert outcome.reason == "line 4: x is found, nothing may follow"


def test_terms_and_summands_may_stand_in_any_order_but_not_on_the_other_side():
    text = "3+5: 8 + 2x = 4 + x + 8\n8-8: 2x = 4 + x\n2x-x: x = 4"
    assert TASK.verify(written(text)).correct
    swapped = "5+3: x + 8 + 4 = 2x + 8"
    assert "line 1: after 5+3 it is" in TASK.verify(written(swapped)).reason


def test_an_unfinished_solution_is_not_correct():
    assert not TASK.verify(written(SOLVED, finished=False)).correct
    assert TASK.step_oracle(written(SOLVED, finished=False)) == [True] * 3
    assert TASK.step_oracle(written(SOLVED.rpartition("\n")[0])) == [True, False]


def test_legal_steps_are_every_operation_and_none_after_a_fault_or_the_end():
    assert TASK.legal_steps(written("", problem="4x + 2 = 6 + 4 in 3", finished=False)) == [
        "6+4: 4x + 2 = 10\n",
        "6-2: 4x = 4 + 4\n",
        "4-2: 4x = 6 + 2\n",
        "/2: 2x + 1 = 3 + 2\n",
    ]
    assert TASK.legal_steps(written("", problem="2x = 6 + 2 in 1", finished=False)) == ["6+2: 2x = 8", "/2: x = 3 + 1"]
    for text in ("nonsense", "5+3: 2x + 8 = x + 8 + 4", "5+3: 2x + 9 = x + 8 + 4\n", SOLVED):
        assert TASK.legal_steps(written(text, finished=False)) == []


LINES = st.lists(
    st.sampled_from([*TASK.split_steps(SOLVED), "5+" + "9" * 5000 + ": x = 3", "٥+3: 2x = ٨", "\r\n", "/0: x = 0", "="]),
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


@pytest.mark.parametrize("text", [PROBLEM, " 2 x+5+3=x+8  +4 in 3 lines", "2x+5+3 = x+8+4"])
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == PROBLEM
    assert problem.data == {"left": ("2x", "5", "3"), "right": ("x", "8", "4"), "lines": 3}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2x + 4", "it takes two sides with one '=' between them"),
        ("2x = 4 = x", "it takes two sides with one '=' between them"),
        ("2x - 4 = 6", "'2x - 4' is no term"),
        ("2y + 4 = 6", "'2y' is no term"),
        ("2x + 0 = 6", "'0' is no term"),
        ("2x + = 6", "'' is no term"),
        ("2x = 6 in many", "'6 in many' is no term"),
        ("2x = " + "9" * 5000, "is no term"),
        ("x = 1" + " + 1" * 20, "there are 22 terms, it takes 9 at most"),
        ("2x = 5", "there is not one solution, a whole number of 1 or more"),
        ("x + 5 = 2", "there is not one solution"),
        ("x + 5 = x + 5", "there is not one solution"),
        ("5 = 5", "there is not one solution"),
    ],
)
def test_what_is_no_problem_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProblemSyntaxError) as caught:
        TASK.parse(text)
    assert reason in str(caught.value)
    assert PROBLEM in str(caught.value)
