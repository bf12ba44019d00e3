import json

import jsonschema
import pytest

from trellis.search import Tree, TreeWriter, run_searches
from trellis.types import Problem, Step, Trajectory
from trellis_beam.beam import Beam
from trellis_beam.config import BeamConfig
from trellis_best_of_n.best_of_n import BestOfN
from trellis_best_of_n.config import BestOfNConfig, MajorityConfig
from trellis_best_of_n.majority import Majority

LINE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["problem", "text", "search", "best", "correct", "nodes"],
    "properties": {
        "problem": {"type": "string"},
        "text": {"type": "string"},
        "search": {"type": "string"},
        "best": {"type": ["integer", "null"], "minimum": 0},
        "correct": {"type": "boolean"},
        "nodes": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id", "parent", "text", "log_prob", "tokens", "score", "finished", "cut", "count"],
                "properties": {
                    "id": {"type": "integer", "minimum": 0},
                    "parent": {"type": ["integer", "null"], "minimum": 0},
                    "text": {"type": "string"},
                    "log_prob": {"type": "number"},
                    "tokens": {"type": "integer", "minimum": 0},
                    "score": {"type": ["number", "null"]},
                    "finished": {"type": "boolean"},
                    "cut": {"type": "boolean"},
                    "count": {"type": "integer", "minimum": 0},
                },
            },
        },
    },
}


def trajectory(*texts, **flags):
    steps = tuple(Step(text, token_ids=(1, 2), log_probs=(-0.5, -0.25)) for text in texts)
    return Trajectory(Problem("p", "solve p"), "solve p\n", steps, **flags)


def rows(tree):
    return [(node.parent, node.text, node.count, node.score) for node in tree.nodes]


def test_equal_steps_under_one_parent_are_one_node():
    tree = Tree()
    tree.add_samples([trajectory()], [[trajectory("a"), trajectory("b"), trajectory("a")]])
    tree.add_samples([trajectory("a")], [[trajectory("a", "b"), trajectory("a", "b")]])
    assert rows(tree) == [(None, "", 0, None), (0, "a", 2, None), (0, "b", 1, None), (1, "b", 2, None)]
    assert (tree.nodes[1].log_prob, tree.nodes[1].tokens) == (-0.75, 2)


def test_a_whole_completion_adds_a_chain():
    tree = Tree()
    tree.add_samples(
        [trajectory("a")], [[trajectory("a", "b", "c", finished=True), trajectory("a", "b", "d", cut=True)]]
    )
    assert rows(tree)[1:] == [(0, "a", 0, None), (1, "b", 2, None), (2, "c", 1, None), (2, "d", 1, None)]
    assert [(node.finished, node.cut) for node in tree.nodes[2:]] == [(False, False), (True, False), (False, True)]


def test_a_step_that_ends_and_one_that_does_not_are_two_nodes():
    tree = Tree()
    tree.add_samples([trajectory()], [[trajectory("a"), trajectory("a", finished=True), trajectory("a", cut=True)]])
    assert len(tree.nodes) == 4
    assert tree.find(trajectory("a", finished=True)) == 2


def test_the_last_score_of_a_prefix_is_kept():
    tree = Tree()
    tree.add_samples([trajectory()], [[trajectory("a", "b")]])
    tree.add_scores([trajectory("a"), trajectory("a", "b")], [[0.1], [0.2, 0.3]])
    assert [node.score for node in tree.nodes] == [None, 0.2, 0.3]


@pytest.mark.parametrize(
    "search",
    [Beam(BeamConfig(width=2, expand=3)), BestOfN(BestOfNConfig(n=6)), Majority(MajorityConfig(n=6))],
    ids=lambda search: type(search).__name__,
)
def test_the_trace_holds_all_that_was_sampled(tmp_path, task, policy, oracle, search):
    path = tmp_path / "trees.jsonl"
    problems = task.problems("test")[:5]
    options = {"search": search, "policy": policy, "task": task, "reward": oracle, "batch_problems": 2}
    reports = list(run_searches(problems, trace=TreeWriter(path), **options))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["problem"] for line in lines] == [problem.id for problem in problems]
    for line, report in zip(lines, reports, strict=True):
        jsonschema.validate(line, LINE)
        nodes = line["nodes"]
        assert [node["id"] for node in nodes] == list(range(len(nodes)))
        assert all(node["parent"] < node["id"] for node in nodes[1:])
        assert line["correct"] == report.outcome.correct
        assert line["search"] == type(search).__name__
        assert sum(node["count"] * node["tokens"] for node in nodes) == report.num_tokens
        text, node = "", nodes[line["best"]]
        while node["parent"] is not None:
            text, node = node["text"] + text, nodes[node["parent"]]
        assert text == report.result.best.text


def test_a_problem_without_an_answer_has_no_best_node(tmp_path, task, policy):
    path = tmp_path / "trees.jsonl"
    options = {"search": Majority(MajorityConfig(n=2)), "policy": policy, "task": task, "max_tokens": 3}
    list(run_searches(task.problems("test")[:1], trace=TreeWriter(path), **options))
    line = json.loads(path.read_text(encoding="utf-8"))
    assert line["best"] is None
    assert {node["cut"] for node in line["nodes"][1:]} == {False, True}
    assert line["nodes"][0] == {
        "id": 0,
        "parent": None,
        "text": "",
        "log_prob": 0.0,
        "tokens": 0,
        "score": None,
        "finished": False,
        "cut": False,
        "count": 0,
    }
