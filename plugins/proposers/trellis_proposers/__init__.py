"""Proposers: plan hints that seem worth measuring, for the query at hand.

`arms`, `autosteer`, `bao`, `completion`, `moves`, `neighbours`, `planner-cost` and `random-orders` need nothing but the
situation. `{use: language-model, needs: {policy: …, task: …}}` asks a policy that can choose among texts, line by line, and
`hint-writer` one that keeps to a grammar, for the whole text; `{use: portfolio, needs: {proposers: […]}}` shares the proposals
between several by what each one's were worth.
"""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_proposers.config import (
    ArmsConfig,
    AutosteerConfig,
    BaoConfig,
    CompletionConfig,
    HintWriterConfig,
    LanguageModelConfig,
    MovesConfig,
    NeighboursConfig,
    PlannerCostConfig,
    PortfolioConfig,
    RandomConfig,
)


@hookimpl
def trellis_proposers() -> Iterable[Component]:
    """Return the proposers of this plugin."""
    yield Component("arms", "Bao's switches for the whole query", ArmsConfig, "trellis_proposers.arms:Arms")
    yield Component(
        "neighbours",
        "the best hints of the most similar measured queries, carried over",
        NeighboursConfig,
        "trellis_proposers.neighbours:Neighbours",
    )
    yield Component(
        "moves",
        "small changes of the best hints so far: order, methods, scans, switches",
        MovesConfig,
        "trellis_proposers.moves:Moves",
    )
    yield Component(
        "random-orders",
        "random legal join orders",
        RandomConfig,
        "trellis_proposers.random_orders:RandomOrders",
    )
    yield Component(
        "language-model",
        "join decisions line by line from a policy, legal ones alone",
        LanguageModelConfig,
        "trellis_proposers.language_model:LanguageModel",
        needs={
            "policy": Need("policy", capabilities=frozenset({"choices", "log-probs"})),
            "task": Need("task"),
            "prompt": Need("prompt", optional=True),
        },
    )
    yield Component(
        "hint-writer",
        "whole hints from a policy, under the grammar of the query's hints",
        HintWriterConfig,
        "trellis_proposers.hint_writer:HintWriter",
        needs={
            "policy": Need("policy", capabilities=frozenset({"grammar"})),
            "task": Need("task"),
            "prompt": Need("prompt", optional=True),
        },
    )
    yield Component(
        "portfolio",
        "several proposers, more of those whose proposals were worth more",
        PortfolioConfig,
        "trellis_proposers.portfolio:Portfolio",
        needs={"proposers": Need("proposer", many=True)},
        capabilities=frozenset({"learns"}),
    )
    yield Component(
        "planner-cost",
        "join orders that the planner finds cheapest",
        PlannerCostConfig,
        "trellis_proposers.planner_cost:PlannerCost",
    )
    yield Component(
        "autosteer",
        "single switches, then unions of those that helped",
        AutosteerConfig,
        "trellis_proposers.autosteer:Autosteer",
    )
    yield Component(
        "completion",
        "Bao's arms by low-rank completion of what was measured on all queries",
        CompletionConfig,
        "trellis_proposers.completion:Completion",
        capabilities=frozenset({"learns"}),
    )
    yield Component(
        "bao",
        "Bao's arms by a regression over their plans, drawn by Thompson sampling",
        BaoConfig,
        "trellis_proposers.bao:Bao",
        needs={"database": Need("database", optional=True)},
        capabilities=frozenset({"learns"}),
    )
