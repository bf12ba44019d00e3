"""Scalars per step without a language model: linear in what the task says of each step. Shape suffixes: B rows, S steps.

With words_k the words of step k (`Task.step_words`) and w a weight for each word,

    output at step s = Σ over k ≤ s of Σ over words_k of w(word),

the linear reward of maximum-entropy inverse reinforcement learning (Ziebart et al. 2008). A word's weight is found by its hash
(Weinberger et al. 2009, https://arxiv.org/abs/0902.2206): there is no vocabulary, and what was never seen counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from zlib import crc32

import torch

from trellis.nn.batch import TokenBatch
from trellis.types import Trajectory

Words: TypeAlias = Callable[[Trajectory], Sequence[Sequence[str]]]
"""Says of a trajectory the words of each of its steps."""


class StepWords(torch.nn.Module):
    """A weight for each word, zero at first; the output at a step is the sum over the words of all steps up to it."""

    def __init__(self, words: Words, *, num_weights: int = 2**20) -> None:
        super().__init__()
        self.num_weights = num_weights
        self.weights = torch.nn.EmbeddingBag(num_weights, 1, mode="sum")
        torch.nn.init.zeros_(self.weights.weight)
        self._places = _Places(words, num_weights)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Return the output at every step, float32 of shape (B, S); 0 where there is no step."""
        device = self.weights.weight.device
        num_steps = batch.step_mask_BS.shape[1]
        places: list[int] = []
        begins: list[int] = []
        for trajectory in batch.trajectories:
            of_steps = self._places(trajectory)
            for step in range(num_steps):
                begins.append(len(places))
                places += of_steps[step] if step < len(of_steps) else []
        sums = self.weights(torch.tensor(places, dtype=torch.long, device=device), torch.tensor(begins, device=device))
        output_BS: torch.Tensor = sums.view(batch.step_mask_BS.shape).cumsum(1) * batch.step_mask_BS
        return output_BS


class _Places:
    """Where the weights of a trajectory's words are; shared by copies of a network, as the task behind it is."""

    def __init__(self, words: Words, num_weights: int) -> None:
        self.words = words
        self.num_weights = num_weights

    def __call__(self, trajectory: Trajectory) -> list[list[int]]:
        return [[crc32(word.encode()) % self.num_weights for word in words] for words in self.words(trajectory)]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Places:
        return self
