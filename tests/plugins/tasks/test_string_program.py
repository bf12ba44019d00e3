import itertools
import time
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_code.config import StringInstruction, StringProgramConfig
from trellis_code.strings import INSTRUCTIONS, StringLanguage, StringProgram

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 40, "validation_size": 15, "test_size": 20}
CONFIGS = [
    StringProgramConfig(lines=3, values=True, min_length=3, max_length=5, **SMALL),
    StringProgramConfig(traces_per_problem=3, **SMALL),
    StringProgramConfig(difficulty="hard", style="canonical", **SMALL),
]
TASK = StringProgram(CONFIGS[0])
NAMES = get_args(StringInstruction)
STATEMENT = "bade -> aebC; cab -> cbD; 3 lines"


def written(text, *, finished=True, statement=STATEMENT):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(statement)), steps=steps, finished=finished)


def independent(name, word):
    """What an instruction does, written another way, on lists of letters; None out of bounds."""
    letters = list(word)
    if name == "sort":
        letters = [letter for wanted in "ABCDEabcde" for letter in letters if letter == wanted]
    elif name == "reverse":
        letters.reverse()
    elif name == "rotate":
        letters.append(letters.pop(0))
    elif name == "drop first":
        letters.pop(0)
    elif name == "drop last":
        letters.pop()
    elif name == "a to e":
        letters = ["e" if letter == "a" else letter for letter in letters]
    elif name == "next":
        letters = [chr(ord(letter) + (-4 if letter in "eE" else 1)) for letter in letters]
    elif name == "capital":
        letters[0] = letters[0].capitalize()
    elif name == "double":
        letters += letters[:]
    return "".join(letters) if 1 <= len(letters) <= 12 else None


def pairs_of(problem):
    return [*problem.data["examples"], *problem.data["held_out"]]


def runs(program, word):
    for name in program:
        word = word if word is None else independent(name, word)
    return word


def some_program_continues(problem, prefix):
    """Try every program that begins with the prefix: no memory, no joint states."""
    for length in range(problem.data["lines"] - len(prefix) + 1):
        for rest in itertools.product(NAMES, repeat=length):
            if all(runs([*prefix, *rest], first) == second for first, second in pairs_of(problem)):
                return True
    return False


@given(st.text("abcdeABCDE", min_size=1, max_size=12), st.sampled_from(NAMES))
def test_each_instruction_does_what_it_is_called(word, name):
    assert StringLanguage(NAMES).apply(name, word) == independent(name, word)


def test_the_config_names_the_instructions_there_are():
    assert tuple(INSTRUCTIONS) == NAMES


@pytest.mark.parametrize("config", CONFIGS, ids=["values", "medium", "hard"])
def test_every_trace_is_correct_and_every_step_of_it_good(config):
    task = StringProgram(config)
    for split in SPLITS:
        traces = task.traces(split)
        assert {trace.problem for trace in traces} == set(task.problems(split))
        for trace in traces:
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * config.lines
            assert trace.answer == "; ".join(line.split(" | ")[0] for line in trace.text.split("\n"))
            assert (" | " in trace.text) == config.values


def test_no_problem_can_be_solved_in_fewer_lines():
    for problem in TASK.problems("test"):
        assert some_program_continues(problem, [])
        assert not some_program_continues(replace(problem, data={**problem.data, "lines": 2}), [])


