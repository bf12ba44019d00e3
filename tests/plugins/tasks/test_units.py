import itertools
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import UnitsConfig
from trellis_reasoning.units import Units

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 60, "validation_size": 20, "test_size": 30}
CONFIGS = [UnitsConfig(difficulty=difficulty, **SMALL) for difficulty in ("easy", "medium", "hard")]
TASK = Units(CONFIGS[1])
PROBLEM = "a = c3 = d2, b = f3, c = e4, d = b2 = g4: a4 -> f?"
SOLVED = "a4 -> d8\nd8 -> b16\nb16 -> f48"


def written(text, *, problem=PROBLEM, finished=True):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(problem)), steps=steps, finished=finished)


def walks(problem):
    """Every walk along the facts, as it would be written, with whether it arrives; a walk of its own is each beginning."""
    facts, asked = problem.data["facts"], problem.data["asked"]
    begun = [((), problem.data["unit"], problem.data["amount"])]
    while begun:
        lines, unit, amount = begun.pop()
        yield lines, unit == asked
        if unit != asked:
            for source, factor, target in facts:
                if source == unit:
                    line = f"{unit}{amount} -> {target}{amount * factor}"
                    begun.append(((*lines, line), target, amount * factor))


def prefix(problem, lines, *, ended):
    texts = [line + "\n" for line in lines]
    if ended:
        texts[-1] = texts[-1][:-1]
    return replace(TASK.start(problem), steps=tuple(map(Step, texts)))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_every_trace_is_correct_and_every_step_of_it_good(config):
    task = Units(config)
    for split in SPLITS:
        traces = task.traces(split)
        assert {trace.problem for trace in traces} == set(task.problems(split))
        for trace in traces:
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * len(trace.steps)
            assert len(trace.steps) >= config.conversions
            assert trace.answer == task.answer(trace)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_problems_are_as_the_config_says(config):
    task = Units(config)
    for problem in task.problems("test"):
        arriving = [lines for lines, arrives in walks(problem) if arrives]
        assert [len(lines) for lines in arriving] == [config.conversions]
        assert len(problem.data["facts"]) == config.units * config.choices
        numbers = [int(line.split(" -> ")[1][1:]) for lines, _ in walks(problem) for line in lines]
        assert max(numbers) <= config.max_result
        assert 1 <= problem.data["amount"] <= config.max_amount


def test_most_problems_have_wrong_turns_that_are_right_line_by_line():
    for problem in TASK.problems("test"):
        lost = [lines for lines, arrives in walks(problem) if not arrives and len(lines) == 1]
        assert lost


def test_all_ways_that_arrive_are_solutions_and_have_the_same_answer():
    problem = TASK.parse("a = b2 = c6 = d4, b = c3 = d2, d = e2: a1 -> c?")
    arriving = ["a1 -> c6", "a1 -> b2\nb2 -> c6"]
    assert sorted("\n".join(lines) for lines, arrives in walks(problem) if arrives) == sorted(arriving)
    for text in arriving:
        trajectory = written(text, problem=problem.text)
        assert TASK.verify(trajectory).correct
        assert TASK.answer(trajectory) == "c6"


def test_the_canonical_solution_is_the_shortest_and_others_are_drawn_from_all():
    problem = TASK.parse("a = b2 = c6, b = c3 = d2: a1 -> c?")
    assert TASK.solution(problem, None) == ["a1 -> c6"]
    drawn = {"".join(TASK.solution(problem, Random(seed))) for seed in range(20)}
    assert drawn == {"a1 -> c6", "a1 -> b2\nb2 -> c6"}


def key(problem):
    """What a problem is without its names: the factors from the start to each unit, and which of them is asked."""
    ways = {problem.data["unit"]: ()}
    for _ in problem.data["facts"]:
        ways |= {b: (*ways[a], factor) for a, factor, b in problem.data["facts"] if a in ways}
    return problem.data["amount"], tuple(sorted(ways.values())), ways[problem.data["asked"]]


