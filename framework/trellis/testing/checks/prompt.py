"""Checks of prompt builders, on a query with everything that is known of it."""

from __future__ import annotations

from dataclasses import replace

from trellis.testing.check import Check, Subject, expect
from trellis.testing.material.situation import query, situation


def prompt_is_the_same_each_time(subject: Subject) -> None:
    """A run that is resumed must ask what the undisturbed run would have asked.

    Take nothing but the problem, the situation and the collaborators: no clock, no random number, no order of a set.
    """
    asked = situation()
    prompts = {subject.make().build(asked.problem, asked) for _ in range(2)}
    builder = subject.make()
    prompts |= {builder.build(asked.problem, asked) for _ in range(2)}
    expect(len(prompts) == 1, "one problem has several prompts")
    expect(next(iter(prompts)).strip(), "the prompt is empty")


def prompt_tells_problems_apart(subject: Subject) -> None:
    """A model cannot answer what it is not told.

    Write something of the query: its text, its statistics, its join graph.
    """
    asked, builder = situation(), subject.make()
    other = replace(asked.problem, id="other", text="SELECT count(*) FROM city AS c")
    one_table = query().sql.split(" FROM ")[0] + " FROM city AS c, person AS p WHERE p.city_id = c.id"
    from trellis.sql.reader import parse_query

    fewer = replace(asked, problem=other, query=parse_query(one_table), tried=(), neighbours=lambda _: ())
    same = builder.build(asked.problem, asked) == builder.build(other, fewer)
    expect(not same, "another query has the same prompt")


def names_of_answers_are_names_of_relations(subject: Subject) -> None:
    """An answer in names that stand for nothing, or for two relations, cannot be read back.

    Return a `Renaming` of every alias that hints can name, or the empty one.
    """
    asked = query()
    names = subject.make().renaming(asked).names
    hintable = {relation.alias for relation in asked.relations if relation.hintable}
    expect(not names or set(names) == hintable, f"it renames {sorted(names)}, hints can name {sorted(hintable)}")


CHECKS = (
    Check.of("prompt", prompt_is_the_same_each_time),
    Check.of("prompt", prompt_tells_problems_apart),
    Check.of("prompt", names_of_answers_are_names_of_relations),
)
