import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import LogicConfig
from trellis_reasoning.logic import Logic, Theory, chance

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 60, "validation_size": 20, "test_size": 30}
CONFIGS = [
    *(LogicConfig(difficulty=difficulty, **SMALL) for difficulty in ("easy", "medium", "hard")),
    LogicConfig(spare_steps=2, two_premises=5, facts=3, max_chance=0.9, **SMALL),
]
TASK = Logic(CONFIGS[1])
EXAMPLE = "b f h | b>d d>a dh>e ef>g f>c | g in 3"


def written(problem, text, *, finished=True):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(problem)), steps=steps, finished=finished)


def given_in(problem):
    facts, rules, goal = problem.text.split(" | ")
    return facts.split(" "), rules.split(" "), goal[0], int(goal[5:])


def rows(facts, rules, goal, limit):
    """List every row of rules up to the goal or the last step, and the probability of applying just these."""
    usable = [rule for rule in rules if set(rule[:-2]) <= set(facts) and rule[-1] not in facts]
    if goal in facts or not limit or not usable:
        return [((), goal in facts, 1.0)]
    return [
        ((rule, *row), reached, share / len(usable))
        for rule in usable
        for row, reached, share in rows([*facts, rule[-1]], rules, goal, limit - 1)
    ]


def _begins(row, place, right):
    """Say whether a right row begins so; a line that is followed by another is not the last."""
    return any(way[:place] == row[:place] and (len(way) > place or place == len(row)) for way in right)


@st.composite
def theories(draw):
    letters = draw(st.permutations("abcdefg"))
    facts = sorted(letters[:2])
    rule = st.lists(st.sampled_from(letters), min_size=2, max_size=3, unique=True).map(
        lambda drawn: f"{''.join(drawn[:-1])}>{drawn[-1]}"
    )
    rules = draw(st.lists(rule, min_size=1, max_size=6, unique=True))
    goal = draw(st.sampled_from([rule[-1] for rule in rules] + letters[2:]).filter(lambda each: each not in facts))
    return f"{' '.join(facts)} | {' '.join(rules)} | {goal} in {draw(st.integers(1, 4))}"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.difficulty}{config.spare_steps}")
def test_every_trace_is_correct_and_every_step_of_it_good(config):
    task = Logic(config)
    for split in SPLITS:
        assert [trace.problem for trace in task.traces(split)] == list(task.problems(split))
        for trace in task.traces(split):
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * len(trace.steps)
            assert config.steps <= len(trace.steps) <= config.steps + config.spare_steps
            assert trace.answer == task.answer(trace)


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[1]], ids=lambda config: config.difficulty)
def test_problems_are_as_hard_as_configured(config):
    for problem in Logic(config).problems("validation"):
        facts, rules, goal, limit = given_in(problem)
        found = [(row, share) for row, reached, share in rows(facts, rules, goal, limit) if reached]
        assert (len(facts), len(rules)) == (config.facts, config.letters * config.branches + config.two_premises)
        assert min(len(row) for row, _ in found) == config.steps
        assert sum(share for _, share in found) <= config.max_chance + 1e-9


def test_splits_share_no_problem():
    task = Logic(LogicConfig(train_size=600))
    ids = {split: {problem.id for problem in task.problems(split)} for split in SPLITS}
    assert [len(ids[split]) for split in SPLITS] == [600, 200, 500]
    for one, other in itertools.combinations(SPLITS, 2):
        assert not ids[one] & ids[other]


def test_canonical_traces_take_the_first_rule_and_varied_ones_several_orders():
    problem = TASK.parse("a b | a>c b>d cd>e | e in 3")
    assert TASK.solution(problem, None) == ["a>c\n", "b>d\n", "cd>e"]
    several = Logic(LogicConfig(traces_per_problem=3, two_premises=6, **SMALL)).traces("train")
    assert len(several) > SMALL["train_size"]
    assert len({(trace.problem.id, trace.text) for trace in several}) == len(several)


@settings(deadline=None)
@given(text=theories(), data=st.data())
def test_verifier_and_oracle_agree_with_all_rows_of_rules(text, data):
    facts, rules, goal, limit = given_in(TASK.parse(text))
    ways = rows(facts, rules, goal, limit)
    right = [row for row, reached, _ in ways if reached]
    row = data.draw(
        st.sampled_from([row for row, _, _ in ways]) | st.lists(st.sampled_from(rules), max_size=5).map(tuple)
    )
    trajectory = written(text, "\n".join(row))
    assert TASK.verify(trajectory).correct == (row in right)
    in_reach = [_begins(row, place, right) for place in range(1, len(row) + 1)]
    assert TASK.step_oracle(replace(trajectory, finished=False)) == in_reach
    pairs = tuple((rule[:-2], rule[-1]) for rule in rules)
    reached = sum(share for _, reached, share in ways if reached)
    assert chance(Theory(tuple(facts), pairs, goal, limit)) == pytest.approx(reached)


@settings(deadline=None)
@given(theories())
def test_legal_steps_taken_to_the_end_are_all_rows_of_rules(text):
    open_, ended = [written(text, "", finished=False)], []
    while open_:
        trajectory = open_.pop()
        steps = TASK.legal_steps(trajectory)
        if not steps:
            ended.append(trajectory.text.rstrip("\n"))
        open_ += [replace(trajectory, steps=(*trajectory.steps, Step(step))) for step in steps]
    assert sorted(ended) == sorted("\n".join(row) for row, _, _ in rows(*given_in(TASK.parse(text))))