def test_splits_share_no_problem_under_other_names_or_in_another_order():
    task = Units(UnitsConfig(difficulty="easy", train_size=600))
    keys = {split: [key(problem) for problem in task.problems(split)] for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not set(keys[one]) & set(keys[other])
    assert len(set(keys["test"])) == len(keys["test"])
    assert len(set(keys["train"])) < len({problem.id for problem in task.problems("train")}) == 600


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_verifier_oracle_and_legal_steps_agree_with_every_walk(config):
    verdicts = set()
    for problem in Units(config).problems("validation"):
        every = dict(walks(problem))
        for lines, arrives in every.items():
            in_reach = any(other[: len(lines)] == lines and end for other, end in every.items())
            here = prefix(problem, lines, ended=arrives)
            next_lines = [other[-1] for other in every if other[:-1] == lines and other]
            assert sorted(step.strip() for step in TASK.legal_steps(here)) == sorted(next_lines)
            for step in TASK.legal_steps(here):
                assert step.endswith("\n") != every[(*lines, step.strip())]
            if lines:
                assert TASK.step_oracle(here)[-1] == in_reach
                finished = prefix(problem, lines, ended=True)
                assert TASK.verify(replace(finished, finished=True)).correct == arrives
                assert TASK.step_oracle(replace(finished, finished=True))[-1] == arrives
                verdicts.add((in_reach, arrives))
    assert verdicts == {(True, True), (True, False), (False, False)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends with a4, the question is how many f"),
        ("a4 -> c12\n", "it ends with c12, the question is how many f"),
        ("a4 -> c12\nc12 -> e48", "it ends with e48, the question is how many f"),
        ("a4 -> d9", "line 1: a4 is d8, not d9"),
        ("a5 -> d10", "line 1: what there is is a4, not a5"),
        ("a4 -> d8\na4 -> c12", "line 2: what there is is d8, not a4"),
        ("a4 -> f48", "line 1: no fact says how many f one a is"),
        ("a4 -> c12\nc12 -> a4", "line 2: no fact says how many a one c is"),
        ("a4 -> d8 ", "line 1: 'a4 -> d8 ' is not of the form 'a4 -> b12'"),
        ("a4 -> d8\n\nd8 -> b16", "line 2: '' is not of the form"),
        (SOLVED + "\n", "line 4: f is the asked unit, nothing may follow it"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(text))
    assert not outcome.correct
    assert outcome.reason.startswith(reason)


def test_a_question_without_a_way_is_read_and_said_to_have_none():
    outcome = TASK.verify(written("a4 -> c12", problem="a = c3, f = e2: a4 -> f?"))
    assert outcome.reason == "it ends with c12, the question is how many f (no conversions lead from a to f)"
    assert TASK.step_oracle(written("a4 -> c12\n", problem="a = c3, f = e2: a4 -> f?", finished=False)) == [False]


def test_an_unfinished_solution_is_not_correct():
    assert TASK.verify(written(SOLVED)).correct
    assert not TASK.verify(written(SOLVED, finished=False)).correct
    assert TASK.step_oracle(written(SOLVED, finished=False)) == [True] * 3


def test_legal_steps_are_every_conversion_and_none_after_a_fault_or_the_end():
    assert TASK.legal_steps(written("a4 -> d8\n", finished=False)) == ["d8 -> b16\n", "d8 -> g32\n"]
    assert TASK.legal_steps(written("a4 -> d8\nd8 -> b16\n", finished=False)) == ["b16 -> f48"]
    for text in ("nonsense", "a4 -> d8", "a4 -> d9\n", SOLVED, "a4 -> c12\nc12 -> e48\n"):
        assert TASK.legal_steps(written(text, finished=False)) == []


LINES = st.lists(
    st.sampled_from(
        ["a4 -> d8\n", "d8 -> b16\n", "b16 -> f48", "a4 -> c12\n", "b" + "9" * 5000 + " -> f3", "a٤ -> d٨", "\r", "="]
    ),
    max_size=5,
).map("".join)


@settings(deadline=None)
@given(text=st.text() | LINES, finished=st.booleans(), cuts=st.lists(st.integers(0, 60), max_size=4))
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


@given(st.integers(0, 999), st.sampled_from(["a4 -> d8\n", "", "x1 -> y2\n"]))
def test_the_answer_is_what_the_last_line_arrives_at(number, before):
    assert TASK.answer(written(f"{before}b16 -> f{number}")) == f"f{number}"


@pytest.mark.parametrize("text", ["", "a4 -> d8\n", "f48", "a4 -> d08", "a4 -> d8 -> e9"])
def test_a_text_without_a_last_line_has_no_answer(text):
    assert TASK.answer(written(text)) is None


@pytest.mark.parametrize("text", ["h = min60 = q4, min = s60: h2 -> s?", " h=min 060 ,min = s60, h = q4:h 2 -> s? "])
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == "h = min60 = q4, min = s60: h2 -> s?"
    assert problem.data["facts"] == (("h", 60, "min"), ("h", 4, "q"), ("min", 60, "s"))
    assert (problem.data["unit"], problem.data["amount"], problem.data["asked"]) == ("h", 2, "s")
    assert TASK.parse(problem.text) == problem


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = b3", "after the facts and a ':' must stand the question"),
        ("a = b3: a4 in b", "after the facts and a ':' must stand the question"),
        (": a4 -> b?", "'' is no fact"),
        ("a = 3b: a4 -> b?", "'a = 3b' is no fact"),
        ("a = b" + "9" * 5000 + ": a4 -> b?", "is no fact"),
        ("a = b3: a4 -> a?", "a is asked in a"),
        ("a = a3: a4 -> b?", "'a = a3' says nothing"),
        ("a = b1: a4 -> b?", "'a = b1' has a factor under 2"),
        ("a = b3, a = b3: a4 -> b?", "two facts about b in one a"),
        ("a = b3, b = c2, a = c5: a4 -> c?", "'a = c5' contradicts the facts before it"),
        ("a = c6, b = c2, x = y2, y = b3, x = a3: a4 -> c?", "'x = a3' contradicts the facts before it"),
        ("a = b3, b = a3: a4 -> b?", "'b = a3' contradicts the facts before it"),
    ],
)
def test_what_is_no_problem_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProblemSyntaxError) as caught:
        TASK.parse(text)
    assert reason in str(caught.value)
    assert "h = min60" in str(caught.value)


def test_facts_that_agree_by_another_way_are_read():
    assert TASK.parse("a = c6, b = c2, x = y2, y = b3, x = a2: a4 -> c?").data["asked"] == "c"


@pytest.mark.parametrize(
    ("values", "mend"), [({"conversions": 6}, "set units to that or more"), ({"max_factor": 2}, "set max_factor to 3")]
)
def test_what_cannot_be_had_together_is_refused(values, mend):
    with pytest.raises(ValidationError, match=mend):
        UnitsConfig(**values)


def test_the_largest_problems_have_names_for_all_units():
    sizes = {"units": 8, "choices": 3, "max_factor": 9, "max_result": 10**9}
    for problem in Units(UnitsConfig(**sizes, **SMALL)).problems("train"):
        assert len(problem.data["facts"]) == 24
