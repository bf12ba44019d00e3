import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis import Step, Trajectory
from trellis.errors import ProblemSyntaxError
from trellis_reasoning.config import PathConfig
from trellis_reasoning.path import Graph, Path, chance

SPLITS = ("train", "validation", "test")
SMALL = {"train_size": 60, "validation_size": 20, "test_size": 30}
CONFIGS = [PathConfig(difficulty=difficulty, **SMALL) for difficulty in ("easy", "medium", "hard")]
TASK = Path(CONFIGS[1])
EXAMPLE = "a>c a>f b>e c>b c>d f>d | a -> e"


def written(problem, text, *, finished=True):
    steps = tuple(map(Step, TASK.split_steps(text)))
    return replace(TASK.start(TASK.parse(problem)), steps=steps, finished=finished)


def walks(edges, start, goal):
    """List every walk from a node until the goal or a dead end, with the probability of taking it."""
    after = [to for from_, to in edges if from_ == start]
    if start == goal or not after:
        return [([], 1.0)]
    return [([(start, to), *rest], share / len(after)) for to in after for rest, share in walks(edges, to, goal)]


def edges_of(problem):
    edges, _, ends = problem.text.partition(" | ")
    start, goal = ends.split(" -> ")
    return [tuple(edge.split(">")) for edge in edges.split(" ")], start, goal


def text_of(walk):
    return "\n".join(f"{from_}>{to}" for from_, to in walk)


def _begins(walk, place, right):
    """Say whether a right walk begins so; an edge that is followed by another is not the last."""
    return any(way[:place] == walk[:place] and (len(way) > place or place == len(walk)) for way in right)


@st.composite
def graphs(draw):
    nodes = draw(st.permutations("abcdefg"))
    pairs = list(itertools.combinations(nodes, 2))
    edges = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=12, unique=True))
    start, goal = draw(st.permutations(nodes))[:2]
    return f"{' '.join(f'{a}>{b}' for a, b in edges)} | {start} -> {goal}"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_every_trace_is_correct_and_every_step_of_it_good(config):
    task = Path(config)
    for split in SPLITS:
        assert [trace.problem for trace in task.traces(split)] == list(task.problems(split))
        for trace in task.traces(split):
            assert task.verify(trace).correct, trace
            assert task.step_oracle(trace) == [True] * len(trace.steps)
            assert len(trace.steps) >= config.min_length
            assert trace.answer == task.answer(trace)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.difficulty)
def test_problems_are_as_hard_as_configured(config):
    for problem in Path(config).problems("validation"):
        edges, start, goal = edges_of(problem)
        found = [(walk, share) for walk, share in walks(edges, start, goal) if walk and walk[-1][1] == goal]
        assert len(edges) == config.nodes * config.branches
        assert min(len(walk) for walk, _ in found) >= config.min_length
        assert 0 < sum(share for _, share in found) <= config.max_chance + 1e-9


def test_splits_share_no_problem():
    task = Path(PathConfig(train_size=600))
    ids = {split: {problem.id for problem in task.problems(split)} for split in SPLITS}
    assert [len(ids[split]) for split in SPLITS] == [600, 200, 500]
    for one, other in itertools.combinations(SPLITS, 2):
        assert not ids[one] & ids[other]


def test_canonical_traces_take_the_first_way_and_varied_ones_several():
    problem = "a>b a>c b>d c>d | a -> d"
    trace = TASK.solution(TASK.parse(problem), None)
    assert trace == ["a>b\n", "b>d"]
    several = Path(PathConfig(traces_per_problem=3, **SMALL)).traces("train")
    assert len(several) > SMALL["train_size"]
    assert len({(trace.problem.id, trace.text) for trace in several}) == len(several)


@settings(deadline=None)
@given(text=graphs(), data=st.data())
def test_verifier_and_oracle_agree_with_all_walks(text, data):
    problem = TASK.parse(text)
    edges, start, goal = edges_of(problem)
    all_walks = [walk for walk, _ in walks(edges, start, goal)]
    right = [walk for walk in all_walks if walk and walk[-1][1] == goal]
    walk = data.draw(st.sampled_from(all_walks) | st.lists(st.sampled_from(edges), max_size=4))
    trajectory = written(text, text_of(walk))
    assert TASK.verify(trajectory).correct == (walk in right)
    opened = [_begins(walk, place, right) for place in range(1, len(walk) + 1)]
    assert TASK.step_oracle(replace(trajectory, finished=False)) == opened
    assert float(chance(Graph(tuple(edges), start, goal))) == pytest.approx(
        sum(share for way, share in walks(edges, start, goal) if way in right)
    )


