"""Steps in the tokens of a byte-level BPE that merges line breaks with each other and with what stands before them."""

from dataclasses import replace

import pytest

from trellis import Outcome, Problem, SampleRequest, Step, Task, Trajectory
from trellis_transformers.config import CharacterTokenizer, TransformersConfig
from trellis_transformers.policy import TransformersPolicy

PROBLEM = Problem("p", "12 + 3")


class Lines(Task):
    def problems(self, split):
        return [PROBLEM]

    def verify(self, trajectory):
        return Outcome(False, 0.0)


TASK = Lines()


@pytest.fixture(scope="module")
def policy(model_directory):
    return TransformersPolicy(TransformersConfig(model=str(model_directory("qwen2")), device="cpu"))


@pytest.fixture(scope="module")
def merging():
    """A vocabulary in which a line break grows together with what comes after it, and a model that likes such tokens."""
    words = ("\n1", ".\n", "\n\n", ".\n\n2")
    policy = TransformersPolicy(
        TransformersConfig(
            tokenizer=CharacterTokenizer(words=words), device="cpu", init={"model_type": "gpt2", **SMALL}
        )
    )
    for word in words:
        (token,) = policy._pieces.encode(word)
        policy.module.transformer.wte.weight.data[token] *= 8
    return policy


SMALL = {"n_layer": 1, "n_embd": 16, "n_head": 2}


def tokens(trajectory: Trajectory) -> list[int]:
    return [token for step in trajectory.steps for token in step.token_ids]


def test_line_breaks_and_full_stops_are_merged_by_this_tokenizer(policy):
    for text in (".\n", "\n\n", ".\n\n"):
        assert len(policy._pieces.encode(text)) == 1, text


@pytest.mark.parametrize("name", ["policy", "merging"])
def test_a_sample_keeps_its_tokens_and_their_log_probabilities_whatever_they_hold(name, request):
    policy = request.getfixturevalue(name)
    root = TASK.start(PROBLEM)
    (completions,) = policy.sample([SampleRequest(root, n=40, max_tokens=30, seed=1)])
    texts = []
    for completion in completions:
        trajectory = TASK.extend(root, completion)
        assert tokens(trajectory) == list(completion.token_ids)
        assert trajectory.text == completion.text
        assert all(step.token_ids for step in trajectory.steps)
        texts += [step.text for step in trajectory.steps]
        (scored,) = policy.log_probs([trajectory])
        assert [step.token_ids for step in scored.steps] == [step.token_ids for step in trajectory.steps]
        values = [value for step in scored.steps for value in step.log_probs]
        assert values == pytest.approx(completion.log_probs, abs=1e-4)
    assert sum("\n" in text[:-1] for text in texts) > 3 or name == "policy", "such tokens come up"


def test_a_search_makes_the_steps_that_one_go_makes(merging):
    """Greedily, stopped after each separator, the same tokens come and are cut the same."""
    root = TASK.start(PROBLEM)
    for first in merging.sample([SampleRequest(root, n=12, max_tokens=3, seed=2)])[0]:
        begun = replace(TASK.extend(root, first), cut=False)
        whole = TASK.extend(begun, merging.sample([SampleRequest(begun, max_tokens=24, temperature=0.0)])[0][0])
        grown, left = begun, 24
        while left and grown.open:
            request = SampleRequest(grown, max_tokens=left, temperature=0.0, stop=TASK.separator)
            (completion,) = merging.sample([request])[0]
            left -= len(completion.token_ids)
            grown = TASK.extend(grown, completion)
        assert tokens(grown) == tokens(whole)
        assert [step.text for step in grown.steps if step.text] == [step.text for step in whole.steps if step.text]


def test_a_traces_steps_are_cut_where_its_text_is(policy):
    texts = ["12 + 3 = 15.\n", "\n", "15 * 2 = 30.\n\n", "The answer is 30."]
    trace = replace(TASK.start(PROBLEM), steps=tuple(map(Step, texts)), finished=True)
    (scored,) = policy.log_probs([trace])
    assert [step.text for step in scored.steps] == texts
    for step in scored.steps:
        assert "".join(policy._pieces.split(step.token_ids)) == step.text
    assert scored.steps[-1].token_ids[-1] == policy.tokenizer.eos_token_id
