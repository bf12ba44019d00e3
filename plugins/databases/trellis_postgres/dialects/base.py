"""What a dialect is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from trellis.contracts.database import HintedStatement
from trellis.sql.hints import PlanHints, Switch
from trellis.sql.query import Query


class HintDialect(ABC):
    """One way of giving hints.

    Attributes:
        name: As the configuration names it.
        capabilities: What of a plan it decides, in the words of `DatabaseBackend`.
        library: The module that the server must load; None where it needs none.
    """

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[str]]
    library: ClassVar[str | None] = None

    @abstractmethod
    def hinted(self, query: Query, hints: PlanHints) -> HintedStatement:
        """Write a query under hints that fit it (`trellis.sql.check_hints`) and are not empty."""


def switch_settings(switches: tuple[Switch, ...]) -> dict[str, str]:
    """Return the settings that switches stand for."""
    return {switch.name: "on" if switch.on else "off" for switch in switches}


def free_search(query: Query) -> dict[str, str]:
    """Return the settings under which the planner considers every join order of a query, whatever its size.

    PostgreSQL gives up on the best order at `join_collapse_limit` (8) items and at `geqo_threshold` (12): an order that it does
    not consider cannot be asked for.
    """
    limit = str(max(8, len(query.relations) + 1))
    return {"geqo": "off", "join_collapse_limit": limit, "from_collapse_limit": limit}
