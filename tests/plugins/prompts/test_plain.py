"""The prompt for instruct models."""

from trellis import Tried, build
from trellis.sql import parse_hints


def text(situation, **config):
    return build("plain", config).build(situation.problem, situation)


def test_it_holds_schema_query_and_instructions(scene):
    prompt = text(scene())
    assert "users (1000 rows): id integer, age integer\n  unique index users_pkey on (id)\n" in prompt
    assert "votes: post integer\n" in prompt
    assert "SELECT count(*)\nFROM users u, posts p, votes v\nWHERE u.id" in prompt
    assert "DROP" not in prompt
    assert prompt.endswith("Hints for the aliases u, p, v:\n")
    assert "NestLoop(p u)\nNestLoop(p u v)\nLeading(((u p) v))" in prompt
    assert "own plan" not in text(scene(), default=False)


def test_references_have_their_query_and_hints(scene):
    prompt = text(scene(neighbours=[scene.neighbour("Leading(((v p) u))", 3.0, age=77)]))
    assert "u.age > 77" in prompt
    assert "3.0 times as fast as without:\nLeading(((v p) u))\n" in prompt


def test_what_was_tried_is_named_with_its_outcome(scene):
    tried = [
        Tried(parse_hints("Leading(((v p) u))"), 0.0, "failed"),
        Tried(parse_hints("Leading((u (p v)))"), 0.25, "timed out"),
        Tried(parse_hints("Leading((u (v p)))"), 1.5, "faster"),
    ]
    assert (
        "Leading((u (v p))) -- 1.50 times as fast as without\n"
        "Leading((u (p v))) -- stopped after 4.0 times the time without\n"
        "Leading(((v p) u)) -- failed\n"
    ) in text(scene(tried=tried))


def test_quoted_comment_marks_are_no_comments():
    from trellis_prompts.facts import shown

    assert (
        shown("SELECT '--a', \"/*b*/\", $x$--c$x$ -- d\n  /* e\n */ FROM t")
        == "SELECT '--a', \"/*b*/\", $x$--c$x$\n    FROM t"
    )
