"""Completions that keep to a grammar."""

import math
import sys
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from trellis import Problem, SampleRequest, Step, Trajectory, build
from trellis.errors import ContractError, GrammarError, MissingExtraError, TokenizerError
from trellis.records import rollout_from_json, rollout_to_json
from trellis.sql import check_hints, gbnf, parse_hints
from trellis.sql.fit import misfits
from trellis.sql.reader import parse_query
from trellis.sql.renaming import Renaming
from trellis.testing.material import Successor, SuccessorConfig
from trellis.types import Outcome, Rollout

SUMS = """root ::= line+
line ::= number "+" number "\\n"
number ::= [0-9] [0-9]? | "é"
"""
START = Trajectory(Problem("p", "add"), "add\n", grammar=SUMS)
TASK = Successor(SuccessorConfig())
WIDE = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 2048}
QUERIES = {
    "chain": "SELECT count(*) FROM customer u, orders o, item i, city c WHERE u.id = o.customer_id AND o.id = i.order_id "
    "AND c.id = u.city_id AND u.id < 50",
    "outer": "SELECT count(*) FROM orders o JOIN item i ON i.order_id = o.id LEFT JOIN (customer u JOIN city c "
    "ON c.id = u.city_id) ON u.id = o.customer_id",
    "two blocks": "SELECT count(*) FROM orders o, customer u WHERE o.customer_id = u.id AND o.id IN "
    "(SELECT i.order_id FROM item i JOIN product p ON p.id = i.product_id WHERE p.price > 3)",
}


