"""Prompts within a number of tokens: whole parts are left out until they fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import ceil
from typing import Any

from trellis.errors import PromptTooLongError
from trellis.types import Problem
from trellis_prompts.config import PromptConfig


class Budget:
    """Counts tokens and leaves out what does not fit."""

    def __init__(self, config: PromptConfig) -> None:
        self.config = config

    def count(self, text: str) -> int:
        """Return how many tokens a text has, without those that a model puts around it."""
        if self.config.tokenizer is None:
            return ceil(len(text) / self.config.chars_per_token)
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def fitted(self, problem: Problem, render: Callable[[int, int], str], *, references: int, history: int) -> str:
        """Return the longest prompt within the budget.

        Args:
            problem: Whose prompt it is.
            render: Writes it with so many references and so much history.
            references: How many there are.
            history: How much there is.

        Raises:
            PromptTooLongError: Without references and history it is still too long.
        """
        limit = self.config.max_tokens
        sizes = [(kept, history) for kept in range(references, -1, -1)] + [
            (0, kept) for kept in range(history - 1, -1, -1)
        ]
        num_tokens = 0
        for size in sizes:
            text = render(*size)
            if limit is None:
                return text
            num_tokens = self.count(text)
            if num_tokens <= limit:
                return text
        assert limit is not None
        raise PromptTooLongError(problem.id, num_tokens=num_tokens, max_tokens=limit)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.config.tokenizer)
