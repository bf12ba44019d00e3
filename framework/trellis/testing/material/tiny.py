"""The smallest trainable policy: a recurrent network over characters. Shapes: B rows, T tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file

from trellis.component import Config
from trellis.contracts import TrainablePolicy
from trellis.errors import CheckpointError
from trellis.nn import TokenBatch, masked_mean, pad, token_log_probs
from trellis.testing.material.characters import END, VOCABULARY_SIZE, CharacterPolicy, encode, with_tokens
from trellis.testing.material.successor import Successor, SuccessorConfig
from trellis.types import Trajectory


class TinyConfig(Config):
    """The network's size and seed."""

    hidden_size: int = Field(16, ge=1)
    """Width of the embedding and of the recurrent state."""
    seed: int | None = 0
    """Fixes the initial weights."""


class CausalOutput(NamedTuple):
    """What a causal language model returns: logits (B, T, V) and, if asked for, hidden states of shape (B, T, H)."""

    logits: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None


class RecurrentModel(torch.nn.Module):
    """Embedding, GRU, linear head. Causal by nature, so padding on the right touches nothing before it."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY_SIZE, hidden_size)
        self.recurrent = torch.nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.head = torch.nn.Linear(hidden_size, VOCABULARY_SIZE)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> CausalOutput:
        """Return the logits of the next token at every position."""
        embedded = self.embedding(input_ids)
        hidden, _ = self.recurrent(embedded)
        return CausalOutput(self.head(hidden), (embedded, hidden) if output_hidden_states else None)


class Tiny(CharacterPolicy, TrainablePolicy):
    """A few thousand weights that learn `Successor` in seconds."""

    Config = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        self.seed = config.seed or 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.module = RecurrentModel(config.hidden_size)

    @torch.no_grad()
    def next_log_probs(self, prompt: str, token_ids: Sequence[int]) -> list[float]:
        """Run the network over everything written so far."""
        logits_V = self.module(torch.tensor([[*encode(prompt), *token_ids]])).logits[0, -1]
        row: list[float] = logits_V.float().log_softmax(-1).tolist()
        return row

    @torch.no_grad()
    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Score all trajectories in one batch."""
        if not trajectories:
            return []
        batch = self.batch(trajectories)
        scored = []
        for trajectory, row_T, mask_T in zip(
            batch.trajectories, self.token_log_probs(batch), batch.mask_BT, strict=True
        ):
            values = iter(row_T[mask_T].tolist())
            steps = [replace(s, log_probs=tuple(next(values) for _ in s.token_ids)) for s in trajectory.steps]
            scored.append(replace(trajectory, steps=tuple(steps)))
        return scored

    def batch(self, trajectories: Sequence[Trajectory]) -> TokenBatch:
        """Encode what has no tokens yet, and pad."""
        encoded = [with_tokens(trajectory) for trajectory in trajectories]
        return pad([encode(t.prompt) for t in encoded], encoded, pad_id=END, device="cpu")

    def token_log_probs(self, batch: TokenBatch, *, temperature: float = 1.0) -> torch.Tensor:
        """Return log π of the steps' tokens, with gradient."""
        logits_BTV = self.module(batch.ids_BT, batch.attention_BT).logits / temperature
        return token_log_probs(logits_BTV, batch.ids_BT) * batch.mask_BT

    def save(self, directory: Path) -> None:
        """Write the weights; the vocabulary is fixed."""
        save_file(self.module.state_dict(), directory / "model.safetensors")

    def load(self, directory: Path) -> None:
        """Take the weights."""
        path = directory / "model.safetensors"
        try:
            self.module.load_state_dict(load_file(path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path} holds no weights of this size: {error}", path=path) from error


@cache
def practised_weights() -> dict[str, torch.Tensor]:
    """Train a policy, in about a second, until it is right in about one of five samples; done once in a process."""
    policy = Tiny(TinyConfig())
    adam = torch.optim.Adam(policy.module.parameters(), lr=0.03)
    batch = policy.batch(Successor(SuccessorConfig()).traces("train"))
    for _ in range(60):
        adam.zero_grad()
        (-masked_mean(policy.token_log_probs(batch), batch.mask_BT)).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return policy.module.state_dict()
