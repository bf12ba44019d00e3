"""Sampling: exact log-probabilities, the prefix cache, the distribution, and where a completion ends."""

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch

from trellis import Problem, SampleRequest, Step, Trajectory
from trellis.errors import CapabilityError, TokenizerError
from trellis_transformers.config import TransformersConfig
from trellis_transformers.policy import TransformersPolicy

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
OPT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ARCHITECTURES = {
    "gpt2": {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 128},
    "llama": {"model_type": "llama", "num_key_value_heads": 2, "max_position_embeddings": 128, **SIZES},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2, "max_position_embeddings": 128, **SIZES},
    "sliding": {"model_type": "mistral", "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4, **SIZES},
    "windowed": {"model_type": "gemma3_text", "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 5, **SIZES},
    # No positions at all, and positions that it counts itself from the mask.
    "alibi": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "counted": {"model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 128, **OPT},
}
TOLERANCE = 1e-4


def made(name: str = "gpt2", **options) -> TransformersPolicy:
    policy = TransformersPolicy(TransformersConfig(init=ARCHITECTURES[name], seed=3, device="cpu", **options))
    sharpen(policy)
    return policy


def sharpen(policy: TransformersPolicy) -> None:
    """Make a new model care for what it reads: with its first weights all tokens are nearly as likely."""
    with torch.no_grad():
        for parameter in policy.module.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)


@cache
def shared(name: str = "gpt2") -> TransformersPolicy:
    return made(name)


@cache
def common_text(name: str = "gpt2") -> str:
    """What this model writes often: a good text to stop at."""
    answers = shared(name).sample([SampleRequest(start(p), n=8, max_tokens=40, seed=1) for p in PROMPTS])
    counts = Counter(piece for group in answers for completion in group for piece in completion.pieces if piece)
    ((text, count),) = counts.most_common(1)
    assert count > 40
    return text


def start(prompt: str) -> Trajectory:
    return Trajectory(Problem(prompt, prompt), prompt)


PROMPTS = ("1\n", "22 is\n", "a rather longer prompt: 3 + 4\n", "é\n")


def requests(n: int = 2, **options) -> list[SampleRequest]:
    return [
        SampleRequest(start(p), **{"n": n, "max_tokens": 8, "seed": 10 + i, **options}) for i, p in enumerate(PROMPTS)
    ]


def extended(prefix: Trajectory, completion) -> Trajectory:
    """The prefix with a completion as one step more."""
    return replace(prefix, steps=(*prefix.steps, Step(completion.text, completion.token_ids, completion.log_probs)))


@torch.no_grad()
def exact(policy: TransformersPolicy, prompt_ids, ids) -> list[float]:
    """log p of each token by one forward pass over one row: no padding, no cache."""
    row = torch.tensor([[*prompt_ids, *ids]])
    logits = policy.module(input_ids=row).logits[0].double().log_softmax(-1)
    first = len(prompt_ids)
    return [logits[first + k - 1, token].item() for k, token in enumerate(ids)]


def check_exact(policy: TransformersPolicy, asked, answers) -> None:
    for request, completions in zip(asked, answers, strict=True):
        prefix = [*policy.tokenizer(request.prefix.prompt).input_ids]
        prefix += [token for step in request.prefix.steps for token in step.token_ids]
        for completion in completions:
            assert completion.log_probs == pytest.approx(exact(policy, prefix, completion.token_ids), abs=TOLERANCE)


def ids(answers) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in group] for group in answers]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_log_probs_are_those_of_one_uncached_pass_also_after_hits_in_the_cache(name):
    policy = shared(name)
    stop = common_text(name)
    asked = requests(n=3, stop=stop, max_tokens=30)
    answers = policy.sample(asked)
    check_exact(policy, asked, answers)
    for _ in range(2):
        assert policy._cache.num_tokens > 0
        asked = [
            SampleRequest(extended(r.prefix, c), n=2, max_tokens=30, stop=stop, seed=r.seed + 1)
            for r, group in zip(asked, answers, strict=True)
            for c in group
            if c.finish != "end"
        ][:6]
        answers = policy.sample(asked)
        check_exact(policy, asked, answers)