@settings(deadline=None)
@given(graphs())
def test_legal_steps_taken_to_the_end_are_all_walks(text):
    open_, ended = [written(text, "", finished=False)], []
    while open_:
        trajectory = open_.pop()
        steps = TASK.legal_steps(trajectory)
        if not steps:
            ended.append(trajectory.text.rstrip("\n"))
        open_ += [replace(trajectory, steps=(*trajectory.steps, Step(step))) for step in steps]
    assert sorted(ended) == sorted(text_of(walk) for walk, _ in walks(*edges_of(TASK.parse(text))))


def test_legal_steps_are_the_edges_of_the_current_node():
    assert TASK.legal_steps(written(EXAMPLE, "", finished=False)) == ["a>c\n", "a>f\n"]
    assert TASK.legal_steps(written(EXAMPLE, "a>c\nc>b\n", finished=False)) == ["b>e"]


@pytest.mark.parametrize("text", ["nonsense", "a>c", "a>", "c>b\n", "a>c\nc>d\n", "a>c\nc>b\nb>e", "a>c\nc>b\nb>e\n"])
def test_no_step_is_legal_after_a_faulty_or_a_last_one(text):
    assert TASK.legal_steps(written(EXAMPLE, text, finished=False)) == []


LINES = st.lists(st.sampled_from(["a>c\n", "c>b\n", "b>e", "c>d\n", "\n", "a>c", "٣>٤\n", "\r\n"]), max_size=5).map(
    "".join
)


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
        assert correct == (finished and text == "a>c\nc>b\nb>e")
        if finished and parts:
            assert oracle[-1] == correct
        TASK.legal_steps(trajectory)
        assert TASK.answer(trajectory) is None or TASK.answer(trajectory).count(">") == text.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends at a, the goal is e"),
        ("a>c\n", "it ends at c, the goal is e"),
        ("a>c\nc>d", "it ends at d, the goal is e"),
        ("a > c", "line 1: 'a > c' is not of the form 'a>b'"),
        ("a>b", "line 1: there is no edge a>b"),
        ("a>c\nf>d", "line 2: f>d does not begin at c"),
        ("a>c\n\nc>b", "line 2: '' is not of the form"),
        ("a>c\nc>b\nb>e\n", "line 4: nothing may follow, the problem is solved"),
    ],
)
def test_the_verifier_names_the_first_fault(text, reason):
    outcome = TASK.verify(written(EXAMPLE, text))
    assert (outcome.correct, outcome.score) == (False, 0.0)
    assert outcome.reason.startswith(reason)


def test_only_an_ended_solution_is_correct():
    trajectory = written(EXAMPLE, "a>c\nc>b\nb>e")
    assert TASK.verify(trajectory).correct
    assert not TASK.verify(replace(trajectory, finished=False)).correct
    assert TASK.step_oracle(replace(trajectory, steps=trajectory.steps[:2])) == [True, False]


def test_a_goal_out_of_reach_is_read_never_solved_and_said_to_be_so():
    trajectory = written("a>b c>d | a -> d", "a>b")
    assert TASK.step_oracle(trajectory) == [False]
    assert TASK.verify(trajectory).reason == "it ends at b, the goal is d (no path leads there from a)"


@pytest.mark.parametrize(
    ("text", "answer"),
    [("a>c\nc>b\nb>e", "a>c>b>e"), ("a>x", "a>x"), ("a>c\nb>e", None), ("a>c\n", None), ("", None), ("a", None)],
)
def test_the_answer_is_the_path_in_one_word(text, answer):
    assert TASK.answer(written(EXAMPLE, text)) == answer


@pytest.mark.parametrize("text", ["b>c a>b | a -> c", " b>c, a > b|a to c ", "b>c  a>b |  a→c\n"])
def test_problems_are_read_as_people_write_them(text):
    problem = TASK.parse(text)
    assert problem.text == "b>c a>b | a -> c"
    assert problem.data == {"edges": ("b>c", "a>b"), "start": "a", "goal": "c"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a>b a -> b", "one '|' must stand after the edges"),
        ("a>b | a | b", "one '|' must stand after the edges"),
        (" | a -> b", "'' is no edge"),
        ("a>b ab>c | a -> b", "'ab>c' is no edge"),
        ("A>b | a -> b", "'A>b' is no edge"),
        ("a>b a>b | a -> b", "the edge a>b is there twice"),
        ("a>b | a b", "'a b' is no start and goal"),
        ("a>b | a -> a", "start and goal are the same"),
        ("a>b b>a | a -> b", "a is on a cycle"),
        ("a>b b>c c>b c>d | a -> d", "b is on a cycle"),
        ("a>a | a -> b", "a is on a cycle"),
    ],
)
def test_what_is_no_problem_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProblemSyntaxError) as caught:
        TASK.parse(text)
    assert reason in str(caught.value)
    assert "a>b a>c b>d | a -> d" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"nodes": 4, "min_length": 5}, "nothing is so far"), ({"branches": 4}, "as many dead_ends")],
)
def test_sizes_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        PathConfig(**config)