@pytest.fixture(scope="module")
def policy():
    return build(
        "transformers",
        {
            "seed": 3,
            "cpu_threads": 1,
            "init": WIDE,
            "tokenizer": {"words": ["HashJoin(", "\n\n", "+1", " ("], "numbers": 40},
        },
    )


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A Llama of more rows than its byte-level BPE tokenizer has tokens, in a directory, as it comes from the hub."""
    directory = str(tmp_path_factory.mktemp("bpe"))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|im_end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(
        [*QUERIES.values(), "HashJoin(o u)\nNestLoop(c u)\nLeading((o (u c)))\n12+34\n"], trainer
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(fast) + 19,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
        pad_token_id=fast.pad_token_id,
        max_position_embeddings=2048,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return build("transformers", {"model": directory, "cpu_threads": 1, "device": "cpu"})


@pytest.fixture(params=["characters", "bpe"])
def either(request, policy):
    return policy if request.param == "characters" else request.getfixturevalue("bpe")


def sampled(policy, prefix=START, n=30, **changes):
    return policy.sample([SampleRequest(prefix, **{"n": n, "max_tokens": 60, "seed": 5} | changes)])[0]


def matches(text, *, whole):
    lines = text.split("\n")
    if whole and lines.pop() != "":
        return False
    sides = [side for line in (lines if whole else lines[:-1]) for side in line.split("+")]
    return all(line.count("+") == 1 for line in lines[:-1]) and all(s == "é" or s.isdecimal() for s in sides)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_every_completion_matches_as_far_as_it_goes(either, temperature):
    found = sampled(either, temperature=temperature)
    for completion in found:
        assert matches(completion.text, whole=completion.finish == "end"), completion.text
    if temperature > 0:
        assert len({completion.text for completion in found}) > 10
        assert "end" in {completion.finish for completion in found}


@torch.no_grad()
def test_log_probs_are_a_softmax_over_the_tokens_that_may_follow(policy):
    """By hand: root ::= "7" ("+" | "é") has at most two tokens to draw from at a place."""
    prefix = replace(START, grammar='root ::= "7" ("+" | "é") "1"?\n')
    seven, plus, one = (policy._pieces.encode(text) for text in "7+1")
    plus_one = policy._pieces.encode("+1")
    accent = policy._pieces.encode("é")
    end = (policy._end_id,)
    allowed = {(): [seven[0]], seven: [plus[0], plus_one[0], accent[0]], (*seven, accent[0]): [accent[1]]}
    allowed |= {(*seven, *accent): [one[0], *end], (*seven, *plus): [one[0], *end], (*seven, *plus_one): [*end]}
    allowed |= {(*seven, *accent, *one): [*end], (*seven, *plus, *one): [*end]}
    seen = set()
    for completion in sampled(policy, prefix):
        prompt = list(policy._prompt(prefix.prompt))
        for index, token in enumerate(completion.token_ids):
            written = completion.token_ids[:index]
            seen.add(written)
            logits_V = policy.module(torch.tensor([[*prompt, *written]])).logits[0, -1]
            among = logits_V[allowed[written]].log_softmax(0)
            assert completion.log_probs[index] == pytest.approx(float(among[allowed[written].index(token)]), abs=1e-4)
    assert seen == allowed.keys()


def test_scoring_is_under_the_mask_of_sampling(either):
    trajectories = [TASK.extend(START, completion) for completion in sampled(either, n=8)]
    scored = either.log_probs(trajectories)
    for before, after in zip(trajectories, scored, strict=True):
        assert [v for s in after.steps for v in s.log_probs] == pytest.approx(
            [v for s in before.steps for v in s.log_probs], abs=1e-4
        )
    free = either.log_probs([replace(trajectory, grammar=None) for trajectory in trajectories])
    assert all(one.log_prob < other.log_prob - 1 for one, other in zip(free, scored, strict=True))


def test_text_without_tokens_is_scored_under_the_mask(policy):
    trace = replace(START, steps=(Step("12+3\n"), Step("4+é\n")), finished=True)
    (scored,) = policy.log_probs([trace])
    by_hand = policy.batch([scored])
    logits = by_hand.constrained(policy.module(by_hand.ids_BT, attention_mask=by_hand.attention_BT).logits.detach())
    assert math.isfinite(scored.log_prob)
    # "+" or another digit may follow the first number, and the end of the sequence may not.
    position = int(by_hand.mask_BT[0].nonzero()[0])
    assert logits[0, position, policy._end_id] == torch.finfo(torch.float32).min
    assert logits[0, position, policy._pieces.encode("+")[0]] > -1e4


def test_a_trajectory_without_a_grammar_is_untouched_beside_one_with(policy):
    free = replace(START, grammar=None)
    requests = [SampleRequest(free, n=2, max_tokens=9, seed=1), SampleRequest(START, n=2, max_tokens=9, seed=2)]
    together = policy.sample(requests)
    assert together == [policy.sample([request])[0] for request in requests] or all(
        one.token_ids == other.token_ids
        for row, request in zip(together, requests, strict=True)
        for one, other in zip(row, policy.sample([request])[0], strict=True)
    )
    mixed = policy.log_probs([TASK.extend(r.prefix, row[0]) for r, row in zip(requests, together, strict=True)])
    (alone,) = policy.log_probs([TASK.extend(free, together[0][0])])
    assert mixed[0].log_prob == pytest.approx(alone.log_prob, abs=1e-4)


def test_steps_are_extended_within_the_grammar(either):
    """Line by line, as a search does it: what comes out is what one completion could be."""
    trajectory = START
    for _ in range(4):
        (completion,) = sampled(either, trajectory, n=1, stop="\n", max_tokens=200)
        trajectory = TASK.extend(trajectory, completion)
        if not trajectory.open:
            break
    assert trajectory.grammar == SUMS
    assert len(trajectory.steps) > 1
    assert matches(trajectory.text, whole=True)
    (scored,) = either.log_probs([trajectory])
    assert scored.log_prob == pytest.approx(trajectory.log_prob, abs=1e-3)


def test_the_gradient_leaves_out_what_was_impossible(policy):
    trajectories = [TASK.extend(START, completion) for completion in sampled(policy, n=4, max_tokens=12)]
    batch = policy.batch(trajectories)
    hidden = policy.module(batch.ids_BT, attention_mask=batch.attention_BT).logits.detach().requires_grad_()
    allowed = batch.constrained(torch.zeros_like(hidden)) == 0
    log_probs = torch.nn.functional.log_softmax(batch.constrained(hidden)[:, :-1].float(), -1)
    log_probs.gather(-1, batch.ids_BT[:, 1:, None])[..., 0][batch.mask_BT[:, 1:]].sum().backward()
    assert (hidden.grad[~allowed] == 0).all()
    assert (hidden.grad[allowed] != 0).any()


@pytest.mark.parametrize("name", QUERIES)
def test_all_samples_of_hints_of_an_untrained_model_parse_and_name_real_aliases(either, name):
    query = parse_query(QUERIES[name])
    prefix = replace(START, grammar=gbnf(query))
    found = sampled(either, prefix, n=100, max_tokens=1500)
    assert {completion.finish for completion in found} == {"end"}
    aliases = {relation.alias for relation in query.relations}
    named = set()
    for completion in found:
        hints = parse_hints(completion.text)
        assert "".join(f"{hint}\n" for hint in hints) == completion.text
        named |= {hint.alias for hint in hints.scans} | {alias for hint in hints.joins for alias in hint.aliases}
        kept = replace(hints, joins=tuple(h for h in hints.joins if h not in [m for m, _ in misfits(hints, query)]))
        if name == "chain":
            check_hints(kept, query)
    assert named == aliases


def test_names_of_a_renamed_query_are_those_of_its_grammar(policy):
    query = parse_query(QUERIES["chain"])
    renaming = Renaming.canonical(query)
    prefix = replace(START, grammar=gbnf(renaming.query(query), kinds=["joins"]))
    for completion in sampled(policy, prefix, n=20, max_tokens=1500):
        check_hints(renaming.undo(parse_hints(completion.text)), query)


def test_a_grammar_that_cannot_be_read_shows_the_line(policy):
    with pytest.raises(GrammarError, match=r"line 2, column 10: .*\nline ::= other\n         \^") as caught:
        sampled(policy, replace(START, grammar="root ::= line\nline ::= other\n"))
    assert caught.value.line == 2
    with pytest.raises(GrammarError, match='root rule with name "root" is not found'):
        sampled(policy, replace(START, grammar='start ::= "a"\n'))


def test_steps_that_do_not_match_are_refused(policy):
    wrong = replace(START, steps=(Step("1+2\n"), Step("one\n")))
    with pytest.raises(GrammarError, match=r"'o' may not follow '1\+2\\n' in the grammar\nroot ::= line"):
        sampled(policy, wrong)
    with pytest.raises(GrammarError, match="'o' may not follow"):
        policy.log_probs([wrong])


def test_a_vocabulary_that_cannot_spell_the_grammar_says_where(tmp_path):
    words = {
        "<end>": 0,
        "a": 1,
        "b": 2,
        " ": 3,
        "\n": 4,
        "1": 5,
        "2": 6,
        "+": 7,
        "=": 8,
        "3": 9,
        "(": 10,
        ")": 11,
        ",": 12,
    }
    words |= {"c": 13, "x": 14, "y": 15}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.save_pretrained(tmp_path)
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            "gpt2", vocab_size=len(words), n_layer=1, n_embd=8, n_head=1, eos_token_id=0, bos_token_id=0
        )
    ).save_pretrained(tmp_path)
    small = build("transformers", {"model": str(tmp_path), "cpu_threads": 1, "device": "cpu"})
    prefix = Trajectory(Problem("p", "a"), "a", grammar='root ::= "ab" ("7" | "8")\n')
    with pytest.raises(TokenizerError, match="cannot spell the grammar: after 'ab' no token may follow"):
        sampled(small, prefix, n=1)
    (fine,) = sampled(small, replace(prefix, grammar='root ::= "ab" ("7" | "y")\n'), n=1)
    assert (fine.text, fine.finish) == ("aby", "end")


def test_a_grammar_beside_choices_is_refused(policy):
    with pytest.raises(ContractError, match="a grammar and `choices`"):
        sampled(policy, choices=("1",))


def test_without_xgrammar_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    fresh = build("transformers", {"seed": 3, "cpu_threads": 1})
    with pytest.raises(
        MissingExtraError, match=r"'transformers' needs the module 'xgrammar': pip install 'trellis\[grammar\]'"
    ):
        sampled(fresh)


def test_a_rollout_keeps_its_grammar_as_json(policy):
    rollout = Rollout(TASK.extend(START, sampled(policy, n=1)[0]), Outcome(correct=False, score=0.0))
    assert rollout_from_json(rollout_to_json(rollout)) == rollout
    older = rollout_to_json(rollout)
    del older["grammar"]
    assert rollout_from_json(older).trajectory.grammar is None
