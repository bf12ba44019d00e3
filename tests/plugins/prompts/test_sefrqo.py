"""SEFRQO's prompt: what is in it, and what goes first when it is too long."""

import re

import pytest

from trellis import Tried, build
from trellis.errors import CapabilityError, PromptTooLongError
from trellis.sql import parse_hints


def tried(hints, speedup, judgement=None):
    return Tried(parse_hints(hints), speedup, judgement or ("faster" if speedup > 1 else "slower"))


def text(situation, **config):
    return build("sefrqo", config).build(situation.problem, situation)


def test_statistics_are_those_of_relations_on_their_own(scene):
    prompt = text(scene())
    assert "u (users): 1000\np (posts): 64000\nv (votes): unknown\n" in prompt
    assert "(u, u.age > 30): 250\n(p, p.day < '2014-01-01'): 16000\n" in prompt


def test_the_own_plan_is_written_in_keywords_that_exist(scene):
    prompt = text(scene())
    block = prompt.split("database's own plan:\n")[1].split("\n\n")[0]
    assert block.splitlines() == [
        "IndexScan(p posts_owner)", "SeqScan(u)", "SeqScan(v)", "NestLoop(p u)", "NestLoop(p u v)", "Leading(((u p) v))",
    ]  # fmt: skip
    parse_hints(block)
    assert not re.search(r"NestedLoop|BitmapHeapScan", prompt)


def test_references_are_those_whose_hints_beat_their_default(scene):
    neighbours = [
        scene.neighbour("Leading(((p u) v))", 0.8),
        scene.neighbour("Leading((u (v p)))", 4.0, age=41),
        scene.neighbour("Leading(((v p) u))", 2.0, age=42),
    ]
    two = text(scene(neighbours=neighbours), references=2)
    assert "Here are 2 similar queries" in two
    assert two.index("75% faster than the database's own plan:\nLeading((u (v p)))") < two.index("50% faster")
    assert "Leading(((p u) v))" not in two
    one = text(scene(neighbours=neighbours))
    assert "Here is 1 similar query" in one
    assert "u.age > 41" in one
    assert "u.age > 42" not in one
    assert "similar" not in text(scene(neighbours=neighbours), references=0)


def test_the_best_so_far_has_its_gain_and_others_are_asked_for(scene):
    first = text(scene())
    assert "best hints so far" not in first
    assert "faster than the database's own plan.\n" in first.splitlines(keepends=True)[-1]
    history = [tried("Leading(((v p) u))", 2.0), tried("Leading((u (v p)))", 4.0), tried("Leading((u (p v)))", 0.5)]
    later = text(scene(tried=history))
    assert "The best hints so far:\nLeading((u (v p)))\nThey are 75.0% faster than" in later
    assert later.index("Leading((u (p v))) -- 100.0% slower") < later.index("Leading(((v p) u)) -- 50.0% faster")
    assert "different from all hints above" in later
    slower = text(scene(tried=[tried("Leading((u (p v)))", 0.5)]))
    assert "They are 100.0% slower than" in slower


def test_failures_and_stopped_hints_are_history_and_never_the_best(scene):
    history = [
        tried("Leading((u (v p)))", 0.0, "wrong result"),
        tried("Leading(((v p) u))", 0.1, "timed out"),
        Tried(parse_hints(""), 1.0, "same plan"),
    ]
    prompt = text(scene(tried=history))
    assert "best hints so far" not in prompt
    assert "Leading((u (v p))) -- wrong result\n" in prompt
    assert "Leading(((v p) u)) -- stopped, 900.0% slower or worse\n" in prompt


def test_history_is_the_newest_and_nothing_twice(scene):
    history = [
        tried("Leading((u (v p)))", 0.5), tried("Leading(((v p) u))", 0.6), tried("Leading((u (v p)))", 0.7),
        tried("Leading((u (p v)))", 3.0),
    ]  # fmt: skip
    prompt = text(scene(tried=history), history=1)
    assert prompt.count("Leading((u (v p)))") == 1
    assert "Leading(((v p) u))" not in prompt


def test_hints_that_are_not_asked_for_are_not_shown(scene):
    neighbours = [
        scene.neighbour("SeqScan(u) HashJoin(u p) Leading(((u p) v))"),
        scene.neighbour("SeqScan(u)", 3.0, age=7),
    ]
    prompt = text(scene(neighbours=neighbours), methods=False, scans=False, references=2)
    assert not re.search(r"SeqScan|NestLoop|HashJoin", prompt)
    assert "Here is 1 similar query" in prompt


def test_the_text_is_shown_where_asked_for_and_without_comments(scene):
    assert "SELECT" not in text(scene())
    prompt = text(scene(), sql=True)
    assert "SELECT count(*)\nFROM users u, posts p, votes v\nWHERE" in prompt
    assert "DROP" not in prompt


def test_the_budget_takes_whole_references_first_then_the_oldest_history(scene):
    neighbours = [
        scene.neighbour("Leading((u (v p)))", 4.0, age=41),
        scene.neighbour("Leading(((v p) u))", 2.0, age=42),
    ]
    history = [tried("Leading((u (v p)))", 0.5), tried("Leading(((v p) u))", 0.6), tried("Leading((u (p v)))", 3.0)]
    situation = scene(tried=history, neighbours=neighbours)
    whole = text(situation, references=2)
    shortest = text(situation, references=0, history=0)
    seen = []
    for limit in range(len(whole), len(shortest) - 1, -1):
        prompt = text(situation, references=2, max_tokens=limit, chars_per_token=1.0)
        assert len(prompt) <= limit
        assert all(line in whole.splitlines() or "similar quer" in line for line in prompt.splitlines())
        parts = ("u.age > 41", "u.age > 42", "(v p))) -- 100", "u)) -- 66.7")
        state = tuple(part in prompt for part in parts)
        if not seen or seen[-1] != state:
            seen.append(state)
    assert seen == [
        (True, True, True, True),
        (True, False, True, True),
        (False, False, True, True),
        (False, False, False, True),
        (False, False, False, False),
    ]
    with pytest.raises(PromptTooLongError) as caught:
        text(situation, references=2, max_tokens=len(shortest) - 1, chars_per_token=1.0)
    assert (caught.value.problem, caught.value.num_tokens) == ("q1", len(shortest))


def test_a_tokenizer_counts_instead_of_the_estimate(scene, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]").save_pretrained(tmp_path)
    num_words = len(text(scene()).split())
    assert text(scene(), tokenizer=str(tmp_path), max_tokens=num_words)
    with pytest.raises(PromptTooLongError) as caught:
        text(scene(), tokenizer=str(tmp_path), max_tokens=num_words - 1)
    assert caught.value.num_tokens == num_words


@pytest.mark.parametrize("name", ["sefrqo", "compact", "plain"])
def test_without_a_situation_it_says_what_it_needs(name, scene):
    with pytest.raises(CapabilityError, match="Situation"):
        build(name).build(scene().problem)
