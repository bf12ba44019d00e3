"""A prompt for instruct models: what to do, the schema of the query's tables, its SQL, similar queries with what was fastest.

The text of a query is data that somebody wrote, and stands in the prompt as it is but for its comments; so do names of tables and
columns. A model may do what such a text says: its answer is read by the grammar of hints and by nothing else.
"""

from __future__ import annotations

from trellis import Problem, PromptBuilder, Situation
from trellis.sql.catalog import Table
from trellis.sql.from_plan import plan_hints
from trellis_prompts.budget import Budget
from trellis_prompts.config import PlainConfig
from trellis_prompts.facts import history, near, needed, references, shown, tried_facts
from trellis_prompts.template import PromptTemplate


class Plain(PromptBuilder):
    """Schema, SQL and instructions, with references and history."""

    Config = PlainConfig

    def __init__(self, config: PlainConfig) -> None:
        self.config = config
        self.template = PromptTemplate(config.template, default="plain.j2")
        self.budget = Budget(config)

    def build(self, problem: Problem, situation: Situation | None = None) -> str:
        """Return the prompt.

        Raises:
            CapabilityError: There is no situation.
            PromptTooLongError: Even without references and history it is longer than `max_tokens`.
            PromptTemplateError: The template uses what is not there.
        """
        situation = needed(situation, "plain")
        c = self.config
        query = situation.query
        kinds = {"methods": c.methods, "scans": c.scans}
        similar = references(near(situation, c.references), c.references, database=None, **kinds)
        before = [tried_facts(one, **kinds) for one in history(situation.tried, c.history, without=None)]
        variables = {
            **kinds,
            "tables": _tables(situation),
            "aliases": [relation.alias for relation in query.relations if relation.hintable],
            "sql": shown(query.sql),
            "default": plan_hints(situation.plan, query, **kinds).render("\n") if c.default else "",
        }

        def render(num_references: int, num_history: int) -> str:
            shown_too = {"references": similar[:num_references], "history": before[:num_history]}
            return self.template.render({**variables, **shown_too})

        return self.budget.fitted(problem, render, references=len(similar), history=len(before))


def _tables(situation: Situation) -> list[Table]:
    """Return what is known of the tables that the query reads, each once."""
    names = dict.fromkeys(one.name for one in situation.query.relations if one.kind == "table" and one.name)
    return [table for name in names if (table := situation.catalog.table(name)) is not None]