def test_a_prefix_that_was_sampled_is_found_in_the_cache():
    policy = made()
    asked = requests(stop=common_text(), max_tokens=40)
    answers = policy.sample(asked)
    stopped = [(r, c) for r, group in zip(asked, answers, strict=True) for c in group if c.finish == "stop"]
    assert len(stopped) > 3, "the test would look at nothing"
    for r, completion in stopped:
        row = policy._row(SampleRequest(extended(r.prefix, completion)), 0)
        assert row.prefix[:-1] in policy._cache


@pytest.mark.parametrize("name", ["gpt2", "llama", "sliding"])
def test_scoring_padded_rows_of_mixed_lengths_is_exact(name):
    policy = shared(name)
    trajectories = [
        replace(start(p), steps=(Step("12\n"), Step("x" * (7 * k) + "\n")), finished=k % 2 == 0)
        for k, p in enumerate(PROMPTS)
    ]
    for scored in policy.log_probs(trajectories):
        prompt = policy.tokenizer(scored.prompt).input_ids
        tokens = [token for step in scored.steps for token in step.token_ids]
        values = [value for step in scored.steps for value in step.log_probs]
        assert values == pytest.approx(exact(policy, prompt, tokens), abs=TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [{"prefix_cache_tokens": 0}, {"prefix_cache_tokens": 40}, {"batch_tokens": 1}, {"batch_tokens": 64}],
    ids=["no-cache", "small-cache", "row-by-row", "small-batches"],
)
def test_neither_the_cache_nor_the_batches_change_a_sample(options):
    plain, other = shared(), made(**options)
    asked = requests(stop=common_text(), max_tokens=20)
    for _ in range(3):
        one, two = plain.sample(asked), other.sample(asked)
        assert ids(one) == ids(two)
        for a, b in zip((c for g in one for c in g), (c for g in two for c in g), strict=True):
            assert (a.finish, a.pieces) == (b.finish, b.pieces)
            assert a.log_probs == pytest.approx(b.log_probs, abs=TOLERANCE)
        asked = [
            SampleRequest(extended(r.prefix, c), n=2, max_tokens=20, stop=common_text(), seed=r.seed + k)
            for r, group in zip(asked, one, strict=True)
            for k, c in enumerate(group)
            if c.finish == "stop"
        ][:5]
        assert len(asked) > 2


def fill(policy: TransformersPolicy) -> Trajectory:
    """Sample until something is in the cache, and return a prefix that is."""
    for seed in range(20):
        request = SampleRequest(start("1\n"), n=8, stop=common_text(), seed=seed)
        for completion in policy.sample([request])[0]:
            if completion.finish == "stop":
                return extended(request.prefix, completion)
    raise AssertionError("nothing was kept")


def optimizer_step(policy, tmp_path):
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=0.05)
    policy.token_log_probs(policy.batch([replace(start("1\n"), steps=(Step("2\n"),))])).sum().backward()
    optimizer.step()


def loaded(policy, tmp_path):
    other = made()
    with torch.no_grad():
        next(other.module.parameters()).mul_(1.5)
    other.save(tmp_path)
    policy.load(tmp_path)


@pytest.mark.parametrize("change", [optimizer_step, loaded])
def test_a_change_of_the_weights_empties_the_cache(change, tmp_path):
    policy = made()
    prefix = fill(policy)
    assert policy._cache.num_tokens > 0
    change(policy, tmp_path)
    asked = [SampleRequest(prefix, n=2, seed=1)]
    check_exact(policy, asked, policy.sample(asked))


def test_a_call_with_empty_trajectories_only_forgets_what_searches_before_it_left():
    policy = made()
    fill(policy)
    policy.sample([SampleRequest(start("1\n"), max_tokens=1)])
    assert policy._cache.num_tokens == 0


def test_the_cache_is_bounded_and_counts_what_it_holds():
    policy = made(prefix_cache_tokens=50)
    prefix = fill(policy)
    for seed in range(8):
        policy.sample([SampleRequest(prefix, n=8, stop=common_text(), max_tokens=30, seed=seed)])
        entries = policy._cache._entries
        assert policy._cache.num_tokens == sum(len(key) for key in entries) <= 50
        assert all(value.shape[2] == len(key) for key, value in entries.items())
    assert entries


