"""SEFRQO's prompt, as its released code builds it.

Liu, Zhang, Marcus, Sabek 2025, "SEFRQO: A Self-Evolving Fine-Tuned RAG-Based Query Optimizer", https://arxiv.org/abs/2508.17556:
references with their statistics and best hints, the query's statistics, the database's own plan written as hints, the best hints
so far with their gain, and the request for others.

Deviations from the code: keywords that exist (it asks for NestedLoop and BitmapHeapScan, which pg_hint_plan does not know and
stops reading at); 0 to n references where it has one; beside the best, other hints that were tried; statistics are those of
relations read on their own, not of look-ups; a budget of tokens; the best so far is shown whenever there is one, not from the
second round on; and its text is another.
"""

from __future__ import annotations

from trellis import DatabaseBackend, Problem, PromptBuilder, Situation
from trellis.sql.from_plan import plan_hints
from trellis_prompts.budget import Budget
from trellis_prompts.config import SefrqoConfig
from trellis_prompts.facts import (
    best_so_far,
    expected,
    history,
    near,
    needed,
    references,
    relation_facts,
    shown,
    tried_facts,
)
from trellis_prompts.template import PromptTemplate


class Sefrqo(PromptBuilder):
    """Statistics, references, the database's own plan, the best so far.

    With a database, references have statistics; without one, their tables and filters alone.
    """

    Config = SefrqoConfig

    def __init__(self, config: SefrqoConfig, *, database: DatabaseBackend | None = None) -> None:
        self.config = config
        self.database = database
        self.template = PromptTemplate(config.template, default="sefrqo.j2")
        self.budget = Budget(config)

    def build(self, problem: Problem, situation: Situation | None = None) -> str:
        """Return the prompt.

        Raises:
            CapabilityError: There is no situation.
            PromptTooLongError: Even without references and history it is longer than `max_tokens`.
            PromptTemplateError: The template uses what is not there.
        """
        situation = needed(situation, "sefrqo")
        c = self.config
        query = situation.query
        kinds = {"methods": c.methods, "scans": c.scans}
        similar = references(near(situation, c.references), c.references, database=self.database, **kinds)
        best = best_so_far(situation.tried)
        others = [tried_facts(one, **kinds) for one in history(situation.tried, c.history, without=best)]
        variables = {
            **kinds,
            "relations": relation_facts(query, expected(situation)),
            "default": plan_hints(situation.plan, query, **kinds).render("\n"),
            "best": None if best is None else tried_facts(best, **kinds),
            "sql": shown(query.sql) if c.sql else None,
        }

        def render(num_references: int, num_history: int) -> str:
            shown_too = {"references": similar[:num_references], "history": others[:num_history]}
            return self.template.render({**variables, **shown_too})

        return self.budget.fitted(problem, render, references=len(similar), history=len(others))
