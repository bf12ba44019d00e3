"""What an executor's workers sample, score and search is what this process would have."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from trellis.errors import RunDirectoryError
from trellis.run.elsewhere import RunRecipe
from trellis.run.pipeline import run_pipeline
from trellis.spec import Pipeline


@pytest.fixture(scope="module")
def document(small):
    """Stages that sample, assess and search, with weights of two ages and a reward that was fitted."""
    document = YAML(typ="safe").load(small.read_text(encoding="utf-8"))
    parts = {name: part for name, part in document["components"].items() if name not in ("grpo",)}
    parts["sft"]["with"]["steps"] = 20
    sample = {"policy": "policy", "task": "task"}
    train = {**sample, "optimizer": "sft"}
    fit = {**sample, "reward": "reward"}
    test = {**fit, "searches": ["greedy", "best-of-n"]}
    limits = {"max_tokens": 12}
    return {
        **document,
        "components": parts,
        "stages": [
            {"name": "first", "run": "train", "needs": train},
            {
                "name": "rollouts",
                "run": "sample",
                "with": {"n": 3, "per_step": 12, "problems_per_item": 5, **limits},
                "needs": sample,
            },
            {"name": "second", "run": "train", "with": {"seed": 9}, "needs": train},
            {
                "name": "fit",
                "run": "fit-reward",
                "with": {"steps": 3, "fits": 1, "batch_size": 8, "holdout": 0.3},
                "needs": fit,
            },
            {"name": "assess", "run": "assess", "with": {"n": 2, "problems_per_item": 2, **limits}, "needs": fit},
            {
                "name": "test",
                "run": "evaluate",
                "with": {"weights": ["first", "second"], "problems_per_item": 2, **limits},
                "needs": test,
            },
        ],
    }


def with_executor(document, executor):
    document = json.loads(json.dumps(document))
    document["components"]["workers"] = executor
    for stage in document["stages"]:
        if stage["run"] in ("sample", "assess", "evaluate"):
            stage["needs"]["executor"] = "workers"
    return document


def found(run):
    """Everything but what depends on the clock or on the last bits of a log-probability."""
    stages = json.loads((run.path / "results.json").read_text(encoding="utf-8"))["stages"]
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in stages["test"]["rows"]]
    texts = [rollout.trajectory.text for rollout in run.directory.rollouts("rollouts")]
    trees = {
        file.name: [
            [(node["text"], node["count"], node["finished"]) for node in json.loads(line)["nodes"]]
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        for file in sorted((run.path / "stages" / "test").iterdir())
    }
    return rows, texts, trees, stages["assess"]["policies"]


def test_workers_find_what_one_process_finds(document, tmp_path):
    here = run_pipeline(Pipeline.from_dict(document), out=tmp_path / "here")
    spread = with_executor(document, {"use": "processes", "with": {"workers": 2}})
    there = run_pipeline(Pipeline.from_dict(spread), out=tmp_path / "there")
    rows, texts, trees, policies = found(here)
    assert (rows, texts, trees, policies) == found(there)
    assert len(rows) == 4
    assert len(set(texts)) > 1
    assert len(trees) == 4


def test_a_worker_that_does_not_see_the_run_says_where_it_looked(tmp_path):
    with pytest.raises(RunDirectoryError, match="every worker sees under the same path"):
        RunRecipe(tmp_path / "elsewhere", ("policy",))()


def test_a_recipe_builds_what_is_needed_and_no_more_and_does_so_once(undisturbed):
    path = Path(undisturbed.path)
    recipe = RunRecipe(path, ("reward", "task"), (("reward", path / "checkpoints" / "fit" / "reward"),))
    components = recipe()
    assert set(components) == {"policy", "reward", "task"}
    assert components is recipe()
    trace = components["task"].traces("train")[0]
    (scores,), (as_it_ended,) = (of["reward"].score([trace]) for of in (components, undisturbed.components))
    assert len(scores) == len(as_it_ended) == len(trace.steps)
