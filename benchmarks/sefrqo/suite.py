"""What the suite runs over: workloads, methods, and how much of everything there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EXPLORED, NEW, UNSEEN = "explored", "new constants", "held-out templates"
"""Queries that were explored themselves; of explored templates with other constants; of templates never explored."""

HELD_OUT = ("hub_dimensions", "star_product", "chain_tags", "many_follows")
"""Templates of the shop of which nothing is seen in training; each has a sibling of its shape that is."""

TUNED = {"work_mem": "64MB", "random_page_cost": "1.1", "effective_cache_size": "4GB"}
"""What an administrator sets for a server whose data fits into memory, once for all queries."""

KS = (1, 2, 4, 8)
"""Executions of hints after which a method is looked at: so many have run in all after each visit; the default's own
and those of verification are not counted."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to choose hints.

    Attributes:
        proposers: By name, the configs of the components that propose; several make a portfolio.
        record: Whose record of the training queries it knows; its own name where it explores them itself, empty where it
            learns nothing from other queries.
        gain: Whether its scores are log2 gains: its first shot is the default where it expects none.
        references: Queries in the language model's prompt, whose best hints it shows.
    """

    proposers: Mapping[str, Mapping[str, Any]]
    record: str = ""
    gain: bool = False
    references: int = 1


_NEIGHBOURS: dict[str, Mapping[str, Any]] = {"neighbours": {}}
_LM: dict[str, Mapping[str, Any]] = {"language-model": {"free_methods": True, "samples": 2}}
_OTHERS: dict[str, Mapping[str, Any]] = {"arms": {}, "moves": {}, "random-orders": {}}

METHODS: dict[str, Method] = {
    "random": Method({"random-orders": {}}),
    "random + memory": Method(_NEIGHBOURS | {"random-orders": {}}, "random + memory"),
    "arms": Method({"arms": {"arms": "bao-26"}}),
    "bao": Method({"bao": {}}, "bao", gain=True),
    "bao, mean": Method({"bao": {"thompson": False}}, "bao", gain=True),
    "autosteer": Method({"autosteer": {}}),
    "completion": Method({"completion": {}}, "completion", gain=True),
    "planner-cost": Method({"planner-cost": {}}),
    "portfolio": Method(_NEIGHBOURS | _OTHERS, "portfolio"),
    "neighbours": Method(_NEIGHBOURS, "portfolio"),
    "sefrqo": Method(_LM, "sefrqo"),
    "portfolio + sefrqo": Method(_NEIGHBOURS | _LM | {"moves": {}, "arms": {}}, "sefrqo"),
}
"""The names of `--methods`, in the order in which they run: a record is made before others read it. `neighbours` alone would
never begin: it knows what the portfolio found. `arms` runs through Bao's arms in their order."""

_PORTFOLIO = METHODS["portfolio"].proposers

ABLATIONS: dict[str, Method] = {
    **{
        f"portfolio without {part}": Method(
            {use: config for use, config in _PORTFOLIO.items() if use != part}, "portfolio"
        )
        for part in _PORTFOLIO
    },
    **{f"sefrqo, {count} references": Method(_LM, f"sefrqo, {count} references", references=count) for count in (0, 3)},
}
"""What the part "ablation" measures: the portfolio's record without one of its proposers on unseen queries, and the language
model with other prompts, from its own record."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything.

    Attributes:
        scale: Of the shop.
        num_queries: Of the shop, over all templates.
        new: Queries with new constants, at most.
        held_out: Queries of held-out templates, at most.
        proposals: Hints asked of a proposer in a visit.
        sft_steps: Gradient steps of the language model, in all.
        lm_visits: In how many of the visits to training queries, the last ones, the language model proposes; the portfolio
            does before.
        slowest: A first shot is stopped after so many times the default's time, and counts as that.
        policy: The language model.
    """

    scale: float = 0.3
    num_queries: int = 180
    new: int = 32
    held_out: int = 28
    proposals: int = 8
    sft_steps: int = 240
    lm_visits: int = 1
    slowest: float = 4.0
    policy: Mapping[str, Any] = field(
        default_factory=lambda: {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 768}
    )


FULL = Sizes()
QUICK = Sizes(scale=0.1, num_queries=24, new=4, held_out=3, sft_steps=20)
