"""PromptBuilder: what the policy reads of a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod

from trellis.types import Problem


class PromptBuilder(ABC):
    """Turns a problem into a prompt. Stores and histories it draws on are collaborators of its constructor."""

    @abstractmethod
    def build(self, problem: Problem) -> str:
        """Return the prompt. The same problem and the same memory give the same prompt."""
