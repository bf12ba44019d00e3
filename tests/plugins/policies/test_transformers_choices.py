"""Completions that have to be one of several texts."""

import math

import pytest
import torch

from trellis import Problem, SampleRequest, Step, Trajectory, build
from trellis.errors import ContractError

START = Trajectory(Problem("p", "join"), "join\n")
LINES = ("HashJoin(t1 t2)\n", "HashJoin(t2 t1)\n", "NestLoop(t1 t2)\n", "MergeJoin(t10 t2)\n")


@pytest.fixture(scope="module")
def policy():
    return build("transformers", {"seed": 3, "cpu_threads": 1})


def sampled(policy, choices, n=40, prefix=START, **changes):
    return policy.sample([SampleRequest(prefix, n=n, choices=choices, **changes)])[0]


@torch.no_grad()
def masked_softmax(policy, prefix, completion, choices):
    """log p of each token by hand: the softmax over the tokens that go on with one of the choices."""
    sequences = [policy._pieces.encode(text) for text in choices]
    ids = list(policy._prompt(prefix.prompt)) + [i for step in prefix.steps for i in step.token_ids]
    expected = []
    for index, token in enumerate(completion.token_ids):
        written = completion.token_ids[:index]
        going = [sequence for sequence in sequences if sequence[:index] == written]
        allowed = {sequence[index] if len(sequence) > index else policy._end_id for sequence in going}
        logits = policy.module(torch.tensor([[*ids, *written]])).logits[0, -1]
        total = sum(math.exp(float(logits[other])) for other in allowed)
        expected.append(math.log(math.exp(float(logits[token])) / total))
    return expected


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_every_completion_of_an_untrained_model_is_one_of_the_choices(policy, temperature):
    found = sampled(policy, LINES, temperature=temperature)
    assert {completion.text for completion in found} <= set(LINES)
    assert {completion.finish for completion in found} == {"stop"}
    assert (len({completion.text for completion in found}) > 1) == (temperature > 0)


def test_log_probs_are_a_softmax_over_what_may_follow(policy):
    for completion in sampled(policy, LINES, n=6):
        assert completion.log_probs == pytest.approx(masked_softmax(policy, START, completion, LINES), abs=1e-4)


def test_the_probabilities_of_all_choices_sum_to_one(policy):
    found = {completion.text: sum(completion.log_probs) for completion in sampled(policy, LINES, n=200)}
    assert found.keys() == set(LINES)
    assert sum(map(math.exp, found.values())) == pytest.approx(1, abs=1e-4)


def test_a_choice_that_begins_another_ends_with_the_end_of_sequence(policy):
    choices = ("ab", "abc")
    found = sampled(policy, choices)
    assert {(completion.text, completion.finish) for completion in found} == {("ab", "end"), ("abc", "stop")}
    for completion in found:
        assert completion.log_probs == pytest.approx(masked_softmax(policy, START, completion, choices), abs=1e-4)


def test_a_single_choice_is_certain(policy):
    (completion,) = sampled(policy, ("Leading((t1 t2))",), n=1)
    assert completion.text == "Leading((t1 t2))"
    assert sum(completion.log_probs) == 0


def test_requests_with_choices_go_on_from_steps_and_beside_others(policy):
    prefix = Trajectory(
        START.problem, START.prompt, (Step("HashJoin(t1 t2)\n", policy._pieces.encode("HashJoin(t1 t2)\n")),)
    )
    free = SampleRequest(START, n=2, max_tokens=5, seed=1)
    chosen = SampleRequest(prefix, n=3, choices=LINES, seed=2)
    together = policy.sample([free, chosen])
    apart = [policy.sample([free])[0], policy.sample([chosen])[0]]
    assert [[one.token_ids for one in row] for row in together] == [[one.token_ids for one in row] for row in apart]
    for completion in together[1]:
        assert completion.log_probs == pytest.approx(masked_softmax(policy, prefix, completion, LINES), abs=1e-4)


@pytest.mark.parametrize("choices", [(), ("a", "")])
def test_choices_that_are_none_are_refused(policy, choices):
    with pytest.raises(ContractError, match="one text or more, none of them empty"):
        sampled(policy, choices)


def test_a_choice_that_begins_another_in_other_tokens_ends_with_the_end_of_sequence(model_directory):
    policy = build("transformers", {"model": str(model_directory("base")), "device": "cpu"})
    choices = ("15.", "15.\n\n")
    first, second = (policy._pieces.encode(text) for text in choices)
    assert first != second[: len(first)]
    for completion in sampled(policy, choices, temperature=3.0):
        whole = completion.text == choices[1]
        assert (completion.finish, completion.token_ids[-1] == policy._end_id) == (
            ("stop", False) if whole else ("end", True)
        )