def test_splits_share_no_problem_in_any_order():
    task = StringProgram(StringProgramConfig(train_size=600))
    keys = {split: {str(sorted(p.data["examples"])) for p in task.problems(split)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not keys[one] & keys[other]


def test_verifier_step_oracle_and_legal_steps_agree_with_brute_force():
    verdicts = set()
    for problem in TASK.problems("validation")[:6]:
        open_ = [TASK.start(problem)]
        for place in range(3):
            extended = []
            for prefix in open_:
                program = [step.text.partition(" | ")[0] for step in prefix.steps]
                texts = TASK.legal_steps(prefix)
                legal = [n for n in NAMES if all(runs([*program, n], a) for a, _ in problem.data["examples"])]
                assert [text.partition(" | ")[0] for text in texts] == legal
                extended += [replace(prefix, steps=(*prefix.steps, Step(text))) for text in texts]
            open_ = extended if place == 2 else extended[::3]
            for prefix in open_:
                program = [step.text.partition(" | ")[0] for step in prefix.steps]
                expected = some_program_continues(problem, program)
                assert TASK.step_oracle(prefix)[-1] == expected, prefix
                correct = all(runs(program, first) == second for first, second in pairs_of(problem))
                assert TASK.verify(replace(prefix, finished=True)).correct == correct
                verdicts.add((expected, correct))
    assert len(verdicts) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "of example 1 it makes bade, not ab"),
        ("drop last | bad\ndrop last | bb", "line 2: example 1 is ba now, not 'bb'"),
        ("Sort", "line 1: 'Sort' is none of sort, reverse"),
        ("double\ndouble", "line 2: 'double' makes of example 1 no 1 to 12 letters"),
        ("drop first\ndrop first\ndrop first\nsort", "line 3: 'drop first' makes of example 2 no 1 to 12 letters"),
        ("sort\nsort\nsort\nsort", "line 4: only 3 lines may be written"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(text, statement="bade -> ab; cab -> c; 3 lines"))
    assert not outcome.correct
    assert outcome.reason.startswith(reason)


def test_legal_steps_keep_within_the_bounds_and_write_what_becomes_of_the_first_example():
    steps = TASK.legal_steps(written("double | badebade\n", finished=False))
    assert steps[:2] == ["sort | aabbddee\n", "reverse | edabedab\n"]
    assert not any(step.startswith("double") for step in steps)


def test_the_example_of_the_documents_is_right():
    assert TASK.verify(written("capital | Bade\nreverse | edaB\nnext | aebC")).correct


LINES = st.lists(
    st.sampled_from(["sort\n", "double | badebade\n", "next", "next | \u0661\n", "\r\n", "\x00"]), max_size=6
)


@settings(deadline=None)
@given(text=st.text() | LINES.map("".join), finished=st.booleans())
def test_whatever_a_model_writes_is_judged(text, finished):
    steps = tuple(map(Step, TASK.split_steps(text)))
    trajectory = Trajectory(TASK.parse(STATEMENT), "", steps=steps, finished=finished)
    oracle = TASK.step_oracle(trajectory)
    assert len(oracle) == len(steps)
    assert sorted(oracle, reverse=True) == oracle
    if finished and steps:
        assert TASK.verify(trajectory).correct == oracle[-1]
    TASK.legal_steps(trajectory)
    TASK.answer(trajectory)


@pytest.mark.parametrize(
    "text", ["double\n" * 400_000, "double | " + "a" * 3_000_000, "a" * 3_000_000, "\ud800" * 1500]
)
def test_hostile_text_is_judged_fast(text):
    trajectory = Trajectory(TASK.parse(STATEMENT), "", steps=(Step(text),), finished=True)
    started = time.perf_counter()
    assert not TASK.verify(trajectory).correct
    assert TASK.step_oracle(trajectory) == [False]
    assert TASK.legal_steps(replace(trajectory, finished=False)) == []
    TASK.answer(trajectory)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("text", ["bade->ab;cab->c;2 lines", "bade => ab\ncab → c\nin 2"])
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == "bade -> ab; cab -> c; 2 lines"
    assert problem.data == {"examples": (("bade", "ab"), ("cab", "c")), "held_out": (), "lines": 2}


@pytest.mark.parametrize("word", ["", "bad e", "bax", "a" * 13, "ä", "ａ"])
def test_what_is_no_word_is_refused_with_the_reason(word):
    with pytest.raises(ProblemSyntaxError, match="is not made of 1 to 12 letters from a to e, small or capital"):
        TASK.parse(f"ab -> {word}; 2 lines")
