"""One pipeline, with the policy in the process and behind a server: the same answers."""

import json

import pytest

from trellis import build, load_pipeline, run_pipeline
from trellis.errors import SpecError
from trellis_sft.config import SFTConfig
from trellis_sft.sft import SFT

TASK = {"length": 2, "max_number": 9, "fixed_width": False, "min_carries": 0}
TASK |= {"train_size": 60, "validation_size": 20, "test_size": 20}
PIPELINE = """
version: 1
name: served
seed: 3
components:
  task: {use: arithmetic, with: %s}
  policy: {use: %s, with: %s}
  log-pi: {use: log-pi, needs: {policy: policy}}
  greedy: {use: greedy}
  beam: {use: beam, with: {width: 2, expand: 2, temperature: 0.5}}
stages:
  - name: test
    run: evaluate
    with: {max_tokens: 24, problems: 12, budget: {tokens: 100}}
    needs: {policy: policy, task: task, reward: [log-pi], searches: [greedy, beam]}
"""


CHAT = """
version: 1
name: chat
seed: 3
components:
  task: {use: arithmetic, with: %s}
  policy: {use: %s, with: %s}
  greedy: {use: greedy}
stages:
  - name: test
    run: evaluate
    with: {max_tokens: 40, problems: 12}
    needs: {policy: policy, task: task, searches: [greedy]}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with a model that writes like the task's traces."""
    policy = build("transformers", {"seed": 1, "cpu_threads": 1, "device": "cpu"})
    list(
        SFT(SFTConfig(steps=150, batch_size=16, learning_rate=3e-3)).train(
            policy=policy, task=build("arithmetic", TASK)
        )
    )
    directory = tmp_path_factory.mktemp("trained")
    policy.save(directory)
    return str(directory)


def evaluated(out, use, config, pipeline=PIPELINE):
    file = out.with_suffix(".yaml")
    file.write_text(pipeline % (json.dumps(TASK), use, json.dumps(config)))
    run_pipeline(load_pipeline(file), out=out)
    rows = json.loads((out / "results.json").read_text())["stages"]["test"]["rows"]
    lines = [
        line for path in sorted((out / "stages" / "test").glob("*.jsonl")) for line in path.read_text().splitlines()
    ]
    found = [json.loads(line) for line in lines]
    return rows, found


def texts(trees):
    return [[node["text"] for node in tree["nodes"]] for tree in trees]


def test_a_served_policy_gives_the_answers_of_the_same_one_in_the_process(trained, serve, tmp_path):
    local = {"model": trained, "cpu_threads": 1, "device": "cpu"}
    server = serve(build("transformers", local))
    rows, trees = evaluated(tmp_path / "local", "transformers", local)
    served, served_trees = evaluated(tmp_path / "served", "openai", {"base_urls": [server.url], "server": "vllm"})
    assert len(server.requests) > 24
    assert len(trees) == 24
    assert texts(served_trees) == texts(trees)
    for one, other in zip(rows, served, strict=True):
        for name in ("search", "accuracy", "tokens_per_problem"):
            assert one[name] == other[name]
    assert any(node["finished"] for tree in trees for node in tree["nodes"])
    plain, plain_trees = evaluated(tmp_path / "plain", "openai", {"base_urls": [server.url]})
    assert texts(plain_trees) == texts(trees)
    assert [row["accuracy"] for row in plain] == [row["accuracy"] for row in rows]


def test_a_chat_policy_gives_the_answers_of_the_same_one_in_the_process(model_directory, serve, tmp_path):
    config = {"cpu_threads": 1, "device": "cpu", "system_prompt": "Add."}
    policy = build("transformers", {"model": str(model_directory("llama")), **config})
    list(
        SFT(SFTConfig(steps=100, batch_size=16, learning_rate=1e-2)).train(
            policy=policy, task=build("arithmetic", TASK)
        )
    )
    policy.save(tmp_path / "trained")
    plain = {"model": str(tmp_path / "trained"), "cpu_threads": 1, "device": "cpu"}
    server = serve(build("transformers", {**plain, "chat": False}))
    rows, trees = evaluated(tmp_path / "local", "transformers", {**plain, "system_prompt": "Add."}, CHAT)
    assert any(node["finished"] for tree in trees for node in tree["nodes"])
    for kind in ("openai", "vllm"):
        config = {"base_urls": [server.url], "server": kind, "system_prompt": "Add."}
        served, served_trees = evaluated(tmp_path / kind, "openai-chat", config, CHAT)
        assert texts(served_trees) == texts(trees)
        assert [row["accuracy"] for row in served] == [row["accuracy"] for row in rows]


def test_check_says_that_a_chat_policy_knows_no_log_probabilities(tmp_path):
    file = tmp_path / "chat.yaml"
    file.write_text(PIPELINE % (json.dumps(TASK), "openai-chat", "{}"))
    with pytest.raises(SpecError, match=r"'policy' \(openai/openai-chat\) lacks the capability 'log-probs'"):
        load_pipeline(file)