def test_temperature_0_takes_the_most_probable_token_each_time():
    policy = shared()
    for request in requests(temperature=0.0, n=1):
        (completion,) = policy.sample([request])[0]
        before = list(policy.tokenizer(request.prefix.prompt).input_ids)
        for token in completion.token_ids:
            with torch.no_grad():
                assert token == policy.module(input_ids=torch.tensor([before])).logits[0, -1].argmax()
            before.append(token)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_samples_are_distributed_as_the_model_says(temperature):
    """Pearson's chi-square over first tokens, rare ones pooled; the bound is 5 standard deviations of its distribution."""
    policy, draws = shared(), 4000
    request = SampleRequest(start("1 + 1\n"), n=draws, max_tokens=1, temperature=temperature, seed=5)
    completions = policy.sample([request])[0]
    with torch.no_grad():
        logits = policy.module(input_ids=torch.tensor([policy.tokenizer("1 + 1\n").input_ids])).logits[0, -1].double()
    expected = ((logits / temperature).softmax(-1) * draws).tolist()
    found = Counter(completion.token_ids[0] for completion in completions)
    common = [token for token, count in enumerate(expected) if count >= 10]
    rest = (draws - sum(found[t] for t in common), draws - sum(expected[t] for t in common))
    assert len(common) >= 8, "too few cells for a test"
    cells = [(found[t], expected[t]) for t in common] + ([rest] if rest[1] >= 10 else [])
    chi_square = sum((got - want) ** 2 / want for got, want in cells)
    freedom = len(cells) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)
    for completion in completions[:50]:
        log_prob = logits.log_softmax(-1)[completion.token_ids[0]].item()
        assert completion.log_probs[0] == pytest.approx(log_prob, abs=TOLERANCE), "at temperature 1, always"


def test_token_log_probs_at_a_temperature_are_of_that_temperature():
    policy = shared()
    batch = policy.batch([replace(start("1\n"), steps=(Step("23\n"),))])
    with torch.no_grad():
        got = policy.token_log_probs(batch, temperature=0.5)
        logits = policy.module(input_ids=batch.ids_BT).logits[0] / 0.5
    expected = logits.log_softmax(-1)[1:-1].gather(1, batch.ids_BT[0, 2:, None])[:, 0]
    torch.testing.assert_close(got[0][batch.mask_BT[0]], expected)


def test_a_completion_ends_where_the_context_does():
    policy = made()
    limit = policy.module.config.n_positions
    for room in (3, 1):
        prefix = start("1" * (limit - room))
        for completion in policy.sample([SampleRequest(prefix, n=4, max_tokens=50, seed=2)])[0]:
            assert len(completion.token_ids) == room
            assert completion.finish == "length"
            policy.log_probs([extended(prefix, completion)])


@pytest.mark.parametrize("over", [0, 5])
def test_a_prefix_that_fills_the_context_gets_nothing_more(over):
    policy = shared()
    full, short = start("1" * (policy.module.config.n_positions + over)), start("1\n")
    filled, other = policy.sample([SampleRequest(full, n=2), SampleRequest(short, max_tokens=2)])
    assert [(c.token_ids, c.text, c.finish) for c in filled] == [((), "", "length")] * 2
    assert len(other[0].token_ids) > 0


def test_a_trace_longer_than_the_context_is_refused_by_name():
    policy = shared()
    trace = replace(start("12 + 3\n"), steps=(Step("x" * 130),), finished=True)
    with pytest.raises(CapabilityError, match=r"context of 138 tokens: the model holds 128, and problem 12 \+ 3"):
        policy.log_probs([trace])


def test_an_empty_prompt_is_refused():
    with pytest.raises(TokenizerError, match="the prompt is empty"):
        shared().sample([SampleRequest(start(""))])


def test_a_stop_text_of_several_characters_is_found_across_tokens():
    policy = shared()
    (free,) = policy.sample([SampleRequest(start("1\n"), max_tokens=40, seed=4)])[0]
    middle = next(k for k in range(5, len(free.pieces)) if all(free.pieces[k - 2 : k + 1]))
    stop = "".join(free.pieces[middle - 2 : middle + 1])
    (stopped,) = policy.sample([SampleRequest(start("1\n"), max_tokens=40, seed=4, stop=stop)])[0]
    assert stopped.finish == "stop"
    assert stopped.text == free.text[: free.text.index(stop) + len(stop)]


def test_nothing_asked_is_nothing_answered():
    assert shared().sample([]) == []
    assert shared().log_probs([]) == []
