"""Scalars per step from a language model's hidden states. Shape suffixes: B rows, T tokens, S steps, H width, K outputs."""

from __future__ import annotations

import torch

from trellis.nn.batch import TokenBatch
from trellis.nn.budget import TokenBudget, in_parts
from trellis.nn.sharing import fork


class StepNet(torch.nn.Module):
    """A policy's trunk, forked, with scalar heads that start at zero; read at the last token of each step.

    Of a policy that trains an adapter it holds the weights in common with the policy, and begins with a copy of the
    adapter; else all of it is a copy. What is read at a step depends on the prompt and the steps up to it: the trunk is
    causal.
    """

    def __init__(
        self, policy_module: torch.nn.Module, *, num_outputs: int = 1, budget: TokenBudget | None = None
    ) -> None:
        super().__init__()
        # Without its language-model head where there is one to leave out: scalars have no use for the logits.
        self.trunk = fork(getattr(policy_module, "base_model", policy_module))
        self.budget = budget
        self.head = torch.nn.Linear(self._hidden_width(), num_outputs)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def _hidden_width(self) -> int:
        token = torch.zeros(1, 1, dtype=torch.int64, device=next(self.trunk.parameters()).device)
        output = self.trunk(input_ids=token, attention_mask=token + 1, output_hidden_states=True)
        return int(output.hidden_states[-1].shape[-1])

    def at_tokens(self, batch: TokenBatch) -> torch.Tensor:
        """Return the heads' outputs at every token, float32 of shape (B, T, K)."""
        return in_parts(self._at_tokens, batch, self.budget)

    def _at_tokens(self, batch: TokenBatch) -> torch.Tensor:
        hidden_BTH = self.trunk(
            input_ids=batch.ids_BT, attention_mask=batch.attention_BT, output_hidden_states=True
        ).hidden_states[-1]
        output_BTK: torch.Tensor = self.head(hidden_BTH.to(self.head.weight.dtype)).float()
        return output_BTK

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Return the first head's output at every step, float32 of shape (B, S); 0 where there is no step."""
        return at_steps(self.at_tokens(batch)[..., 0], batch)


def at_steps(values_BT: torch.Tensor, batch: TokenBatch) -> torch.Tensor:
    """Read a value per token at the last token of each step: shape (B, S), 0 where there is no step."""
    return values_BT.gather(1, batch.last_BS) * batch.step_mask_BS


def sum_over_steps(values_BT: torch.Tensor, batch: TokenBatch) -> torch.Tensor:
    """Sum a value per token over the tokens of each step: shape (B, S), 0 where there is no step."""
    sums_BS = torch.zeros(batch.step_mask_BS.shape, dtype=values_BT.dtype, device=values_BT.device)
    return sums_BS.scatter_add(1, batch.step_BT.clamp(min=0), values_BT * batch.mask_BT)