def test_legal_steps_derive_something_new():
    assert TASK.legal_steps(written(EXAMPLE, "", finished=False)) == ["b>d\n", "f>c\n"]
    assert TASK.legal_steps(written(EXAMPLE, "b>d\nhd>e\n", finished=False)) == ["d>a\n", "ef>g", "f>c\n"]


@pytest.mark.parametrize(
    "text", ["nonsense", "b>d", "b>", "d>a\n", "b>d\nb>d\n", "b>d\nd>a\nf>c\n", "b>d\ndh>e\nef>g", "b>d\ndh>e\nef>g\n"]
)
def test_no_step_is_legal_after_a_faulty_or_a_last_one(text):
    assert TASK.legal_steps(written(EXAMPLE, text, finished=False)) == []


LINES = st.lists(
    st.sampled_from(["b>d\n", "dh>e\n", "hd>e\n", "ef>g", "f>c\n", "\n", "b>d", "٣>٤\n", "\r\n"]), max_size=5
).map("".join)


@settings(deadline=None)
@given(text=st.text() | LINES, finished=st.booleans(), cuts=st.lists(st.integers(0, 20), max_size=4))
def test_whatever_a_model_writes_is_judged_and_nothing_is_lost(text, finished, cuts):
    places = [0, *sorted(cuts), len(text)]
    odd = [text[begin:end] for begin, end in itertools.pairwise(places)]
    for parts in (TASK.split_steps(text), odd):
        trajectory = Trajectory(TASK.parse(EXAMPLE), "", steps=tuple(map(Step, parts)), finished=finished)
        oracle = TASK.step_oracle(trajectory)
        assert len(oracle) == len(parts)
        assert sorted(oracle, reverse=True) == oracle
        correct = TASK.verify(trajectory).correct
        assert correct == (finished and text in ("b>d\ndh>e\nef>g", "b>d\nhd>e\nef>g"))
        if finished and parts:
            assert oracle[-1] == correct
        TASK.legal_steps(trajectory)
        assert TASK.answer(trajectory) is None or TASK.answer(trajectory).count(">") == text.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "g is not derived"),
        ("b>d\n", "g is not derived"),
        ("b > d", "line 1: 'b > d' is not of the form 'a>b' or 'ab>c'"),
        ("b>e", "line 1: there is no rule b>e"),
        ("dh>e", "line 1: d is not known (yet)"),
        ("b>d\nb>d", "line 2: d is known already"),
        ("b>d\n\ndh>e", "line 2: '' is not of the form"),
        ("b>d\nf>c\ndh>e\nef>g", "line 4: only 3 steps are allowed"),
        ("b>d\ndh>e\nef>g\n", "line 4: nothing may follow, the problem is solved"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(EXAMPLE, text))
    assert (outcome.correct, outcome.score) == (False, 0.0)
    assert outcome.reason.startswith(reason)


def test_a_useless_step_puts_the_goal_out_of_reach():
    assert TASK.step_oracle(written(EXAMPLE, "b>d\nf>c\ndh>e\n", finished=False)) == [True, False, False]
    assert TASK.step_oracle(written(EXAMPLE.replace("3", "4"), "b>d\nf>c\ndh>e\n", finished=False)) == [True] * 3


def test_a_goal_out_of_reach_is_read_never_solved_and_said_to_be_so():
    trajectory = written("a b | a>c bc>d | d in 1", "a>c")
    assert TASK.step_oracle(trajectory) == [False]
    assert TASK.verify(trajectory).reason == "d is not derived (it cannot be in 1 steps)"


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (["b>d\nhd>e\nef>g", "b>d\ndh>e\nfe>g"], "b>d dh>e ef>g"),
        (["b>d\nf>c", "f>c\nb>d"], "b>d f>c"),
        (["", "b>d\n", "b", "b>d\n\nf>c"], None),
    ],
)
def test_equal_derivations_have_equal_answers(texts, answer):
    assert {TASK.answer(written(EXAMPLE, text)) for text in texts} == {answer}


@pytest.mark.parametrize("text", ["b a | ba>c a>d | c in 2", " b, a |ba>c,  a>d| c  in 2\n"])
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == "b a | ba>c a>d | c in 2"
    assert problem.data == {"facts": "ba", "rules": ("ba>c", "a>d"), "goal": "c", "limit": 2}


MANY = " ".join(f"a>{letter}" for letter in "bcdefghijklmnopqr")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a b | a>c", "facts, rules and goal must stand between two '|'"),
        ("| a>c | c in 1", "'' is no fact"),
        ("ab | a>c | c in 1", "'ab' is no fact"),
        ("a | | c in 1", "'' is no rule"),
        ("a | abd>c | c in 1", "'abd>c' is no rule"),
        ("a | aa>c | c in 1", "'aa>c' is no rule"),
        ("a | ac>c | c in 1", "'ac>c' is no rule"),
        ("a a | a>c | c in 1", "a is there twice"),
        ("a | a>c a>c | c in 1", "a>c is there twice"),
        (f"a | {MANY} | c in 1", "there are 17 rules, it takes up to 16"),
        ("a | a>c | c", "'c' is no goal with a number of steps"),
        ("a | a>c | c in 0", "'c in 0' is no goal with a number of steps"),
        ("a | a>c | a in 1", "the goal a is a fact"),
    ],
)
def test_what_is_no_problem_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProblemSyntaxError) as caught:
        TASK.parse(text)
    assert reason in str(caught.value)
    assert "a b | a>c bc>d | d in 2" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"letters": 3, "steps": 4}, "too few for so many"),
        ({"branches": 3}, "as many dead_ends"),
        ({"letters": 12, "two_premises": 5}, "at most 16 can be searched"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        LogicConfig(**config)
