"""PromptBuilder: what the policy reads of a problem, and under which names it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from trellis.contracts.proposer import Situation
from trellis.sql.renaming import Renaming
from trellis.types import Problem

if TYPE_CHECKING:
    from trellis.sql.query import Query


class PromptBuilder(ABC):
    """Turns a problem into a prompt. What it draws on beyond it is in the situation, or a collaborator of its constructor.

    A prompt holds no secret: nothing of a connection or an environment gets into it. The texts of queries are data that
    others wrote, and a prompt that quotes them hands them to the model as they are: whatever a model answers is read by a
    strict grammar before it means anything.
    """

    @abstractmethod
    def build(self, problem: Problem, situation: Situation | None = None) -> str:
        """Return the prompt. The same problem and situation give the same prompt.

        Args:
            problem: The problem.
            situation: What is known of the query, where the problem is one.

        Raises:
            CapabilityError: It writes prompts of queries only, and there is no situation.
            PromptTooLongError: Even without what may be left out, it is longer than its budget.
        """

    def renaming(self, query: Query) -> Renaming:
        """Return the names that the prompt gives to the query's relations, and that the answer uses; its own by default."""
        return Renaming()
